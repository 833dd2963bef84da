//! A shard: one thread's drivers, their trackers and their connections, without locks.
//!
//! A connection's small task reads a message and hands it to [`State::take_fixes`], which judges it, tells the bus and gathers it
//! for the flusher, all in one go. The loop of the shard hears plans from the bus, acks from the flusher, posts from HTTP, and
//! looks over everything once a second.

mod acks;
mod apps;
mod chunk_map;
mod conn_task;
mod customer;
mod deliveries;
mod drivers;
mod events;
mod fixes;
mod line;
mod map;
mod phone;
mod pulse;
mod quic_driver;
mod quic_line;
mod quic_task;
mod recall;
mod state;
mod tell;
mod view;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use wayfare_engine::{DriverId, PhoneReport};
use wayfare_net::ws::handshake::Socket;
use wayfare_wire::codec::{Decoded, DriveCodec};
use wayfare_wire::kept::KeptMessage;
use wayfare_wire::{Claims, ErrorBody};

pub use acks::Acks;
pub use apps::{AppItem, AppMessage, AppTaken};
pub use conn_task::parse_session;
pub use line::opcode_of;
use state::State;

use crate::House;
use crate::fences::FenceSet;
use crate::quic::Mail;

/// What other threads ask of a shard.
pub enum Command {
    /// A connection after its handshake whose driver is known and belongs here.
    WebSocket {
        /// The connection.
        socket: Socket,
        /// How its messages are written.
        codec: DriveCodec,
        /// Who it is.
        claims: Claims,
        /// The driver.
        driver: DriverId,
    },
    /// Connections on QUIC come too, from now on.
    Mail(Box<Mail>),
    /// A message over HTTP.
    Post {
        /// The driver.
        driver: DriverId,
        /// The message.
        message: Decoded,
        /// Its session; 0 for none.
        session: u64,
        /// Gets the body of the answer when it is durable.
        reply: oneshot::Sender<Result<Bytes, ErrorBody>>,
    },
    /// What an existing phone app sent.
    App {
        /// The driver.
        driver: DriverId,
        /// What it holds.
        message: AppMessage,
        /// Gets what became of it when it is durable.
        reply: oneshot::Sender<Result<AppTaken, ErrorBody>>,
    },
    /// The fix log knows a newer lease of a driver: another node has it.
    Lost {
        /// The driver.
        driver: u128,
        /// Number of the lease that is over.
        lease: u64,
    },
    /// The bus may have lost what it was told: all of it is told again.
    TellAnew,
    /// What a driver's phone says of itself, over HTTP.
    Phone {
        /// The driver.
        driver: DriverId,
        /// What it says.
        report: PhoneReport,
        /// Told when it is taken.
        reply: oneshot::Sender<Result<(), ErrorBody>>,
    },
    /// A tracker as it was kept, and what came after.
    Restore {
        /// The driver.
        driver: DriverId,
        /// Its newest checkpoint.
        checkpoint: Option<Bytes>,
        /// Its messages after that, oldest first.
        messages: Vec<KeptMessage>,
        /// Told when it is done.
        done: oneshot::Sender<()>,
    },
    /// The operator's fences, from now on.
    Fences(Arc<FenceSet>),
    /// These are on the disk.
    Durable(Acks),
    /// These are not, just now.
    NotDurable(Acks),
    /// Take nothing more and gather all trackers: the last flush comes.
    Settle(oneshot::Sender<()>),
    /// Say goodbye to everyone.
    Drain,
}

/// A shard as its tasks see it.
struct Shard {
    house: Arc<House>,
    state: RefCell<State>,
    /// Plans to subscribe to or to leave.
    wants: Notify,
}

/// How often everything is looked over.
const TICK: Duration = Duration::from_secs(1);

/// A lease is renewed at a third of its life.
const LEASE_MS: i64 = 60_000;

/// Between the first refusal of a driver's fixes and its leaving.
const LOST_PAUSE: Duration = Duration::from_millis(500);

/// Plan changes waiting between the bus and one shard; beyond it they are conflated to the newest.
const PLAN_QUEUE: usize = 16_384;

/// Runs a shard until it was drained and its last connection is gone, or its commands ended.
pub async fn run(house: Arc<House>, index: usize, mut commands: mpsc::Receiver<Command>) {
    let mut plans = house.bus.topics.subscriber(PLAN_QUEUE);
    let shard =
        Rc::new(Shard { state: RefCell::new(State::new(index, Arc::clone(&house))), house, wants: Notify::new() });
    let reported = Rc::clone(&shard.state.borrow().reported);
    let mut events = Vec::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = plans.recv(&mut events) => {
                for event in events.drain(..) {
                    shard.hear_plan(event).await;
                }
            }
            () = shard.wants.notified() => {}
            () = reported.notified() => shard.keep_reports(),
            _ = tick.tick() => shard.look_over().await,
            command = commands.recv() => match command {
                Some(command) => shard.obey(command).await,
                None => break,
            },
        }
        let wants = std::mem::take(&mut shard.state.borrow_mut().wants);
        for want in wants {
            match want {
                state::Want::Hear(topic, tag) => plans.subscribe(&topic, tag).await,
                state::Want::Forget(topic) => plans.unsubscribe(&topic).await,
            }
        }
        let state = shard.state.borrow();
        if state.leaving && state.conns.is_empty() {
            break;
        }
    }
}

impl Shard {
    async fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::WebSocket { socket, codec, claims, driver } => {
                conn_task::open(self, socket, codec, claims, driver);
            }
            Command::Mail(mail) => drop(tokio::task::spawn_local(quic_task::run(Rc::clone(self), *mail))),
            Command::Post { driver, message, session, reply } => {
                let shard = Rc::clone(self);
                tokio::task::spawn_local(async move { shard.post(driver, message, session, reply).await });
            }
            Command::App { driver, message, reply } => {
                let shard = Rc::clone(self);
                tokio::task::spawn_local(async move { shard.take_app(driver, message, reply).await });
            }
            Command::Phone { driver, report, reply } => {
                let shard = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let _ = reply.send(shard.post_phone(driver, &report).await);
                });
            }
            Command::Restore { driver, checkpoint, messages, done } => {
                let shard = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    shard.restore(driver, checkpoint, messages).await;
                    let _ = done.send(());
                });
            }
            Command::Lost { driver, lease } => {
                let shard = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    // Whoever erases a driver takes the lease first: then the word of that comes now, and says more.
                    tokio::time::sleep(LOST_PAUSE).await;
                    shard.state.borrow_mut().lose(DriverId(driver), wayfare_bus::Lease { number: lease });
                });
            }
            Command::TellAnew => self.state.borrow_mut().tell_anew(),
            Command::Fences(fences) => self.state.borrow_mut().fences = fences,
            Command::Durable(acks) => self.state.borrow_mut().send_acks(acks),
            Command::NotDurable(acks) => self.state.borrow_mut().refuse_acks(acks),
            Command::Settle(done) => {
                self.state.borrow_mut().settle();
                let _ = done.send(());
            }
            Command::Drain => self.state.borrow_mut().drain(),
        }
    }
}
