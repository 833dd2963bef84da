//! The line to a driver as the shard sees it: a WebSocket whose socket it writes itself, or a QUIC connection, written at the end of the turn.

use wayfare_net::ws::link::{Health, Link, LinkLimits};
use wayfare_net::ws::{Opcode, write};
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::ToDriver;
use wayfare_wire::{CloseCode, frame};

use super::quic_line::QuicLine;

/// See the module.
pub enum Line {
    WebSocket(Link),
    Quic(QuicLine),
}

impl Line {
    /// Gives the connection a turn.
    pub fn nudge(&self) {
        match self {
            Self::WebSocket(link) => link.wake.notify_one(),
            Self::Quic(line) => line.nudge(),
        }
    }

    /// Whether the goodbye was said.
    pub fn is_closing(&self) -> bool {
        match self {
            Self::WebSocket(link) => link.is_closing(),
            Self::Quic(line) => line.is_closing(),
        }
    }

    /// Appends a message of the connection's codec in the transport's framing.
    pub fn frame(&self, out: &mut Vec<u8>, codec: DriveCodec, message: &[u8]) {
        match self {
            Self::WebSocket(_) => write::frame(out, opcode_of(codec), message),
            Self::Quic(_) => frame::write(out, message),
        }
    }

    /// Sends whole frames: now, or behind what already waits. A client that takes nothing any more is cut.
    pub fn send(&mut self, frames: &[u8], now_s: u32) {
        match self {
            Self::WebSocket(link) => link.send(frames, now_s),
            Self::Quic(line) => line.send(frames, now_s),
        }
    }

    /// Sends the goodbye (`bye` is a whole message), then lets the client leave. Only the first is said.
    pub fn close(&mut self, code: CloseCode, codec: DriveCodec, bye: &[u8], now_s: u32) {
        match self {
            Self::WebSocket(link) => link.close(code, opcode_of(codec), bye, now_s),
            Self::Quic(line) => line.close(code, bye, now_s),
        }
    }

    /// Ends without another message.
    pub fn cut(&mut self, code: CloseCode) {
        match self {
            Self::WebSocket(link) => link.cut(),
            Self::Quic(line) => line.cut(code),
        }
    }

    /// As if something had been heard just now. QUIC looks to that by itself.
    pub fn heard_anew(&mut self, now_s: u32) {
        if let Self::WebSocket(link) = self {
            link.heard_s = now_s;
        }
    }

    /// Looks at the clocks.
    pub fn health(&mut self, limits: &LinkLimits, now_s: u32) -> Health {
        match self {
            Self::WebSocket(link) => link.health(limits, now_s),
            Self::Quic(line) => line.health(limits, now_s),
        }
    }

    /// Says that we are there. A WebSocket is pinged besides: QUIC acknowledges by itself.
    pub fn beat(&mut self, codec: DriveCodec, now_s: u32) {
        let (mut frames, mut heartbeat) = (Vec::new(), Vec::new());
        codec.write(&mut heartbeat, &ToDriver::Heartbeat);
        if matches!(self, Self::WebSocket(_)) {
            write::frame(&mut frames, Opcode::Ping, b"");
        }
        self.frame(&mut frames, codec, &heartbeat);
        self.send(&frames, now_s);
    }
}

/// What a message is on a WebSocket.
pub fn opcode_of(codec: DriveCodec) -> Opcode {
    if codec.is_binary() { Opcode::Binary } else { Opcode::Text }
}
