#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value as Json, json};
use wayfare_engine::{Millis, Shown};

use super::*;
use crate::codec::Codec;
use crate::messages::Bye;
use crate::messages::watch::Subscription;
use crate::state::write_shown;
use crate::{ErrorBody, ErrorCode};

/// What the published file says of bytes that we wrote, as JSON, and that it knows every field of them.
fn read_by_file(kind: &str, bytes: &[u8]) -> Json {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let files = protox::compile(["watch.proto"], [folder]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    let descriptor = pool.get_message_by_name(&format!("wayfare.watch.v1.{kind}")).unwrap();
    let message = DynamicMessage::decode(descriptor, bytes).unwrap();
    assert_eq!(message.unknown_fields().count(), 0);
    assert_eq!(message.encode_to_vec(), bytes, "the file's writer makes the same bytes");
    serde_json::to_value(&message).unwrap()
}

fn written(message: &ToWatcher) -> Vec<u8> {
    let mut bytes = Vec::new();
    Codec::Proto.message(&mut bytes, message);
    bytes
}

/// Everything a watcher can be told.
fn messages() -> Vec<ToWatcher> {
    let state = json!({
        "phase": "to_dropoff", "position": {"lat": 41.141412, "lon": -8.0, "heading_deg": null, "speed_mps": 8.2, "accuracy_m": 6, "t_ms": 1_763_686_800_123_i64},
        "route": {"polyline6": "_izlhA~rlgdF_{geC~ywl@\\\"", "length_m": 1200}, "list": [1, null, [], {}, {"a": -5}, "x", 1.5, true],
        "none": null, "big": 1e300, "small": -0.000_000_12, "whole": 8.0, "long": i64::MIN,
    });
    let error = ErrorBody::new(ErrorCode::NotFound, "no such topic").topic("trip:x").field("topic");
    let cursor = || "1763686800000.41".to_owned();
    vec![
        ToWatcher::Welcome {
            version: 1,
            heartbeat_ms: 20_000,
            max_topics: 100,
            max_areas: 96,
            expires_at_ms: 1_763_686_800_000,
        },
        ToWatcher::Subscribed { topic: "trip:x".into(), alias: 0, cursor: "0.0".into() },
        ToWatcher::Subscribed { topic: "trip:x".into(), alias: 300, cursor: cursor() },
        ToWatcher::Snapshot { alias: 300, cursor: cursor(), state: state.clone() },
        ToWatcher::Snapshot { alias: 1, cursor: cursor(), state: json!({}) },
        ToWatcher::Delta { alias: 300, seq: 42, patch: state.clone() },
        ToWatcher::Event { alias: 3, cursor: cursor(), event: state.clone() },
        ToWatcher::Reset { alias: 3, cursor: cursor() },
        ToWatcher::Stale { alias: 3 },
        ToWatcher::End { alias: 300, state },
        ToWatcher::Unsubscribed { topic: "trip:x".into() },
        ToWatcher::Error(error),
        ToWatcher::Error(ErrorBody::new(ErrorCode::NotReady, "").after_ms(0)),
        ToWatcher::Heartbeat,
        ToWatcher::Pong,
        ToWatcher::Bye(Bye { code: 4000, reason: "draining".into(), retry_after_ms: Some(0) }),
    ]
}

#[test]
fn everything_comes_back_as_it_was_told() {
    for message in messages() {
        let (bytes, mut read) = (written(&message), Vec::new());
        WatchReader::default().read(&bytes, &mut read).unwrap();
        assert_eq!(read, [message], "{bytes:?}");
        read_by_file("ToWatcher", &bytes);
    }
    // Messages one after the other are one message.
    let (mut all, mut read) = (Vec::new(), Vec::new());
    messages().iter().for_each(|message| Codec::Proto.message(&mut all, message));
    WatchReader::default().read(&all, &mut read).unwrap();
    assert_eq!(read, messages());
}

#[test]
fn watchers_say_the_same_in_both_codecs() {
    let wanted = |cursor: Option<&str>, interval_ms| Subscription {
        topic: "trip:x".into(),
        cursor: cursor.map(str::to_owned),
        interval_ms,
    };
    let messages = [
        FromWatcher::Auth { token: "t".into() },
        FromWatcher::Subscribe { topics: vec![wanted(None, None), wanted(Some("7.9"), Some(5000))] },
        FromWatcher::Subscribe { topics: Vec::new() },
        FromWatcher::Unsubscribe { topics: vec!["trip:x".into(), String::new()] },
        FromWatcher::Ping,
    ];
    for message in messages {
        for codec in Codec::ALL {
            assert_eq!(Codec::of(codec.subprotocol()), Some(codec));
            let mut bytes = Vec::new();
            codec.write_from_watcher(&mut bytes, &message);
            assert_eq!(codec.read(&bytes), Ok(message.clone()));
            if codec == Codec::Proto {
                read_by_file("FromWatcher", &bytes);
            }
        }
    }
    assert!(Codec::Proto.read(b"").is_err());
}

#[test]
fn the_published_file_reads_what_we_write() {
    let members = br#""position":{"lat":41.1414,"lon":-8.6186,"heading_deg":93,"speed_mps":8.2,"accuracy_m":6,"t_ms":7},"eta":{"at_ms":9,"x":null},"route":null"#;
    let mut bytes = Vec::new();
    Codec::Proto.delta(&mut bytes, 3, 42, members);
    assert_eq!(
        read_by_file("ToWatcher", &bytes),
        json!({"frames": [{"delta": {"alias": 3, "seq": "42", "patch": {"members": [
            {"name": "position", "value": {"position":
                {"latE6": 41_141_400, "lonE6": -8_618_600, "headingDeg": 93, "speedDmps": 82, "accuracyM": 6, "tMs": "7"}}},
            {"name": "eta", "value": {"object": {"members": [{"name": "at_ms", "value": {"integer": "9"}}, {"name": "x"}]}}},
            {"name": "route"},
        ]}}}]})
    );
}

const START: Shown = Shown {
    lat_e6: 41_141_400,
    lon_e6: -8_618_600,
    heading_deg: Some(350),
    speed_dmps: 82,
    accuracy_m: 6,
    taken: Millis(0),
};

fn value(shown: &Shown) -> Vec<u8> {
    let mut text = Vec::new();
    write_shown(&mut text, shown);
    text
}

fn patch(shown: &Shown) -> Vec<u8> {
    [b"\"position\":", &value(shown)[..]].concat()
}

/// One move, and how it is read by somebody who stands at seq 41.
fn moved(from: &Shown, to: &Shown, seq: u64) -> Option<(Vec<u8>, ToWatcher)> {
    let mut bytes = Vec::new();
    let members = patch(to);
    if !moves::write(&mut bytes, 3, Some(&value(from)), [(seq, &members[..])].into_iter()) {
        assert_eq!(bytes, b"", "nothing is left of what did not work");
        return None;
    }
    let (mut reader, mut read) = (WatchReader::default(), Vec::new());
    reader
        .read(&written(&ToWatcher::Subscribed { topic: "x".into(), alias: 3, cursor: "7.41".into() }), &mut read)
        .unwrap();
    reader.hold(3, &serde_json::from_slice(&value(from)).unwrap());
    reader.read(&bytes, &mut read).unwrap();
    read_by_file("ToWatcher", &bytes);
    Some((bytes, read.pop().unwrap()))
}

#[test]
fn a_move_is_some_bytes() {
    let next = Shown {
        lat_e6: 41_141_460,
        lon_e6: -8_618_520,
        heading_deg: Some(10),
        speed_dmps: 90,
        taken: Millis(3000),
        ..START
    };
    let (bytes, read) = moved(&START, &next, 42).unwrap();
    assert_eq!(bytes, [2 << 3 | 2, 8, 3, (42 & 31) << 2 | 1, 6, 120, 160, 1, 40, 16]);
    let position: Json = serde_json::from_slice(&value(&next)).unwrap();
    assert_eq!(read, ToWatcher::Delta { alias: 3, seq: 42, patch: json!({ "position": position }) });
    let same = Shown { taken: Millis(1), ..START };
    assert_eq!(moved(&START, &same, 42).unwrap().0, [2 << 3 | 2, 5, 3, (42 & 31) << 2, 3, 0, 0]);
}

#[test]
fn a_missing_move_is_seen() {
    for missing in 1..31 {
        let seq = 42 + missing;
        let (_, read) = moved(&START, &START, seq).unwrap();
        assert!(matches!(read, ToWatcher::Delta { seq: told, .. } if told == seq), "{read:?}");
    }
}

#[test]
fn what_is_no_move_is_told_as_a_frame() {
    let earlier = Shown { taken: Millis(-1), ..START };
    let headless = Shown { heading_deg: None, ..START };
    let later = Shown { taken: Millis(1 << 40 | 1), ..START };
    assert!(moved(&START, &earlier, 42).is_none());
    assert!(moved(&START, &headless, 42).is_none());
    assert!(moved(&headless, &START, 42).is_none());
    assert!(moved(&START, &later, 42).is_none());
    assert!(moved(&headless, &headless, 42).is_some());
    let mut bytes = vec![7];
    let start = value(&START);
    let (good, more) = (patch(&START), [&patch(&START)[..], b",\"phase\":\"arrived\""].concat());
    let write = |bytes: &mut Vec<u8>, before, members: [&[u8]; 2]| {
        moves::write(bytes, 3, before, members.into_iter().enumerate().map(|(seq, members)| (seq as u64, members)))
    };
    assert!(!write(&mut bytes, Some(&start), [&good, &more]));
    assert!(!write(&mut bytes, Some(&start), [&good, b"\"position\":null"]));
    assert!(!write(&mut bytes, Some(b"null"), [&good, &good]));
    assert!(!write(&mut bytes, None, [&good, &good]));
    assert_eq!(bytes, [7]);
    assert!(write(&mut bytes, Some(&start), [&good, &good]));
}

#[test]
fn a_move_from_nowhere_is_malformed() {
    let mut reader = WatchReader::default();
    let moves = [2 << 3 | 2, 5, 3, 0, 0, 0, 0];
    assert!(reader.read(&moves, &mut Vec::new()).is_err(), "an alias nobody has");
    reader
        .read(&written(&ToWatcher::Subscribed { topic: "x".into(), alias: 3, cursor: "7.41".into() }), &mut Vec::new())
        .unwrap();
    assert!(reader.read(&moves, &mut Vec::new()).is_err(), "no position before it");
    reader.hold(3, &serde_json::from_slice(&value(&START)).unwrap());
    assert!(reader.read(&moves, &mut Vec::new()).is_ok());
    assert!(reader.read(&moves[..6], &mut Vec::new()).is_err(), "cut short");
}

/// The browser's reader is tried with what this one was told: `web/client/test/watch-proto.test.ts`. `WRITE_VECTORS=1` writes the file anew.
#[test]
fn the_browsers_vectors_are_ours() {
    let (mut reader, mut steps, mut held, mut dice) = (WatchReader::default(), Vec::new(), START, 7_u64);
    let mut step = |bytes: Vec<u8>| {
        let mut told = Vec::new();
        reader.read(&bytes, &mut told).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        steps.push(json!({ "bytes": hex, "told": told }));
    };
    messages().iter().for_each(|message| step(written(message)));
    step(messages().iter().flat_map(written).collect());
    step(written(&ToWatcher::Subscribed { topic: "driver:x".into(), alias: 7, cursor: "5.100".into() }));
    let mut snapshot = Vec::new();
    Codec::Proto.snapshot(&mut snapshot, 7, Cursor { epoch: 5, seq: 100 }, &patch(&held));
    step(snapshot);
    for seq in 101..160 {
        let mut roll = |most: i64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) as i64 % most
        };
        let next = Shown {
            lat_e6: held.lat_e6 + (roll(3000) - 1500) as i32,
            lon_e6: held.lon_e6 + (roll(3000) - 1500) as i32,
            heading_deg: Some(roll(360) as u16),
            speed_dmps: roll(300) as u32,
            accuracy_m: 4 + roll(3) as u32,
            taken: held.taken + [1000, 15_000, 2_997, 0][roll(4) as usize],
        };
        let (mut bytes, members) = (Vec::new(), patch(&next));
        assert!(moves::write(&mut bytes, 7, Some(&value(&held)), [(seq, &members[..])].into_iter()));
        step(bytes);
        held = next;
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/client/test/vectors/watch-proto.json");
    let lines: Vec<String> = steps.iter().map(Json::to_string).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    if std::env::var_os("WRITE_VECTORS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), text, "WRITE_VECTORS=1 writes it anew");
}

fn any_shown() -> impl Strategy<Value = Shown> {
    let numbers =
        (-90_000_000..=90_000_000, -180_000_000..=180_000_000, prop::option::of(0..360_u16), 0..900_u32, 0..200_u32);
    (numbers, 0..100_000_i64).prop_map(|((lat_e6, lon_e6, heading_deg, speed_dmps, accuracy_m), taken)| Shown {
        lat_e6,
        lon_e6,
        heading_deg,
        speed_dmps,
        accuracy_m,
        taken: Millis(taken),
    })
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        (-1_000_000_000..1_000_000_000_i64, 0..7)
            .prop_map(|(number, places)| Json::from(number as f64 / 10_f64.powi(places))),
        any::<String>().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..5)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_come_back_to_the_bit(members in prop::collection::btree_map("[a-z_]{1,8}", any_json(), 0..6)) {
        let state = Json::Object(members.into_iter().collect());
        let mut read = Vec::new();
        // What JSON's own watchers hold: the text, read.
        let held: Json = serde_json::from_str(&state.to_string()).unwrap();
        let message = ToWatcher::Snapshot { alias: 1, cursor: "1.1".into(), state };
        WatchReader::default().read(&written(&message), &mut read).unwrap();
        let [ToWatcher::Snapshot { state: told, .. }] = &read[..] else { panic!("{read:?}") };
        prop_assert_eq!(told, &held);
    }

    #[test]
    fn moves_come_back_to_the_bit(from in any_shown(), to in any_shown(), seq in 42..73_u64) {
        let is_move = from.taken <= to.taken && from.heading_deg.is_some() == to.heading_deg.is_some();
        let told = moved(&from, &to, seq);
        prop_assert_eq!(told.is_some(), is_move);
        if let Some((_, ToWatcher::Delta { seq: told_seq, patch, .. })) = told {
            let position: Json = serde_json::from_slice(&value(&to)).unwrap();
            prop_assert_eq!((told_seq, patch), (seq, json!({ "position": position })));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        let mut reader = WatchReader::default();
        let _ = (reader.read(&bytes, &mut Vec::new()), Codec::Proto.read(&bytes));
    }
}
