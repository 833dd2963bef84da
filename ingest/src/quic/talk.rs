//! One connection: the protocol's state, the control stream and the messages' own streams. Takes packets and the time, gives messages
//! and packets; knows no socket and no task.
//!
//! Streams are asked what they have whenever the connection has a turn. There are few of them, and mostly a message lies there whole.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn_proto::{
    Connection, ConnectionError, ConnectionEvent, ConnectionHandle, Dir, EndpointEvent, Event, ReadError, StreamEvent,
    StreamId, Transmit, VarInt, WriteError,
};
use wayfare_net::bucket::{Bucket, Rate};
use wayfare_wire::CloseCode;
use wayfare_wire::frame::{Frames, MESSAGE_BYTES_MAX};

use crate::metrics;

/// Most bytes taken from the control stream in one piece.
const PIECE: usize = 16 * 1024;

/// A message that was begun may stay unfinished for this long: a tunnel's length.
pub const STALL: Duration = Duration::from_secs(30);

/// How often a client may have another address. A router that forgets gives a new one every few seconds at worst; each costs a challenge,
/// and one that is not the client's own might be a stranger's who is to be sent packets.
const MOVES: Rate = Rate { per_second: 0.5, burst: 20.0 };

/// A connection among all of this node. Handles are used again, serial numbers are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    pub handle: ConnectionHandle,
    pub serial: u32,
}

/// See the module.
pub struct Talk {
    pub name: Name,
    quic: Connection,
    /// Once the client has opened it.
    control: Option<StreamId>,
    frames: Frames,
    /// Messages on streams of their own that have come in part.
    readings: Vec<Reading>,
    /// Waits until the client has room for it.
    out: Bytes,
    /// Where the client is.
    address: SocketAddr,
    moves: Bucket,
    restless: bool,
    connected: bool,
    /// The client has all that was written, or wants no more.
    taken: bool,
    lost: Option<ConnectionError>,
}

struct Reading {
    stream: StreamId,
    begun: Vec<u8>,
    until: Instant,
}

/// How reading the control stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// More may come.
    Open,
    /// The client has nothing more to say.
    Ended,
    /// It ended within a message.
    Torn,
    /// A message is longer than any may be; what follows cannot be read.
    TooBig,
}

/// Why a message's own stream gave no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    TooBig,
    Stalled,
}

enum Read {
    Whole(Bytes),
    Part,
    TooBig,
    /// The client took it back.
    Withdrawn,
}

impl Talk {
    pub fn new(name: Name, quic: Connection, now: Instant) -> Self {
        Self {
            name,
            address: quic.remote_address(),
            moves: Bucket::full(MOVES, now),
            restless: false,
            quic,
            control: None,
            frames: Frames::default(),
            readings: Vec::new(),
            out: Bytes::new(),
            connected: false,
            taken: false,
            lost: None,
        }
    }

    /// A packet, or an answer of the endpoint.
    pub fn handle(&mut self, event: ConnectionEvent) {
        self.quic.handle_event(event);
    }

    /// Looks at the clocks, and at what packets have brought about.
    pub fn step(&mut self, now: Instant) {
        if self.quic.poll_timeout().is_some_and(|at| at <= now) {
            self.quic.handle_timeout(now);
        }
        let address = self.quic.remote_address();
        if address != self.address {
            metrics::quic_moved();
            self.address = address;
            self.restless |= !self.moves.take(MOVES, now);
        }
        while let Some(event) = self.quic.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => self.lost = Some(reason),
                Event::Stream(StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. }) => {
                    self.taken |= self.control == Some(id);
                }
                _ => {}
            }
        }
    }

    /// Whether the handshake is complete.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether it has changed its address more often than any network makes it.
    pub fn is_restless(&self) -> bool {
        self.restless
    }

    /// Whether the client has all that was written by [`Self::write_last`], or has said that it wants no more.
    pub fn is_taken(&self) -> bool {
        self.taken
    }

    /// Why the connection is gone, if it is and was not closed from here. Told once.
    pub fn take_lost(&mut self) -> Option<ConnectionError> {
        self.lost.take()
    }

    /// Whether a message on the control stream is begun and not finished.
    pub fn is_waiting(&self) -> bool {
        self.frames.is_waiting()
    }

    /// Gives out the messages of the control stream that are whole.
    pub fn read_control(&mut self, each: &mut impl FnMut(&[u8])) -> Control {
        self.control = self.control.or_else(|| self.quic.streams().accept(Dir::Bi));
        let Some(control) = self.control else { return Control::Open };
        let mut stream = self.quic.recv_stream(control);
        let Ok(mut chunks) = stream.read(true) else { return Control::Ended };
        loop {
            match chunks.next(PIECE) {
                Ok(Some(chunk)) if self.frames.feed(&chunk.bytes, each).is_err() => return Control::TooBig,
                Ok(Some(_)) => {}
                Ok(None) if self.frames.is_waiting() => return Control::Torn,
                Ok(None) | Err(ReadError::Reset(_)) => return Control::Ended,
                Err(ReadError::Blocked) => return Control::Open,
            }
        }
    }

    /// Gives out messages whose streams have ended. Mostly one came in one piece, which is then not copied.
    pub fn read_messages(&mut self, now: Instant, each: &mut impl FnMut(Result<&[u8], Fault>)) {
        let quic = &mut self.quic;
        self.readings.retain_mut(|reading| match read(quic, reading.stream, &mut reading.begun) {
            Read::Part if now < reading.until => true,
            Read::Part => {
                each(Err(Fault::Stalled));
                false
            }
            done => {
                give(done, each);
                false
            }
        });
        while let Some(stream) = self.quic.streams().accept(Dir::Uni) {
            let mut begun = Vec::new();
            match read(&mut self.quic, stream, &mut begun) {
                Read::Part => self.readings.push(Reading { stream, begun, until: now + STALL }),
                done => give(done, each),
            }
        }
        if self.readings.is_empty() {
            // An idle connection owns no list.
            self.readings = Vec::new();
        }
    }

    /// Whether all that was said has found room.
    pub fn is_unburdened(&self) -> bool {
        self.out.is_empty()
    }

    /// Says this behind what still waits.
    pub fn say(&mut self, frames: Vec<u8>) {
        if frames.is_empty() {
            return;
        }
        self.out = if self.out.is_empty() { frames.into() } else { [&self.out[..], &frames].concat().into() };
    }

    /// Hands what waits to the protocol as far as there is room. Gives the number of bytes that found some.
    pub fn write(&mut self) -> usize {
        let Some(control) = self.control.filter(|_| !self.out.is_empty()) else { return 0 };
        match self.quic.send_stream(control).write_chunks(std::slice::from_mut(&mut self.out)) {
            Ok(written) => written.bytes,
            Err(WriteError::Blocked) => 0,
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                self.taken = true;
                0
            }
        }
    }

    /// The same when nothing will follow.
    pub fn write_last(&mut self) {
        self.write();
        if let Some(control) = self.control.filter(|_| self.out.is_empty()) {
            // Finished twice is finished.
            let _ = self.quic.send_stream(control).finish();
        }
    }

    /// Ends the connection; code and word travel in the closing packet.
    pub fn close(&mut self, now: Instant, code: CloseCode) {
        self.quic.close(now, VarInt::from_u32(code.number().into()), Bytes::from_static(code.word().as_bytes()));
        (self.readings, self.out) = (Vec::new(), Bytes::new());
    }

    /// Ends it without a word, as nobody who could hear one is there.
    pub fn abandon(&mut self, now: Instant) {
        self.quic.close(now, VarInt::from_u32(0), Bytes::new());
    }

    /// What the endpoint must hear.
    pub fn poll_endpoint(&mut self) -> Option<EndpointEvent> {
        self.quic.poll_endpoint_events()
    }

    /// The next packets for the socket, at most `segments` of them, in `packets`.
    pub fn transmit(&mut self, now: Instant, segments: usize, packets: &mut Vec<u8>) -> Option<Transmit> {
        packets.clear();
        self.quic.poll_transmit(now, segments, packets)
    }

    /// When it wants a turn again, whether anything comes or not.
    pub fn wants_turn_at(&mut self) -> Option<Instant> {
        let stalled = self.readings.iter().map(|reading| reading.until).min();
        [self.quic.poll_timeout(), stalled].into_iter().flatten().min()
    }
}

/// Reads a stream as far as it has come.
fn read(quic: &mut Connection, stream: StreamId, begun: &mut Vec<u8>) -> Read {
    let mut stream = quic.recv_stream(stream);
    let Ok(mut chunks) = stream.read(true) else { return Read::Withdrawn };
    let mut first = Bytes::new();
    loop {
        match chunks.next(MESSAGE_BYTES_MAX) {
            Ok(Some(chunk)) => {
                if first.len() + begun.len() + chunk.bytes.len() > MESSAGE_BYTES_MAX {
                    return Read::TooBig;
                }
                if first.is_empty() && begun.is_empty() {
                    first = chunk.bytes;
                    continue;
                }
                begun.extend_from_slice(&std::mem::take(&mut first));
                begun.extend_from_slice(&chunk.bytes);
            }
            Ok(None) if begun.is_empty() => return Read::Whole(first),
            Ok(None) => return Read::Whole(std::mem::take(begun).into()),
            Err(ReadError::Blocked) => {
                begun.extend_from_slice(&first);
                return Read::Part;
            }
            Err(ReadError::Reset(_)) => return Read::Withdrawn,
        }
    }
}

fn give(read: Read, each: &mut impl FnMut(Result<&[u8], Fault>)) {
    match read {
        Read::Whole(message) => each(Ok(&message)),
        Read::TooBig => each(Err(Fault::TooBig)),
        Read::Withdrawn | Read::Part => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests;
