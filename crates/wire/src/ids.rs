//! Text form of the house's ids: a prefix that says what it is, and 128 unguessable bits in 26 letters.
//!
//! `trp_01h5…`: Crockford base 32 in lower case (no `i l o u`), most significant digit first. Ids are random, never
//! reused, and carry no order, so that nobody can count or guess them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wayfare_engine::{DriverId, GeofenceId, TripId};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;

/// Not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not an id of the form {prefix}_ and 26 letters or digits")]
pub struct InvalidId {
    /// What was given, cut to 64 characters.
    pub value: String,
    /// The prefix that was expected, without the underscore.
    pub prefix: &'static str,
}

/// Writes `prefix_` and the 26 digits of `id`.
pub fn format(prefix: &str, id: u128) -> String {
    let mut text = String::with_capacity(prefix.len() + 1 + DIGITS);
    text.push_str(prefix);
    text.push('_');
    for place in (0..DIGITS).rev() {
        let digit = (id >> (place * 5)) & 31;
        text.push(ALPHABET[digit as usize] as char);
    }
    text
}

/// Reads what [`format`] wrote.
///
/// # Errors
/// Another prefix, another length, a letter outside the alphabet, or a number over 128 bits.
pub fn parse(prefix: &'static str, text: &str) -> Result<u128, InvalidId> {
    let invalid = || InvalidId { value: text.chars().take(64).collect(), prefix };
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or_else(invalid)?;
    if digits.len() != DIGITS {
        return Err(invalid());
    }
    let mut id: u128 = 0;
    for (place, letter) in digits.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|known| *known == letter).ok_or_else(invalid)?;
        // 26 digits hold 130 bits: the first may only be 0 to 7.
        if place == 0 && digit > 7 {
            return Err(invalid());
        }
        id = (id << 5) | digit as u128;
    }
    Ok(id)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u128);

        impl $name {
            /// The part before the underscore.
            pub const PREFIX: &'static str = $prefix;
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(&format($prefix, self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse($prefix, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// A driver, `drv_…`.
    Driver, "drv"
);
text_id!(
    /// A trip, `trp_…`.
    Trip, "trp"
);
text_id!(
    /// A store, `sto_…`.
    Store, "sto"
);
text_id!(
    /// A token, `tok_…`: the `jti` of a JWT.
    Token, "tok"
);
text_id!(
    /// A phone that sends with a key in its address, `dev_…`.
    Device, "dev"
);
text_id!(
    /// A fence of the operator's, `fen_…`.
    Fence, "fen"
);

text_id!(
    /// A picture on its way in, `upl_…`. Its lower half is the fingerprint of its store, so that every door knows whose it is; the upper one is random.
    Upload, "upl"
);

impl Upload {
    /// The id of an upload of `store`.
    pub fn of(store: Store, random: u64) -> Self {
        Self((u128::from(random) << 64) | u128::from(Self::fingerprint(store)))
    }

    /// Whether it is an upload of `store`. Two stores of one fingerprint do not happen: ids of stores are random.
    pub fn is_of(self, store: Store) -> bool {
        self.0 as u64 == Self::fingerprint(store)
    }

    fn fingerprint(store: Store) -> u64 {
        (store.0 >> 64) as u64 ^ store.0 as u64
    }
}

impl From<Fence> for GeofenceId {
    fn from(id: Fence) -> Self {
        Self(id.0)
    }
}
impl From<GeofenceId> for Fence {
    fn from(id: GeofenceId) -> Self {
        Self(id.0)
    }
}
impl From<Driver> for DriverId {
    fn from(id: Driver) -> Self {
        Self(id.0)
    }
}
impl From<DriverId> for Driver {
    fn from(id: DriverId) -> Self {
        Self(id.0)
    }
}
impl From<Trip> for TripId {
    fn from(id: Trip) -> Self {
        Self(id.0)
    }
}
impl From<TripId> for Trip {
    fn from(id: TripId) -> Self {
        Self(id.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_undoes_format(id: u128) {
            prop_assert_eq!(parse("trp", &format("trp", id)), Ok(id));
        }

        #[test]
        fn any_text_is_answered(text in ".{0,40}") {
            let _ = parse("trp", &text);
        }
    }

    #[test]
    fn an_upload_knows_its_store() {
        let (store, other) = (Store(7 << 90 | 3), Store(8 << 90 | 3));
        let upload = Upload::of(store, u64::MAX);
        assert!(upload.is_of(store) && !upload.is_of(other));
        assert_eq!(upload.to_string().parse(), Ok(upload));
    }

    #[test]
    fn wrong_ids_are_refused() {
        for text in [
            "",
            "trp_",
            "trp_zzzzzzzzzzzzzzzzzzzzzzzzzz",
            "drv_00000000000000000000000000",
            "trp_0000000000000000000000000l",
        ] {
            assert!(parse("trp", text).is_err(), "{text}");
        }
    }
}
