//! Any bytes, cut anywhere: the reader neither panics nor keeps more than its limits, and cutting changes nothing.
//!
//! `cargo fuzz run websocket_read` in `crates/net`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wayfare_net::ws::read::{Flow, Incoming, ReadLimits, Reader, Violation};

const LIMITS: ReadLimits = ReadLimits { message_bytes_max: 4096, fragments_max: 8 };

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (chop, bytes) = input;
    let whole = read(&bytes, bytes.len().max(1));
    let pieces = read(&bytes, usize::from(chop).max(1));
    assert_eq!(whole, pieces);
});

fn read(bytes: &[u8], chop: usize) -> (Vec<(u8, usize)>, Result<(), Violation>) {
    let (mut reader, mut heard) = (Reader::default(), Vec::new());
    for piece in bytes.chunks(chop) {
        let fed = reader.feed(&mut piece.to_vec(), LIMITS, &mut |incoming| {
            let (kind, length, flow) = match incoming {
                Incoming::Text(text) => (1, text.len(), Flow::On),
                Incoming::Binary(bytes) => (2, bytes.len(), Flow::On),
                Incoming::Ping(bytes) => (9, bytes.len(), Flow::On),
                Incoming::Pong(bytes) => (10, bytes.len(), Flow::On),
                Incoming::Close(code) => (8, usize::from(code), Flow::Stop),
            };
            assert!(length <= LIMITS.message_bytes_max || kind == 8);
            heard.push((kind, length));
            flow
        });
        match fed {
            Ok(Flow::On) => {}
            Ok(Flow::Stop) => break,
            Err(violation) => return (heard, Err(violation)),
        }
    }
    (heard, Ok(()))
}
