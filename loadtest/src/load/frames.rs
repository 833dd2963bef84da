//! WebSocket frames from the client's side, as lean as they can be.

use wayfare_wire::codec::DriveCodec;

/// Frame kinds that matter here.
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// What a driver's message is.
pub(super) fn opcode_of(codec: DriveCodec) -> u8 {
    if codec.is_binary() { BINARY } else { TEXT }
}

/// A whole frame of the server.
#[derive(Debug, PartialEq)]
pub(super) struct Frame<'a> {
    pub(super) opcode: u8,
    pub(super) payload: &'a [u8],
    /// Bytes on the wire, header included.
    pub(super) size: usize,
}

/// The first frame in `bytes`; `None` while it is not complete. Servers do not mask and ours does not fragment.
pub(super) fn first(bytes: &[u8]) -> Option<Frame<'_>> {
    let (length, head) = match bytes.get(1)? & 0x7F {
        126 => (usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize, 10),
        short => (usize::from(short), 2),
    };
    let size = head + length;
    Some(Frame { opcode: bytes[0] & 0x0F, payload: bytes.get(head..size)?, size })
}

/// Appends a frame to the server. The mask is zero, which leaves the payload as it is: a mask protects proxies from
/// scripts in browsers, and here is neither.
pub(super) fn masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        middle @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_server(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        masked(&mut bytes, TEXT, payload);
        // The same without mask.
        let head = bytes.len() - payload.len() - 4;
        bytes.drain(head..head + 4);
        bytes[1] &= 0x7F;
        bytes
    }

    #[test]
    fn frames_of_all_lengths_are_found_once_complete() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let bytes = of_server(&payload);
            for cut in [0, 1, 2, bytes.len() - 1] {
                assert_eq!(first(&bytes[..cut.min(bytes.len() - 1)]), None);
            }
            let frame = first(&bytes).unwrap();
            assert_eq!((frame.opcode, frame.payload, frame.size), (TEXT, &payload[..], bytes.len()));
        }
    }
}
