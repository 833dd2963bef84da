//! What arrives, counted.

use memchr::memmem;
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::ToDriver;

use super::super::frames::{self, Frame};
use super::super::peer::{self, Speaks};
use super::conn::Who;
use super::{Window, Worker};

impl Worker {
    /// Takes in what came behind the greeting.
    pub(super) fn read_early(&mut self, index: usize, window: Window) {
        let early = std::mem::take(&mut self.conns[index].partial);
        self.take_bytes(index, &early, window);
    }

    /// Reads until nothing is left.
    pub(super) fn read(&mut self, index: usize, window: Window) {
        // Out and in again: the buffer is ours while the connection is used as well.
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            match self.conns[index].read(&mut buffer) {
                None => break,
                Some(0) => {
                    self.lost(index);
                    break;
                }
                Some(count) => {
                    self.take_bytes(index, &buffer[..count], window);
                    // Less than asked for: the next byte raises the next event.
                    if count < buffer.len() {
                        break;
                    }
                }
            }
        }
        self.buffer = buffer;
    }

    /// Takes in bytes as they came; only the beginning of an unfinished frame is copied.
    fn take_bytes(&mut self, index: usize, bytes: &[u8], window: Window) {
        let mut partial = std::mem::take(&mut self.conns[index].partial);
        let mut rest = bytes;
        if !partial.is_empty() {
            partial.extend_from_slice(bytes);
            rest = &partial;
        }
        // One reading of the clock for everything that came together.
        let now_us = self.clock.now_us();
        while let Some(frame) = frames::first(rest) {
            self.take_frame(index, &frame, now_us, window);
            rest = &rest[frame.size..];
        }
        self.conns[index].partial = rest.to_vec();
    }

    fn take_frame(&mut self, index: usize, frame: &Frame<'_>, now_us: i64, window: Window) {
        match frame.opcode {
            frames::TEXT => {}
            frames::BINARY => return self.take_binary(index, frame.payload, now_us, window),
            frames::PING => {
                let mut pong = Vec::with_capacity(frame.payload.len() + 6);
                frames::masked(&mut pong, frames::PONG, frame.payload);
                return self.conns[index].write(&pong);
            }
            frames::CLOSE => return self.lost(index),
            _ => return,
        }
        let text = frame.payload;
        if self.speaks == Speaks::SocketIo && text == peer::SOCKET_IO_PING {
            let mut pong = Vec::new();
            frames::masked(&mut pong, frames::TEXT, peer::SOCKET_IO_PONG);
            return self.conns[index].write(&pong);
        }
        if text.starts_with(br#"{"type":"error""#) || text.starts_with(br#"{"type":"bye""#) {
            self.counts.errors += 1;
            let words = || String::from_utf8_lossy(text).into_owned();
            self.counts.complaint.get_or_insert_with(words);
            return;
        }
        match self.conns[index].who {
            Who::Driver { ride } => self.take_ack(ride, text, now_us, window),
            Who::Watcher { ride, seen_ms } => {
                let newest_ms = self.take_state(ride, seen_ms, frame, now_us, window);
                self.conns[index].who = Who::Watcher { ride, seen_ms: newest_ms };
            }
            Who::Map => self.take_map(frame, now_us, window),
            Who::Nobody => {}
        }
    }

    /// A message to a driver in Protocol Buffers.
    fn take_binary(&mut self, index: usize, bytes: &[u8], now_us: i64, window: Window) {
        let Who::Driver { ride } = self.conns[index].who else { return };
        match DriveCodec::Proto.read_to_driver(bytes) {
            Ok(ToDriver::Ack(ack)) => {
                let accepted = ack.verdicts.iter().any(|verdict| verdict == "accepted");
                self.note_ack(ride, ack.seq, accepted, now_us, window);
            }
            Ok(ToDriver::Error(_) | ToDriver::Bye(_)) | Err(_) => {
                self.counts.errors += 1;
                self.counts.complaint.get_or_insert_with(|| format!("{:?}", DriveCodec::Proto.read_to_driver(bytes)));
            }
            Ok(_) => {}
        }
    }

    fn take_ack(&mut self, ride: usize, text: &[u8], now_us: i64, window: Window) {
        if !text.starts_with(br#"{"type":"ack""#) {
            return;
        }
        if let Some(seq) = number_after(text, br#""seq":"#) {
            let accepted = memmem::find(text, br#""accepted""#).is_some();
            self.note_ack(ride, seq as u64, accepted, now_us, window);
        }
    }

    fn note_ack(&mut self, ride: usize, seq: u64, accepted: bool, now_us: i64, window: Window) {
        let held_back = !self.rides[ride].may_send();
        let Some(t_ms) = self.rides[ride].acked(seq) else { return };
        if held_back {
            // Its deliveries are all in, so that nothing else would wake it.
            self.wake(ride, now_us.div_euclid(1000));
        }
        if window.counts(t_ms) {
            self.counts.acked += 1;
            self.counts.accepted += u64::from(accepted);
            let late_us = (now_us - t_ms * 1000).max(0) as u64;
            self.counts.ack_us.saturating_record(late_us);
        }
    }

    /// Gives the newest `t_ms` that this watcher has seen after the frame.
    fn take_state(&mut self, ride: usize, seen_ms: i64, frame: &Frame<'_>, now_us: i64, window: Window) -> i64 {
        // A relay knows no snapshots.
        let is_delta = self.speaks != Speaks::Wayfare || frame.payload.starts_with(br#"{"type":"delta""#);
        // A frame without a position (an arrival time alone, a heartbeat) is not counted.
        let Some(t_ms) = number_after(frame.payload, br#""t_ms":"#) else {
            return seen_ms;
        };
        let counts = window.counts(t_ms);
        if t_ms <= seen_ms {
            self.counts.duplicated += u64::from(counts && is_delta);
            return seen_ms;
        }
        if !is_delta {
            self.counts.snapshots += u64::from(counts);
        } else if counts {
            self.counts.delivered += 1;
            self.counts.delta_bytes += frame.size as u64;
            let late_us = (now_us - t_ms * 1000).max(0) as u64;
            self.counts.latency_us.saturating_record(late_us);
        }
        self.untold.delivered += 1;
        self.untold.bytes += frame.size as u64;
        self.untold.latency_us.saturating_record((now_us - t_ms * 1000).max(0) as u64);
        if self.rides[ride].delivered(t_ms) {
            // There is room for another one.
            self.wake(ride, now_us.div_euclid(1000));
        }
        t_ms
    }

    /// A map is told of many drivers in one frame: the first marker stands for all.
    fn take_map(&mut self, frame: &Frame<'_>, now_us: i64, window: Window) {
        if !window.counts(now_us.div_euclid(1000)) {
            return;
        }
        self.counts.map_frames += 1;
        self.counts.map_bytes += frame.size as u64;
        if let (true, Some(t_ms)) =
            (frame.payload.starts_with(br#"{"type":"delta""#), number_after(frame.payload, br#""t_ms":"#))
        {
            self.counts.map_us.saturating_record((now_us - t_ms * 1000).max(0) as u64);
        }
    }

    fn lost(&mut self, index: usize) {
        self.counts.closed += u64::from(self.conns[index].close());
    }
}

/// The whole number behind the first `key`.
fn number_after(text: &[u8], key: &[u8]) -> Option<i64> {
    let start = memmem::find(text, key)? + key.len();
    let digits = text[start..].iter().take_while(|byte| byte.is_ascii_digit());
    let mut count = 0;
    let number = digits.fold(0_i64, |number, digit| {
        count += 1;
        number.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'))
    });
    (count > 0).then_some(number)
}
