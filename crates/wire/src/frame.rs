//! Messages on a QUIC control stream: four bytes of length, big-endian, then the message.
//!
//! A stream has no borders of its own; this is the least that gives it some. The first frame names the codec of all that follow
//! (`PROTOCOL.md`, "QUIC").

/// Longest message, on every transport of drivers.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

const HEAD: usize = 4;

/// A frame says that it is longer than [`MESSAGE_BYTES_MAX`]. What follows it cannot be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes, the limit is {MESSAGE_BYTES_MAX}")]
pub struct TooLong(pub u32);

/// Appends a frame. The message is not longer than [`MESSAGE_BYTES_MAX`].
pub fn write(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
}

/// Puts frames together from the pieces in which a stream hands them out. Holds nothing but the unfinished frame.
#[derive(Debug, Default)]
pub struct Frames {
    begun: Vec<u8>,
}

impl Frames {
    /// Takes the next piece and gives each message that is whole to `each`, in order.
    ///
    /// # Errors
    /// A frame announces too much; those before it were given out.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) -> Result<(), TooLong> {
        while !self.begun.is_empty() {
            let whole = head(&self.begun)?.map(|length| HEAD + length);
            if whole == Some(self.begun.len()) {
                each(&self.begun[HEAD..]);
                self.begun = Vec::new();
                break;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let wanted = whole.unwrap_or(HEAD) - self.begun.len();
            let (piece, rest) = bytes.split_at(bytes.len().min(wanted));
            self.begun.extend_from_slice(piece);
            bytes = rest;
        }
        while let Some(length) = head(bytes)? {
            let Some((frame, rest)) = bytes.split_at_checked(HEAD + length) else { break };
            each(&frame[HEAD..]);
            bytes = rest;
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether a frame is begun and not finished.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.begun.is_empty()
    }
}

/// The length that a frame's first bytes announce; `None` if they are not all there.
fn head(bytes: &[u8]) -> Result<Option<usize>, TooLong> {
    let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head);
    if length as usize > MESSAGE_BYTES_MAX { Err(TooLong(length)) } else { Ok(Some(length as usize)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            lengths in prop::collection::vec(prop_oneof![0..20_usize, 0..3000_usize, Just(MESSAGE_BYTES_MAX)], 0..8),
            cuts in prop::collection::vec(1..5000_usize, 1..6),
        ) {
            let messages: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(n, length)| vec![n as u8; *length]).collect();
            let mut bytes = Vec::new();
            messages.iter().for_each(|message| write(&mut bytes, message));
            let (mut frames, mut read, mut rest, mut turn) = (Frames::default(), Vec::new(), &bytes[..], 0);
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(cuts[turn % cuts.len()]));
                frames.feed(piece, &mut |message| read.push(message.to_vec())).unwrap();
                prop_assert!(frames.begun.len() < HEAD + MESSAGE_BYTES_MAX);
                (rest, turn) = (after, turn + 1);
            }
            prop_assert!(!frames.is_waiting());
            prop_assert_eq!(read, messages);
        }
    }

    #[test]
    fn what_announces_too_much_is_refused_before_it_comes() {
        let mut bytes = Vec::new();
        write(&mut bytes, b"first");
        bytes.extend_from_slice(&65_537_u32.to_be_bytes());
        for cut in 0..bytes.len() {
            let (mut frames, mut read) = (Frames::default(), Vec::new());
            let mut keep = |message: &[u8]| read.push(message.to_vec());
            let fed = frames.feed(&bytes[..cut], &mut keep).and_then(|()| frames.feed(&bytes[cut..], &mut keep));
            assert_eq!(fed, Err(TooLong(65_537)), "cut at {cut}");
            assert_eq!(read, [b"first"]);
        }
    }
}
