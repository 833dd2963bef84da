//! The driver protocol in its two codecs: JSON for whoever has no better, Protocol Buffers (`proto/drive.proto`) for a third of the bytes.

use std::io::Write as _;

use wayfare_engine::Verdict;

use super::decode::{Malformed, from_driver};
use super::proto;
use crate::messages::drive::{FromDriver, ToDriver};
use crate::state::{write_string, write_u64};
use crate::{DRIVE_JSON_V1, DRIVE_PROTO_V1};

/// How messages become bytes on one driver's connection; chosen by the WebSocket subprotocol, or the first frame on QUIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DriveCodec {
    /// Text messages of JSON.
    #[default]
    Json,
    /// Binary messages of Protocol Buffers.
    Proto,
}

impl DriveCodec {
    /// All of them, the one to be preferred first.
    pub const ALL: [Self; 2] = [Self::Proto, Self::Json];

    /// Its name as a WebSocket subprotocol.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => DRIVE_JSON_V1,
            Self::Proto => DRIVE_PROTO_V1,
        }
    }

    /// The codec of a subprotocol.
    pub fn of(subprotocol: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.subprotocol() == subprotocol)
    }

    /// Whether its messages are binary.
    pub const fn is_binary(self) -> bool {
        matches!(self, Self::Proto)
    }

    /// Reads one message of a driver's connection, with place and reason of each fix that cannot be read.
    ///
    /// # Errors
    /// The bytes are no message of the protocol.
    pub fn read(self, bytes: &[u8]) -> Result<(FromDriver, Vec<(u32, String)>), Malformed> {
        match self {
            Self::Json => from_driver(bytes),
            Self::Proto => proto::from_driver(bytes).map(|message| (message, Vec::new())),
        }
    }

    /// Appends a message to a driver.
    pub fn write(self, out: &mut Vec<u8>, message: &ToDriver) {
        match self {
            // String keys and whole numbers only: nothing in it can fail.
            Self::Json => serde_json::to_writer(out, message).unwrap_or_default(),
            Self::Proto => proto::write_to_driver(out, message),
        }
    }

    /// Appends an ack without building a message first; once per message of a driver.
    pub fn write_ack(self, out: &mut Vec<u8>, seq: u64, verdicts: &[Verdict], unreadable: &[(u32, String)]) {
        match self {
            Self::Json => {
                out.extend_from_slice(b"{\"type\":\"ack\",");
                write_verdicts(out, seq, verdicts, unreadable);
                out.push(b'}');
            }
            Self::Proto => proto::write_ack(out, seq, verdicts, unreadable),
        }
    }

    /// Appends a message of a driver: for driver apps.
    pub fn write_from_driver(self, out: &mut Vec<u8>, message: &FromDriver) {
        match self {
            Self::Json => serde_json::to_writer(out, message).unwrap_or_default(),
            Self::Proto => proto::write_from_driver(out, message),
        }
    }

    /// Reads a message to a driver: for driver apps.
    ///
    /// # Errors
    /// The bytes are no message of the protocol.
    pub fn read_to_driver(self, bytes: &[u8]) -> Result<ToDriver, Malformed> {
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(|error| Malformed(error.to_string())),
            Self::Proto => proto::to_driver(bytes),
        }
    }
}

/// Appends the members that are common to an ack on a connection and over HTTP: `"seq":…,"verdicts":[…],"details":[…]`.
pub fn write_verdicts(out: &mut Vec<u8>, seq: u64, verdicts: &[Verdict], unreadable: &[(u32, String)]) {
    out.extend_from_slice(b"\"seq\":");
    write_u64(out, seq);
    out.extend_from_slice(b",\"verdicts\":[");
    for (index, verdict) in verdicts.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(verdict.code().as_bytes());
        out.push(b'"');
    }
    out.push(b']');
    let mut first = true;
    for (index, verdict) in verdicts.iter().enumerate() {
        let Verdict::Rejected(reason) = verdict else { continue };
        out.extend_from_slice(if first { b",\"details\":[" } else { b"," });
        first = false;
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{{\"index\":{index},\"message\":");
        match unreadable.iter().find(|(bad, _)| *bad as usize == index) {
            Some((_, why)) => write_string(out, why),
            None => write_string(out, &reason.to_string()),
        }
        out.push(b'}');
    }
    if !first {
        out.push(b']');
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use proptest::prelude::*;
    use wayfare_engine::{Invalid, Reason};

    use super::*;
    use crate::codec::round_e7;
    use crate::messages::Bye;
    use crate::messages::drive::{Ack, Delivery, DeliveryStop, Detail, Fix, Fixes, Phone};
    use crate::{ErrorBody, ErrorCode};

    #[test]
    fn acks_written_by_hand_are_messages_of_the_protocol() {
        let rejected = Verdict::Rejected(Reason::Invalid(Invalid::ZeroIsland));
        let check = |verdicts: &[Verdict], unreadable: &[(u32, String)]| {
            let read = DriveCodec::ALL.map(|codec| {
                let mut bytes = Vec::new();
                codec.write_ack(&mut bytes, 300, verdicts, unreadable);
                codec.read_to_driver(&bytes).unwrap()
            });
            assert_eq!(read[0], read[1]);
            let [ToDriver::Ack(ack), _] = read else { panic!("{read:?}") };
            assert_eq!((ack.seq, ack.verdicts.len()), (300, verdicts.len()));
            ack
        };
        let ack = check(&[Verdict::Accepted, Verdict::Late], &[]);
        assert_eq!((ack.verdicts.join(","), ack.details.len()), ("accepted,late".into(), 0));
        let ack = check(&[rejected, Verdict::Accepted, rejected], &[(2, "a \"quoted\" reason".into())]);
        assert_eq!(ack.verdicts.join(","), "invalid,accepted,invalid");
        assert_eq!(ack.details[1], Detail { index: 2, message: "a \"quoted\" reason".into() });
        check(&[], &[]);
        check(&[Verdict::Accepted; 100], &[]);
        check(&[Verdict::Rejected(Reason::Duplicate); 100], &[]);
    }

    #[test]
    fn every_message_is_the_same_in_both_codecs() {
        let error = ErrorBody::new(ErrorCode::NotDurable, "nothing can be kept").after_ms(1000).field("fixes");
        let ack = Ack { seq: 7, verdicts: vec!["accepted".into(), "implausible_speed".into()], details: Vec::new() };
        let welcome = ToDriver::Welcome {
            version: 1,
            driver: "drv_1".into(),
            interval_ms: 3000,
            max_fixes: 100,
            max_unacked: 64,
            heartbeat_ms: 20_000,
            expires_at_ms: 1_763_686_800_000,
        };
        let bye = Bye { code: 4000, reason: "draining".into(), retry_after_ms: Some(0) };
        let stop = DeliveryStop { pickup: true, lat: 41.1414, lon: -8.6186, name: "Kitchen".into() };
        let delivery = Delivery {
            trip: "trp_1".into(),
            offer: Some(1),
            answer_by_ms: Some(7),
            ready_at_ms: Some(8),
            stops: vec![stop, DeliveryStop::default()],
        };
        let to_driver = [
            welcome,
            ToDriver::Ack(ack),
            ToDriver::Config { interval_ms: 1000, heartbeat_ms: None },
            ToDriver::Config { interval_ms: 1000, heartbeat_ms: Some(40_000) },
            ToDriver::Error(error),
            ToDriver::Heartbeat,
            ToDriver::Pong,
            ToDriver::NewDeliveryAssigned(delivery),
            ToDriver::NewDeliveryAssigned(Delivery { trip: "trp_2".into(), ..Delivery::default() }),
            ToDriver::DeliveryWithdrawn { trip: "trp_1".into(), offer: Some(1) },
            ToDriver::Noted { trip: "trp_1".into(), said: "accept".into() },
            ToDriver::Bye(bye),
        ];
        let fix =
            Fix { lat: 41.1414, lon: -8.6186, t_ms: Some(1), accuracy_m: Some(6.5), mock: true, ..Fix::default() };
        let from_driver = [
            FromDriver::Hello { token: None, session: "9f3a61c0".into() },
            FromDriver::Hello { token: Some("t".into()), session: "ffffffffffffffff".into() },
            FromDriver::Auth { token: "t".into() },
            FromDriver::Fixes(Fixes {
                seq: 9,
                sent_ms: Some(-5),
                fixes: vec![fix, Fix::default()],
                ..Fixes::default()
            }),
            FromDriver::Ping,
            FromDriver::Accept { trip: "trp_1".into(), offer: 1 },
            FromDriver::Decline { trip: "trp_1".into(), offer: 1, reason: Some("too far".into()) },
            FromDriver::Status { trip: "trp_1".into(), phase: "arrived".into(), at_ms: Some(7) },
            FromDriver::Phone(Phone::default()),
            FromDriver::Phone(Phone { battery: Some(0.5), outage: Some("permission".into()), ..Phone::default() }),
        ];
        for codec in DriveCodec::ALL {
            assert_eq!(DriveCodec::of(codec.subprotocol()), Some(codec));
            for message in &to_driver {
                let mut bytes = Vec::new();
                codec.write(&mut bytes, message);
                assert_eq!(codec.read_to_driver(&bytes).as_ref(), Ok(message));
            }
            for message in &from_driver {
                let mut bytes = Vec::new();
                codec.write_from_driver(&mut bytes, message);
                assert_eq!(codec.read(&bytes), Ok((message.clone(), Vec::new())));
            }
        }
    }

    #[test]
    fn what_is_off_the_globe_stays_off_it() {
        for (lat, lon) in
            [(f64::NAN, 8.0), (41.0, f64::NAN), (f64::INFINITY, 8.0), (41.0, 1e9), (-91.0, 8.0), (41.0, -180.5)]
        {
            let fix = Fix { lat, lon, ..Fix::default() };
            let mut bytes = Vec::new();
            let message = Fixes { seq: 1, fixes: vec![fix], ..Fixes::default() };
            DriveCodec::Proto.write_from_driver(&mut bytes, &FromDriver::Fixes(message));
            let (FromDriver::Fixes(read), _) = DriveCodec::Proto.read(&bytes).unwrap() else {
                panic!("other than fixes")
            };
            let read = read.fixes[0];
            assert!(read.lat.abs() > 90.0 || read.lon.abs() > 180.0, "{lat}, {lon} became {}, {}", read.lat, read.lon);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            for codec in DriveCodec::ALL {
                let _ = (codec.read(&bytes), codec.read_to_driver(&bytes));
            }
        }

        #[test]
        fn fixes_come_back_to_a_centimetre(lat in -90.0..=90.0_f64, lon in -180.0..=180.0_f64, t_ms: Option<i64>, speed_mps: Option<f32>, seq: u64) {
            let sent = Fix { lat, lon, t_ms, speed_mps, ..Fix::default() };
            let mut bytes = Vec::new();
            DriveCodec::Proto.write_from_driver(&mut bytes, &FromDriver::Fixes(Fixes { seq, fixes: vec![sent], ..Fixes::default() }));
            let (FromDriver::Fixes(read), _) = DriveCodec::Proto.read(&bytes).unwrap() else { panic!("other than fixes") };
            let fix = read.fixes[0];
            prop_assert!((fix.lat - lat).abs() <= 5.1e-8 && (fix.lon - lon).abs() <= 5.1e-8);
            prop_assert_eq!((fix.lat, fix.lon), (round_e7(lat), round_e7(lon)));
            prop_assert_eq!((fix.lat, fix.lon), (round_e7(fix.lat), round_e7(fix.lon)));
            prop_assert_eq!((read.seq, fix.t_ms, fix.speed_mps.map(f32::to_bits)), (seq, t_ms, speed_mps.map(f32::to_bits)));
        }
    }
}
