//! The end of a turn: every subscriber of a touched topic gets that topic's bytes, all topics of one socket in one write.

use std::io;

use bytes::Bytes;
use smallvec::SmallVec;
use wayfare_net::ws::write::end_of_begun_frame;
use wayfare_wire::codec::Codec;

use super::conn::{Conn, ConnId, Mode, Sink, SubRef};
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
        let mut whole_due = std::mem::take(&mut self.whole_due);
        for at in whole_due.drain(..) {
            self.tell_whole_or_later(at);
        }
        self.whole_due = whole_due;
    }

    /// Notes the topic with each connection that is in step.
    fn offer(&mut self, place: usize) {
        let topic = &mut self.topics[place];
        let frames = topic.turn_length();
        if frames == 0 {
            return;
        }
        let mut wanted = [false; Codec::ALL.len()];
        let current = topic.cursor();
        let first_seq = topic.turn_deltas.first().filter(|_| !topic.turn_whole).map(|(seq, _)| *seq);
        let mut paced: SmallVec<[SubRef; 4]> = SmallVec::new();
        for at in &topic.subs {
            let conn = &mut self.conns[at.conn as usize];
            let blocked = conn.is_blocked();
            let Some(sub) = conn.sub(at.slot) else { continue };
            if sub.whole == current {
                continue;
            }
            if sub.pace.is_some() && topic.known != Known::Ended && sub.mode == Mode::InStep && !blocked {
                self.counters.offered += frames;
                self.counters.covered += frames;
                paced.push(*at);
                continue;
            }
            if first_seq.is_some_and(|first| sub.whole.epoch == current.epoch && first <= sub.whole.seq) {
                // Told the whole state in the middle of this turn: part of its deltas would come twice.
                self.overlapping.push(*at);
                continue;
            }
            match sub.mode {
                Mode::InStep if blocked => {
                    Self::fall_behind(conn, at.slot);
                    self.counters.offered += frames;
                    self.counters.covered += frames;
                }
                Mode::InStep => {
                    wanted[conn.codec as usize] |= !conn.is_stream();
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
        for codec in Codec::ALL {
            if wanted[codec as usize] {
                topic.build_turn_frames(codec, place as u32, &mut self.scratch);
            }
        }
        if !paced.is_empty() {
            self.offer_paced(place, &paced);
        }
    }

    /// One write for all topics of one connection.
    fn send_turn(&mut self, place: u32) {
        let now_s = self.now_s();
        let conn = &mut self.conns[place as usize];
        let touched = std::mem::take(&mut conn.touched);
        self.counters.writes += 1;
        if conn.codec == Codec::Proto {
            return self.send_turn_joined(place, &touched);
        }
        let Sink::WebSocket(link) = &mut conn.sink else { return self.send_turn_to_stream(place, &touched) };
        let buffers: SmallVec<[io::IoSlice<'_>; 8]> =
            touched.iter().map(|(topic, _)| io::IoSlice::new(&self.topics[*topic].turn_frames)).collect();
        let Ok(mut taken) = link.try_write(&buffers, now_s) else { return link.cut() };
        for (topic, slot) in touched {
            let topic = &self.topics[topic];
            let frames = &topic.turn_frames[..];
            let length = frames.len();
            if taken >= length {
                taken -= length;
                self.counters.delivered += topic.turn_length();
                self.counters.bytes += length as u64;
                continue;
            }
            // The socket is full: the frame that was begun is finished later, what follows it is covered by a snapshot.
            let end = end_of_begun_frame(frames, taken);
            if let Sink::WebSocket(link) = &mut conn.sink
                && (end > taken || !link.is_blocked())
            {
                link.keep(&frames[taken..end], now_s);
            }
            self.counters.bytes += end as u64;
            if end < length {
                self.counters.covered += topic.turn_length();
                Self::fall_behind(conn, slot);
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
            let Sink::Stream(stream) = &mut conn.sink else { continue };
            let sent = if stream.is_blocked() {
                None
            } else {
                let cursors = &mut stream.cursors;
                let bytes = match &topic.turn_events {
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
                stream.try_send(bytes, now_s).then_some(size)
            };
            match sent {
                Some(size) => {
                    self.counters.delivered += topic.turn_length();
                    self.counters.bytes += size;
                }
                None => {
                    // What was not sent must not stand in the id of a later event.
                    stream.cursors[alias as usize] = None;
                    if !stream.is_blocked() {
                        stream.keep(b"", now_s);
                    }
                    self.counters.covered += topic.turn_length();
                    Self::fall_behind(conn, *slot);
                }
            }
        }
    }

    /// The subscription gets the whole state when the socket drains.
    pub fn fall_behind(conn: &mut Conn, slot: u32) {
        if let Some(sub) = conn.sub(slot) {
            sub.mode = Mode::Behind;
            conn.behind.push(slot);
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
            if !conn.drain(now_s) {
                return false;
            }
            if conn.is_blocked() || conn.is_closing() {
                return true;
            }
            let Some(slot) = conn.behind.pop() else {
                if let Some(drained) = &conn.drained {
                    drained.notify_waiters();
                }
                return true;
            };
            // Where it ended meanwhile, or its place was taken by another that is in step, there is nothing to tell.
            if conn.sub(slot).is_some_and(|sub| sub.mode == Mode::Behind) {
                self.tell_whole(SubRef { conn: id.place, slot });
            }
        }
    }
}
