//! The decisions of the driver's side, without I/O: what is waiting, what is on the way, what to send next.
//!
//! The caller opens a socket and tells [`Core::on_open`]; sends [`Core::hello`] and then whatever
//! [`Core::poll_message`] gives; passes messages to [`Core::on_message`]; asks [`Core::deadline`] when to look again; and tells
//! [`Core::on_end`] when the socket is gone, which says what to do next. Time is an argument everywhere. In which codec messages travel
//! is the socket's affair.

pub mod ladder;
mod outbox;
#[cfg(test)]
mod tests;
mod words;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wayfare_wire::messages::Bye;
use wayfare_wire::messages::drive::{Fix, Fixes, FromDriver, Phone, ToDriver};
use wayfare_wire::{ErrorBody, ErrorCode};

use crate::advice::Advice;
use crate::backoff::Backoff;
use crate::event::{Acked, Event};
use crate::store::Kept;
use ladder::Way;
use outbox::Outbox;
use words::Words;

/// How long the answer to `hello` may take. The server gives a token 5 s.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);
/// Silence longer than this many heartbeats means that the line is dead.
const HEARTBEATS: f64 = 2.5;
/// Pause after an error that asks for one without saying how long.
const PAUSE: Duration = Duration::from_secs(1);
/// A token is renewed this long before it expires, or at half its time if that is later.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// How a connection, or the attempt at one, ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// Close code, where a close frame came.
    pub code: Option<u16>,
    /// HTTP status, where the handshake was refused.
    pub status: Option<u16>,
    /// What the refusal said about coming back.
    pub retry_after: Option<Duration>,
    /// What happened, for a person.
    pub reason: String,
}

/// A message for the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Its number.
    pub seq: u64,
    /// Fixes in it.
    pub count: usize,
    /// What is written.
    pub message: FromDriver,
}

/// What to do after a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait, then connect again.
    Connect {
        /// How long to wait.
        after: Duration,
        /// Fetch another token first.
        new_token: bool,
    },
    /// Do not come back.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    /// Open; the hello is not answered yet.
    Greeting,
    Up,
}

/// The state of one driver's numbering and its connection.
#[derive(Debug)]
pub struct Core {
    session: u64,
    outbox: Outbox,
    link: Link,
    way: Way,
    /// When anything was last heard on this connection.
    heard: Instant,
    /// Nothing is heard for this long: dead.
    silence_max: Duration,
    /// The server asked to wait until then.
    paused_until: Option<Instant>,
    renew_at: Option<Instant>,
    interval_ms: u32,
    /// How the phone is, if the app said so, and whether this connection has yet to hear it.
    phone: Option<Phone>,
    phone_due: bool,
    words: Words,
    /// The last word of the server before the socket ended.
    bye: Option<Bye>,
    /// This connection cannot tell which message is at fault: begin another.
    hang_up: bool,
    backoff: Backoff,
    events: VecDeque<Event>,
}

impl Core {
    /// A core that has nothing to send. `session` is not zero; `queue_max` bounds all fixes held, sent or not.
    #[must_use]
    pub fn new(session: u64, queue_max: usize, random: fastrand::Rng, now: Instant) -> Self {
        Self {
            session,
            outbox: Outbox::new(queue_max, now),
            link: Link::Down,
            way: Way::WebSocket,
            heard: now,
            silence_max: WELCOME_WITHIN,
            paused_until: None,
            renew_at: None,
            // What an idle driver is asked for, until the server says otherwise.
            interval_ms: 15_000,
            phone: None,
            phone_due: false,
            words: Words::default(),
            bye: None,
            hang_up: false,
            backoff: Backoff::new(random),
            events: VecDeque::new(),
        }
    }

    /// Takes up what an earlier life left behind, before anything else.
    pub fn resume(&mut self, kept: Kept) {
        self.session = kept.session;
        self.outbox.resume(kept);
    }

    /// What another life would have to take up.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.outbox.kept(self.session)
    }

    /// Name of the numbering.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Whether another fix would be refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    /// Whether the server has taken the hello.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// Takes a fix to be sent.
    ///
    /// # Errors
    /// As many fixes as allowed are held already: the fix comes back.
    pub fn push(&mut self, fix: Fix) -> Result<(), Fix> {
        self.outbox.push(fix)
    }

    /// How the phone is now: said on this connection, and again on each that follows.
    pub fn set_phone(&mut self, phone: Phone) {
        (self.phone, self.phone_due) = (Some(phone), true);
    }

    /// What is to be said of the phone now. A message like `auth`: nothing answers it.
    #[must_use]
    pub fn poll_phone(&mut self) -> Option<FromDriver> {
        let due = self.link == Link::Up && std::mem::take(&mut self.phone_due);
        self.phone.clone().filter(|_| due).map(FromDriver::Phone)
    }

    /// Takes something that the app says about a trip; it is sent until it is noted. False: too much waits already.
    pub fn say(&mut self, word: FromDriver) -> bool {
        self.words.push(word)
    }

    /// The next thing to be said about a trip: a message like `auth`.
    #[must_use]
    pub fn poll_word(&mut self, now: Instant) -> Option<FromDriver> {
        if self.link != Link::Up || self.paused_until.is_some_and(|at| now < at) {
            return None;
        }
        self.words.next().cloned()
    }

    /// A socket is open: the hello goes first, then everything unacked, in order.
    pub fn on_open(&mut self, way: Way, now: Instant) {
        (self.link, self.way) = (Link::Greeting, way);
        self.heard = now;
        self.silence_max = WELCOME_WITHIN;
        (self.bye, self.hang_up, self.paused_until) = (None, false, None);
        self.phone_due = self.phone.is_some();
        self.words.send_again();
        self.outbox.send_again();
    }

    /// The first message, with the token where it did not travel in the header of the handshake.
    #[must_use]
    pub fn hello(&self, token: Option<&str>) -> FromDriver {
        FromDriver::Hello { token: token.map(str::to_owned), session: format!("{:x}", self.session) }
    }

    /// Any frame arrived, be it a ping.
    pub fn on_heard(&mut self, now: Instant) {
        // Before the welcome only the welcome counts.
        if self.link == Link::Up {
            self.heard = now;
        }
    }

    /// Takes in a message. `wall_ms` is the phone's clock, Unix milliseconds.
    pub fn on_message(&mut self, message: ToDriver, now: Instant, wall_ms: i64) {
        self.on_heard(now);
        match message {
            ToDriver::Welcome { driver, interval_ms, max_fixes, max_unacked, heartbeat_ms, expires_at_ms, .. } => {
                self.outbox.limit(max_fixes as usize, max_unacked as usize);
                self.silence_max = silence_max(heartbeat_ms);
                (self.interval_ms, self.heard) = (interval_ms, now);
                self.renew_at = renewal(now, expires_at_ms.saturating_sub(wall_ms));
                // A later welcome answers a renewal.
                if std::mem::replace(&mut self.link, Link::Up) == Link::Greeting {
                    self.events.push_back(Event::Connected { driver, way: self.way });
                }
            }
            ToDriver::Ack(ack) => {
                self.backoff.reset();
                if let Some(fixes) = self.outbox.acked(ack.seq) {
                    self.events.push_back(Event::Acked(Acked {
                        seq: ack.seq,
                        fixes,
                        verdicts: ack.verdicts,
                        details: ack.details,
                    }));
                }
            }
            ToDriver::Config { interval_ms, heartbeat_ms } => {
                self.interval_ms = interval_ms;
                self.silence_max = heartbeat_ms.map_or(self.silence_max, silence_max);
            }
            ToDriver::Error(error) => self.on_error(error, now),
            ToDriver::Bye(bye) => self.bye = Some(bye),
            ToDriver::NewDeliveryAssigned(delivery) => self.events.push_back(Event::Delivery(delivery)),
            ToDriver::DeliveryWithdrawn { trip, offer } => self.events.push_back(Event::Withdrawn { trip, offer }),
            ToDriver::Noted { trip, said } => {
                self.words.noted(&trip, &said);
                self.events.push_back(Event::Noted { trip, said });
            }
            ToDriver::Heartbeat => self.backoff.reset(),
            ToDriver::Pong => {}
        }
    }

    /// The next message to write, until there is none. Call again after anything happened.
    pub fn poll_message(&mut self, now: Instant, wall_ms: i64) -> Option<Outgoing> {
        if self.link != Link::Up || self.hang_up || self.paused_until.is_some_and(|at| now < at) {
            return None;
        }
        self.paused_until = None;
        let (seq, fixes) = self.outbox.next(now)?;
        let message = Fixes { seq, sent_ms: Some(wall_ms), fixes: fixes.to_vec(), ..Fixes::default() };
        Some(Outgoing { seq, count: fixes.len(), message: FromDriver::Fixes(message) })
    }

    /// The next event for the app.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the caller must end this connection: nothing was heard for too long, or a fresh one is needed.
    #[must_use]
    pub fn must_hang_up(&self, now: Instant) -> Option<&'static str> {
        if self.hang_up {
            return Some("a message was refused; beginning again one by one");
        }
        (self.link != Link::Down && now >= self.heard + self.silence_max).then_some("nothing was heard for too long")
    }

    /// Whether it is time to fetch a new token and send it as `auth`. True once per token.
    pub fn poll_renewal(&mut self, now: Instant) -> bool {
        let due = self.link == Link::Up && self.renew_at.is_some_and(|at| at <= now);
        if due {
            self.renew_at = None;
        }
        due
    }

    /// When to look again even if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.link == Link::Down {
            return None;
        }
        [Some(self.heard + self.silence_max), self.paused_until, self.outbox.paced_until(), self.renew_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// The connection ended, or the attempt at one failed. `renewable`: another token can be had.
    pub fn on_end(&mut self, ended: Ended, renewable: bool) -> Next {
        self.link = Link::Down;
        self.outbox.send_again();
        let (bye, code) = (self.bye.take(), ended.code);
        let code = code.or(bye.as_ref().map(|bye| bye.code));
        let advice = match ended.status {
            Some(status) => Advice::of_status(status),
            None => Advice::of_close(code),
        };
        if advice == Advice::StayAway || (advice == Advice::NewToken && !renewable) {
            let reason = ended.reason;
            self.events.push_back(Event::Stopped { code, reason });
            return Next::Stop;
        }
        if advice == Advice::Careful {
            self.outbox.be_careful();
        }
        let told = bye.and_then(|bye| bye.retry_after_ms);
        let told = told.map(|ms| Duration::from_millis(ms.into()));
        let after = told.or(ended.retry_after).unwrap_or_else(|| self.backoff.next());
        self.events.push_back(Event::Disconnected { code, reason: ended.reason, retry_after: after });
        let new_token = advice == Advice::NewToken;
        Next::Connect { after, new_token }
    }

    /// Whether everything pushed so far has been acked or refused.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outbox.held() == 0
    }

    /// Fixes not acked yet, sent or waiting.
    #[must_use]
    pub fn held(&self) -> usize {
        self.outbox.held()
    }

    /// How often the server wants a fix, in ms.
    #[must_use]
    pub fn interval_ms(&self) -> u32 {
        self.interval_ms
    }

    /// Everything that was not acked, oldest first; nothing is held any more.
    pub fn take_back(&mut self) -> Vec<Fix> {
        self.outbox.take_back()
    }

    fn on_error(&mut self, error: ErrorBody, now: Instant) {
        let asked = error.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
        if error.retry && self.link == Link::Up {
            // What is on the way may or may not be kept: only an ack tells, and the server knows resends.
            self.outbox.send_again();
            self.words.send_again();
            self.paused_until = Some(now + asked.unwrap_or(PAUSE));
        } else if self.link == Link::Up && matches!(error.field.as_deref(), Some("trip" | "phase")) {
            self.words.refused();
        } else if self.link == Link::Up && blames_a_message(error.code) {
            match self.outbox.on_the_way() {
                0 => {}
                1 => return self.refuse_first(error),
                _ => {
                    self.outbox.be_careful();
                    self.hang_up = true;
                }
            }
        }
        self.events.push_back(Event::Error(error));
    }

    fn refuse_first(&mut self, error: ErrorBody) {
        if let Some((seq, fixes)) = self.outbox.set_first_aside() {
            self.events.push_back(Event::Refused { seq, fixes, error });
        }
    }
}

/// Errors that answer a `fixes` message which will never be taken. They do not name it: see [`Outbox::be_careful`].
fn blames_a_message(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Malformed | ErrorCode::TooMany | ErrorCode::TooLarge | ErrorCode::Invalid)
}

fn silence_max(heartbeat_ms: u32) -> Duration {
    Duration::from_millis(heartbeat_ms.into()).mul_f64(HEARTBEATS)
}

fn renewal(now: Instant, left_ms: i64) -> Option<Instant> {
    let left = Duration::from_millis(u64::try_from(left_ms).ok()?);
    // A token without end would overflow the clock, and need not be renewed.
    now.checked_add(left.saturating_sub(RENEW_BEFORE).max(left / 2))
}
