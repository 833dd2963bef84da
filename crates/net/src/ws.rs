//! WebSocket (RFC 6455), the server's half, for sockets that a shard owns.
//!
//! A library's reader keeps a buffer per connection; ours reads through one buffer per shard, and only an unfinished frame stays
//! with its connection. The same cases as in the Autobahn suite are tests of [`read`], and it is fuzzed.

pub mod handshake;
pub mod link;
pub mod read;
pub mod secure;
pub mod write;

/// First byte's low half: what a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message begun before.
    Continuation = 0,
    /// UTF-8.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The end of the connection.
    Close = 8,
    /// To be answered by a pong.
    Ping = 9,
    /// Answer to a ping.
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}
