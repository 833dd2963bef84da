//! Who is let in: decided on a client's first packet, before a key is made or a certificate signed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use quinn::{Endpoint, Incoming};
use tokio::sync::Semaphore;

use super::{Arrival, Handshake, QuicConfig};
use crate::shard::Command;
use crate::{Ingest, metrics};

/// What to do with a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Begin the handshake.
    Accept,
    /// Ask for a sign that the address is the client's own. Costs nothing to remember.
    Retry,
    /// Say no.
    Refuse,
}

/// Hands clients to the shards in turn until the endpoint is closed.
pub async fn run(ingest: Arc<Ingest>, endpoint: Endpoint, config: QuicConfig) {
    let open = Arc::new(Semaphore::new(config.connections_max));
    let handshakes = Arc::new(AtomicUsize::new(0));
    let mut turn = 0_usize;
    while let Some(incoming) = endpoint.accept().await {
        let validated = incoming.remote_address_validated() || !incoming.may_retry();
        let answer = answer(validated, handshakes.load(Ordering::Relaxed), &config);
        let seat = || {
            let permit = Arc::clone(&open).try_acquire_owned().ok()?;
            let (gate, from) = (&ingest.house.gate, incoming.remote_address().ip());
            let within = gate.ask(from, Instant::now()).is_ok();
            within.then(|| gate.open(from)).flatten().map(|place| (permit, place))
        };
        let (answer, seat) = match answer {
            Answer::Accept => (answer, seat()),
            other => (other, None),
        };
        match (answer, seat) {
            (Answer::Retry, _) => retry(incoming),
            (Answer::Accept, Some(permit)) => {
                let handshake = Handshake::begin(&handshakes);
                let (ingest, timeout) = (Arc::clone(&ingest), config.handshake_timeout);
                turn = (turn + 1) % ingest.shards.len();
                let shard = ingest.shards[turn].clone();
                let arrival = Box::new(Arrival { incoming, ingest, handshake, timeout, permit });
                if let Err(full) = shard.try_send(Command::Arrival(arrival))
                    && let Command::Arrival(arrival) = full.into_inner()
                {
                    refuse(arrival.incoming);
                }
            }
            _ => refuse(incoming),
        }
    }
}

fn answer(validated: bool, handshakes: usize, config: &QuicConfig) -> Answer {
    if handshakes >= config.handshakes_max {
        return Answer::Refuse;
    }
    if !validated && handshakes >= config.retry_above {
        return Answer::Retry;
    }
    Answer::Accept
}

fn retry(incoming: Incoming) {
    metrics::arrival("retry");
    // It was asked before whether it may.
    let _ = incoming.retry();
}

fn refuse(incoming: Incoming) {
    metrics::arrival("refused");
    incoming.refuse();
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
            assert_eq!(answer(validated, handshakes, &config), expected, "{validated} {handshakes}");
        };
        check(false, 3, Answer::Accept);
        check(false, 4, Answer::Retry);
        check(true, 4, Answer::Accept);
        check(true, 9, Answer::Accept);
        check(true, 10, Answer::Refuse);
        check(false, 10, Answer::Refuse);
    }
}
