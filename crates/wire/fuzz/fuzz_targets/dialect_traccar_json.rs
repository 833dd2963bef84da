//! Any bytes as members of Traccar's objects.
//!
//! `cargo fuzz run dialect_traccar_json` in `crates/wire`.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    common::post(&text);
    common::post(&format!(r#"{{"device_id":"1","location":{{{text}}}}}"#));
    common::post(&format!(r#"{{"device_id":"1","location":{{"coords":{{{text}}},"timestamp":1443711600}}}}"#));
    common::post(&format!(r#"[{{"id":"1","lat":1,"lon":2}},{{{text}}}]"#));
});
