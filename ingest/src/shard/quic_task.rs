//! The shard's task of QUIC: it owns the shard's connections and gives each a turn when packets have come for it, when its clock says so,
//! or when the shard has something to say on it.
//!
//! A turn has two halves. First every connection with a turn is read, and its messages are judged; then each is written, once, with all
//! that this has brought about. So an answer travels in the packet that acknowledges what it answers.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn_proto::{ConnectionHandle, Transmit};
use tokio_util::time::{DelayQueue, delay_queue};
use wayfare_wire::CloseCode;

use super::Shard;
use super::chunk_map::ChunkMap;
use super::drivers::Refused;
use super::line::Line;
use super::quic_driver::Spoken;
use super::quic_line::{Due, QuicLine};
use super::state::ConnId;
use crate::quic::{Arrival, Greeted, Greeting, Hello, Mail, Parcel, Stranger, Switch, Talk};
use crate::{Ingest, metrics};

/// After the goodbye a driver has this long to take it.
const LINGER: Duration = Duration::from_secs(2);

/// Who is put off has this long.
const LINGER_STRANGER: Duration = Duration::from_secs(5);

/// Parcels taken before what they bring about is written.
const PARCELS_PER_TURN: usize = 64;

/// Most packets of one connection handed to the system at once. The room they are written to grows with it.
const SEGMENTS_MAX: usize = 10;

/// One connection of the shard.
struct Held {
    talk: Talk,
    stage: Stage,
    /// Stands among those with a turn.
    touched: bool,
    /// Stands among those that wait for room in the socket.
    waits: bool,
    /// When it is given a turn by the clock, which may be sooner than it wants.
    alarm: Option<(Instant, delay_queue::Key)>,
}

enum Stage {
    /// It has not said who it is.
    Stranger(Box<Stranger>),
    /// A driver's.
    Driver(ConnId),
    /// The last words are on their way.
    Leaving { driver: Option<ConnId>, code: CloseCode, until: Instant },
    /// Kept until the other side knows that it is closed.
    Closed,
}

/// See the module.
struct Talks {
    shard: Rc<Shard>,
    ingest: Arc<Ingest>,
    switch: Arc<Switch>,
    index: usize,
    handshake_timeout: Duration,
    held: ChunkMap<ConnectionHandle, Held>,
    alarms: DelayQueue<ConnectionHandle>,
    /// Those with a turn, each once.
    touched: Vec<ConnectionHandle>,
    /// Those that the shard has something for.
    due: Rc<Due>,
    /// Room for moving those from there: a turn allocates nothing of its own.
    moved: Vec<ConnectionHandle>,
    /// Room for packets about to be sent.
    packets: Vec<u8>,
    /// Packets that the socket had no room for. Until it has, nothing else is sent.
    stuck: Option<(Transmit, Vec<u8>)>,
    /// Those who had something to send meanwhile, and keep it.
    waiting: Vec<ConnectionHandle>,
    /// Every connection was told to end.
    closing: bool,
}

/// Runs until every connection was told to end and has.
pub async fn run(shard: Rc<Shard>, mail: Mail) {
    let Mail { ingest, switch, mut parcels, handshake_timeout } = mail;
    let index = shard.state.borrow().index;
    let mut talks = Talks {
        shard,
        ingest,
        switch: Arc::clone(&switch),
        index,
        handshake_timeout,
        held: ChunkMap::default(),
        alarms: DelayQueue::new(),
        touched: Vec::new(),
        due: Rc::default(),
        moved: Vec::new(),
        packets: Vec::new(),
        stuck: None,
        waiting: Vec::new(),
        closing: false,
    };
    let due = Rc::clone(&talks.due);
    let (mut inbox, mut rung) = (Vec::with_capacity(PARCELS_PER_TURN), Vec::new());
    loop {
        let Talks { alarms, stuck, .. } = &mut talks;
        let mut sent = false;
        tokio::select! {
            count = parcels.recv_many(&mut inbox, PARCELS_PER_TURN) => if count == 0 { return },
            () = poll_fn(|cx| poll_alarms(alarms, &mut rung, cx)) => {}
            () = due.some.notified() => {}
            () = send_stuck(&switch, stuck.as_ref()), if stuck.is_some() => sent = true,
        }
        if sent {
            talks.unstick();
        }
        rung.drain(..).for_each(|handle| talks.ring(handle));
        inbox.drain(..).for_each(|parcel| talks.take(parcel));
        talks.turn();
        if talks.closing && talks.held.is_empty() {
            return;
        }
    }
}

async fn send_stuck(switch: &Switch, stuck: Option<&(Transmit, Vec<u8>)>) {
    if let Some((transmit, packets)) = stuck {
        switch.send_later(transmit, packets).await;
    }
}

/// Ready once somebody's time has come; all of those are in `rung` then.
fn poll_alarms(
    alarms: &mut DelayQueue<ConnectionHandle>,
    rung: &mut Vec<ConnectionHandle>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    while let Poll::Ready(Some(alarm)) = alarms.poll_expired(cx) {
        rung.push(alarm.into_inner());
    }
    if rung.is_empty() { Poll::Pending } else { Poll::Ready(()) }
}

impl Talks {
    fn ring(&mut self, handle: ConnectionHandle) {
        if let Some(held) = self.held.get_mut(&handle) {
            held.alarm = None;
        }
        self.touch(handle);
    }

    /// The socket has room again.
    fn unstick(&mut self) {
        self.stuck = None;
        for handle in std::mem::take(&mut self.waiting) {
            if let Some(held) = self.held.get_mut(&handle) {
                held.waits = false;
            }
            self.touch(handle);
        }
    }

    fn touch(&mut self, handle: ConnectionHandle) {
        if let Some(held) = self.held.get_mut(&handle).filter(|held| !held.touched) {
            held.touched = true;
            self.touched.push(handle);
        }
    }

    fn put(&mut self, talk: Talk, stage: Stage) {
        let handle = talk.name.handle;
        self.held.insert(handle, Held { talk, stage, touched: true, waits: false, alarm: None });
        self.touched.push(handle);
    }

    fn take(&mut self, parcel: Parcel) {
        match parcel {
            Parcel::Event(name, event) => match self.held.get_mut(&name.handle) {
                Some(held) if held.talk.name == name => {
                    held.talk.handle(event);
                    self.touch(name.handle);
                }
                _ => self.switch.forward(name, event, self.index),
            },
            Parcel::Arrival(arrival) => {
                let Arrival { incoming, admitted } = *arrival;
                if self.shard.state.borrow().draining {
                    return self.switch.refuse(incoming);
                }
                match self.switch.accept(incoming, self.index) {
                    Some((name, quic)) => {
                        let now = Instant::now();
                        let stranger = Stranger::new(admitted, self.handshake_timeout, now);
                        self.put(Talk::new(name, quic, now), Stage::Stranger(Box::new(stranger)));
                    }
                    None => metrics::arrival("unfinished"),
                }
            }
            Parcel::Greeted(greeted) => {
                let Greeted { talk, hello } = *greeted;
                self.settle(talk, hello);
            }
            Parcel::Close => self.close_all(),
        }
    }

    fn close_all(&mut self) {
        self.closing = true;
        let now = Instant::now();
        for held in self.held.values_mut().filter(|held| !matches!(held.stage, Stage::Closed)) {
            let driver = match held.stage {
                Stage::Driver(id) => Some(id),
                Stage::Leaving { driver, .. } => driver,
                Stage::Stranger(_) | Stage::Closed => None,
            };
            held.stage = part(&self.shard, &mut held.talk, driver, CloseCode::Draining, now);
        }
        let handles: Vec<_> = self.held.keys().collect();
        handles.into_iter().for_each(|handle| self.touch(handle));
    }

    /// A driver of this shard.
    fn settle(&mut self, talk: Talk, hello: Hello) {
        let Hello { claims, driver, codec, session, behind, seat } = hello;
        let mut state = self.shard.state.borrow_mut();
        let handle = talk.name.handle;
        let line = QuicLine::new(handle, Rc::clone(&self.due), seat, &state.link_limits, state.now_s());
        let id = state.add(Line::Quic(line), codec, claims, driver);
        if state.draining {
            state.close(id, CloseCode::Draining, Some(1000));
        }
        drop(state);
        self.put(talk, Stage::Driver(id));
        let shard = Rc::clone(&self.shard);
        tokio::task::spawn_local(async move {
            let ensured = shard.ensure(driver).await;
            let mut state = shard.state.borrow_mut();
            match ensured {
                Ok(()) => state.hello(id, &session, None),
                Err(Refused::Unknown) => state.close(id, CloseCode::Unauthorized, None),
                Err(Refused::NotReady) => state.close(id, CloseCode::Overloaded, Some(1000)),
            }
            for message in &behind {
                state.heard_on_quic(id, message);
            }
            if let Some(line) = state.quic_line(id) {
                line.open();
            }
        });
    }

    /// Reads whoever has a turn, then writes them.
    fn turn(&mut self) {
        let now = Instant::now();
        let (mut heard, mut due) = (0, std::mem::take(&mut self.moved));
        loop {
            // What one says may give another something to be told.
            self.due.take(&mut due);
            due.drain(..).for_each(|handle| self.touch(handle));
            let Some(handle) = self.touched.get(heard).copied() else { break };
            heard += 1;
            self.hear(handle, now);
        }
        self.moved = due;
        let mut touched = std::mem::take(&mut self.touched);
        touched.drain(..).for_each(|handle| self.speak(handle, now));
        self.touched = touched;
    }

    /// The first half of a turn.
    fn hear(&mut self, handle: ConnectionHandle, now: Instant) {
        let Some(held) = self.held.get_mut(&handle) else { return };
        let talk = &mut held.talk;
        talk.step(now);
        let mut known = None;
        held.stage = match std::mem::replace(&mut held.stage, Stage::Closed) {
            Stage::Stranger(stranger) => match stranger.turn(talk, &self.ingest, now) {
                Greeting::Waits(stranger) => Stage::Stranger(stranger),
                Greeting::Known(hello) => {
                    known = Some(hello);
                    Stage::Closed
                }
                Greeting::PutOff => {
                    Stage::Leaving { driver: None, code: CloseCode::Overloaded, until: now + LINGER_STRANGER }
                }
                Greeting::Turned(code) => {
                    metrics::closed(code);
                    talk.close(now, code);
                    Stage::Closed
                }
                Greeting::Gone => Stage::Closed,
            },
            Stage::Driver(id) => match self.shard.hear_driver(talk, id, now) {
                Some(code) => part(&self.shard, talk, Some(id), code, now),
                None => Stage::Driver(id),
            },
            Stage::Leaving { driver, code, until } => {
                if talk.take_lost().is_some() || talk.is_taken() || now >= until {
                    part(&self.shard, talk, driver, code, now)
                } else {
                    Stage::Leaving { driver, code, until }
                }
            }
            Stage::Closed => Stage::Closed,
        };
        if let Some(hello) = known {
            self.place(handle, *hello, now);
        }
    }

    /// Settles a connection whose driver has become known, here or in the driver's shard.
    fn place(&mut self, handle: ConnectionHandle, hello: Hello, now: Instant) {
        let Some(mut held) = self.remove(handle) else { return };
        let home = self.ingest.place(hello.driver);
        if home == self.index {
            return self.settle(held.talk, hello);
        }
        tell_endpoint(&self.switch, &mut held.talk);
        let greeted = Box::new(Greeted { talk: held.talk, hello });
        if let Err(greeted) = self.switch.hand_over(greeted, self.index, home) {
            let mut talk = greeted.talk;
            metrics::closed(CloseCode::Overloaded);
            talk.close(now, CloseCode::Overloaded);
            self.put(talk, Stage::Closed);
        }
    }

    /// The second half of a turn.
    fn speak(&mut self, handle: ConnectionHandle, now: Instant) {
        let Some(held) = self.held.get_mut(&handle) else { return };
        held.touched = false;
        let talk = &mut held.talk;
        if let Stage::Driver(id) = held.stage {
            held.stage = match self.shard.speak_to_driver(talk, id) {
                Spoken::On => Stage::Driver(id),
                Spoken::Last(code) => Stage::Leaving { driver: Some(id), code, until: now + LINGER },
                Spoken::Over(code) => part(&self.shard, talk, Some(id), code, now),
            };
        }
        if let Stage::Leaving { .. } = held.stage {
            talk.write_last();
        }
        if tell_endpoint(&self.switch, talk) {
            self.remove(handle);
            return;
        }
        let segments = self.switch.segments_max().min(SEGMENTS_MAX);
        while self.stuck.is_none()
            && let Some(transmit) = talk.transmit(now, segments, &mut self.packets)
        {
            if self.switch.send(&transmit, &self.packets).is_err() {
                self.stuck = Some((transmit, self.packets.clone()));
            }
        }
        if self.stuck.is_some() && !std::mem::replace(&mut held.waits, true) {
            self.waiting.push(handle);
        }
        self.set_alarm(handle);
    }

    fn set_alarm(&mut self, handle: ConnectionHandle) {
        let Some(held) = self.held.get_mut(&handle) else { return };
        let until = match &held.stage {
            Stage::Stranger(stranger) => Some(stranger.until()),
            Stage::Leaving { until, .. } => Some(*until),
            Stage::Driver(_) | Stage::Closed => None,
        };
        let Some(at) = held.talk.wants_turn_at().into_iter().chain(until).min() else { return };
        // An alarm that rings too soon costs a turn in which nothing happens; most times of a connection move on before they come.
        match &mut held.alarm {
            None => held.alarm = Some((at, self.alarms.insert_at(handle, at.into()))),
            Some((set, key)) if at < *set => {
                self.alarms.reset_at(key, at.into());
                *set = at;
            }
            Some(_) => {}
        }
    }

    fn remove(&mut self, handle: ConnectionHandle) -> Option<Held> {
        let held = self.held.remove(&handle)?;
        if let Some((_, key)) = &held.alarm {
            self.alarms.remove(key);
        }
        Some(held)
    }
}

/// Tells the endpoint what it must hear of a connection. True if that was the last of it.
fn tell_endpoint(switch: &Switch, talk: &mut Talk) -> bool {
    let mut drained = false;
    while let Some(event) = talk.poll_endpoint() {
        drained |= event.is_drained();
        if let Some(answer) = switch.tell(talk.name, event) {
            talk.handle(answer);
        }
    }
    drained
}

/// Closes a connection and forgets it.
fn part(shard: &Shard, talk: &mut Talk, driver: Option<ConnId>, code: CloseCode, now: Instant) -> Stage {
    talk.close(now, code);
    if let Some(id) = driver {
        shard.state.borrow_mut().remove(id);
        shard.wants.notify_one();
    }
    Stage::Closed
}
