//! The end of a turn for a watcher of Protocol Buffers: what several topics tell it is one WebSocket message. Messages may be written one
//! after the other there, so the topics' shared buffers are used as they are; only the header before them is made anew.

use std::io;
use std::ops::Range;

use smallvec::SmallVec;
use wayfare_net::ws::{Opcode, write};

use super::conn::Sink;
use super::state::State;

/// Bytes after which a further topic goes into a message of its own.
const JOINED_MAX: usize = 16 * 1024;

/// A message that holds what several topics tell.
struct Joined {
    /// Which of those touched.
    topics: Range<usize>,
    /// Where its header stands.
    header: Range<usize>,
    /// Bytes behind the header.
    bytes: usize,
}

impl State {
    /// One write for all topics of one connection, as in `flush.rs`, with one header for the payloads of several.
    pub fn send_turn_joined(&mut self, place: u32, touched: &[(usize, u32)]) {
        let now_s = self.now_s();
        let conn = &mut self.conns[place as usize];
        let Sink::WebSocket(link) = &mut conn.sink else { return };
        let payload = |topic: usize| {
            let frame = self.topics[topic].proto_frame();
            &frame[write::header_length(frame)..]
        };
        // Topics are gathered into messages of bounded length: what a full socket has begun to take must be kept.
        let mut messages: SmallVec<[Joined; 1]> = SmallVec::new();
        let headers = &mut self.scratch;
        headers.clear();
        let mut begin = 0;
        while begin < touched.len() {
            let mut message = Joined { topics: begin..begin, header: headers.len()..0, bytes: 0 };
            for (topic, _) in &touched[begin..] {
                let more = payload(*topic).len();
                if message.bytes > 0 && message.bytes + more > JOINED_MAX {
                    break;
                }
                message.bytes += more;
                message.topics.end += 1;
            }
            write::header(headers, Opcode::Binary, message.bytes);
            message.header.end = headers.len();
            begin = message.topics.end;
            messages.push(message);
        }
        let mut buffers: SmallVec<[io::IoSlice<'_>; 8]> = SmallVec::new();
        match touched {
            [(topic, _)] => buffers.push(io::IoSlice::new(self.topics[*topic].proto_frame())),
            _ => {
                for message in &messages {
                    buffers.push(io::IoSlice::new(&headers[message.header.clone()]));
                    let payloads = touched[message.topics.clone()].iter().map(|(topic, _)| payload(*topic));
                    buffers.extend(payloads.map(io::IoSlice::new));
                }
            }
        }
        let Ok(mut taken) = link.try_write(&buffers, now_s) else { return link.cut() };
        let mut pieces = buffers.iter();
        for message in messages {
            let Sink::WebSocket(link) = &mut conn.sink else { return };
            let pieces = pieces.by_ref().take(if touched.len() == 1 { 1 } else { message.topics.len() + 1 });
            let length = message.header.len() + message.bytes;
            let frames = |topics: &[(usize, u32)]| {
                topics.iter().map(|(topic, _)| self.topics[*topic].turn_length()).sum::<u64>()
            };
            let topics = &touched[message.topics];
            if taken > 0 {
                // Begun, so it is told: the rest of it goes out before anything else.
                let mut skip = taken;
                for piece in pieces {
                    let rest = &piece[skip.min(piece.len())..];
                    if !rest.is_empty() {
                        link.keep(rest, now_s);
                    }
                    skip = skip.saturating_sub(piece.len());
                }
                taken = taken.saturating_sub(length);
                self.counters.delivered += frames(topics);
                self.counters.bytes += length as u64;
                continue;
            }
            pieces.for_each(drop);
            if !link.is_blocked() {
                link.keep(b"", now_s);
            }
            self.counters.covered += frames(topics);
            for (_, slot) in topics {
                Self::fall_behind(conn, *slot);
            }
        }
    }
}
