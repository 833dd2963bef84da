//! WebSocket close codes. The range says what a client does next; see `PROTOCOL.md`, "Close codes".

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The client closed, and is answered in kind.
    Normal = 1000,
    /// Framing that RFC 6455 forbids.
    Protocol = 1002,
    /// A binary message where the subprotocol has text.
    Unsupported = 1003,
    /// A text message that is not UTF-8.
    InvalidText = 1007,
    /// A frame or message over the limit.
    TooBig = 1009,
    /// The node drains: come back after the time told in `bye`.
    Draining = 4000,
    /// The socket took nothing for too long.
    Slow = 4001,
    /// Nothing was heard, not even the answer to a ping; or no token in time.
    Silent = 4002,
    /// Too many connections here just now.
    Overloaded = 4003,
    /// Too many messages; come back slower.
    Flood = 4004,
    /// A connection of the same session took over. Whoever hears this is alive, and the other may be an older one whose first words came
    /// late: come back.
    Superseded = 4005,
    /// The token's time is over: come back with a new one.
    TokenExpired = 4100,
    /// No token in time, or one that was refused.
    Unauthorized = 4101,
    /// A newer connection of the same driver took over, of another session: another phone.
    Replaced = 4200,
    /// The token, or its bearer, was revoked.
    Revoked = 4201,
    /// Messages that this protocol does not know, again and again.
    Nonsense = 4202,
}

impl CloseCode {
    /// Every code the server sends, in the order of the table in `PROTOCOL.md`.
    pub const ALL: [Self; 16] = [
        Self::Normal,
        Self::Protocol,
        Self::Unsupported,
        Self::InvalidText,
        Self::TooBig,
        Self::Draining,
        Self::Slow,
        Self::Silent,
        Self::Overloaded,
        Self::Flood,
        Self::Superseded,
        Self::TokenExpired,
        Self::Unauthorized,
        Self::Replaced,
        Self::Revoked,
        Self::Nonsense,
    ];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The word used in `bye`, in the close frame's reason and as a metric label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Protocol => "protocol",
            Self::Unsupported => "unsupported",
            Self::InvalidText => "invalid_text",
            Self::TooBig => "too_big",
            Self::Draining => "draining",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Overloaded => "overloaded",
            Self::Flood => "flood",
            Self::Superseded => "superseded",
            Self::TokenExpired => "token_expired",
            Self::Unauthorized => "unauthorized",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
            Self::Nonsense => "nonsense",
        }
    }
}
