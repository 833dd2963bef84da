//! The handshake, and the first words on the control stream: the codec's name and a `hello` with a token, which tells the driver, which
//! tells the shard.

use std::time::{Duration, Instant};

use wayfare_engine::DriverId;
use wayfare_net::gate::whole_ms;
use wayfare_net::serve::Seat;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::frame;
use wayfare_wire::messages::Bye;
use wayfare_wire::messages::drive::{FromDriver, ToDriver};
use wayfare_wire::{Claims, CloseCode};

use super::admit::{Admitted, Handshake};
use super::talk::{Control, Talk};
use crate::{Ingest, hello, metrics};

/// The codec's name and `hello`.
const WORDS: usize = 2;

/// A client that has not said who it is.
pub struct Stranger {
    /// Until the handshake is complete.
    handshake: Option<Handshake>,
    seat: Seat,
    /// The handshake, then the hello, must be complete by then.
    until: Instant,
    words: Vec<Vec<u8>>,
    codec: DriveCodec,
}

/// What its first words say.
pub struct Hello {
    pub claims: Claims,
    pub driver: DriverId,
    /// How messages are written.
    pub codec: DriveCodec,
    /// As `hello` said it.
    pub session: String,
    /// Messages that came right behind `hello`.
    pub behind: Vec<Vec<u8>>,
    /// Counts the connection as open until dropped.
    pub seat: Seat,
}

/// What becomes of a stranger.
pub enum Greeting {
    /// Nothing yet.
    Waits(Box<Stranger>),
    /// A driver.
    Known(Box<Hello>),
    /// It has been told to come again later; once it has taken that, or soon anyway, it is closed.
    PutOff,
    /// It must go: code and word travel in the closing packet, as to one who is not known there is no `bye`.
    Turned(CloseCode),
    /// It has gone, or never came.
    Gone,
}

impl Stranger {
    pub fn new(admitted: Admitted, handshake_timeout: Duration, now: Instant) -> Self {
        let Admitted { seat, handshake } = admitted;
        let (until, codec) = (now + handshake_timeout, DriveCodec::default());
        Self { handshake: Some(handshake), seat, until, words: Vec::new(), codec }
    }

    /// Until when it is waited for.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Looks at what has come.
    pub fn turn(mut self: Box<Self>, talk: &mut Talk, ingest: &Ingest, now: Instant) -> Greeting {
        if self.handshake.is_some() && talk.is_connected() {
            metrics::arrival("accepted");
            (self.handshake, self.until) = (None, now + ingest.house.config.auth_timeout);
        }
        let shaken = self.handshake.is_none();
        if talk.take_lost().is_some() || (!shaken && now >= self.until) {
            if !shaken {
                metrics::arrival("unfinished");
                talk.abandon(now);
            }
            return Greeting::Gone;
        }
        if !shaken {
            return Greeting::Waits(self);
        }
        match self.listen(talk) {
            Ok(()) if self.words.len() >= WORDS => {}
            Ok(()) if now >= self.until => return Greeting::Turned(CloseCode::Silent),
            Ok(()) => return Greeting::Waits(self),
            Err(code) => return Greeting::Turned(code),
        }
        let hello = match self.understand(ingest) {
            Ok(hello) => hello,
            Err(code) => return Greeting::Turned(code),
        };
        if let Err(wait) = ingest.house.gate.arrive(&hello.claims, now) {
            put_off(talk, hello.codec, whole_ms(wait));
            return Greeting::PutOff;
        }
        Greeting::Known(Box::new(hello))
    }

    fn listen(&mut self, talk: &mut Talk) -> Result<(), CloseCode> {
        let read = talk.read_control(&mut |message| self.words.push(message.to_vec()));
        if let Some(name) = self.words.first() {
            let known = std::str::from_utf8(name).ok().and_then(DriveCodec::of);
            self.codec = known.ok_or(CloseCode::Unsupported)?;
        }
        match read {
            Control::TooBig => Err(CloseCode::TooBig),
            // An end before the hello is as good as no hello.
            Control::Ended | Control::Torn if self.words.len() < WORDS => Err(CloseCode::Protocol),
            _ => Ok(()),
        }
    }

    fn understand(mut self, ingest: &Ingest) -> Result<Hello, CloseCode> {
        let behind = self.words.split_off(WORDS);
        let (token, session) = match self.codec.read(&self.words[1]) {
            Ok((FromDriver::Hello { token: Some(token), session }, _)) => (token, session),
            _ => return Err(CloseCode::Unauthorized),
        };
        let (claims, driver) = hello::verify(ingest, &token)?;
        Ok(Hello { claims, driver, codec: self.codec, session, behind, seat: self.seat })
    }
}

/// Tells when to come again. A closing packet would throw away what is still on its way: the client is given a moment to take it.
fn put_off(talk: &mut Talk, codec: DriveCodec, retry_after_ms: u32) {
    let code = CloseCode::Overloaded;
    metrics::closed(code);
    let bye = Bye { code: code.number(), reason: code.word().into(), retry_after_ms: Some(retry_after_ms) };
    let (mut message, mut framed) = (Vec::new(), Vec::new());
    codec.write(&mut message, &ToDriver::Bye(bye));
    frame::write(&mut framed, &message);
    talk.say(framed);
}
