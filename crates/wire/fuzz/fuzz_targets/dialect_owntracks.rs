//! Any bytes as members of an OwnTracks message.
//!
//! `cargo fuzz run dialect_owntracks` in `crates/wire`.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    common::post(&text);
    for kind in ["location", "transition", "lwt", "encrypted"] {
        common::post(&format!(r#"{{"_type":"{kind}",{text}}}"#));
        common::post(&format!(r#"{{"_type":"{kind}","lat":1,"lon":2,"tst":1443711600,{text}}}"#));
    }
});
