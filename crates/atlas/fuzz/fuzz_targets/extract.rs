//! Any bytes as an extract: refused in a sentence, or read.
//!
//! `cargo fuzz run extract` in `crates/atlas`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wayfare_atlas::read_extract;
use wayfare_engine::roads::{Network, Profile};

// Bytes as they are, and as the content of one block of data, so that the fuzzer need not find the frame.
fuzz_target!(|bytes: &[u8]| {
    let _ = read_extract(|| Ok(bytes), |_| {});
    let mut framed = blob("OSMHeader", &[]);
    framed.extend(blob("OSMData", bytes));
    if let Ok((extract, _)) = read_extract(|| Ok(&framed[..]), |_| {}) {
        let order = |places: &[[i32; 2]], _: &[[u32; 2]]| (0..places.len() as u32).collect();
        let _ = Network::build(&extract, Profile::Car, "", 0, order);
    }
});

/// A blob of the format, not compressed.
fn blob(kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut content = vec![0x0a];
    varint(raw.len() as u64, &mut content);
    content.extend_from_slice(raw);
    let mut header = vec![0x0a, kind.len() as u8];
    header.extend_from_slice(kind.as_bytes());
    header.push(0x18);
    varint(content.len() as u64, &mut header);
    let mut framed = (header.len() as u32).to_be_bytes().to_vec();
    framed.extend(header);
    framed.extend(content);
    framed
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
