//! The tables of a shard, and the rules by which they change.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ahash::AHashMap;
use bytes::Bytes;
use slab::Slab;
use tokio::sync::mpsc;
use wayfare_bus::{Event, EventKind, Snapshot};
use wayfare_net::bucket::Rate;
use wayfare_net::ws::link::{Health, LinkLimits};
use wayfare_net::ws::{Opcode, write};
use wayfare_wire::codec::Codec;
use wayfare_wire::messages::Bye;
use wayfare_wire::messages::watch::ToWatcher;
use wayfare_wire::{Claims, CloseCode, ErrorBody, Topic};

use super::conn::{Conn, ConnId, Mode, Sink, SubRef};
use super::log::LogReader;
use super::paced::Due;
use super::topic::{Known, TURN_DELTAS_MAX, WatchedTopic};
use crate::metrics::{self, Counters};
use crate::subjects::Open;
use crate::{House, access};

/// What a client may send: far above what a page does, far below what hurts.
const MESSAGES: Rate = Rate { per_second: 50.0, burst: 200.0 };

/// Something to be asked of the bus by the shard's loop.
pub enum Want {
    /// Subscribe to a state topic under this tag.
    Hear(Arc<str>, u64),
    /// Unsubscribe.
    Forget(Arc<str>),
    /// Follow a log topic.
    Follow(usize, u64),
    /// Read a log for a subscription that is behind.
    CatchUp(LogReader),
}

/// See the module.
pub struct State {
    pub index: usize,
    pub house: Arc<House>,
    pub conns: Slab<Conn>,
    pub topics: Slab<WatchedTopic>,
    pub by_topic: AHashMap<Topic, usize>,
    pub wants: Vec<Want>,
    /// Topics touched in this turn.
    pub touched: Vec<usize>,
    /// Subscriptions told the whole state in the middle of a turn whose deltas it partly holds.
    pub overlapping: Vec<SubRef>,
    /// Subscriptions with a least interval that are told the whole state at the end of this turn.
    pub whole_due: Vec<SubRef>,
    /// Subscriptions with a least interval that wait for their time, the next first.
    pub paced: BinaryHeap<Reverse<Due>>,
    pub paced_sweep: usize,
    pub counters: Counters,
    /// One buffer for all reading of this shard.
    pub read_buffer: Vec<u8>,
    /// One buffer for encoding.
    pub scratch: Vec<u8>,
    /// Connections that a turn writes to.
    pub turn_conns: Vec<u32>,
    /// SSE streams opened in this step of the loop, to be given their tasks.
    pub minders: Vec<(ConnId, mpsc::Sender<Bytes>)>,
    /// Topics of which some who wait have seen more than this shard.
    pub ahead: Vec<usize>,
    pub draining: bool,
    pub link_limits: LinkLimits,
    pub started: Instant,
    now_s: u32,
    generations: u32,
    tags: u64,
}

impl State {
    pub fn new(index: usize, house: Arc<House>) -> Self {
        let link_limits = LinkLimits {
            heartbeat_s: house.config.heartbeat.as_secs().max(1) as u32,
            slow_s: house.config.slow_timeout.as_secs().max(1) as u32,
            messages: MESSAGES,
        };
        Self {
            index,
            house,
            link_limits,
            conns: Slab::new(),
            topics: Slab::new(),
            by_topic: AHashMap::new(),
            wants: Vec::new(),
            touched: Vec::new(),
            overlapping: Vec::new(),
            whole_due: Vec::new(),
            paced: BinaryHeap::new(),
            paced_sweep: Self::first_sweep(),
            counters: Counters::default(),
            read_buffer: vec![0; 32 * 1024],
            scratch: Vec::new(),
            turn_conns: Vec::new(),
            minders: Vec::new(),
            ahead: Vec::new(),
            draining: false,
            started: Instant::now(),
            now_s: 0,
            generations: 0,
            tags: 0,
        }
    }

    /// Seconds since the shard started, as of its last tick: precise enough for heartbeats, and no clock is read per frame.
    pub fn now_s(&self) -> u32 {
        self.now_s
    }

    /// Adds a connection.
    pub fn add(&mut self, sink: Sink, codec: Codec, bearer: Option<(Claims, Open)>) -> ConnId {
        let opened_s = self.now_s();
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations;
        let place = self.conns.insert(Conn {
            generation,
            sink,
            codec,
            bearer: bearer.map(|(claims, open)| (Rc::new(claims), open)),
            subs: Vec::new(),
            touched: Default::default(),
            behind: Vec::new(),
            opened_s,
            malformed_in_row: 0,
            drained: None,
        });
        ConnId { place: place as u32, generation }
    }

    /// The connection, if it is still the same.
    pub fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.place as usize).filter(|conn| conn.generation == id.generation)
    }

    /// Removes a connection and its subscriptions.
    pub fn remove(&mut self, id: ConnId) {
        if self.conn(id).is_none() {
            return;
        }
        for slot in 0..self.conns[id.place as usize].subs.len() as u32 {
            self.detach(SubRef { conn: id.place, slot });
        }
        let conn = self.conns.remove(id.place as usize);
        if let Some(drained) = conn.drained {
            drained.notify_waiters();
        }
    }

    /// The entry of a topic, made and asked of the bus if it is new.
    pub fn watch(&mut self, topic: Topic) -> usize {
        if let Some(place) = self.by_topic.get(&topic) {
            return *place;
        }
        self.tags += 1;
        let tag = (self.tags << 32) | self.topics.vacant_key() as u64;
        let place = self.topics.insert(WatchedTopic::new(topic, tag));
        self.by_topic.insert(topic, place);
        self.wants.push(match topic.kind() {
            wayfare_wire::topic::Kind::State => Want::Hear(Arc::clone(&self.topics[place].name), tag),
            wayfare_wire::topic::Kind::Log => Want::Follow(place, tag),
        });
        if let (Some(trip), false) = (topic.trip(), topic.is_internal()) {
            let access = self.watch(Topic::Access(trip));
            self.topics[place].access = Some(access);
            self.topics[access].views.push(place);
        }
        place
    }

    /// Drops a topic that nobody watches any more.
    fn unwatch_if_unused(&mut self, place: usize) {
        let topic = &self.topics[place];
        if !topic.subs.is_empty() || !topic.views.is_empty() || topic.touched {
            return;
        }
        let topic = self.topics.remove(place);
        self.by_topic.remove(&topic.topic);
        if topic.topic.kind() == wayfare_wire::topic::Kind::State {
            self.wants.push(Want::Forget(topic.name));
        }
        if let Some(access) = topic.access {
            self.topics[access].views.retain(|view| *view != place);
            self.unwatch_if_unused(access);
        }
    }

    /// Drops those touched topics that were left only because a turn was under way.
    pub fn sweep_topic(&mut self, place: usize) {
        if self.topics.contains(place) {
            self.unwatch_if_unused(place);
        }
    }

    /// Takes a subscription out of both tables. O(1).
    pub fn detach(&mut self, at: SubRef) {
        let conn = &mut self.conns[at.conn as usize];
        let Some(sub) = conn.subs[at.slot as usize].take() else { return };
        if conn.codec == Codec::Proto {
            self.topics[sub.topic].proto_left();
        }
        let subs = &mut self.topics[sub.topic].subs;
        subs.swap_remove(sub.place as usize);
        if let Some(moved) = subs.get(sub.place as usize).copied()
            && let Some(moved) = self.conns[moved.conn as usize].sub(moved.slot)
        {
            moved.place = sub.place;
        }
        self.unwatch_if_unused(sub.topic);
    }

    /// Applies what the bus says.
    pub fn hear(&mut self, event: Event) {
        // Tags are never used again: an event of a topic that was dropped finds nobody.
        let Some(place) = self.place_of(event.tag) else { return };
        let topic = &mut self.topics[place];
        let first = topic.known == Known::Nothing;
        topic.is_stale = matches!(event.kind, EventKind::Stale);
        match event.kind {
            EventKind::Stale => return self.tell_stale(place),
            // The first publish counts from 1: an empty state is number 0.
            EventKind::Absent if topic.topic.always_exists() => {
                (topic.known, topic.epoch) = (Known::Live, self.house.bus.topics.epoch());
            }
            EventKind::Absent => topic.known = Known::Absent,
            EventKind::Snapshot(snapshot) => {
                topic.known = Known::Live;
                Self::take_whole(topic, snapshot);
            }
            EventKind::End(snapshot) => {
                topic.known = Known::Ended;
                Self::take_whole(topic, snapshot);
            }
            EventKind::Delta { seq, patch } => {
                topic.note_before();
                topic.seq = seq;
                topic.members.apply(&patch);
                if topic.turn_deltas.len() == TURN_DELTAS_MAX {
                    topic.turn_whole = true;
                }
                if !topic.turn_whole {
                    topic.turn_deltas.push((seq, patch));
                }
            }
        }
        if topic.topic.is_internal() {
            for view in topic.views.clone() {
                self.recheck(view);
                // The recheck may have sent the last watcher away, and the view with it.
                if self.topics.contains(view) {
                    self.settle(view);
                }
            }
            return;
        }
        if first {
            topic.end_turn(); // nobody was in step yet: those who wait are told the whole state below
        } else if topic.known != Known::Absent && !topic.touched {
            topic.touched = true;
            self.touched.push(place);
        }
        self.settle(place);
    }

    fn take_whole(topic: &mut WatchedTopic, snapshot: Snapshot) {
        (topic.epoch, topic.seq, topic.members) = (snapshot.epoch, snapshot.seq, snapshot.members);
        topic.turn_whole = true;
        topic.turn_deltas.clear();
    }

    /// A tag holds the place in its low half; the high half counts, so that a place used again has another tag.
    fn place_of(&self, tag: u64) -> Option<usize> {
        let place = (tag & u64::from(u32::MAX)) as usize;
        self.topics.get(place).is_some_and(|topic| topic.tag == tag).then_some(place)
    }

    /// Ends subscriptions whose bearer may no longer watch.
    fn recheck(&mut self, view: usize) {
        if self.topics[view].known == Known::Ended {
            return; // everyone gets the end, which holds no position
        }
        for at in self.topics[view].subs.clone() {
            let Some(claims) = self.claims(at.conn) else { continue };
            let waiting = self.conns[at.conn as usize].sub(at.slot).is_none_or(|sub| sub.mode == Mode::Waiting);
            if waiting || self.allowed(&claims, view) {
                continue;
            }
            self.refuse(at, crate::routes::not_found(&self.topics[view].name));
        }
    }

    /// Whether the bearer may watch, by what is known now.
    pub fn allowed(&self, claims: &Claims, place: usize) -> bool {
        let topic = &self.topics[place];
        let access = topic.access.map(|access| &self.topics[access].members);
        access::may_watch(claims, &topic.topic, access)
    }

    /// Ends one subscription with an error about its topic.
    pub fn refuse(&mut self, at: SubRef, error: ErrorBody) {
        let attached = self.conns[at.conn as usize].sub(at.slot).is_some_and(|sub| sub.mode != Mode::Waiting);
        let topic = error.topic.clone().unwrap_or_default();
        self.detach(at);
        self.say(at.conn, &ToWatcher::Error(error));
        if self.conns[at.conn as usize].is_stream() {
            self.end_stream_if_done(at.conn);
        } else if attached {
            self.say(at.conn, &ToWatcher::Unsubscribed { topic });
        }
    }

    pub fn claims(&self, conn: u32) -> Option<Rc<Claims>> {
        self.conns.get(conn as usize)?.bearer.as_ref().map(|(claims, _)| Rc::clone(claims))
    }

    /// Sends a message that is not on the hot path.
    pub fn say(&mut self, conn: u32, message: &ToWatcher) {
        let mut bytes = Vec::new();
        if self.conns[conn as usize].is_stream() {
            let name = match message {
                ToWatcher::Error(_) => "error",
                ToWatcher::Stale { .. } => "stale",
                ToWatcher::Bye(_) => "bye",
                _ => return,
            };
            bytes.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
            Codec::Json.message(&mut bytes, message);
            bytes.extend_from_slice(b"\n\n");
        } else {
            let codec = self.conns[conn as usize].codec;
            self.scratch.clear();
            codec.message(&mut self.scratch, message);
            write::frame(&mut bytes, opcode_of(codec), &self.scratch);
        }
        self.answer(conn, &bytes);
    }

    /// Sends bytes that are not on the hot path.
    pub fn answer(&mut self, conn: u32, bytes: &[u8]) {
        let now_s = self.now_s();
        self.counters.bytes += bytes.len() as u64;
        self.counters.writes += 1;
        self.conns[conn as usize].answer(bytes, now_s);
    }

    /// Says goodbye and lets the client leave. The second goodbye of a connection is silent.
    pub fn close(&mut self, conn: u32, code: CloseCode, retry_after_ms: Option<u32>) {
        if self.conns[conn as usize].is_closing() {
            return;
        }
        metrics::closed(code);
        let bye = ToWatcher::Bye(Bye { code: code.number(), reason: code.word().into(), retry_after_ms });
        if self.conns[conn as usize].is_stream() {
            self.say(conn, &bye);
        }
        // Nothing but the goodbye goes out from here on.
        for slot in 0..self.conns[conn as usize].subs.len() as u32 {
            self.detach(SubRef { conn, slot });
        }
        let now_s = self.now_s();
        let Conn { sink, codec, .. } = &mut self.conns[conn as usize];
        match sink {
            Sink::Stream(stream) => stream.finish(now_s),
            Sink::WebSocket(link) => {
                self.scratch.clear();
                codec.message(&mut self.scratch, &bye);
                link.close(code, opcode_of(*codec), &self.scratch, now_s);
            }
        }
    }

    /// Ends an SSE stream that has nothing left to tell.
    pub fn end_stream_if_done(&mut self, place: u32) {
        let now_s = self.now_s();
        let conn = &mut self.conns[place as usize];
        let done = conn.sub_count() == 0;
        if let (Sink::Stream(stream), true) = (&mut conn.sink, done) {
            stream.finish(now_s);
        }
    }

    /// Once a second: whoever is silent, stalled, expired, revoked or stuck hears of it; heartbeats go out.
    pub fn look_over(&mut self) {
        self.now_s = self.started.elapsed().as_secs() as u32;
        self.settle_ahead();
        let (now_s, now_ms) = (self.now_s, wayfare_bus::now_ms());
        let limits = self.link_limits;
        let auth_s = self.house.config.auth_timeout.as_secs() as u32;
        let (mut beats, mut ends) = (Vec::new(), Vec::new());
        for (place, conn) in &mut self.conns {
            let by_bearer = match &conn.bearer {
                None if now_s >= conn.opened_s + auth_s => Some(CloseCode::Silent),
                Some((claims, _)) if claims.connection_ends_ms() <= now_ms => Some(CloseCode::TokenExpired),
                Some((claims, _)) if self.house.verifier.is_revoked(claims) => Some(CloseCode::Revoked),
                _ => None,
            };
            let health = match (&mut conn.sink, by_bearer) {
                (Sink::WebSocket(link), _) if link.is_closing() => {
                    link.wake.notify_one();
                    continue;
                }
                (Sink::Stream(stream), _) if stream.is_over(now_s) => {
                    stream.wake.notify_one();
                    continue;
                }
                (_, Some(code)) => Health::End(code),
                (Sink::WebSocket(link), None) => link.health(&limits, now_s),
                (Sink::Stream(stream), None) if stream.is_stuck(limits.slow_s, now_s) => Health::Cut(CloseCode::Slow),
                (Sink::Stream(stream), None) if !stream.is_blocked() && now_s >= stream.sent_s + limits.heartbeat_s => {
                    Health::Quiet
                }
                (Sink::Stream(_), None) => Health::Well,
            };
            match health {
                Health::Well => {}
                Health::Quiet => beats.push(place as u32),
                Health::End(code) => ends.push((place as u32, code)),
                Health::Cut(code) => {
                    metrics::closed(code);
                    conn.cut();
                }
            }
        }
        for (place, code) in ends {
            self.end_bearer(place, code);
        }
        let beats_of = Codec::ALL.map(|codec| {
            let (mut beat, mut message) = (Vec::new(), Vec::new());
            write::frame(&mut beat, Opcode::Ping, b"");
            codec.message(&mut message, &ToWatcher::Heartbeat);
            write::frame(&mut beat, opcode_of(codec), &message);
            (codec, beat)
        });
        for place in beats {
            let Conn { sink, codec, .. } = &self.conns[place as usize];
            let beat = match sink {
                Sink::Stream(_) => Some(&b": heartbeat\n\n"[..]),
                Sink::WebSocket(_) => beats_of.iter().find(|(of, _)| of == codec).map(|(_, beat)| &beat[..]),
            };
            self.answer(place, beat.unwrap_or_default());
        }
        self.counters.publish();
        let streams = self.conns.iter().filter(|(_, conn)| conn.is_stream()).count();
        let watched = self.topics.iter().filter(|(_, topic)| !topic.topic.is_internal()).count();
        metrics::sizes(self.index, self.conns.len() - streams, streams, watched);
    }

    /// Ends a connection because of its bearer; a stream is told in the words of HTTP.
    fn end_bearer(&mut self, place: u32, code: CloseCode) {
        if self.conns[place as usize].is_stream() {
            let error = match code {
                CloseCode::Revoked => ErrorBody::new(wayfare_wire::ErrorCode::Forbidden, "the token was revoked"),
                _ => ErrorBody::new(wayfare_wire::ErrorCode::Unauthorized, "the token has expired"),
            };
            self.say(place, &ToWatcher::Error(error));
        }
        self.close(place, code, None);
    }

    /// Everyone is told when to come back, spread evenly.
    pub fn drain(&mut self) {
        self.draining = true;
        let spread_ms = self.house.config.drain_spread.as_millis() as u64;
        let places: Vec<u32> = self.conns.iter().map(|(place, _)| place as u32).collect();
        let count = places.len().max(1) as u64;
        for (turn, place) in places.into_iter().enumerate() {
            // A prime stride scatters neighbours, who often came together.
            let share = (turn as u64 * 7919) % count;
            let after_ms = 500 + spread_ms * share / count;
            self.close(place, CloseCode::Draining, Some(after_ms as u32));
        }
    }
}

/// What a message is on a WebSocket.
pub fn opcode_of(codec: Codec) -> Opcode {
    match codec {
        Codec::Json => Opcode::Text,
        Codec::Proto => Opcode::Binary,
    }
}
