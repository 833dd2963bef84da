//! Subscriptions: asked for, answered, told the whole state.

use std::rc::Rc;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use tokio::sync::mpsc;
use wayfare_net::ws::write;
use wayfare_wire::codec::Codec;
use wayfare_wire::messages::watch::{Subscription, ToWatcher};
use wayfare_wire::topic::Kind;
use wayfare_wire::{Claims, Cursor, ErrorBody, ErrorCode, Topic};

use super::Start;
use super::conn::{ConnId, Mode, Sink, Stream, Sub, SubRef};
use super::paced::Pace;
use super::state::{State, opcode_of};
use super::topic::Known;
use crate::subjects::Open;
use crate::{TOPIC_OWNERS, routes};

/// A topic is waited for so long if a client has seen more of it than this shard, seconds: news of one node are at all others within milliseconds.
const AHEAD_S: u32 = 2;

impl State {
    /// A client asks for topics.
    pub fn subscribe(&mut self, id: ConnId, wanted: Vec<Subscription>) {
        for Subscription { topic: name, cursor, interval_ms } in wanted {
            if self.conn(id).is_none_or(|conn| conn.is_closing()) {
                return;
            }
            if let Err(error) = self.subscribe_one(id, &name, cursor.as_deref(), interval_ms.unwrap_or(0)) {
                self.say(id.place, &ToWatcher::Error(error.topic(name.chars().take(64).collect::<String>())));
            }
        }
    }

    fn subscribe_one(
        &mut self,
        id: ConnId,
        name: &str,
        cursor: Option<&str>,
        interval_ms: u32,
    ) -> Result<(), ErrorBody> {
        routes::check_interval(interval_ms)?;
        let topic: Topic =
            name.parse().map_err(|error| ErrorBody::new(ErrorCode::Invalid, format!("{error}")).field("topic"))?;
        let start = match cursor {
            None => None,
            Some("start") => Some(Start::Oldest),
            Some(text) => Some(Start::After(
                text.parse().map_err(|error| ErrorBody::new(ErrorCode::Invalid, format!("{error}")).field("cursor"))?,
            )),
        };
        if topic.is_internal() {
            // For services inside only: to everyone else there is no such topic.
            let patient = self.claims(id.place).is_none_or(|claims| self.house.subjects.miss(&claims));
            return Err(if patient { routes::not_found(name) } else { routes::too_many_misses(name) });
        }
        let conn = &mut self.conns[id.place as usize];
        let known =
            conn.subs.iter().position(|sub| sub.as_ref().is_some_and(|sub| self.topics[sub.topic].topic == topic));
        if let Some(slot) = known {
            let at = SubRef { conn: id.place, slot: slot as u32 };
            self.detach(at);
        } else {
            let most = self.house.config.topics_per_connection;
            let count = conn.sub_count();
            if count >= most {
                let message = format!("{} topics are watched on this connection, the limit is {most}", count);
                return Err(ErrorBody::new(ErrorCode::TooMany, message));
            }
            let most = self.house.config.areas_per_connection;
            let is_area = |topic: &Topic| matches!(topic, Topic::Area(_));
            if is_area(&topic) {
                let watched = conn.subs.iter().flatten().filter(|sub| is_area(&self.topics[sub.topic].topic)).count();
                if watched >= most {
                    let message = format!("{watched} areas are watched on this connection, the limit is {most}");
                    return Err(ErrorBody::new(ErrorCode::TooMany, message));
                }
            }
        }
        self.attach(id.place, topic, None, start, interval_ms);
        Ok(())
    }

    /// A client has enough of topics.
    pub fn unsubscribe(&mut self, id: ConnId, names: Vec<String>) {
        for name in names {
            let Some(conn) = self.conn(id) else { return };
            let wanted = name.parse::<Topic>().ok();
            let subs = conn.subs.iter().map(|sub| sub.as_ref().map(|sub| sub.topic)).collect::<Vec<_>>();
            let slot =
                subs.iter().position(|topic| topic.is_some_and(|topic| Some(self.topics[topic].topic) == wanted));
            if let Some(slot) = slot {
                self.detach(SubRef { conn: id.place, slot: slot as u32 });
            }
            self.say(id.place, &ToWatcher::Unsubscribed { topic: name.chars().take(64).collect() });
        }
    }

    /// An SSE stream: all its subscriptions are known from the start.
    pub fn open_stream(
        &mut self,
        pieces: mpsc::Sender<Bytes>,
        bearer: (Claims, Open),
        topics: Vec<(Topic, Option<Start>)>,
        interval_ms: u32,
    ) {
        let cursors = topics
            .iter()
            .map(|(_, start)| match start {
                Some(Start::After(cursor)) => Some(*cursor),
                _ => None,
            })
            .collect();
        let stream = Stream::new(pieces.clone(), cursors, self.now_s());
        let id = self.add(Sink::Stream(stream), Codec::Json, Some(bearer));
        self.answer(id.place, b"retry: 2000\n\n");
        for (alias, (topic, start)) in topics.into_iter().enumerate() {
            self.attach(id.place, topic, Some(alias as u32), start, interval_ms);
        }
        self.minders.push((id, pieces));
    }

    /// Adds a subscription to both tables and answers it as soon as enough is known.
    fn attach(&mut self, conn: u32, topic: Topic, alias: Option<u32>, start: Option<Start>, interval_ms: u32) {
        let place = self.watch(topic);
        if self.conns[conn as usize].codec == Codec::Proto {
            self.topics[place].proto_joined();
        }
        let subs = &mut self.conns[conn as usize].subs;
        let slot = subs.iter().position(Option::is_none).unwrap_or_else(|| {
            subs.push(None);
            subs.len() - 1
        });
        subs[slot] = Some(Sub {
            topic: place,
            place: self.topics[place].subs.len() as u32,
            alias: alias.unwrap_or(place as u32),
            mode: Mode::Waiting,
            whole: Cursor::default(),
            start,
            // A log has nothing to skip.
            pace: (interval_ms > 0 && topic.kind() == Kind::State).then(|| Box::new(Pace::new(interval_ms))),
        });
        self.topics[place].subs.push(SubRef { conn, slot: slot as u32 });
        self.topics[place].waiting = true;
        self.settle(place);
    }

    /// Answers those who wait for a topic, if enough is known of it now.
    pub fn settle(&mut self, place: usize) {
        let topic = &mut self.topics[place];
        let unknown = |known| known == Known::Nothing;
        if !topic.waiting
            || unknown(topic.known)
            || topic.access.is_some_and(|access| unknown(self.topics[access].known))
        {
            return;
        }
        let now_s = self.now_s();
        let topic = &mut self.topics[place];
        topic.waiting = false;
        let is_live = topic.known == Known::Live && topic.topic.kind() == Kind::State;
        let current = topic.cursor();
        let since_s = topic.ahead_since_s.take().unwrap_or(now_s);
        let mut any_ahead = false;
        for at in topic.subs.clone() {
            let Some(sub) = self.conns[at.conn as usize].sub(at.slot) else { continue };
            if sub.mode != Mode::Waiting {
                continue;
            }
            // It heard at another node what is on its way to this one: a state from before would be a step back. Who claims what nobody told
            // is answered a little later.
            let has_more = matches!(sub.start, Some(Start::After(seen)) if seen > current);
            if is_live && has_more && now_s < since_s + AHEAD_S {
                any_ahead = true;
            } else {
                self.settle_one(at, place);
            }
        }
        if let (true, Some(topic)) = (any_ahead, self.topics.get_mut(place)) {
            (topic.waiting, topic.ahead_since_s) = (true, Some(since_s));
            if !self.ahead.contains(&place) {
                self.ahead.push(place);
            }
        }
    }

    /// Those who have seen more than this shard are not kept waiting for ever.
    pub fn settle_ahead(&mut self) {
        for place in std::mem::take(&mut self.ahead) {
            if self.topics.contains(place) {
                self.settle(place);
            }
        }
    }

    /// The bus cannot be heard just now: who watches is told, who waits may come again.
    pub fn tell_stale(&mut self, place: usize) {
        let topic = &self.topics[place];
        let is_known = topic.known != Known::Nothing;
        let watched: SmallVec<[usize; 2]> = match (topic.topic.is_internal(), is_known) {
            (false, _) => smallvec![place],
            (true, false) => topic.views.clone(),
            (true, true) => return, // who may watch is known well enough for now
        };
        for view in watched {
            for at in self.topics.get(view).map(|topic| topic.subs.clone()).unwrap_or_default() {
                let Some(sub) = self.conns[at.conn as usize].sub(at.slot) else { continue };
                if sub.mode != Mode::Waiting {
                    self.say_stale(at);
                } else if !is_known {
                    self.refuse(at, routes::not_ready().topic(self.topics[view].name.to_string()));
                }
            }
        }
    }

    fn say_stale(&mut self, at: SubRef) {
        let Some(sub) = self.conns[at.conn as usize].sub(at.slot) else { return };
        // The snapshot that ends this is told even if nothing changed.
        sub.whole = Cursor::default();
        if let Some(pace) = &mut sub.pace {
            pace.hurry();
        }
        let alias = sub.alias;
        self.say(at.conn, &ToWatcher::Stale { alias });
    }

    fn settle_one(&mut self, at: SubRef, place: usize) {
        let Some(claims) = self.claims(at.conn) else { return self.detach(at) };
        let name = Rc::from(&*self.topics[place].name);
        let allowed = self.allowed(&claims, place);
        match (self.topics[place].known, allowed) {
            (Known::Absent, _) if !self.house.bus.topics.is_ready(TOPIC_OWNERS) => {
                self.refuse(at, routes::not_ready().topic(&*name));
            }
            (Known::Absent, _) | (_, false) => {
                let patient = self.house.subjects.miss(&claims);
                self.refuse(at, if patient { routes::not_found(&name) } else { routes::too_many_misses(&name) });
            }
            (Known::Ended, true) => {
                self.tell_subscribed(at, place);
                self.tell_whole(at);
            }
            (_, true) if self.topics[place].topic.kind() == Kind::Log => self.start_log(at, place),
            (_, true) => {
                let current = self.topics[place].cursor();
                let sub = self.conns[at.conn as usize].sub(at.slot);
                let has = sub.and_then(|sub| sub.start).is_some_and(|start| start == Start::After(current));
                self.tell_subscribed(at, place);
                if has {
                    self.mark_whole(at);
                } else {
                    self.tell_whole(at);
                }
                if self.topics[place].is_stale {
                    self.say_stale(at);
                }
            }
        }
    }

    /// Sends `subscribed` with the topic's cursor.
    fn tell_subscribed(&mut self, at: SubRef, place: usize) {
        let cursor = self.topics[place].cursor();
        self.tell_subscribed_at(at, place, cursor);
    }

    pub fn tell_subscribed_at(&mut self, at: SubRef, place: usize, cursor: Cursor) {
        let Some(alias) = self.conns[at.conn as usize].sub(at.slot).map(|sub| sub.alias) else { return };
        let mut bytes = Vec::new();
        let codec = self.conns[at.conn as usize].codec;
        self.scratch.clear();
        codec.subscribed(&mut self.scratch, &self.topics[place].name, alias, cursor);
        if let Sink::Stream(stream) = &mut self.conns[at.conn as usize].sink {
            // Of a log, reading goes on from here. Of a state, what the watcher has: the snapshot's own id tells when it has more.
            match self.topics[place].topic.kind() {
                Kind::Log => write_id(&mut bytes, &mut stream.cursors, alias, cursor),
                Kind::State => write_ids(&mut bytes, &stream.cursors),
            }
            bytes.extend_from_slice(b"event: subscribed\ndata: ");
            bytes.extend_from_slice(&self.scratch);
            bytes.extend_from_slice(b"\n\n");
        } else {
            write::frame(&mut bytes, opcode_of(codec), &self.scratch);
        }
        self.answer(at.conn, &bytes);
    }

    /// Sends the whole state, or the end; the subscription is in step, or over, afterwards.
    pub fn tell_whole(&mut self, at: SubRef) {
        let Some(sub) = self.conns[at.conn as usize].sub(at.slot) else { return };
        let (place, alias) = (sub.topic, sub.alias);
        let topic = &mut self.topics[place];
        let ended = topic.known == Known::Ended;
        let conn = &mut self.conns[at.conn as usize];
        let bytes = if let Sink::Stream(stream) = &mut conn.sink {
            let mut bytes = Vec::new();
            write_id(&mut bytes, &mut stream.cursors, alias, topic.cursor());
            topic.write_whole_event(&mut bytes, alias);
            Bytes::from(bytes)
        } else {
            topic.whole_frame(conn.codec, alias, &mut self.scratch)
        };
        self.counters.snapshots += 1;
        self.mark_whole(at);
        self.answer(at.conn, &bytes);
        if ended {
            self.detach(at);
            self.end_stream_if_done(at.conn);
        }
    }

    /// The subscription has the state as of now.
    fn mark_whole(&mut self, at: SubRef) {
        if let Some(sub) = self.conns[at.conn as usize].sub(at.slot) {
            sub.mode = Mode::InStep;
            sub.whole = self.topics[sub.topic].cursor();
            if sub.pace.is_some() {
                self.pace_from_now(at);
            }
        }
    }
}

/// Appends the `id:` line: the cursors of all topics of the stream, this one moved on.
pub fn write_id(out: &mut Vec<u8>, cursors: &mut [Option<Cursor>], alias: u32, cursor: Cursor) {
    cursors[alias as usize] = Some(cursor);
    write_ids(out, cursors);
}

/// The same without a change.
fn write_ids(out: &mut Vec<u8>, cursors: &[Option<Cursor>]) {
    out.extend_from_slice(b"id: ");
    for (place, cursor) in cursors.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        match cursor {
            Some(cursor) => {
                wayfare_wire::state::write_u64(out, cursor.epoch);
                out.push(b'.');
                wayfare_wire::state::write_u64(out, cursor.seq);
            }
            None => out.push(b'-'),
        }
    }
    out.push(b'\n');
}
