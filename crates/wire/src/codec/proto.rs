//! The driver protocol in Protocol Buffers: `proto/drive.proto`, member by member.

use prost::{Message, Oneof};
use wayfare_engine::{OutageReason, Verdict};

use super::decode::Malformed;
use crate::messages::{self, drive};

#[derive(Clone, PartialEq, Message)]
struct FromDriver {
    #[prost(oneof = "From", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    message: Option<From>,
}

#[derive(Clone, PartialEq, Oneof)]
enum From {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Auth(Auth),
    #[prost(message, tag = "3")]
    Fixes(Fixes),
    #[prost(message, tag = "4")]
    Ping(Empty),
    #[prost(message, tag = "5")]
    Phone(Phone),
    #[prost(message, tag = "6")]
    Accept(Accept),
    #[prost(message, tag = "7")]
    Decline(Decline),
    #[prost(message, tag = "8")]
    Status(Status),
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct Hello {
    #[prost(string, optional, tag = "1")]
    token: Option<String>,
    #[prost(fixed64, tag = "2")]
    session: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Auth {
    #[prost(string, tag = "1")]
    token: String,
}

#[derive(Clone, PartialEq, Message)]
struct Fixes {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(int64, optional, tag = "2")]
    sent_ms: Option<i64>,
    #[prost(message, repeated, tag = "3")]
    fixes: Vec<Fix>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Fix {
    #[prost(sfixed32, tag = "1")]
    lat_e7: i32,
    #[prost(sfixed32, tag = "2")]
    lon_e7: i32,
    #[prost(int64, optional, tag = "3")]
    t_ms: Option<i64>,
    #[prost(float, optional, tag = "4")]
    accuracy_m: Option<f32>,
    #[prost(float, optional, tag = "5")]
    speed_mps: Option<f32>,
    #[prost(float, optional, tag = "6")]
    heading_deg: Option<f32>,
    #[prost(float, optional, tag = "7")]
    altitude_m: Option<f32>,
    #[prost(bool, tag = "8")]
    mock: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Phone {
    #[prost(int64, optional, tag = "1")]
    at_ms: Option<i64>,
    #[prost(float, optional, tag = "2")]
    battery: Option<f32>,
    #[prost(bool, optional, tag = "3")]
    charging: Option<bool>,
    #[prost(int32, tag = "4")]
    outage: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Accept {
    #[prost(string, tag = "1")]
    trip: String,
    #[prost(uint64, tag = "2")]
    offer: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Decline {
    #[prost(string, tag = "1")]
    trip: String,
    #[prost(uint64, tag = "2")]
    offer: u64,
    #[prost(string, optional, tag = "3")]
    reason: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "1")]
    trip: String,
    #[prost(string, tag = "2")]
    phase: String,
    #[prost(int64, optional, tag = "3")]
    at_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Delivery {
    #[prost(string, tag = "1")]
    trip: String,
    #[prost(uint64, optional, tag = "2")]
    offer: Option<u64>,
    #[prost(int64, optional, tag = "3")]
    answer_by_ms: Option<i64>,
    #[prost(int64, optional, tag = "4")]
    ready_at_ms: Option<i64>,
    #[prost(message, repeated, tag = "5")]
    stops: Vec<DeliveryStop>,
}

#[derive(Clone, PartialEq, Message)]
struct DeliveryStop {
    #[prost(bool, tag = "1")]
    pickup: bool,
    #[prost(sfixed32, tag = "2")]
    lat_e7: i32,
    #[prost(sfixed32, tag = "3")]
    lon_e7: i32,
    #[prost(string, tag = "4")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Withdrawn {
    #[prost(string, tag = "1")]
    trip: String,
    #[prost(uint64, optional, tag = "2")]
    offer: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Noted {
    #[prost(string, tag = "1")]
    trip: String,
    #[prost(string, tag = "2")]
    said: String,
}

#[derive(Clone, PartialEq, Message)]
struct ToDriver {
    #[prost(oneof = "To", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    message: Option<To>,
}

#[derive(Clone, PartialEq, Oneof)]
enum To {
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    #[prost(message, tag = "2")]
    Ack(Ack),
    #[prost(message, tag = "3")]
    Config(Config),
    #[prost(message, tag = "4")]
    Error(Error),
    #[prost(message, tag = "5")]
    Heartbeat(Empty),
    #[prost(message, tag = "6")]
    Pong(Empty),
    #[prost(message, tag = "7")]
    Bye(Bye),
    #[prost(message, tag = "8")]
    NewDeliveryAssigned(Delivery),
    #[prost(message, tag = "9")]
    DeliveryWithdrawn(Withdrawn),
    #[prost(message, tag = "10")]
    Noted(Noted),
}

#[derive(Clone, PartialEq, Message)]
struct Welcome {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    driver: String,
    #[prost(uint32, tag = "3")]
    interval_ms: u32,
    #[prost(uint32, tag = "4")]
    max_fixes: u32,
    #[prost(uint32, tag = "5")]
    max_unacked: u32,
    #[prost(uint32, tag = "6")]
    heartbeat_ms: u32,
    #[prost(int64, tag = "7")]
    expires_at_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Ack {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(int32, repeated, tag = "2")]
    verdicts: Vec<i32>,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(uint32, tag = "1")]
    index: u32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Config {
    #[prost(uint32, tag = "1")]
    interval_ms: u32,
    #[prost(uint32, optional, tag = "2")]
    heartbeat_ms: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct Error {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(bool, tag = "3")]
    retry: bool,
    #[prost(uint32, optional, tag = "4")]
    retry_after_ms: Option<u32>,
    #[prost(string, optional, tag = "5")]
    field: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Bye {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(uint32, optional, tag = "3")]
    retry_after_ms: Option<u32>,
}

/// The words of verdicts at their numbers; 0 is none.
const VERDICTS: [&str; 12] = [
    "",
    "accepted",
    "late",
    "invalid",
    "duplicate",
    "future",
    "stale",
    "off_shift",
    "outside_area",
    "inaccurate",
    "implausible_speed",
    "mock",
];

fn number_of(verdict: &str) -> i32 {
    VERDICTS.iter().position(|word| *word == verdict).unwrap_or(0) as i32
}

fn malformed(error: &prost::DecodeError) -> Malformed {
    Malformed(error.to_string())
}

fn empty() -> Malformed {
    Malformed("a message without any member this protocol knows".into())
}

pub(super) fn from_driver(bytes: &[u8]) -> Result<drive::FromDriver, Malformed> {
    let message = FromDriver::decode(bytes).map_err(|error| malformed(&error))?.message.ok_or_else(empty)?;
    Ok(match message {
        From::Hello(Hello { token, session }) => drive::FromDriver::Hello { token, session: format!("{session:x}") },
        From::Auth(Auth { token }) => drive::FromDriver::Auth { token },
        From::Fixes(Fixes { seq, sent_ms, fixes }) => {
            let fixes = fixes.into_iter().map(read_fix).collect();
            drive::FromDriver::Fixes(drive::Fixes { seq, sent_ms, fixes, ..drive::Fixes::default() })
        }
        From::Ping(Empty {}) => drive::FromDriver::Ping,
        From::Phone(phone) => drive::FromDriver::Phone(read_phone(&phone)),
        From::Accept(Accept { trip, offer }) => drive::FromDriver::Accept { trip, offer },
        From::Decline(Decline { trip, offer, reason }) => drive::FromDriver::Decline { trip, offer, reason },
        From::Status(Status { trip, phase, at_ms }) => drive::FromDriver::Status { trip, phase, at_ms },
    })
}

/// The number of a reason is its place in [`OutageReason::ALL`], from 1; one of a later version is another reason.
fn read_phone(phone: &Phone) -> drive::Phone {
    let place = usize::try_from(phone.outage).unwrap_or(usize::MAX);
    let reason = |place: usize| OutageReason::ALL.get(place).copied().unwrap_or(OutageReason::Other);
    drive::Phone {
        at_ms: phone.at_ms,
        battery: phone.battery,
        charging: phone.charging,
        outage: place.checked_sub(1).map(|place| reason(place).code().to_owned()),
    }
}

fn read_delivery(delivery: Delivery) -> drive::Delivery {
    let stop = |stop: DeliveryStop| drive::DeliveryStop {
        pickup: stop.pickup,
        lat: f64::from(stop.lat_e7) / 1e7,
        lon: f64::from(stop.lon_e7) / 1e7,
        name: stop.name,
    };
    drive::Delivery {
        trip: delivery.trip,
        offer: delivery.offer,
        answer_by_ms: delivery.answer_by_ms,
        ready_at_ms: delivery.ready_at_ms,
        stops: delivery.stops.into_iter().map(stop).collect(),
    }
}

fn write_delivery(delivery: &drive::Delivery) -> Delivery {
    let stop = |stop: &drive::DeliveryStop| DeliveryStop {
        pickup: stop.pickup,
        lat_e7: e7(stop.lat),
        lon_e7: e7(stop.lon),
        name: stop.name.clone(),
    };
    Delivery {
        trip: delivery.trip.clone(),
        offer: delivery.offer,
        answer_by_ms: delivery.answer_by_ms,
        ready_at_ms: delivery.ready_at_ms,
        stops: delivery.stops.iter().map(stop).collect(),
    }
}

/// Out of the globe stays out of it: what is too far saturates, and so must what is no number, which `as` would make zero.
fn e7(degrees: f64) -> i32 {
    if degrees.is_nan() { i32::MAX } else { (degrees * 1e7).round() as i32 }
}

/// Degrees as they are read after travelling in Protocol Buffers: to 10⁻⁷, half a centimetre.
#[must_use]
pub fn round_e7(degrees: f64) -> f64 {
    (degrees * 1e7).round() / 1e7
}

fn read_fix(fix: Fix) -> drive::Fix {
    drive::Fix {
        lat: f64::from(fix.lat_e7) / 1e7,
        lon: f64::from(fix.lon_e7) / 1e7,
        t_ms: fix.t_ms,
        accuracy_m: fix.accuracy_m,
        speed_mps: fix.speed_mps,
        heading_deg: fix.heading_deg,
        altitude_m: fix.altitude_m,
        mock: fix.mock,
    }
}

pub(super) fn write_from_driver(out: &mut Vec<u8>, message: &drive::FromDriver) {
    let message = match message {
        drive::FromDriver::Hello { token, session } => {
            // What is no number is none that was drawn: the server refuses 0 by name.
            let session = u64::from_str_radix(session, 16).unwrap_or(0);
            From::Hello(Hello { token: token.clone(), session })
        }
        drive::FromDriver::Auth { token } => From::Auth(Auth { token: token.clone() }),
        drive::FromDriver::Fixes(message) => {
            let fix = |fix: &drive::Fix| Fix {
                lat_e7: e7(fix.lat),
                lon_e7: e7(fix.lon),
                t_ms: fix.t_ms,
                accuracy_m: fix.accuracy_m,
                speed_mps: fix.speed_mps,
                heading_deg: fix.heading_deg,
                altitude_m: fix.altitude_m,
                mock: fix.mock,
            };
            let fixes = message.fixes.iter().map(fix).collect();
            From::Fixes(Fixes { seq: message.seq, sent_ms: message.sent_ms, fixes })
        }
        drive::FromDriver::Ping => From::Ping(Empty {}),
        drive::FromDriver::Accept { trip, offer } => From::Accept(Accept { trip: trip.clone(), offer: *offer }),
        drive::FromDriver::Decline { trip, offer, reason } => {
            From::Decline(Decline { trip: trip.clone(), offer: *offer, reason: reason.clone() })
        }
        drive::FromDriver::Status { trip, phase, at_ms } => {
            From::Status(Status { trip: trip.clone(), phase: phase.clone(), at_ms: *at_ms })
        }
        drive::FromDriver::Phone(phone) => From::Phone(Phone {
            at_ms: phone.at_ms,
            battery: phone.battery,
            charging: phone.charging,
            outage: phone.outage.as_deref().map_or(0, |code| OutageReason::from_code(code) as i32 + 1),
        }),
    };
    push(out, &FromDriver { message: Some(message) });
}

pub(super) fn to_driver(bytes: &[u8]) -> Result<drive::ToDriver, Malformed> {
    let message = ToDriver::decode(bytes).map_err(|error| malformed(&error))?.message.ok_or_else(empty)?;
    Ok(match message {
        To::Welcome(welcome) => drive::ToDriver::Welcome {
            version: welcome.version,
            driver: welcome.driver,
            interval_ms: welcome.interval_ms,
            max_fixes: welcome.max_fixes,
            max_unacked: welcome.max_unacked,
            heartbeat_ms: welcome.heartbeat_ms,
            expires_at_ms: welcome.expires_at_ms,
        },
        To::Ack(Ack { seq, verdicts, details }) => {
            let word = |number: i32| VERDICTS.get(usize::try_from(number).unwrap_or(0)).map_or("", |word| *word);
            let verdicts = verdicts.into_iter().map(|number| word(number).to_owned()).collect();
            let detail = |Detail { index, message }| drive::Detail { index, message };
            drive::ToDriver::Ack(drive::Ack { seq, verdicts, details: details.into_iter().map(detail).collect() })
        }
        To::Config(Config { interval_ms, heartbeat_ms }) => drive::ToDriver::Config { interval_ms, heartbeat_ms },
        To::Error(Error { code, message, retry, retry_after_ms, field }) => {
            let code = serde_json::from_value(code.into()).map_err(|error| Malformed(error.to_string()))?;
            drive::ToDriver::Error(crate::ErrorBody { code, message, retry, retry_after_ms, field, topic: None })
        }
        To::NewDeliveryAssigned(delivery) => drive::ToDriver::NewDeliveryAssigned(read_delivery(delivery)),
        To::DeliveryWithdrawn(Withdrawn { trip, offer }) => drive::ToDriver::DeliveryWithdrawn { trip, offer },
        To::Noted(Noted { trip, said }) => drive::ToDriver::Noted { trip, said },
        To::Heartbeat(Empty {}) => drive::ToDriver::Heartbeat,
        To::Pong(Empty {}) => drive::ToDriver::Pong,
        To::Bye(Bye { code, reason, retry_after_ms }) => {
            drive::ToDriver::Bye(messages::Bye { code: u16::try_from(code).unwrap_or(0), reason, retry_after_ms })
        }
    })
}

pub(super) fn write_to_driver(out: &mut Vec<u8>, message: &drive::ToDriver) {
    let message = match message {
        drive::ToDriver::Welcome {
            version,
            driver,
            interval_ms,
            max_fixes,
            max_unacked,
            heartbeat_ms,
            expires_at_ms,
        } => To::Welcome(Welcome {
            version: *version,
            driver: driver.clone(),
            interval_ms: *interval_ms,
            max_fixes: *max_fixes,
            max_unacked: *max_unacked,
            heartbeat_ms: *heartbeat_ms,
            expires_at_ms: *expires_at_ms,
        }),
        drive::ToDriver::Ack(ack) => {
            let detail = |detail: &drive::Detail| Detail { index: detail.index, message: detail.message.clone() };
            To::Ack(Ack {
                seq: ack.seq,
                verdicts: ack.verdicts.iter().map(|verdict| number_of(verdict)).collect(),
                details: ack.details.iter().map(detail).collect(),
            })
        }
        drive::ToDriver::Config { interval_ms, heartbeat_ms } => {
            To::Config(Config { interval_ms: *interval_ms, heartbeat_ms: *heartbeat_ms })
        }
        drive::ToDriver::Error(error) => {
            let word = serde_json::to_value(error.code).ok().and_then(|word| word.as_str().map(str::to_owned));
            To::Error(Error {
                code: word.unwrap_or_default(),
                message: error.message.clone(),
                retry: error.retry,
                retry_after_ms: error.retry_after_ms,
                field: error.field.clone(),
            })
        }
        drive::ToDriver::NewDeliveryAssigned(delivery) => To::NewDeliveryAssigned(write_delivery(delivery)),
        drive::ToDriver::DeliveryWithdrawn { trip, offer } => {
            To::DeliveryWithdrawn(Withdrawn { trip: trip.clone(), offer: *offer })
        }
        drive::ToDriver::Noted { trip, said } => To::Noted(Noted { trip: trip.clone(), said: said.clone() }),
        drive::ToDriver::Heartbeat => To::Heartbeat(Empty {}),
        drive::ToDriver::Pong => To::Pong(Empty {}),
        drive::ToDriver::Bye(bye) => {
            To::Bye(Bye { code: bye.code.into(), reason: bye.reason.clone(), retry_after_ms: bye.retry_after_ms })
        }
    };
    push(out, &ToDriver { message: Some(message) });
}

/// The usual ack, every fix taken, is a handful of bytes and made without a message; one with sentences goes the long way.
pub(super) fn write_ack(out: &mut Vec<u8>, seq: u64, verdicts: &[Verdict], unreadable: &[(u32, String)]) {
    let rejected = verdicts.iter().any(|verdict| !verdict.is_kept());
    let few = verdicts.len() < 100;
    if rejected || !few {
        let detail = |(index, verdict): (usize, &Verdict)| {
            let Verdict::Rejected(reason) = verdict else { return None };
            let why = unreadable.iter().find(|(bad, _)| *bad as usize == index);
            let message = why.map_or_else(|| reason.to_string(), |(_, why)| why.clone());
            Some(Detail { index: index as u32, message })
        };
        let ack = Ack {
            seq,
            verdicts: verdicts.iter().map(|verdict| number_of(verdict.code())).collect(),
            details: verdicts.iter().enumerate().filter_map(detail).collect(),
        };
        return push(out, &ToDriver { message: Some(To::Ack(ack)) });
    }
    // Lengths below 128 are one byte: ToDriver.ack (2), its length, Ack.seq (1), Ack.verdicts (2, packed).
    let start = out.len();
    out.extend_from_slice(&[2 << 3 | 2, 0]);
    if seq != 0 {
        out.push(1 << 3);
        prost::encoding::encode_varint(seq, out);
    }
    if !verdicts.is_empty() {
        out.extend_from_slice(&[2 << 3 | 2, verdicts.len() as u8]);
        out.extend(verdicts.iter().map(|verdict| if *verdict == Verdict::Late { 2 } else { 1 }));
    }
    out[start + 1] = (out.len() - start - 2) as u8;
}

fn push(out: &mut Vec<u8>, message: &impl Message) {
    out.reserve(message.encoded_len());
    // A Vec grows: it has room for any message.
    let _ = message.encode(out);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _};

    use super::*;

    /// What the published file says of bytes that we wrote, as JSON, and that it knows every field of them.
    fn read_by_file(kind: &str, bytes: &[u8]) -> serde_json::Value {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
        let files = protox::compile(["drive.proto"], [folder]).unwrap();
        let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
        let descriptor = pool.get_message_by_name(&format!("wayfare.drive.v1.{kind}")).unwrap();
        let message = DynamicMessage::decode(descriptor, bytes).unwrap();
        assert_eq!(message.unknown_fields().count(), 0);
        assert_eq!(message.descriptor().name(), kind);
        let again = message.encode_to_vec();
        assert_eq!(again, bytes, "the file's writer makes the same bytes");
        serde_json::to_value(&message).unwrap()
    }

    #[test]
    fn the_published_file_reads_what_we_write() {
        let fix = drive::Fix {
            lat: 41.1414,
            lon: -8.6186,
            t_ms: Some(1_763_686_800_000),
            accuracy_m: Some(6.0),
            speed_mps: Some(8.5),
            heading_deg: Some(93.0),
            altitude_m: Some(-1.0),
            mock: true,
        };
        let fixes = drive::Fixes { seq: 41, sent_ms: Some(7), fixes: vec![fix], ..drive::Fixes::default() };
        let check = |message: &drive::FromDriver, expected: &str| {
            let mut bytes = Vec::new();
            write_from_driver(&mut bytes, message);
            let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
            assert_eq!(read_by_file("FromDriver", &bytes), expected);
        };
        check(
            &drive::FromDriver::Fixes(fixes),
            r#"{"fixes":{"seq":"41","sentMs":"7","fixes":[{"latE7":411414000,"lonE7":-86186000,"tMs":"1763686800000","accuracyM":6.0,
               "speedMps":8.5,"headingDeg":93.0,"altitudeM":-1.0,"mock":true}]}}"#,
        );
        check(
            &drive::FromDriver::Hello { token: Some("t".into()), session: "ff".into() },
            r#"{"hello":{"token":"t","session":"255"}}"#,
        );
        check(&drive::FromDriver::Auth { token: "t".into() }, r#"{"auth":{"token":"t"}}"#);
        check(&drive::FromDriver::Ping, r#"{"ping":{}}"#);
        let trip = || "trp_1".to_owned();
        check(&drive::FromDriver::Accept { trip: trip(), offer: 2 }, r#"{"accept":{"trip":"trp_1","offer":"2"}}"#);
        check(
            &drive::FromDriver::Decline { trip: trip(), offer: 2, reason: Some("far".into()) },
            r#"{"decline":{"trip":"trp_1","offer":"2","reason":"far"}}"#,
        );
        check(
            &drive::FromDriver::Status { trip: trip(), phase: "arrived".into(), at_ms: Some(7) },
            r#"{"status":{"trip":"trp_1","phase":"arrived","atMs":"7"}}"#,
        );
        let phone = |outage: Option<&str>| {
            let outage = outage.map(str::to_owned);
            drive::FromDriver::Phone(drive::Phone { at_ms: Some(7), battery: Some(0.5), charging: Some(false), outage })
        };
        check(&phone(None), r#"{"phone":{"atMs":"7","battery":0.5,"charging":false}}"#);
        for reason in OutageReason::ALL {
            let word = reason.code().to_uppercase();
            let expected =
                format!(r#"{{"phone":{{"atMs":"7","battery":0.5,"charging":false,"outage":"OUTAGE_{word}"}}}}"#);
            check(&phone(Some(reason.code())), &expected);
        }
        let check = |message: &drive::ToDriver, expected: &str| {
            let mut bytes = Vec::new();
            write_to_driver(&mut bytes, message);
            let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
            assert_eq!(read_by_file("ToDriver", &bytes), expected);
        };
        let welcome = drive::ToDriver::Welcome {
            version: 1,
            driver: "drv_1".into(),
            interval_ms: 2,
            max_fixes: 3,
            max_unacked: 4,
            heartbeat_ms: 5,
            expires_at_ms: 6,
        };
        check(
            &welcome,
            r#"{"welcome":{"version":1,"driver":"drv_1","intervalMs":2,"maxFixes":3,"maxUnacked":4,"heartbeatMs":5,"expiresAtMs":"6"}}"#,
        );
        let error = crate::ErrorBody::new(crate::ErrorCode::RateLimited, "slower").field("fixes").after_ms(9);
        check(
            &drive::ToDriver::Error(error),
            r#"{"error":{"code":"rate_limited","message":"slower","retry":true,"retryAfterMs":9,"field":"fixes"}}"#,
        );
        let bye = messages::Bye { code: 4000, reason: "draining".into(), retry_after_ms: Some(1) };
        check(&drive::ToDriver::Bye(bye), r#"{"bye":{"code":4000,"reason":"draining","retryAfterMs":1}}"#);
        let config = |heartbeat_ms| drive::ToDriver::Config { interval_ms: 1000, heartbeat_ms };
        check(&config(None), r#"{"config":{"intervalMs":1000}}"#);
        check(&config(Some(40_000)), r#"{"config":{"intervalMs":1000,"heartbeatMs":40000}}"#);
        check(&drive::ToDriver::Heartbeat, r#"{"heartbeat":{}}"#);
        check(&drive::ToDriver::Pong, r#"{"pong":{}}"#);
        let stop = drive::DeliveryStop { pickup: true, lat: 41.1414, lon: -8.6186, name: "Kitchen".into() };
        let delivery = drive::Delivery {
            trip: "trp_1".into(),
            offer: Some(2),
            answer_by_ms: Some(7),
            ready_at_ms: Some(8),
            stops: vec![stop],
        };
        check(
            &drive::ToDriver::NewDeliveryAssigned(delivery),
            r#"{"newDeliveryAssigned":{"trip":"trp_1","offer":"2","answerByMs":"7","readyAtMs":"8",
               "stops":[{"pickup":true,"latE7":411414000,"lonE7":-86186000,"name":"Kitchen"}]}}"#,
        );
        check(
            &drive::ToDriver::DeliveryWithdrawn { trip: "trp_1".into(), offer: None },
            r#"{"deliveryWithdrawn":{"trip":"trp_1"}}"#,
        );
        let noted = drive::ToDriver::Noted { trip: "trp_1".into(), said: "accept".into() };
        check(&noted, r#"{"noted":{"trip":"trp_1","said":"accept"}}"#);
    }

    #[test]
    fn verdicts_have_the_numbers_of_the_published_file() {
        use wayfare_engine::{Invalid, Reason};
        let reasons = [
            Reason::Invalid(Invalid::Latitude),
            Reason::Duplicate,
            Reason::Future { ahead_ms: 1, limit_ms: 1 },
            Reason::Stale { age_ms: 1, limit_ms: 1 },
            Reason::OffShift,
            Reason::OutsideArea { swapped_would_fit: false },
            Reason::Inaccurate { accuracy_m: 1.0, limit_m: 1.0 },
            Reason::ImplausibleSpeed { mps: 1.0, limit_mps: 1.0 },
            Reason::Mock,
        ];
        let verdicts: Vec<Verdict> =
            [Verdict::Accepted, Verdict::Late].into_iter().chain(reasons.map(Verdict::Rejected)).collect();
        let mut bytes = Vec::new();
        write_ack(&mut bytes, 5, &verdicts, &[]);
        let ack = read_by_file("ToDriver", &bytes);
        let named: Vec<String> = ack["ack"]["verdicts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().trim_start_matches("VERDICT_").to_lowercase())
            .collect();
        assert_eq!(named, verdicts.iter().map(|verdict| verdict.code()).collect::<Vec<_>>());
        for verdict in [Verdict::Accepted, Verdict::Late] {
            let mut bytes = Vec::new();
            write_ack(&mut bytes, 5, &[verdict], &[]);
            let name = format!("VERDICT_{}", verdict.code().to_uppercase());
            assert_eq!(read_by_file("ToDriver", &bytes)["ack"]["verdicts"][0], name);
        }
    }
}
