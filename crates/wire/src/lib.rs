//! The language of Wayfare: what travels between driver apps, the house and watchers.
//!
//! `PROTOCOL.md` beside this crate is the normative text. Types here are the wire's own and convert into
//! engine types; the conversion is the check of form, the engine's judgement is the check of meaning.

pub mod claims;
pub mod close;
pub mod codec;
pub mod cursor;
pub mod device_key;
pub mod dialects;
pub mod fence;
pub mod frame;
pub mod ids;
pub mod kept;
pub mod messages;
pub mod plan;
pub mod polyline;
pub mod quarantine;
pub mod state;
pub mod topic;
pub mod upload;

pub use claims::{Claims, Role, TokenKind};
pub use close::CloseCode;
pub use cursor::Cursor;
pub use messages::error::{ErrorBody, ErrorCode};
pub use topic::Topic;

/// WebSocket subprotocol of the driver side, JSON codec.
pub const DRIVE_JSON_V1: &str = "wayfare.drive.v1.json";
/// WebSocket subprotocol of the driver side, Protocol Buffers.
pub const DRIVE_PROTO_V1: &str = "wayfare.drive.v1.proto";
/// ALPN of the driver side on QUIC.
pub const DRIVE_QUIC_V1: &str = "wayfare/1";
/// WebSocket subprotocol of the watcher side, JSON codec.
pub const WATCH_JSON_V1: &str = "wayfare.watch.v1.json";
/// WebSocket subprotocol of the watcher side, Protocol Buffers.
pub const WATCH_PROTO_V1: &str = "wayfare.watch.v1.proto";
