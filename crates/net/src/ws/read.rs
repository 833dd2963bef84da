//! Frames from the client.

use super::Opcode;

/// Bounds on what a client may send.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// Most bytes of a message, and of one frame of it.
    pub message_bytes_max: usize,
    /// Most frames of one message.
    pub fragments_max: u32,
}

impl Default for ReadLimits {
    /// As told in `PROTOCOL.md`, "Limits".
    fn default() -> Self {
        Self { message_bytes_max: 64 * 1024, fragments_max: 64 }
    }
}

/// What arrived, whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// Answer to our ping.
    Pong(&'a [u8]),
    /// The client closes; the code it gave, or 1000 where it gave none.
    Close(u16),
}

/// Why the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// RFC 6455 forbids it: close code 1002.
    #[error("{0}")]
    Protocol(&'static str),
    /// Text that is not UTF-8: close code 1007.
    #[error("text that is not UTF-8")]
    NotText,
    /// Over a limit: close code 1009.
    #[error("a message over the limit")]
    TooBig,
}

/// What a connection keeps between reads. Empty, it owns no memory.
#[derive(Debug, Default)]
pub struct Reader {
    /// Bytes of a frame that is not complete yet.
    unfinished: Vec<u8>,
    /// Unmasked payload of the frames of a fragmented message so far.
    message: Vec<u8>,
    /// Kind of that message; `None` between messages.
    message_kind: Option<Opcode>,
    fragments: u32,
}

/// What a handler wants after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on reading.
    On,
    /// The connection is over: drop the rest.
    Stop,
}

impl Reader {
    /// Whether a frame or a message was begun and not finished: a client that stays so for long is stalling.
    pub fn is_waiting(&self) -> bool {
        !self.unfinished.is_empty() || self.message_kind.is_some()
    }

    /// Takes bytes as they came, hands each complete message or control frame to `handle`. Payloads are unmasked in place;
    /// only a frame that is not complete is copied. A claimed length is checked before anything is kept for it.
    ///
    /// # Errors
    /// [`Violation`]: close the connection; what came before it was handled.
    pub fn feed(
        &mut self,
        bytes: &mut [u8],
        limits: ReadLimits,
        handle: &mut impl FnMut(Incoming<'_>) -> Flow,
    ) -> Result<Flow, Violation> {
        if self.unfinished.is_empty() {
            let taken = match self.drain(bytes, limits, handle)? {
                (_, Flow::Stop) => return Ok(Flow::Stop),
                (taken, Flow::On) => taken,
            };
            self.unfinished.extend_from_slice(&bytes[taken..]);
            return Ok(Flow::On);
        }
        let mut begun = std::mem::take(&mut self.unfinished);
        begun.extend_from_slice(bytes);
        let (taken, flow) = self.drain(&mut begun, limits, handle)?;
        if flow == Flow::Stop {
            return Ok(Flow::Stop);
        }
        if taken < begun.len() {
            begun.drain(..taken);
            self.unfinished = begun;
        }
        Ok(Flow::On)
    }

    /// Handles all complete frames and returns how many bytes they had.
    fn drain(
        &mut self,
        bytes: &mut [u8],
        limits: ReadLimits,
        handle: &mut impl FnMut(Incoming<'_>) -> Flow,
    ) -> Result<(usize, Flow), Violation> {
        let mut taken = 0;
        while let Some(head) = Head::parse(&bytes[taken..], limits)? {
            self.check_order(&head, limits)?;
            let start = taken + head.size;
            let end = start + head.length;
            if bytes.len() < end {
                break;
            }
            let payload = &mut bytes[start..end];
            unmask(payload, head.mask);
            taken = end;
            if self.frame(&head, payload, handle)? == Flow::Stop {
                return Ok((taken, Flow::Stop));
            }
        }
        Ok((taken, Flow::On))
    }

    /// What the header alone forbids, given what came before. Asked again when the rest of a frame arrives.
    fn check_order(&self, head: &Head, limits: ReadLimits) -> Result<(), Violation> {
        if head.opcode.is_control() {
            return Ok(());
        }
        match (head.opcode, self.message_kind) {
            (Opcode::Continuation, None) => return Err(Violation::Protocol("a continuation of nothing")),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::Protocol("a new message inside another"));
            }
            _ => {}
        }
        if self.message.len() + head.length > limits.message_bytes_max || self.fragments >= limits.fragments_max {
            return Err(Violation::TooBig);
        }
        Ok(())
    }

    fn frame(
        &mut self,
        head: &Head,
        payload: &[u8],
        handle: &mut impl FnMut(Incoming<'_>) -> Flow,
    ) -> Result<Flow, Violation> {
        match head.opcode {
            Opcode::Ping => return Ok(handle(Incoming::Ping(payload))),
            Opcode::Pong => return Ok(handle(Incoming::Pong(payload))),
            Opcode::Close => return close_code(payload).map(|code| handle(Incoming::Close(code))),
            Opcode::Text | Opcode::Binary if head.last => return message(head.opcode, payload, handle),
            Opcode::Text | Opcode::Binary => self.message_kind = Some(head.opcode),
            Opcode::Continuation => {}
        }
        self.fragments += 1;
        self.message.extend_from_slice(payload);
        if !head.last {
            return Ok(Flow::On);
        }
        self.fragments = 0;
        let whole = std::mem::take(&mut self.message);
        let kind = self.message_kind.take().expect("check_order saw a message begun");
        message(kind, &whole, handle)
    }
}

fn message(kind: Opcode, payload: &[u8], handle: &mut impl FnMut(Incoming<'_>) -> Flow) -> Result<Flow, Violation> {
    if kind == Opcode::Binary {
        return Ok(handle(Incoming::Binary(payload)));
    }
    let text = std::str::from_utf8(payload).map_err(|_| Violation::NotText)?;
    Ok(handle(Incoming::Text(text)))
}

/// The code of a close frame; RFC 6455, 7.4: 1000 to 1003, 1007 to 1014, and 3000 to 4999 may be sent.
fn close_code(payload: &[u8]) -> Result<u16, Violation> {
    match payload {
        [] => Ok(1000),
        [_] => Err(Violation::Protocol("half a close code")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Violation::Protocol("a close code that may not be sent"));
            }
            std::str::from_utf8(reason).map_err(|_| Violation::NotText)?;
            Ok(code)
        }
    }
}

/// A parsed and checked frame header.
struct Head {
    last: bool,
    opcode: Opcode,
    length: usize,
    mask: [u8; 4],
    /// Bytes of the header itself.
    size: usize,
}

impl Head {
    /// `None` while more bytes are needed.
    fn parse(bytes: &[u8], limits: ReadLimits) -> Result<Option<Self>, Violation> {
        let [first, second, rest @ ..] = bytes else {
            // One byte is enough to see the worst.
            return match bytes {
                [first] => Self::kind(*first).map(|_| None),
                _ => Ok(None),
            };
        };
        let (last, opcode) = Self::kind(*first)?;
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("a frame without mask"));
        }
        // 126 and 127 announce a longer length: no control frame has one, not even a small number written long.
        if opcode.is_control() && second & 0x7F > 125 {
            return Err(Violation::Protocol("a control frame over 125 bytes"));
        }
        let (length, extra) = match (second & 0x7F, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 2),
            (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 8),
            (short @ ..=125, _) => (u64::from(short), 0),
            _ => return Ok(None),
        };
        if opcode.is_control() && !last {
            return Err(Violation::Protocol("a control frame in fragments"));
        }
        if length > limits.message_bytes_max as u64 {
            return Err(Violation::TooBig);
        }
        let Some(mask) = rest.get(extra..extra + 4) else { return Ok(None) };
        let mask = [mask[0], mask[1], mask[2], mask[3]];
        Ok(Some(Self { last, opcode, length: length as usize, mask, size: 2 + extra + 4 }))
    }

    fn kind(first: u8) -> Result<(bool, Opcode), Violation> {
        if first & 0x70 != 0 {
            return Err(Violation::Protocol("a reserved bit"));
        }
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(Violation::Protocol("a reserved opcode"))?;
        Ok((first & 0x80 != 0, opcode))
    }
}

/// XOR with the repeated mask, eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut wide = [0; 8];
    wide[..4].copy_from_slice(&mask);
    wide[4..].copy_from_slice(&mask);
    let wide = u64::from_ne_bytes(wide);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests;
