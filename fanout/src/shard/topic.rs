//! A watched topic, as one shard holds it.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use wayfare_bus::{Members, Patch};
use wayfare_net::ws::{Opcode, write};
use wayfare_wire::codec::{Codec, moves};
use wayfare_wire::state::field;
use wayfare_wire::{Cursor, Topic};

use super::conn::SubRef;
use super::state::opcode_of;

/// Deltas of one topic in one turn; more become a snapshot, which is shorter by then.
pub const TURN_DELTAS_MAX: usize = 64;

/// What is known of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The bus has not answered yet.
    Nothing,
    /// There is no such topic.
    Absent,
    /// It has a state.
    Live,
    /// It is over.
    Ended,
}

/// One topic with its subscribers and the bytes of this turn.
pub struct WatchedTopic {
    pub topic: Topic,
    /// Name on the bus.
    pub name: Arc<str>,
    /// Number under which the bus speaks of it: never used again after this entry.
    pub tag: u64,
    pub known: Known,
    /// The bus cannot be heard: the state may be old.
    pub is_stale: bool,
    pub epoch: u64,
    pub seq: u64,
    pub members: Members,
    pub subs: Vec<SubRef>,
    /// Some subscribers wait for an answer.
    pub waiting: bool,
    /// Since when one of them has seen more than is known here, in seconds of the shard.
    pub ahead_since_s: Option<u32>,
    /// For a trip's views: the entry of its access list. For an access list: `None`.
    pub access: Option<usize>,
    /// For an access list: the entries of the views that follow it.
    pub views: SmallVec<[usize; 2]>,
    /// Changed in this turn.
    pub touched: bool,
    /// Deltas of this turn, in order; meaningless if `turn_whole`.
    pub turn_deltas: SmallVec<[(u64, Arc<Patch>); 2]>,
    /// This turn is told by the whole state instead of deltas.
    pub turn_whole: bool,
    /// Frames of this turn for WebSockets; built on first demand, cleared at the end of the turn.
    pub turn_frames: Vec<u8>,
    /// Events of this turn for SSE streams of this one topic; built on first demand.
    pub turn_events: Option<Bytes>,
    /// The snapshot as a WebSocket frame, and where it was made.
    snapshot: Option<(Cursor, Bytes)>,
    /// The same for watchers who speak Protocol Buffers; there only while the topic has some.
    proto: Option<Box<ProtoTurn>>,
}

/// What the shard keeps of a topic for its watchers of Protocol Buffers.
#[derive(Default)]
struct ProtoTurn {
    /// How many they are.
    subs: u32,
    /// The value of `position` before this turn: what its moves start from.
    before: Option<Bytes>,
    /// This turn as one WebSocket message; built on first demand, cleared at the end of the turn.
    frame: Vec<u8>,
    /// The snapshot as a WebSocket frame, and where it was made.
    snapshot: Option<(Cursor, Bytes)>,
}

impl WatchedTopic {
    pub fn new(topic: Topic, tag: u64) -> Self {
        Self {
            name: topic.to_string().into(),
            topic,
            tag,
            known: Known::Nothing,
            is_stale: false,
            epoch: 0,
            seq: 0,
            members: Members::default(),
            subs: Vec::new(),
            waiting: false,
            ahead_since_s: None,
            access: None,
            views: SmallVec::new(),
            touched: false,
            turn_deltas: SmallVec::new(),
            turn_whole: false,
            turn_frames: Vec::new(),
            turn_events: None,
            snapshot: None,
            proto: None,
        }
    }

    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, seq: self.seq }
    }

    /// A watcher of Protocol Buffers came.
    pub fn proto_joined(&mut self) {
        self.proto.get_or_insert_default().subs += 1;
    }

    /// A watcher of Protocol Buffers left; with the last one goes what was kept for them.
    pub fn proto_left(&mut self) {
        if let Some(proto) = &mut self.proto {
            proto.subs -= 1;
            if proto.subs == 0 {
                self.proto = None;
            }
        }
    }

    /// A delta is about to be applied: the first of a turn finds the position that moves start from.
    pub fn note_before(&mut self) {
        if let Some(proto) = &mut self.proto
            && self.turn_deltas.is_empty()
        {
            proto.before = self.members.get(field::POSITION).cloned();
        }
    }

    /// The whole state as one frame, or the final state if the topic is over. Encoded once per number and codec.
    pub fn whole_frame(&mut self, codec: Codec, alias: u32, scratch: &mut Vec<u8>) -> Bytes {
        let made = match codec {
            Codec::Json => self.snapshot.as_ref(),
            Codec::Proto => self.proto.as_ref().and_then(|proto| proto.snapshot.as_ref()),
        };
        if let Some((made_at, frame)) = made
            && *made_at == self.cursor()
        {
            return frame.clone();
        }
        let mut members = Vec::new();
        self.members.write(&mut members);
        scratch.clear();
        if self.known == Known::Ended {
            codec.end(scratch, alias, &members);
        } else {
            codec.snapshot(scratch, alias, self.cursor(), &members);
        }
        let mut frame = Vec::with_capacity(scratch.len() + 10);
        write::frame(&mut frame, opcode_of(codec), scratch);
        let frame = Bytes::from(frame);
        let made = Some((self.cursor(), frame.clone()));
        match codec {
            Codec::Json => self.snapshot = made,
            Codec::Proto => self.proto.get_or_insert_default().snapshot = made,
        }
        frame
    }

    /// Builds this turn's frames in a codec if nobody has yet.
    pub fn build_turn_frames(&mut self, codec: Codec, alias: u32, scratch: &mut Vec<u8>) {
        match codec {
            Codec::Json if self.turn_frames.is_empty() => self.build_json(alias, scratch),
            Codec::Proto if self.proto_frame().is_empty() => self.build_proto(alias, scratch),
            _ => {}
        }
    }

    fn build_json(&mut self, alias: u32, scratch: &mut Vec<u8>) {
        if self.turn_whole {
            let frame = self.whole_frame(Codec::Json, alias, scratch);
            self.turn_frames.extend_from_slice(&frame);
            return;
        }
        for (seq, patch) in &self.turn_deltas {
            scratch.clear();
            Codec::Json.delta(scratch, alias, *seq, patch.text());
            write::frame(&mut self.turn_frames, Opcode::Text, scratch);
        }
    }

    fn build_proto(&mut self, alias: u32, scratch: &mut Vec<u8>) {
        if self.turn_whole {
            let frame = self.whole_frame(Codec::Proto, alias, scratch);
            self.proto.get_or_insert_default().frame.extend_from_slice(&frame);
            return;
        }
        let proto = self.proto.get_or_insert_default();
        let deltas = self.turn_deltas.iter().map(|(seq, patch)| (*seq, &patch.text()[..]));
        scratch.clear();
        if !moves::write(scratch, alias, proto.before.as_deref(), deltas.clone()) {
            deltas.for_each(|(seq, members)| Codec::Proto.delta(scratch, alias, seq, members));
        }
        write::frame(&mut proto.frame, Opcode::Binary, scratch);
    }

    /// This turn as a WebSocket message of Protocol Buffers; empty if nobody wanted it.
    pub fn proto_frame(&self) -> &[u8] {
        self.proto.as_ref().map_or(&[], |proto| &proto.frame)
    }

    /// Events of this turn for an SSE stream. `id` is called with the cursor after each event and appends the id line.
    pub fn write_turn_events(&self, out: &mut Vec<u8>, alias: u32, mut id: impl FnMut(&mut Vec<u8>, Cursor)) {
        if self.turn_whole {
            id(out, self.cursor());
            self.write_whole_event(out, alias);
            return;
        }
        for (seq, patch) in &self.turn_deltas {
            id(out, Cursor { epoch: self.epoch, seq: *seq });
            out.extend_from_slice(b"event: delta\ndata: ");
            Codec::Json.delta(out, alias, *seq, patch.text());
            out.extend_from_slice(b"\n\n");
        }
    }

    /// `event:` and `data:` lines of the whole state, or of the end.
    pub fn write_whole_event(&self, out: &mut Vec<u8>, alias: u32) {
        let mut members = Vec::new();
        self.members.write(&mut members);
        if self.known == Known::Ended {
            out.extend_from_slice(b"event: end\ndata: ");
            Codec::Json.end(out, alias, &members);
        } else {
            out.extend_from_slice(b"event: snapshot\ndata: ");
            Codec::Json.snapshot(out, alias, self.cursor(), &members);
        }
        out.extend_from_slice(b"\n\n");
    }

    /// Number of frames this turn offers to a subscriber.
    pub fn turn_length(&self) -> u64 {
        if self.turn_whole { 1 } else { self.turn_deltas.len() as u64 }
    }

    /// Forgets the turn; keeps the buffer unless it grew out of proportion.
    pub fn end_turn(&mut self) {
        self.touched = false;
        self.turn_whole = false;
        self.turn_deltas.clear();
        self.turn_events = None;
        let proto = self.proto.as_deref_mut().map(|proto| {
            proto.before = None;
            &mut proto.frame
        });
        for frames in [Some(&mut self.turn_frames), proto].into_iter().flatten() {
            frames.clear();
            if frames.capacity() > 16 * 1024 {
                *frames = Vec::new();
            }
        }
    }
}
