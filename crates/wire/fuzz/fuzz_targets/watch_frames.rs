//! Whatever a watcher of Protocol Buffers is sent, and whatever it sends, is read or refused in a sentence.
//!
//! `cargo fuzz run watch_frames` in `crates/wire`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wayfare_wire::codec::{Codec, WatchReader};
use wayfare_wire::messages::watch::ToWatcher;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Codec::Proto.read(bytes) {
        let mut again = Vec::new();
        Codec::Proto.write_from_watcher(&mut again, &message);
        assert_eq!(Codec::Proto.read(&again), Ok(message));
    }
    // A first message that gives an alias a place to move from, then the bytes.
    let position = serde_json::json!({"lat": 41.1, "lon": -8.6, "heading_deg": 93, "speed_mps": 8.2, "accuracy_m": 6, "t_ms": 7});
    let (mut reader, mut start, mut told) = (WatchReader::default(), Vec::new(), Vec::new());
    let snapshot = ToWatcher::Snapshot { alias: 3, cursor: "7.41".into(), state: serde_json::json!({ "position": position }) };
    Codec::Proto.message(&mut start, &snapshot);
    reader.read(&start, &mut told).expect("what we write");
    let _ = reader.read(bytes, &mut told).inspect_err(|error| assert!(!error.to_string().is_empty()));
});
