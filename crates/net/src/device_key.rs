//! Keys in the addresses of existing phone apps: drawn here, stored and told by their hash only.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use wayfare_wire::ids;

/// What a key begins with: easy to find in a log it should not be in.
pub const PREFIX: &str = "dvk";

/// Draws a key of 128 random bits: `dvk_` and 26 letters or digits. `None` if the system gives no random bytes.
pub fn draw() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(ids::format(PREFIX, u128::from_le_bytes(bytes)))
}

/// The SHA-256 of a key in 64 hexadecimal digits; `None` if it is none by its form. A key is random: no salt and no slow hash can make
/// it harder to guess.
pub fn hash(key: &str) -> Option<String> {
    ids::parse(PREFIX, key).ok()?;
    let mut text = String::with_capacity(64);
    for byte in digest(&SHA256, key.as_bytes()).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_are_known_by_their_hash() {
        let (one, other) = (draw().unwrap(), draw().unwrap());
        assert_ne!(one, other);
        assert_eq!(hash(&one).unwrap().len(), 64);
        assert_eq!(hash(&one), hash(&one));
        assert_ne!(hash(&one), hash(&other));
        for text in ["", "dvk_", "drv_00000000000000000000000001", "dvk_0000000000000000000000000l"] {
            assert_eq!(hash(text), None, "{text}");
        }
    }
}
