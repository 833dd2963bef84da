//! The end of a turn: every subscriber of a touched topic gets that topic's bytes, all topics of one socket in one write.

use std::io;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::mpsc::error::TrySendError;
use wayfare_net::ws::write::end_of_begun_frame;

use super::conn::{ConnId, Mode, Sink, SubRef, Wrote};
use super::state::State;
use super::subscribe::write_id;
use super::topic::Known;

impl State {
    /// Sends the turn and begins the next one.
    pub fn flush(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let touched = std::mem::take(&mut self.touched);
        for place in &touched {
            self.offer(*place);
        }
        let conns = std::mem::take(&mut self.turn_conns);
        for conn in &conns {
            self.send_turn(*conn);
        }
        for place in &touched {
            self.topics[*place].end_turn();
            if self.topics[*place].known == Known::Ended {
                self.leave_ended(*place);
            }
            self.sweep_topic(*place);
        }
        (self.touched, self.turn_conns) = (touched, conns);
        self.touched.clear();
        self.turn_conns.clear();
        for at in std::mem::take(&mut self.overlapping) {
            self.tell_whole(at);
        }
    }

    /// Notes the topic with each connection that is in step.
    fn offer(&mut self, place: usize) {
        let topic = &mut self.topics[place];
        let frames = topic.turn_length();
        if frames == 0 {
            return;
        }
        topic.build_turn_frames(place as u32, &mut self.scratch);
        let current = topic.cursor();
        let first_seq = topic.turn_deltas.first().filter(|_| !topic.turn_whole).map(|(seq, _)| *seq);
        for at in &topic.subs {
            let conn = &mut self.conns[at.conn as usize];
            let blocked = conn.is_blocked();
            let Some(sub) = conn.sub(at.slot) else { continue };
            if sub.whole == current {
                continue;
            }
            if first_seq.is_some_and(|first| sub.whole.epoch == current.epoch && first <= sub.whole.seq) {
                // Told the whole state in the middle of this turn: part of its deltas would come twice.
                self.overlapping.push(*at);
                continue;
            }
            match sub.mode {
                Mode::InStep if blocked => {
                    sub.mode = Mode::Behind;
                    conn.behind.push(at.slot);
                    self.counters.offered += frames;
                    self.counters.covered += frames;
                }
                Mode::InStep => {
                    if conn.touched.is_empty() {
                        self.turn_conns.push(at.conn);
                    }
                    conn.touched.push((place, at.slot));
                    self.counters.offered += frames;
                }
                Mode::Behind => {
                    self.counters.offered += frames;
                    self.counters.covered += frames;
                }
                Mode::Waiting | Mode::CatchingUp => {}
            }
        }
    }

    /// One write for all topics of one connection.
    fn send_turn(&mut self, place: u32) {
        let now_s = self.now_s();
        let conn = &mut self.conns[place as usize];
        let touched = std::mem::take(&mut conn.touched);
        conn.sent_s = now_s;
        self.counters.writes += 1;
        if conn.is_stream() {
            return self.send_turn_to_stream(place, &touched);
        }
        let wrote = if let [(topic, _)] = touched[..] {
            conn.try_write(&self.topics[topic].turn_frames)
        } else {
            let buffers: SmallVec<[io::IoSlice<'_>; 8]> =
                touched.iter().map(|(topic, _)| io::IoSlice::new(&self.topics[*topic].turn_frames)).collect();
            conn.try_write_vectored(&buffers)
        };
        let mut taken = match wrote {
            Wrote::All => usize::MAX,
            Wrote::Part(taken) => taken,
            Wrote::Gone => return Self::cut(conn),
        };
        for (topic, slot) in touched {
            let topic = &self.topics[topic];
            let frames = &topic.turn_frames[..];
            if taken >= frames.len() {
                self.counters.delivered += topic.turn_length();
                self.counters.bytes += frames.len() as u64;
                taken = taken.saturating_sub(frames.len());
                continue;
            }
            // The socket is full: the frame that was begun is finished later, what follows it is covered by a snapshot.
            let end = end_of_begun_frame(frames, taken);
            if end > taken {
                conn.block(&frames[taken..end], now_s);
            } else if !conn.is_blocked() {
                // Nothing is begun: an empty ping makes the socket tell when it takes bytes again.
                conn.block(&[0x89, 0], now_s);
            }
            self.counters.bytes += end as u64;
            if end < frames.len() {
                self.counters.covered += topic.turn_length();
                if let Some(sub) = conn.sub(slot) {
                    sub.mode = Mode::Behind;
                }
                conn.behind.push(slot);
            } else {
                self.counters.delivered += topic.turn_length();
            }
            taken = 0;
        }
    }

    fn send_turn_to_stream(&mut self, place: u32, touched: &[(usize, u32)]) {
        let now_s = self.now_s();
        for (topic, slot) in touched {
            let topic = &mut self.topics[*topic];
            let conn = &mut self.conns[place as usize];
            let Some(alias) = conn.sub(*slot).map(|sub| sub.alias) else { continue };
            let blocked = conn.is_blocked();
            let Sink::Stream { pieces, cursors } = &mut conn.sink else { continue };
            let bytes = match &topic.turn_events {
                _ if blocked => Bytes::new(),
                // A stream of one topic: its ids are the same for everyone.
                Some(shared) if cursors.len() == 1 => {
                    cursors[0] = Some(topic.cursor());
                    shared.clone()
                }
                _ => {
                    let mut bytes = Vec::new();
                    topic.write_turn_events(&mut bytes, alias, |out, cursor| write_id(out, cursors, alias, cursor));
                    let bytes = Bytes::from(bytes);
                    if cursors.len() == 1 {
                        topic.turn_events = Some(bytes.clone());
                    }
                    bytes
                }
            };
            let size = bytes.len() as u64;
            let sent = if blocked { Err(TrySendError::Full(bytes)) } else { pieces.try_send(bytes) };
            match sent {
                Ok(()) => {
                    self.counters.delivered += topic.turn_length();
                    self.counters.bytes += size;
                }
                Err(TrySendError::Closed(_)) => return Self::cut(conn),
                Err(TrySendError::Full(_)) => {
                    // What was not sent must not stand in the id of a later event.
                    cursors[alias as usize] = None;
                    self.counters.covered += topic.turn_length();
                    if !conn.is_blocked() {
                        conn.block(b":\n\n", now_s);
                    }
                    if let Some(sub) = conn.sub(*slot) {
                        sub.mode = Mode::Behind;
                    }
                    conn.behind.push(*slot);
                }
            }
        }
    }

    /// Subscriptions of an ended topic are over once its end is on the way; those behind get it when their socket drains.
    fn leave_ended(&mut self, place: usize) {
        for at in self.topics[place].subs.clone() {
            let over = self.conns[at.conn as usize].sub(at.slot).is_some_and(|sub| sub.mode == Mode::InStep);
            if over {
                self.detach(at);
                self.end_stream_if_done(at.conn);
            }
            if !self.topics.contains(place) {
                return;
            }
        }
    }

    /// The socket takes bytes again: the rest of the begun frame, then the newest state of every topic that is behind.
    /// Returns false when the connection is gone.
    pub fn drain_socket(&mut self, id: ConnId) -> bool {
        let now_s = self.now_s();
        loop {
            let Some(conn) = self.conn(id) else { return false };
            if conn.is_blocked() {
                match conn.try_write(&conn.unsent) {
                    Wrote::All => conn.unsent = Vec::new(),
                    Wrote::Part(0) => return true,
                    Wrote::Part(taken) => {
                        conn.unsent.drain(..taken);
                        conn.moved_s = now_s;
                        return true;
                    }
                    Wrote::Gone => return false,
                }
            }
            if conn.is_closing() {
                return true;
            }
            let Some(slot) = conn.behind.pop() else {
                conn.drained.notify_waiters();
                return true;
            };
            let at = SubRef { conn: id.place, slot };
            match conn.sub(slot).map(|sub| sub.mode) {
                Some(Mode::Behind) => self.tell_whole(at),
                // It ended meanwhile, or its place was taken by another that is in step.
                _ => continue,
            }
        }
    }
}
