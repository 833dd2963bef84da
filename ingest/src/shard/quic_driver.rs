//! What a driver says on QUIC, and what it is told: between the connection's streams and the tables of the shard.

use std::time::Instant;

use quinn_proto::ConnectionError;
use wayfare_wire::CloseCode;

use super::Shard;
use super::line::Line;
use super::quic_line::{End, QuicLine};
use super::state::{ConnId, State};
use crate::metrics;
use crate::quic::{Control, Fault, Talk};

/// One who does too much at once comes back after this.
const FLOOD_MS: u32 = 10_000;

/// How it stands after a driver was written to.
pub enum Spoken {
    /// It goes on.
    On,
    /// The last words are on their way, and then this is the end.
    Last(CloseCode),
    /// It ends now.
    Over(CloseCode),
}

impl Shard {
    /// Takes what a driver has sent. Gives how the connection is to be closed if the driver has left.
    pub fn hear_driver(&self, talk: &mut Talk, id: ConnId, now: Instant) -> Option<CloseCode> {
        if let Some(error) = talk.take_lost() {
            if error == ConnectionError::TimedOut {
                metrics::closed(CloseCode::Silent);
            }
            return Some(CloseCode::Normal);
        }
        let mut state = self.state.borrow_mut();
        // Until it is known whose they are, streams wait within QUIC's own bounds; what comes behind our goodbye is not read.
        if !state.quic_line(id).is_some_and(|line| line.is_open() && !line.is_closing()) {
            return None;
        }
        if talk.is_restless() {
            state.close(id, CloseCode::Flood, Some(FLOOD_MS));
            return None;
        }
        let control = talk.read_control(&mut |message| state.heard_on_quic(id, message));
        talk.read_messages(now, &mut |message| match message {
            Ok(message) => state.heard_on_quic(id, message),
            Err(Fault::TooBig) => state.close(id, CloseCode::TooBig, None),
            Err(Fault::Stalled) => state.close(id, CloseCode::Silent, None),
        });
        let now_s = state.now_s();
        if let Some(line) = state.quic_line(id) {
            line.waits(talk.is_waiting(), now_s);
        }
        match control {
            Control::Open => None,
            // The client has nothing more to say: it leaves.
            Control::Ended => Some(CloseCode::Normal),
            Control::Torn => Some(CloseCode::Protocol),
            Control::TooBig => {
                state.close(id, CloseCode::TooBig, None);
                None
            }
        }
    }

    /// Writes what the shard has for a driver.
    pub fn speak_to_driver(&self, talk: &mut Talk, id: ConnId) -> Spoken {
        let mut state = self.state.borrow_mut();
        let now_s = state.now_s();
        let Some(line) = state.quic_line(id) else { return Spoken::Over(CloseCode::Normal) };
        let end = line.end();
        if talk.is_unburdened() || end.is_some() {
            talk.say(line.take(now_s));
        }
        if talk.write() > 0 {
            line.moved(talk.is_unburdened(), now_s);
        }
        match end {
            Some(End::Cut(code)) => Spoken::Over(code),
            Some(End::Farewell(code)) => Spoken::Last(code),
            // The client takes nothing more, which is a way to leave.
            None if talk.is_taken() => Spoken::Over(CloseCode::Normal),
            None => Spoken::On,
        }
    }
}

impl State {
    /// Its QUIC connection, if it is still the same and is one.
    pub fn quic_line(&mut self, id: ConnId) -> Option<&mut QuicLine> {
        match &mut self.conn(id)?.line {
            Line::Quic(line) => Some(line),
            Line::WebSocket(_) => None,
        }
    }

    /// A whole message, on whichever stream.
    pub fn heard_on_quic(&mut self, id: ConnId, message: &[u8]) {
        let limits = self.link_limits;
        let Some(line) = self.quic_line(id) else { return };
        // What comes after our goodbye is not read any more.
        if line.is_closing() {
            return;
        }
        if !line.count(&limits) {
            return self.close(id, CloseCode::Flood, Some(FLOOD_MS));
        }
        self.message(id, message);
    }
}
