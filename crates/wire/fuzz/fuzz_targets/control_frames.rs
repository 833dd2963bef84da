//! Any bytes on a QUIC control stream, cut anywhere: the reader neither panics nor keeps more than one message, cutting changes
//! nothing, and whatever stands in a frame is a message or refused in a sentence.
//!
//! `cargo fuzz run control_frames` in `crates/wire`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::frame::{Frames, MESSAGE_BYTES_MAX, TooLong};
use wayfare_wire::messages::drive::FromDriver;

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (chop, bytes) = input;
    let whole = read(&bytes, bytes.len().max(1));
    let pieces = read(&bytes, usize::from(chop).max(1));
    assert_eq!(whole, pieces);
    for message in &whole.0 {
        assert!(message.len() <= MESSAGE_BYTES_MAX);
        for codec in DriveCodec::ALL {
            let read = codec.read(message).inspect_err(|error| assert!(!error.to_string().is_empty()));
            // What was read is read again as it was written, apart from numbers that JSON has none for.
            let Ok((read @ (FromDriver::Accept { .. } | FromDriver::Decline { .. } | FromDriver::Status { .. }), _)) = read else { continue };
            let mut bytes = Vec::new();
            codec.write_from_driver(&mut bytes, &read);
            assert_eq!(codec.read(&bytes), Ok((read, Vec::new())));
        }
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
