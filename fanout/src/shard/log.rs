//! Log topics in a shard: a tail that everyone in step shares, and a reader for each who is behind.
//!
//! Nothing is ever skipped: a socket that blocks turns its subscription into a reader, which goes on from its own cursor and joins
//! the tail where they meet.

use std::rc::Rc;
use std::time::Duration;

use wayfare_bus::{LogEvent, LogPage, LogStart};
use wayfare_net::ws::write;
use wayfare_wire::Cursor;
use wayfare_wire::codec::Codec;

use super::conn::{ConnId, Mode, Sink, SubRef};
use super::state::{State, Want, opcode_of};
use super::subscribe::write_id;
use super::topic::Known;
use super::{Shard, Start};

/// Events read at once.
const PAGE: usize = 100;

/// A subscription to be read for.
pub struct LogReader {
    conn: ConnId,
    at: SubRef,
    topic: usize,
    tag: u64,
}

/// Follows the tip of a log topic for as long as the shard watches it.
pub async fn follow(shard: Rc<Shard>, place: usize, tag: u64) {
    let logs = shard.house.bus.logs.clone();
    let Some(name) = shard.state.borrow().log_name(place, tag) else { return };
    let mut tail = logs.tail(&name).await;
    tail.mark_unchanged();
    let mut start = LogStart::Now;
    loop {
        match logs.read(&name, start, PAGE).await {
            Ok(page) => {
                let mut state = shard.state.borrow_mut();
                if state.log_name(place, tag).is_none() {
                    return;
                }
                state.log_moved(place, &page);
                start = LogStart::After { generation: page.generation, id: page.next };
                shard.wake_if_wanted(&state);
                if page.more {
                    continue;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a log could not be read; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        }
        // The timeout lets the task see that nobody watches any more.
        if let Ok(Err(_)) = tokio::time::timeout(Duration::from_secs(5), tail.changed()).await {
            tail = logs.tail(&name).await;
        }
    }
}

/// Reads for one subscription until it meets the tip.
pub async fn catch_up(shard: Rc<Shard>, reader: LogReader) {
    let logs = shard.house.bus.logs.clone();
    loop {
        let Some((name, start)) = shard.state.borrow_mut().log_start(&reader) else { return };
        let page = match logs.read(&name, start, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "a log could not be read; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let drained = {
            let mut state = shard.state.borrow_mut();
            match state.log_read(&reader, &page) {
                Read::Joined | Read::Gone => return,
                Read::More => continue,
                Read::Blocked => match state.conn(reader.conn) {
                    Some(conn) => Rc::clone(conn.drained.get_or_insert_default()),
                    None => return,
                },
            }
        };
        // The timeout covers a drain that came between the look and the wait.
        let _ = tokio::time::timeout(Duration::from_millis(200), drained.notified()).await;
    }
}

enum Read {
    Joined,
    More,
    Blocked,
    Gone,
}

impl State {
    fn log_name(&self, place: usize, tag: u64) -> Option<std::sync::Arc<str>> {
        self.topics.get(place).filter(|topic| topic.tag == tag).map(|topic| topic.name.clone())
    }

    /// Answers a subscription to a log: in step with the tip, or behind with a reader.
    pub fn start_log(&mut self, at: SubRef, place: usize) {
        let tip = self.topics[place].cursor();
        let Some(sub) = self.conns[at.conn as usize].sub(at.slot) else { return };
        let told = match sub.start {
            None => tip,
            Some(Start::After(cursor)) => cursor,
            Some(Start::Oldest) => Cursor { epoch: tip.epoch, seq: 0 },
        };
        if told == tip || sub.start.is_none() {
            sub.mode = Mode::InStep;
            sub.start = Some(Start::After(tip));
            self.note_cursor(at, tip);
        } else {
            sub.mode = Mode::CatchingUp;
            self.read_log(at, place);
        }
        self.tell_subscribed_at(at, place, told);
    }

    fn read_log(&mut self, at: SubRef, place: usize) {
        let conn = ConnId { place: at.conn, generation: self.conns[at.conn as usize].generation };
        let tag = self.topics[place].tag;
        self.wants.push(Want::CatchUp(LogReader { conn, at, topic: place, tag }));
    }

    /// The tip moved: everyone in step gets the new events.
    fn log_moved(&mut self, place: usize, page: &LogPage) {
        let topic = &mut self.topics[place];
        let first = topic.known == Known::Nothing;
        topic.known = Known::Live;
        for event in &page.events {
            let cursor = Cursor { epoch: page.generation, seq: event.id };
            for at in self.topics[place].subs.clone() {
                let in_step = self.conns[at.conn as usize].sub(at.slot).is_some_and(|sub| sub.mode == Mode::InStep);
                if in_step
                    && !self.tell_event(at, event, cursor)
                    && let Some(sub) = self.conns[at.conn as usize].sub(at.slot)
                {
                    sub.mode = Mode::CatchingUp;
                    self.read_log(at, place);
                }
            }
        }
        let topic = &mut self.topics[place];
        (topic.epoch, topic.seq) = (page.generation, page.next);
        if first {
            self.settle(place);
        }
    }

    /// Where a reader goes on; `None` if its subscription is gone.
    fn log_start(&mut self, reader: &LogReader) -> Option<(std::sync::Arc<str>, LogStart)> {
        let name = self.log_name(reader.topic, reader.tag)?;
        let sub = self.conn(reader.conn)?.sub(reader.at.slot)?;
        if sub.topic != reader.topic || sub.mode != Mode::CatchingUp {
            return None;
        }
        Some((
            name,
            match sub.start {
                Some(Start::After(cursor)) => LogStart::After { generation: cursor.epoch, id: cursor.seq },
                Some(Start::Oldest) => LogStart::Oldest,
                None => LogStart::Now,
            },
        ))
    }

    fn log_read(&mut self, reader: &LogReader, page: &LogPage) -> Read {
        if self.log_start(reader).is_none() {
            return Read::Gone;
        }
        if page.reset {
            let cursor = Cursor { epoch: page.generation, seq: page.next };
            self.tell_reset(reader.at, cursor);
        }
        for event in &page.events {
            if !self.tell_event(reader.at, event, Cursor { epoch: page.generation, seq: event.id }) {
                return Read::Blocked;
            }
        }
        let tip = self.topics[reader.topic].cursor();
        let Some(sub) = self.conn(reader.conn).and_then(|conn| conn.sub(reader.at.slot)) else { return Read::Gone };
        if page.events.is_empty() && !page.reset {
            // From the oldest of an empty log there is nothing to go on from but its tip.
            sub.start = Some(Start::After(Cursor { epoch: page.generation, seq: page.next }));
        }
        if page.more || page.next < tip.seq {
            return Read::More;
        }
        // Events beyond the shard's tip may have been read already; the tail must not tell them again.
        if page.next > tip.seq {
            return Read::Blocked;
        }
        sub.mode = Mode::InStep;
        Read::Joined
    }

    /// Sends an event; false if the socket is blocked, and then nothing was sent.
    fn tell_event(&mut self, at: SubRef, event: &LogEvent, cursor: Cursor) -> bool {
        let conn = &mut self.conns[at.conn as usize];
        if conn.is_blocked() {
            return false;
        }
        let Some(alias) = conn.sub(at.slot).map(|sub| sub.alias) else { return true };
        let mut bytes = Vec::new();
        if let Sink::Stream(stream) = &mut conn.sink {
            write_id(&mut bytes, &mut stream.cursors, alias, cursor);
            bytes.extend_from_slice(b"event: event\ndata: ");
            Codec::Json.event(&mut bytes, alias, cursor, &event.payload);
            bytes.extend_from_slice(b"\n\n");
        } else {
            self.scratch.clear();
            conn.codec.event(&mut self.scratch, alias, cursor, &event.payload);
            write::frame(&mut bytes, opcode_of(conn.codec), &self.scratch);
        }
        if let Some(sub) = conn.sub(at.slot) {
            sub.start = Some(Start::After(cursor));
        }
        self.answer(at.conn, &bytes);
        true
    }

    fn tell_reset(&mut self, at: SubRef, cursor: Cursor) {
        let conn = &mut self.conns[at.conn as usize];
        let Some(alias) = conn.sub(at.slot).map(|sub| sub.alias) else { return };
        let mut bytes = Vec::new();
        if let Sink::Stream(stream) = &mut conn.sink {
            write_id(&mut bytes, &mut stream.cursors, alias, cursor);
            bytes.extend_from_slice(b"event: reset\ndata: ");
            Codec::Json.reset(&mut bytes, alias, cursor);
            bytes.extend_from_slice(b"\n\n");
        } else {
            self.scratch.clear();
            conn.codec.reset(&mut self.scratch, alias, cursor);
            write::frame(&mut bytes, opcode_of(conn.codec), &self.scratch);
        }
        if let Some(sub) = conn.sub(at.slot) {
            sub.start = Some(Start::After(cursor));
        }
        self.answer(at.conn, &bytes);
    }

    /// A stream's id begins with what was told at `subscribed`.
    fn note_cursor(&mut self, at: SubRef, cursor: Cursor) {
        let conn = &mut self.conns[at.conn as usize];
        let alias = conn.sub(at.slot).map(|sub| sub.alias);
        if let (Sink::Stream(stream), Some(alias)) = (&mut conn.sink, alias) {
            stream.cursors[alias as usize] = Some(cursor);
        }
    }
}
