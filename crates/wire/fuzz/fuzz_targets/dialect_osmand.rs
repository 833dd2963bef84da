//! Any bytes as a query and as a form.
//!
//! `cargo fuzz run dialect_osmand` in `crates/wire`.
#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use wayfare_wire::dialects::Request;

fuzz_target!(|input: (Vec<u8>, bool)| {
    let text = String::from_utf8_lossy(&input.0);
    for query in [text.to_string(), format!("lat=41.1&lon=-8.6&timestamp=1443711600250&hdop=4&{text}")] {
        common::check(&Request { method: if input.1 { "GET" } else { "POST" }, query: &query, ..Request::default() });
        common::check(&Request { method: "POST", body: query.as_bytes(), ..Request::default() });
    }
});
