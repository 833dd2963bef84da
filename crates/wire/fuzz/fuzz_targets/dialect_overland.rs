//! Any bytes as features, geometries and properties of Overland.
//!
//! `cargo fuzz run dialect_overland` in `crates/wire`.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    common::post(&text);
    common::post(&format!(r#"{{"locations":[{text}],"current":{text}}}"#));
    common::post(&format!(
        r#"{{"locations":[{{"geometry":{{"type":"Point","coordinates":[1,2]}},"properties":{{{text}}}}}]}}"#
    ));
    common::post(&format!(r#"{{"locations":[{{"geometry":{{"type":"Point",{text}}},"properties":{{"timestamp":1}}}}]}}"#));
});
