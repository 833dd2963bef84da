//! Servers to compare with: small relays on public libraries, which know rooms and nothing else (`loadtest/peers`).
//!
//! A driver sends a fix as one JSON object; the relay parses it, checks its ranges, writes it again and passes it to everyone
//! in the driver's room. It keeps nothing, acks nothing and judges nothing: what it costs is what carrying a fix costs.

use std::io::Write as _;

use clap::ValueEnum;
use wayfare_driver::Fix;

/// What the server at the other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Speaks {
    /// Ours.
    #[default]
    Wayfare,
    /// A relay on plain WebSockets: `/drive/{room}` and `/watch/{room}`.
    Relay,
    /// A relay on Socket.IO 4, over WebSocket from the start.
    #[value(name = "socketio")]
    SocketIo,
}

/// Engine.IO asks every 25 s whether the client is alive, as text.
pub(super) const SOCKET_IO_PING: &[u8] = b"2";
pub(super) const SOCKET_IO_PONG: &[u8] = b"3";

/// A fix as a relay's driver sends it.
pub(super) fn write_fix(out: &mut Vec<u8>, speaks: Speaks, fix: &Fix) {
    let (before, after): (&[u8], &[u8]) = match speaks {
        Speaks::SocketIo => (br#"42["fix","#, b"]"),
        Speaks::Relay | Speaks::Wayfare => (b"", b""),
    };
    out.extend_from_slice(before);
    // Writing to a Vec cannot fail.
    write_object(out, fix).unwrap_or_default();
    out.extend_from_slice(after);
}

/// A fix as a JSON object, as our own messages hold it too.
pub(super) fn write_object(out: &mut Vec<u8>, fix: &Fix) -> std::io::Result<()> {
    write!(
        out,
        r#"{{"lat":{:.7},"lon":{:.7},"t_ms":{},"accuracy_m":{:.0},"speed_mps":{:.1},"heading_deg":{:.1}}}"#,
        fix.lat,
        fix.lon,
        fix.t_ms.unwrap_or_default(),
        fix.accuracy_m.unwrap_or_default(),
        fix.speed_mps.unwrap_or_default(),
        // 359.96 would be written as 360.0, which is 0.
        fix.heading_deg.map(|degrees| if degrees >= 359.95 { 0.0 } else { degrees }).unwrap_or_default(),
    )
}
