//! Who is let in: decided on a client's first packet, before a key is made or a certificate signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use quinn_proto::Incoming;
use tokio::sync::Semaphore;
use wayfare_net::gate::Gate;
use wayfare_net::serve::Seat;

use super::QuicConfig;

/// What to do with a first packet.
pub enum Answer {
    /// Begin the handshake.
    Accept(Admitted),
    /// Ask for a sign that the address is the client's own. Costs nothing to remember.
    Retry,
    /// Say no.
    Refuse,
}

/// A client that was let in, counted until dropped.
pub struct Admitted {
    /// One of the open connections.
    pub seat: Seat,
    /// One of the unfinished handshakes.
    pub handshake: Handshake,
}

/// Counts as an unfinished handshake until dropped.
pub struct Handshake(Arc<AtomicUsize>);

impl Handshake {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The one who decides.
pub struct Door {
    gate: Arc<Gate>,
    config: QuicConfig,
    open: Arc<Semaphore>,
    handshakes: Arc<AtomicUsize>,
    turn: usize,
}

impl Door {
    pub fn new(gate: Arc<Gate>, config: QuicConfig) -> Self {
        let open = Arc::new(Semaphore::new(config.connections_max));
        Self { gate, config, open, handshakes: Arc::default(), turn: 0 }
    }

    /// What to do with this one.
    pub fn answer(&self, incoming: &Incoming) -> Answer {
        let validated = incoming.remote_address_validated() || !incoming.may_retry();
        match first_answer(validated, self.handshakes.load(Ordering::Relaxed), &self.config) {
            FirstAnswer::Retry => Answer::Retry,
            FirstAnswer::Refuse => Answer::Refuse,
            FirstAnswer::Consider => self.seat(incoming).map_or(Answer::Refuse, |seat| {
                Answer::Accept(Admitted { seat, handshake: Handshake::begin(&self.handshakes) })
            }),
        }
    }

    fn seat(&self, incoming: &Incoming) -> Option<Seat> {
        let permit = Arc::clone(&self.open).try_acquire_owned().ok()?;
        let from = incoming.remote_address().ip();
        let within = self.gate.ask(from, Instant::now()).is_ok();
        within.then(|| self.gate.open(from)).flatten().map(|place| (permit, place))
    }

    /// Which of so many shards the next client is handshaken on: one after the other.
    pub fn turn(&mut self, shards: usize) -> usize {
        self.turn = (self.turn + 1) % shards;
        self.turn
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstAnswer {
    Consider,
    Retry,
    Refuse,
}

fn first_answer(validated: bool, handshakes: usize, config: &QuicConfig) -> FirstAnswer {
    if handshakes >= config.handshakes_max {
        return FirstAnswer::Refuse;
    }
    if !validated && handshakes >= config.retry_above {
        return FirstAnswer::Retry;
    }
    FirstAnswer::Consider
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn under_load_an_address_is_proved_first_and_beyond_it_nobody_comes_in() {
        let config = QuicConfig {
            connections_max: 1,
            handshakes_max: 10,
            retry_above: 4,
            handshake_timeout: Duration::ZERO,
            secret: [0; 32],
        };
        let check = |validated, handshakes, expected| {
            assert_eq!(first_answer(validated, handshakes, &config), expected, "{validated} {handshakes}");
        };
        check(false, 3, FirstAnswer::Consider);
        check(false, 4, FirstAnswer::Retry);
        check(true, 4, FirstAnswer::Consider);
        check(true, 9, FirstAnswer::Consider);
        check(true, 10, FirstAnswer::Refuse);
        check(false, 10, FirstAnswer::Refuse);
    }
}
