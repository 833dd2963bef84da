//! Bytes to messages.
//!
//! The usual message, well formed from end to end, takes one pass. Only when that fails is the message read a second
//! time, fix by fix, to find out which one is to blame.

use serde::Deserialize;
use serde_json::value::RawValue;
use wayfare_engine::{Millis, RawFix};

use crate::messages::drive::{Fix, Fixes, FromDriver};
use crate::messages::watch::FromWatcher;

/// The bytes are not a message of the protocol. Sending them again is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// A message of fixes in which some fixes may be unreadable.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// The message; an unreadable fix stands in it as a position that is not a number, so that the engine refuses it.
    pub message: Fixes,
    /// Place and reason of each unreadable fix, in order.
    pub unreadable: Vec<(u32, String)>,
}

impl Decoded {
    /// Appends the fixes as the engine takes them; `received` stands in where the phone gave no time.
    pub fn raw_fixes(&self, received: Millis, out: &mut Vec<RawFix>) {
        out.extend(self.message.fixes.iter().map(|fix| fix.raw(received)));
    }
}

impl Fix {
    /// The engine's form of this fix; `received` stands in where the phone gave no time.
    pub fn raw(&self, received: Millis) -> RawFix {
        RawFix {
            lat_deg: self.lat,
            lon_deg: self.lon,
            taken: self.t_ms.map_or(received, Millis),
            accuracy_m: self.accuracy_m,
            speed_mps: self.speed_mps,
            heading_deg: self.heading_deg,
            altitude_m: self.altitude_m,
            mock: self.mock,
        }
    }
}

/// Reads the body of `POST /v1/fixes`: a message of fixes, or one bare fix.
///
/// # Errors
/// The bytes are not JSON, or neither of the two.
pub fn fixes_from_json(bytes: &[u8]) -> Result<Decoded, Malformed> {
    match serde_json::from_slice::<Fixes>(bytes) {
        Ok(message) => return Ok(Decoded { message, unreadable: Vec::new() }),
        Err(error) if !error.is_data() && !is_number_error(&error) => return Err(malformed(&error)),
        Err(_) => {}
    }
    if let Ok(loose) = serde_json::from_slice::<LooseFixes<'_>>(bytes) {
        return Ok(loose.settle());
    }
    let bare: &RawValue = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    if !bare.get().trim_start().starts_with('{') {
        return Err(Malformed("the body is neither a fix nor a message with `fixes`".into()));
    }
    let mut decoded = Decoded::default();
    read_fix(bare, &mut decoded);
    Ok(decoded)
}

/// Reads one message of a driver's connection.
///
/// # Errors
/// The bytes are not JSON, or no message of the protocol.
pub fn from_driver(bytes: &[u8]) -> Result<(FromDriver, Vec<(u32, String)>), Malformed> {
    // Nearly every message is one of fixes: read as such, serde is saved the detour of buffering a tagged enum.
    if let Ok(Tagged { kind: "fixes", seq, sent_ms, fixes }) = serde_json::from_slice(bytes) {
        return Ok((FromDriver::Fixes(Fixes { seq, sent_ms, fixes, ..Fixes::default() }), Vec::new()));
    }
    match serde_json::from_slice::<FromDriver>(bytes) {
        Ok(message) => Ok((message, Vec::new())),
        Err(error) => {
            let tag: Tag<'_> = serde_json::from_slice(bytes).map_err(|_| malformed(&error))?;
            if tag.kind != "fixes" {
                return Err(malformed(&error));
            }
            let loose: LooseFixes<'_> = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
            let decoded = loose.settle();
            Ok((FromDriver::Fixes(decoded.message), decoded.unreadable))
        }
    }
}

/// Reads one message of a watcher's connection.
///
/// # Errors
/// The bytes are not JSON, or no message of the protocol.
pub fn from_watcher(bytes: &[u8]) -> Result<FromWatcher, Malformed> {
    serde_json::from_slice(bytes).map_err(|error| malformed(&error))
}

/// A message of fixes with its tag. A member given twice, the tag among them, is an error.
#[derive(Deserialize)]
struct Tagged<'a> {
    #[serde(rename = "type", borrow)]
    kind: &'a str,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    sent_ms: Option<i64>,
    fixes: Vec<Fix>,
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
}

/// The same message with its fixes left unread.
#[derive(Deserialize)]
struct LooseFixes<'a> {
    #[serde(default)]
    session: Option<String>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    sent_ms: Option<i64>,
    #[serde(borrow)]
    fixes: Vec<&'a RawValue>,
    #[serde(default)]
    deliveries: Option<String>,
}

impl LooseFixes<'_> {
    fn settle(self) -> Decoded {
        let mut decoded = Decoded {
            message: Fixes {
                session: self.session,
                seq: self.seq,
                sent_ms: self.sent_ms,
                fixes: Vec::new(),
                deliveries: self.deliveries,
            },
            unreadable: Vec::new(),
        };
        for raw in self.fixes {
            read_fix(raw, &mut decoded);
        }
        decoded
    }
}

fn read_fix(raw: &RawValue, decoded: &mut Decoded) {
    let fix = serde_json::from_str(raw.get()).unwrap_or_else(|error| {
        let index = decoded.message.fixes.len() as u32;
        decoded.unreadable.push((index, error.to_string()));
        Fix { lat: f64::NAN, lon: f64::NAN, ..Fix::default() }
    });
    decoded.message.fixes.push(fix);
}

/// A number like `1e999` is a syntax error to serde_json, although only its value is at fault.
fn is_number_error(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

fn malformed(error: &serde_json::Error) -> Malformed {
    Malformed(error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fixes(bytes: &str) -> (Fixes, Vec<(u32, String)>) {
        match from_driver(bytes.as_bytes()) {
            Ok((FromDriver::Fixes(message), unreadable)) => (message, unreadable),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_bad_fix_takes_nothing_with_it() {
        for bad in [
            r#"{"lat":1e999,"lon":2}"#,
            r#"{"lat":"1","lon":2}"#,
            r#"{"lat":1}"#,
            "7",
            "null",
            r#"{"lat":1,"lon":2,"t_ms":1e30}"#,
        ] {
            let text = format!(r#"{{"type":"fixes","seq":4,"fixes":[{{"lat":1,"lon":2}},{bad},{{"lat":3,"lon":4}}]}}"#);
            let (message, unreadable) = fixes(&text);
            assert_eq!(message.seq, 4);
            assert_eq!(message.fixes.len(), 3, "{bad}");
            assert_eq!(message.fixes[2].lat, 3.0);
            assert!(message.fixes[1].lat.is_nan(), "{bad}");
            assert_eq!(unreadable.len(), 1);
            assert_eq!(unreadable[0].0, 1);
            assert_eq!(fixes_from_json(text.as_bytes()).unwrap().unreadable, unreadable);
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in [
            "",
            "{",
            "[]",
            "7",
            r#"{"type":"fixes","seq":1,"fixes":[{"lat":NaN,"lon":2}]}"#,
            r#"{"type":"fly"}"#,
            r#"{"type":"fixes"}"#,
        ] {
            assert!(from_driver(text.as_bytes()).is_err(), "{text}");
        }
        for text in ["", "{", "[]", "7", r#"{"fixes":[{"lat":NaN,"lon":2}]}"#] {
            assert!(fixes_from_json(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_fix_is_enough_over_http() {
        let decoded = fixes_from_json(br#" {"lat":41.1,"lon":-8.6} "#).unwrap();
        assert_eq!((decoded.message.fixes.len(), decoded.message.seq), (1, 0));
        assert_eq!(decoded.message.fixes[0].lon, -8.6);
    }

    #[test]
    fn a_smuggled_second_type_does_not_win() {
        let text = br#"{"type":"fixes","fixes":[{"lat":1,"lon":2}],"type":"ping"}"#;
        assert!(from_driver(text).is_err());
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(lat in -90.0..90.0_f64, lon in -180.0..180.0_f64, t_ms: i64, seq: u64, mock: bool) {
            let sent = FromDriver::Fixes(Fixes {
                seq, sent_ms: Some(t_ms),
                fixes: vec![Fix { lat, lon, t_ms: Some(t_ms), mock, ..Fix::default() }],
                ..Fixes::default()
            });
            let (read, unreadable) = from_driver(&serde_json::to_vec(&sent).unwrap()).unwrap();
            prop_assert!(unreadable.is_empty());
            let (FromDriver::Fixes(read), FromDriver::Fixes(sent)) = (read, sent) else { unreachable!() };
            prop_assert_eq!(read.seq, sent.seq);
            prop_assert!((read.fixes[0].lat - lat).abs() < 1e-12 && (read.fixes[0].lon - lon).abs() < 1e-12);
            prop_assert_eq!(read.fixes[0].t_ms, sent.fixes[0].t_ms);
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = from_driver(&bytes);
            let _ = from_watcher(&bytes);
            let _ = fixes_from_json(&bytes);
        }
    }
}
