//! A shard: one thread's connections and its part of the topic table, without locks.
//!
//! The loop of a shard is one turn after another: take everything the bus has queued, apply it to the topics, then send each
//! subscriber of a touched topic that topic's bytes of this turn in one write. Connections have a small task each that reads; they
//! and the loop share [`State`] through a `RefCell` that is never borrowed across an await.

mod conn;
mod conn_task;
mod flush;
mod joined;
mod log;
mod paced;
mod state;
mod subscribe;
mod topic;

pub use paced::INTERVAL_MS_MAX;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use wayfare_net::ws::handshake::Socket;
use wayfare_wire::codec::Codec;
use wayfare_wire::{Claims, Cursor, Topic};

use crate::House;
use crate::subjects::Open;
use state::{State, Want};

/// What other threads ask of a shard.
pub enum Command {
    /// A WebSocket after its handshake; the claims where header or ticket gave them.
    WebSocket {
        /// The connection.
        socket: Socket,
        /// What was agreed on.
        codec: Codec,
        /// Who it is, if known already.
        bearer: Option<(Claims, Open)>,
    },
    /// An SSE stream whose topics were checked once.
    Stream {
        /// Where to put the bytes.
        sink: mpsc::Sender<Bytes>,
        /// Who it is.
        bearer: (Claims, Open),
        /// In the URL's order.
        topics: Vec<(Topic, Option<Start>)>,
        /// News of each state at most this often, milliseconds; 0: as they happen.
        interval_ms: u32,
    },
    /// Say goodbye to everyone.
    Drain,
}

/// Where a watcher wants to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After this.
    After(Cursor),
    /// A log from its oldest kept event; a state topic has only the newest.
    Oldest,
}

/// A shard as its tasks see it.
struct Shard {
    house: Arc<House>,
    state: RefCell<State>,
    /// There are wants for the bus.
    wants: Notify,
}

/// How often connections are looked over: heartbeats, expiries, revocations, stalls.
const TICK: Duration = Duration::from_secs(1);

/// Runs a shard until it was drained and its last connection is gone, or its commands ended.
pub async fn run(house: Arc<House>, index: usize, mut commands: mpsc::Receiver<Command>) {
    let mut subscriber = house.bus.topics.subscriber(house.config.shard_queue);
    let shard =
        Rc::new(Shard { state: RefCell::new(State::new(index, Arc::clone(&house))), house, wants: Notify::new() });
    let mut events = Vec::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let next_paced = shard.state.borrow().paced_at();
        tokio::select! {
            () = subscriber.recv(&mut events) => {
                // What is at the door just now goes out in the same write: a look at the sockets costs a fraction of one.
                tokio::task::yield_now().await;
                subscriber.try_recv(&mut events);
                let mut state = shard.state.borrow_mut();
                for event in events.drain(..) {
                    state.hear(event);
                }
                state.flush();
            }
            () = shard.wants.notified() => {}
            () = at(next_paced), if next_paced.is_some() => shard.state.borrow_mut().tell_paced(),
            _ = tick.tick() => shard.state.borrow_mut().look_over(),
            command = commands.recv() => match command {
                Some(command) => shard.obey(command),
                None => break,
            },
        }
        for (id, pieces) in std::mem::take(&mut shard.state.borrow_mut().minders) {
            tokio::task::spawn_local(conn_task::mind(Rc::clone(&shard), id, pieces));
        }
        let wants = std::mem::take(&mut shard.state.borrow_mut().wants);
        for want in wants {
            match want {
                Want::Hear(topic, tag) => subscriber.subscribe(&topic, tag).await,
                Want::Forget(topic) => subscriber.unsubscribe(&topic).await,
                Want::Follow(topic, tag) => {
                    tokio::task::spawn_local(log::follow(Rc::clone(&shard), topic, tag));
                }
                Want::CatchUp(reader) => {
                    tokio::task::spawn_local(log::catch_up(Rc::clone(&shard), reader));
                }
            }
        }
        let state = shard.state.borrow();
        if state.draining && state.conns.is_empty() {
            break;
        }
    }
}

/// Waits for a time; for ever if there is none.
async fn at(time: Option<std::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

impl Shard {
    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::WebSocket { socket, codec, bearer } => conn_task::open(self, socket, codec, bearer),
            Command::Stream { sink, bearer, topics, interval_ms } => {
                self.state.borrow_mut().open_stream(sink, bearer, topics, interval_ms);
            }
            Command::Drain => self.state.borrow_mut().drain(),
        }
    }

    /// Wakes the loop if the state wants something of the bus.
    fn wake_if_wanted(&self, state: &State) {
        if !state.wants.is_empty() {
            self.wants.notify_one();
        }
    }
}
