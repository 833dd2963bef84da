//! How kept fixes stand in the fix log: enough to judge them again after a restart, to print them, and to fold them into tracks.
//!
//! An entry is one message of one driver: what the engine was given, without the fixes it refused (of these nothing is kept, least
//! of all where they were). Little endian; the first byte is the version.

use bytes::{Buf, Bytes};
use wayfare_engine::{Millis, RawFix};

const VERSION: u8 = 1;

/// Set in a fix's flags.
const MOCK: u8 = 1;
const LATE: u8 = 2;
/// The server's time of the fix follows: the phone's clock is not right.
const CORRECTED: u8 = 4;

/// One message as it was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptMessage {
    /// When it was received, server's clock.
    pub received: Millis,
    /// The phone's session, 0 for none.
    pub session: u64,
    /// Its number in the session.
    pub seq: u64,
    /// The phone's clock when it was sent.
    pub sent: Option<Millis>,
    /// The fixes that were kept, as the phone gave them.
    pub fixes: Vec<KeptFix>,
}

/// One fix as it was kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeptFix {
    /// As the phone gave it.
    pub raw: RawFix,
    /// When it was taken, server's clock.
    pub at: Millis,
    /// It was older than the newest then.
    pub late: bool,
}

/// Appends the head of an entry. The count of fixes is not part of it: an entry ends with its bytes.
pub fn write_head(out: &mut Vec<u8>, received: Millis, session: u64, seq: u64, sent: Option<Millis>) {
    out.push(VERSION);
    out.extend_from_slice(&received.0.to_le_bytes());
    out.extend_from_slice(&session.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&sent.map_or(i64::MIN, |sent| sent.0).to_le_bytes());
}

/// Appends a fix that was taken `at` by the server's clock.
pub fn write_fix(out: &mut Vec<u8>, raw: &RawFix, at: Millis, late: bool) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(flag(raw.mock, MOCK) | flag(late, LATE) | flag(at != raw.taken, CORRECTED));
    out.extend_from_slice(&raw.lat_deg.to_le_bytes());
    out.extend_from_slice(&raw.lon_deg.to_le_bytes());
    out.extend_from_slice(&raw.taken.0.to_le_bytes());
    for value in [raw.accuracy_m, raw.speed_mps, raw.heading_deg, raw.altitude_m] {
        out.extend_from_slice(&value.unwrap_or(f32::NAN).to_le_bytes());
    }
    if at != raw.taken {
        out.extend_from_slice(&at.0.to_le_bytes());
    }
}

/// Reads an entry; `None` if it is not one of ours.
pub fn read(mut bytes: Bytes) -> Option<KeptMessage> {
    if bytes.remaining() < 33 || bytes.get_u8() != VERSION {
        return None;
    }
    let received = Millis(bytes.get_i64_le());
    let (session, seq) = (bytes.get_u64_le(), bytes.get_u64_le());
    let sent = Some(bytes.get_i64_le()).filter(|sent| *sent != i64::MIN).map(Millis);
    let mut fixes = Vec::new();
    while bytes.has_remaining() {
        if bytes.remaining() < 41 {
            return None;
        }
        let flags = bytes.get_u8();
        let (lat_deg, lon_deg) = (bytes.get_f64_le(), bytes.get_f64_le());
        let taken = Millis(bytes.get_i64_le());
        let mut value = || Some(bytes.get_f32_le()).filter(|value| !value.is_nan());
        let (accuracy_m, speed_mps, heading_deg, altitude_m) = (value(), value(), value(), value());
        let mock = flags & MOCK != 0;
        let raw = RawFix { lat_deg, lon_deg, taken, accuracy_m, speed_mps, heading_deg, altitude_m, mock };
        let at = if flags & CORRECTED == 0 {
            taken
        } else if bytes.remaining() >= 8 {
            Millis(bytes.get_i64_le())
        } else {
            return None;
        };
        fixes.push(KeptFix { raw, at, late: flags & LATE != 0 });
    }
    Some(KeptMessage { received, session, seq, sent, fixes })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn read_undoes_write(
            head: (i64, u64, u64), sent in prop::option::of(any::<i64>()),
            fixes in prop::collection::vec((-90.0..90.0_f64, -180.0..180.0_f64, any::<i64>(), prop::option::of(0.0..1e4_f32), any::<bool>(), any::<bool>()), 0..5),
            shift: bool,
        ) {
            let sent = sent.filter(|sent| *sent != i64::MIN).map(Millis);
            let message = KeptMessage {
                received: Millis(head.0), session: head.1, seq: head.2, sent,
                fixes: fixes.into_iter().map(|(lat_deg, lon_deg, taken, speed_mps, mock, late)| KeptFix {
                    raw: RawFix { lat_deg, lon_deg, taken: Millis(taken), accuracy_m: None, speed_mps, heading_deg: None, altitude_m: speed_mps, mock },
                    at: Millis(if shift { taken.wrapping_add(7) } else { taken }),
                    late,
                }).collect(),
            };
            let mut bytes = Vec::new();
            write_head(&mut bytes, message.received, message.session, message.seq, message.sent);
            for fix in &message.fixes {
                write_fix(&mut bytes, &fix.raw, fix.at, fix.late);
            }
            prop_assert_eq!(read(bytes.into()), Some(message));
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = read(bytes.into());
        }
    }
}
