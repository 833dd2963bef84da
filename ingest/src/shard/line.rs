//! The line to a driver as the shard sees it: a WebSocket whose socket it writes itself, or a QUIC connection whose task does.

use std::rc::Rc;

use tokio::sync::Notify;
use wayfare_net::ws::link::{Health, Link, LinkLimits};
use wayfare_net::ws::{Opcode, write};
use wayfare_wire::{CloseCode, frame};

use super::quic_line::QuicLine;

/// See the module.
pub enum Line {
    WebSocket(Link),
    Quic(QuicLine),
}

impl Line {
    /// Wakes the connection's task.
    pub fn wake(&self) -> &Rc<Notify> {
        match self {
            Self::WebSocket(link) => &link.wake,
            Self::Quic(line) => &line.wake,
        }
    }

    /// Whether the goodbye was said.
    pub fn is_closing(&self) -> bool {
        match self {
            Self::WebSocket(link) => link.is_closing(),
            Self::Quic(line) => line.is_closing(),
        }
    }

    /// Appends a message in the transport's framing.
    pub fn frame(&self, out: &mut Vec<u8>, message: &[u8]) {
        match self {
            Self::WebSocket(_) => write::frame(out, Opcode::Text, message),
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
    pub fn close(&mut self, code: CloseCode, bye: &[u8], now_s: u32) {
        match self {
            Self::WebSocket(link) => link.close(code, bye, now_s),
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

    /// Looks at the clocks.
    pub fn health(&mut self, limits: &LinkLimits, now_s: u32) -> Health {
        match self {
            Self::WebSocket(link) => link.health(limits, now_s),
            Self::Quic(line) => line.health(limits, now_s),
        }
    }

    /// Says that we are there. A WebSocket is pinged besides: QUIC acknowledges by itself.
    pub fn beat(&mut self, now_s: u32) {
        let mut frames = Vec::new();
        if matches!(self, Self::WebSocket(_)) {
            write::frame(&mut frames, Opcode::Ping, b"");
        }
        self.frame(&mut frames, br#"{"type":"heartbeat"}"#);
        self.send(&frames, now_s);
    }
}
