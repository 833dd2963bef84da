//! Long polls: an answer that waits until there is something to say.

use std::time::Duration;

use futures_util::future::{pending, select_all};
use tokio::sync::watch;
use wayfare_bus::{Event, Subscriber};
use wayfare_net::reply::Refusal;
use wayfare_wire::topic::Kind;
use wayfare_wire::{Claims, ErrorBody, ErrorCode, Topic};

use crate::House;

/// Longest wait that may be asked for, seconds: below what proxies bear.
pub const WAIT_S_MAX: u32 = 25;

/// How often a wait is looked over: revocations, expiries, a node that drains.
pub const LOOK_OVER: Duration = Duration::from_secs(1);

/// Hears that something may have changed; what has, reading again says.
pub struct Waiter {
    states: Subscriber,
    heard: Vec<Event>,
    logs: Vec<watch::Receiver<u64>>,
}

impl Waiter {
    /// Listens to the topics, and to who may watch them, from now on: what changed before is found by reading after this.
    pub async fn new(house: &House, topics: &[Topic]) -> Self {
        let mut waiter = Self { states: house.bus.topics.subscriber(64), heard: Vec::new(), logs: Vec::new() };
        for topic in topics {
            let name = topic.to_string();
            match topic.kind() {
                Kind::State => waiter.states.subscribe(&name, 0).await,
                Kind::Log => {
                    let mut tail = house.bus.logs.tail(&name).await;
                    tail.mark_unchanged();
                    waiter.logs.push(tail);
                }
            }
            if let Some(trip) = topic.trip() {
                waiter.states.subscribe(&Topic::Access(trip).to_string(), 0).await;
            }
        }
        waiter
    }

    /// Returns when something was told, or it is time to look over.
    pub async fn changed(&mut self) {
        let Self { states, heard, logs } = self;
        let logs_moved = async {
            if logs.is_empty() {
                pending::<()>().await;
            }
            let (moved, place, _) = select_all(logs.iter_mut().map(|tail| Box::pin(tail.changed()))).await;
            moved.is_err().then_some(place)
        };
        let gone = tokio::select! {
            () = states.recv(heard) => None,
            gone = logs_moved => gone,
            () = tokio::time::sleep(LOOK_OVER) => None,
        };
        heard.clear();
        // A log whose tail is gone is read at every look over.
        if let Some(gone) = gone {
            logs.swap_remove(gone);
        }
    }
}

/// Whether the bearer may go on waiting.
pub fn check_bearer(house: &House, claims: &Claims) -> Result<(), Refusal> {
    if house.verifier.is_revoked(claims) {
        return Err(ErrorBody::new(ErrorCode::Forbidden, "the token was revoked").into());
    }
    if claims.connection_ends_ms() <= wayfare_bus::now_ms() {
        return Err(ErrorBody::new(ErrorCode::Unauthorized, "the token has expired").into());
    }
    Ok(())
}

/// Whether somebody may wait that long.
pub fn check_wait(wait_s: u32) -> Result<(), ErrorBody> {
    if wait_s <= WAIT_S_MAX {
        return Ok(());
    }
    let message = format!("a wait of {wait_s} s, the longest is {WAIT_S_MAX}");
    Err(ErrorBody::new(ErrorCode::Invalid, message).field("wait"))
}
