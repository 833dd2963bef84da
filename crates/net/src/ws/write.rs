//! Frames to the client. Server frames carry no mask, so one buffer serves every subscriber.

use super::Opcode;

/// Appends the header of an unfragmented frame with `length` bytes of payload.
pub fn header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(0x80 | opcode as u8);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Bytes of the header of a frame that is whole.
pub fn header_length(frame: &[u8]) -> usize {
    match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    }
}

/// Appends a whole frame.
pub fn frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame. The reason is cut to what fits a control frame.
pub fn close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(123)];
    header(out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Given whole frames of which the first `sent` bytes went out, returns where the frame that was begun ends: what follows may be
/// dropped without breaking the stream.
pub fn end_of_begun_frame(frames: &[u8], sent: usize) -> usize {
    let mut end = 0;
    while end < sent {
        end += match frames[end + 1] {
            126 => 4 + usize::from(u16::from_be_bytes([frames[end + 2], frames[end + 3]])),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&frames[end + 2..end + 10]);
                10 + u64::from_be_bytes(length) as usize
            }
            short => 2 + usize::from(short),
        };
    }
    end
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_begun_frame_ends_where_it_was_written(lengths in prop::collection::vec(0_usize..70_000, 1..6), cut: prop::sample::Index) {
            let (mut frames, mut ends) = (Vec::new(), vec![0]);
            for length in lengths {
                frame(&mut frames, Opcode::Text, &vec![b'x'; length]);
                ends.push(frames.len());
            }
            let sent = cut.index(frames.len() + 1);
            let expected = *ends.iter().find(|end| **end >= sent).unwrap();
            prop_assert_eq!(end_of_begun_frame(&frames, sent), expected);
            prop_assert!(frames[header_length(&frames)..ends[1]].iter().all(|byte| *byte == b'x'));
        }
    }

    #[test]
    fn a_close_reason_is_cut_between_letters() {
        let mut out = Vec::new();
        close(&mut out, 4000, &"ü".repeat(100));
        assert_eq!(out[1], 124);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }
}
