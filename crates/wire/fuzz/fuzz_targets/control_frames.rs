//! Any bytes on a QUIC control stream, cut anywhere: the reader neither panics nor keeps more than one message, cutting changes
//! nothing, and whatever stands in a frame is a message or refused in a sentence.
//!
//! `cargo fuzz run control_frames` in `crates/wire`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wayfare_wire::codec::from_driver;
use wayfare_wire::frame::{Frames, MESSAGE_BYTES_MAX, TooLong};

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (chop, bytes) = input;
    let whole = read(&bytes, bytes.len().max(1));
    let pieces = read(&bytes, usize::from(chop).max(1));
    assert_eq!(whole, pieces);
    for message in &whole.0 {
        assert!(message.len() <= MESSAGE_BYTES_MAX);
        let _ = from_driver(message).inspect_err(|error| assert!(!error.to_string().is_empty()));
    }
});

fn read(bytes: &[u8], chop: usize) -> (Vec<Vec<u8>>, Result<(), TooLong>) {
    let (mut frames, mut heard) = (Frames::default(), Vec::new());
    for piece in bytes.chunks(chop) {
        if let Err(too_long) = frames.feed(piece, &mut |message| heard.push(message.to_vec())) {
            return (heard, Err(too_long));
        }
    }
    (heard, Ok(()))
}
