//! Any bytes as roots, records and coordinates of background-geolocation.
//!
//! `cargo fuzz run dialect_transistorsoft` in `crates/wire`.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    common::post(&text);
    common::post(&format!(r#"{{"location":{text}}}"#));
    common::post(&format!(r#"{{"location":[{{"coords":{{"latitude":1,"longitude":2}},{text}}}]}}"#));
    common::post(&format!(r#"[{{"coords":{{{text}}},"timestamp":"2015-10-01T15:00:00Z"}},{text}]"#));
});
