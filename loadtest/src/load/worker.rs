//! One thread of the generator: a poll loop over its drivers and their watchers.

mod conn;
mod read;
mod ride;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::client::{Opened, Server};
use super::counts::{Counts, Live, Untold};
use super::peer::Speaks;
use super::setup::Record;
use crate::clock::Clock;
use conn::{Conn, Who};
use ride::Ride;
use wayfare_wire::codec::DriveCodec;

/// One read takes at most this much; shared by all connections of the thread.
const READ_BYTES: usize = 256 * 1024;
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
/// A driver that may not send yet is asked again after this, ms.
const AGAIN_MS: i64 = 5;
/// Closed loop: a fix not delivered after this is given up, ms.
const STALLED_MS: i64 = 1_000;
/// How often the live counts are told.
const TELL: Duration = Duration::from_millis(100);

/// When fixes are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// At fixed times.
    Open {
        /// Fixes per second and driver.
        rate_hz: f64,
    },
    /// When the one before has arrived.
    Closed {
        /// Fixes of one driver on their way at once.
        in_flight: usize,
        /// Most fixes per second and driver; 0: any.
        rate_max_hz: f64,
    },
    /// At fixed times, and the newest first: what was due while there was no room is not sent any more, as apps do that obey the server.
    Newest {
        /// Fixes per second and driver.
        rate_hz: f64,
    },
    /// Never.
    Idle,
}

/// When to do what, Unix ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The first fix is due.
    pub(super) start_ms: i64,
    /// Counting begins.
    pub(super) from_ms: i64,
    /// Counting and sending end.
    pub(super) to_ms: i64,
    /// Nothing is awaited any more.
    pub(super) end_ms: i64,
}

impl Window {
    fn counts(&self, t_ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&t_ms)
    }
}

/// The connections of one thread, and what it counted.
pub(super) struct Worker {
    poll: Poll,
    conns: Vec<Conn>,
    rides: Vec<Ride>,
    pace: Pace,
    clock: Clock,
    counts: Counts,
    live: Arc<Live>,
    untold: Untold,
    /// Sockets that are open and never read.
    asleep: Vec<TcpStream>,
    buffer: Box<[u8]>,
    /// When to look at which ride, Unix ms.
    wakes: BinaryHeap<Reverse<(i64, usize)>>,
    speaks: Speaks,
}

impl Worker {
    pub(super) fn new(pace: Pace, clock: Clock, live: Arc<Live>, speaks: Speaks) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            conns: Vec::new(),
            rides: Vec::new(),
            pace,
            clock,
            counts: Counts::default(),
            live,
            untold: Untold::default(),
            asleep: Vec::new(),
            buffer: vec![0; READ_BYTES].into(),
            wakes: BinaryHeap::new(),
            speaks,
        })
    }

    /// Connects a driver and the watchers of its trip.
    pub(super) fn add_ride(
        &mut self,
        server: &Server,
        record: &Record,
        watchers: usize,
        codec: DriveCodec,
    ) -> anyhow::Result<()> {
        let ride = self.rides.len();
        for _ in 0..watchers {
            let opened = server.watch(record)?;
            self.add(opened, Who::Watcher { ride, seen_ms: 0 })?;
        }
        let opened = server.drive(record, codec)?;
        let conn = self.add(opened, Who::Driver { ride })?;
        self.rides.push(Ride::new(record.number, conn, watchers as u32, codec, self.speaks));
        Ok(())
    }

    /// A map, whose frames are counted apart.
    pub(super) fn add_map(&mut self, opened: Opened) -> io::Result<()> {
        self.add(opened, Who::Map).map(|_| ())
    }

    /// Somebody who has stopped reading.
    pub(super) fn add_asleep(&mut self, opened: Opened) {
        self.asleep.push(opened.stream);
    }

    /// Holds a connection that is not counted.
    pub(super) fn add_idle(&mut self, opened: Opened) -> io::Result<()> {
        self.add(opened, Who::Nobody).map(|_| ())
    }

    fn add(&mut self, opened: Opened, who: Who) -> io::Result<usize> {
        let index = self.conns.len();
        let mut conn = Conn::new(opened, who);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut conn.stream, Token(index), interest)?;
        self.conns.push(conn);
        Ok(index)
    }

    /// Sends, reads and counts until the window's end.
    pub(super) fn run(mut self, window: Window) -> io::Result<Counts> {
        self.schedule(window);
        let mut events = Events::with_capacity(EVENTS);
        let mut tell_at = Instant::now() + TELL;
        // What came behind the greetings raises no event any more.
        for index in 0..self.conns.len() {
            self.read_early(index, window);
        }
        loop {
            let now_ms = self.clock.now_ms();
            if now_ms >= window.end_ms {
                return Ok(self.counts);
            }
            self.wake_rides(now_ms, window);
            let timeout = self.sleep_for(window);
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                let index = event.token().0;
                if event.is_writable() {
                    self.conns[index].flush();
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(index, window);
                }
            }
            if Instant::now() >= tell_at {
                tell_at = Instant::now() + TELL;
                self.live.note(&mut self.untold);
                self.give_up_stalled();
                self.note_ages(window);
            }
        }
    }

    /// First wake of each ride: spread over one period, so that fixes do not come in bursts.
    fn schedule(&mut self, window: Window) {
        let count = self.rides.len().max(1) as f64;
        for index in 0..self.rides.len() {
            let period_ms = match self.pace {
                Pace::Open { rate_hz } | Pace::Newest { rate_hz } => 1000.0 / rate_hz,
                Pace::Closed { .. } => 200.0,
                Pace::Idle => return,
            };
            let at_ms = window.start_ms + (period_ms * index as f64 / count) as i64;
            self.rides[index].begin(at_ms);
            self.wake(index, at_ms);
        }
    }

    /// Looks at a ride at this time, unless it is looked at before anyway.
    fn wake(&mut self, index: usize, at_ms: i64) {
        let known = &mut self.rides[index].wake_ms;
        if known.is_none_or(|known| at_ms < known) {
            *known = Some(at_ms);
            self.wakes.push(Reverse((at_ms, index)));
        }
    }

    /// A fix that was lost must not stop a closed loop for ever.
    fn give_up_stalled(&mut self) {
        let now_ms = self.clock.now_ms();
        for index in 0..self.rides.len() {
            let stalled = self.rides[index].give_up(now_ms - STALLED_MS);
            if stalled > 0 {
                self.counts.stalled += stalled;
                self.wake(index, now_ms);
            }
        }
    }

    /// Looks how old the newest position of each watcher is.
    fn note_ages(&mut self, window: Window) {
        let now_ms = self.clock.now_ms();
        if !matches!(self.pace, Pace::Newest { .. }) || !window.counts(now_ms) {
            return;
        }
        for conn in &self.conns {
            if let Who::Watcher { seen_ms: seen_ms @ 1.., .. } = conn.who {
                self.counts.age_us.saturating_record((now_ms - seen_ms).max(0) as u64 * 1000);
            }
        }
    }

    fn sleep_for(&self, window: Window) -> Duration {
        let next_ms = self.wakes.peek().map_or(window.end_ms, |Reverse((at_ms, _))| *at_ms);
        let until_us = next_ms.min(window.end_ms) * 1000 - self.clock.now_us();
        // Never longer than the live counts may wait.
        Duration::from_micros(until_us.max(0) as u64).min(TELL)
    }

    /// Sends whatever is due.
    fn wake_rides(&mut self, now_ms: i64, window: Window) {
        while let Some(&Reverse((at_ms, index))) = self.wakes.peek() {
            if at_ms > now_ms {
                return;
            }
            self.wakes.pop();
            // One that was replaced by an earlier wake is not meant any more.
            if self.rides[index].wake_ms != Some(at_ms) {
                continue;
            }
            self.rides[index].wake_ms = None;
            if let Some(next_ms) = self.drive(index, now_ms, window) {
                self.wake(index, next_ms);
            }
        }
    }

    /// Lets one ride send what it may, and says when to look at it again.
    fn drive(&mut self, index: usize, now_ms: i64, window: Window) -> Option<i64> {
        let ride = &mut self.rides[index];
        if !self.conns[ride.conn].is_open() {
            return None;
        }
        match self.pace {
            Pace::Idle => None,
            Pace::Open { rate_hz } => {
                let due_ms = ride.due_ms(rate_hz);
                if due_ms >= window.to_ms {
                    return None;
                }
                if due_ms > now_ms {
                    return Some(due_ms);
                }
                if !ride.may_send() {
                    return Some(now_ms + AGAIN_MS);
                }
                ride.count_due();
                let next_ms = ride.due_ms(rate_hz);
                self.send(index, due_ms, window);
                Some(next_ms)
            }
            Pace::Newest { rate_hz } => {
                let due_ms = ride.due_ms(rate_hz);
                if due_ms >= window.to_ms {
                    return None;
                }
                if due_ms > now_ms {
                    return Some(due_ms);
                }
                if !ride.may_send() || self.conns[ride.conn].is_behind() {
                    return Some(now_ms + AGAIN_MS);
                }
                let skipped = ride.skip_to_newest(rate_hz, now_ms);
                let due_ms = ride.due_ms(rate_hz);
                ride.count_due();
                let next_ms = ride.due_ms(rate_hz);
                if window.counts(due_ms) {
                    self.counts.skipped += skipped;
                }
                self.send(index, due_ms, window);
                Some(next_ms)
            }
            Pace::Closed { in_flight, rate_max_hz } => {
                if now_ms >= window.to_ms {
                    return None;
                }
                let ready_ms = ride.ready_ms(rate_max_hz);
                if now_ms < ready_ms {
                    return Some(ready_ms);
                }
                if ride.in_flight() < in_flight && ride.may_send() {
                    let t_ms = ride.next_t_ms(now_ms);
                    self.send(index, t_ms, window);
                    // Another one may go at once.
                    return Some(now_ms);
                }
                // A delivery wakes it, or the search for stalled fixes, or, where too many are unacked, an ack.
                None
            }
        }
    }

    fn send(&mut self, index: usize, t_ms: i64, window: Window) {
        let ride = &mut self.rides[index];
        let now_ms = self.clock.now_ms();
        if let Pace::Closed { .. } = self.pace {
            ride.expect(t_ms);
        }
        let conn = &mut self.conns[ride.conn];
        conn.write(ride.message(t_ms, now_ms));
        self.untold.sent += 1;
        if window.counts(t_ms) {
            self.counts.sent += 1;
            self.counts.sent_late += u64::from(now_ms - t_ms > 5);
        }
    }
}
