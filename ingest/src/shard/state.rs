//! The tables of a shard.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ahash::AHashMap;
use slab::Slab;
use tokio::sync::Notify;
use wayfare_bus::{Fields, Lease};
use wayfare_engine::learn::Lesson;
use wayfare_engine::{DriverId, Effect, Rate, RawFix, Room, Verdict};
use wayfare_net::ws::link::{Health, Link, LinkLimits};
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::Bye;
use wayfare_wire::messages::drive::ToDriver;
use wayfare_wire::{Claims, CloseCode};

use super::acks::Gathered;
use super::deliveries::{Report, Told};
use super::drivers::Tracked;
use super::line::Line;
use super::map::Census;
use crate::House;
use crate::fences::FenceSet;
use crate::flush::FenceEvent;
use crate::metrics::{self, Counters};

/// A connection by place and generation: places are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnId {
    pub place: u32,
    pub generation: u32,
}

/// One driver's connection.
pub struct Conn {
    pub generation: u32,
    pub line: Line,
    pub codec: DriveCodec,
    pub claims: Claims,
    pub driver: DriverId,
    /// Set by `hello`; messages before it are refused.
    pub session: Option<u64>,
    pub opened_s: u32,
    pub malformed_in_row: u8,
    /// The rate last asked of the app.
    pub rate: Rate,
    /// Something is sent at least this often, as was told last.
    pub heartbeat_s: u32,
    /// Deliveries that were told here.
    pub told: Told,
    /// Acks about to be written.
    pub acks: Gathered,
}

/// Something to be asked of the bus by the shard's loop.
pub enum Want {
    /// Subscribe to a plan under this tag.
    Hear(String, u64),
    /// Unsubscribe.
    Forget(String),
}

/// See the module.
pub struct State {
    pub index: usize,
    pub house: Arc<House>,
    /// The operator's fences, replaced as a whole.
    pub fences: Arc<FenceSet>,
    pub drivers: AHashMap<DriverId, Box<Tracked>>,
    /// Drivers being taken over; those who need them wait.
    pub loading: AHashMap<DriverId, Rc<Notify>>,
    /// Whose plan a tag stands for.
    pub plan_tags: AHashMap<u64, DriverId>,
    pub conns: Slab<Conn>,
    pub wants: Vec<Want>,
    /// What drivers said, to be kept, and the word that there is some.
    pub reports: Vec<(ConnId, Report)>,
    pub reported: Rc<Notify>,
    pub counters: Counters,
    pub link_limits: LinkLimits,
    /// Nothing more is taken.
    pub draining: bool,
    /// Everyone was told to leave.
    pub leaving: bool,
    /// One buffer for all reading of this shard.
    pub read_buffer: Vec<u8>,
    /// Reused from message to message: nothing is allocated per fix.
    pub effects: Vec<Effect>,
    /// Fence events of the message at hand, until they are gathered with it.
    pub found_fences: Vec<FenceEvent>,
    pub raw: Vec<RawFix>,
    pub verdicts: Vec<Verdict>,
    pub position: Vec<u8>,
    pub fields: Fields,
    /// Room of this thread for looking roads up.
    pub room: Room,
    /// What was found out about driving since it was last handed over.
    pub lessons: Vec<Lesson>,
    pub next_tag: u64,
    /// Drivers on the map, by cell.
    pub census: Census,
    started: Instant,
    now_s: u32,
    generations: u32,
}

impl State {
    pub fn new(index: usize, house: Arc<House>) -> Self {
        let config = &house.config;
        let link_limits = LinkLimits {
            heartbeat_s: config.heartbeat.as_secs().max(1) as u32,
            slow_s: config.slow_timeout.as_secs().max(1) as u32,
            messages: config.messages,
        };
        Self {
            index,
            fences: Arc::default(),
            drivers: AHashMap::new(),
            loading: AHashMap::new(),
            plan_tags: AHashMap::new(),
            conns: Slab::new(),
            wants: Vec::new(),
            reports: Vec::new(),
            reported: Rc::default(),
            counters: Counters::default(),
            link_limits,
            draining: false,
            leaving: false,
            read_buffer: vec![0; 64 * 1024],
            effects: Vec::new(),
            found_fences: Vec::new(),
            raw: Vec::new(),
            verdicts: Vec::new(),
            position: Vec::new(),
            fields: Fields::new(),
            room: Room::default(),
            lessons: Vec::new(),
            next_tag: 0,
            census: Census::new(format!("{}-{index}", config.node)),
            started: Instant::now(),
            now_s: 0,
            generations: 0,
            house,
        }
    }

    /// Seconds since the shard started, as of its last tick: a message asks for them several times, and a clock costs more than all
    /// of these questions are worth.
    pub fn now_s(&self) -> u32 {
        self.now_s
    }

    /// Once a second.
    pub fn tick(&mut self) {
        self.now_s = self.started.elapsed().as_secs() as u32;
    }

    /// Milliseconds since the shard started; turns over after 49 days.
    pub fn now_ms(&self) -> u32 {
        self.started.elapsed().as_millis() as u32
    }

    /// Adds a connection.
    pub fn add(&mut self, line: Line, codec: DriveCodec, claims: Claims, driver: DriverId) -> ConnId {
        self.generations = self.generations.wrapping_add(1);
        let (generation, opened_s) = (self.generations, self.now_s());
        let place = self.conns.insert(Conn {
            generation,
            line,
            codec,
            claims,
            driver,
            session: None,
            opened_s,
            malformed_in_row: 0,
            rate: Rate::default(),
            heartbeat_s: self.link_limits.heartbeat_s,
            told: Told::new(),
            acks: Gathered::default(),
        });
        ConnId { place: place as u32, generation }
    }

    /// The connection, if it is still the same.
    pub fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.place as usize).filter(|conn| conn.generation == id.generation)
    }

    /// Its WebSocket, if it is still the same and is one.
    pub fn link(&mut self, id: ConnId) -> Option<&mut Link> {
        match &mut self.conn(id)?.line {
            Line::WebSocket(link) => Some(link),
            Line::Quic(_) => None,
        }
    }

    /// Removes a connection; its driver's tracker stays.
    pub fn remove(&mut self, id: ConnId) {
        if self.conn(id).is_none() {
            return;
        }
        let conn = self.conns.remove(id.place as usize);
        if let Some(tracked) = self.drivers.get_mut(&conn.driver).filter(|tracked| tracked.conn == Some(id)) {
            tracked.conn = None;
        }
    }

    /// Sends a message that is not on the hot path.
    pub fn say(&mut self, id: ConnId, message: &ToDriver) {
        let now_s = self.now_s();
        let Some(conn) = self.conn(id) else { return };
        let (mut frame, mut body) = (Vec::new(), Vec::new());
        conn.codec.write(&mut body, message);
        conn.line.frame(&mut frame, conn.codec, &body);
        conn.line.send(&frame, now_s);
    }

    /// Says goodbye and lets the client leave.
    pub fn close(&mut self, id: ConnId, code: CloseCode, retry_after_ms: Option<u32>) {
        let now_s = self.now_s();
        let Some(conn) = self.conn(id).filter(|conn| !conn.line.is_closing()) else { return };
        metrics::closed(code);
        // What is durable is said before the goodbye.
        let acks = conn.acks.take();
        if !acks.is_empty() {
            conn.line.send(&acks, now_s);
        }
        let bye = ToDriver::Bye(Bye { code: code.number(), reason: code.word().into(), retry_after_ms });
        let mut body = Vec::new();
        conn.codec.write(&mut body, &bye);
        conn.line.close(code, conn.codec, &body, now_s);
    }

    /// Nothing more is taken from here on; what was is in the gather, and every tracker beside it.
    pub fn settle(&mut self) {
        self.draining = true;
        self.checkpoint_all();
    }

    /// Everyone is told when to come back, spread evenly. What was read is judged already; the flusher does the rest.
    pub fn drain(&mut self) {
        self.leaving = true;
        let spread_ms = self.house.config.drain_spread.as_millis() as u64;
        let ids: Vec<ConnId> = self
            .conns
            .iter()
            .map(|(place, conn)| ConnId { place: place as u32, generation: conn.generation })
            .collect();
        let count = ids.len().max(1) as u64;
        for (turn, id) in ids.into_iter().enumerate() {
            // A prime stride scatters neighbours, who often came together.
            let after_ms = 500 + spread_ms * ((turn as u64 * 7919) % count) / count;
            self.close(id, CloseCode::Draining, Some(after_ms as u32));
        }
    }

    /// Once a second: connections that are silent, stalled, expired, revoked or stuck.
    pub fn look_over_conns(&mut self) {
        let (now_s, now_ms) = (self.now_s(), wayfare_bus::now_ms());
        let auth_s = self.house.config.auth_timeout.as_secs() as u32;
        let mut ends = Vec::new();
        let mut beats = Vec::new();
        for (place, conn) in &mut self.conns {
            let id = ConnId { place: place as u32, generation: conn.generation };
            if conn.line.is_closing() {
                conn.line.nudge();
                continue;
            }
            let end = if conn.session.is_none() && now_s >= conn.opened_s + auth_s {
                Some(CloseCode::Silent)
            } else if conn.claims.connection_ends_ms() <= now_ms {
                Some(CloseCode::TokenExpired)
            } else if self.house.verifier.is_revoked(&conn.claims) {
                Some(CloseCode::Revoked)
            } else {
                let limits = LinkLimits { heartbeat_s: conn.heartbeat_s, ..self.link_limits };
                match conn.line.health(&limits, now_s) {
                    Health::Well => None,
                    Health::Quiet => {
                        beats.push(id);
                        None
                    }
                    Health::End(code) => Some(code),
                    Health::Cut(code) => {
                        metrics::closed(code);
                        conn.line.cut(code);
                        None
                    }
                }
            };
            ends.extend(end.map(|code| (id, code)));
        }
        for (id, code) in ends {
            self.close(id, code, None);
        }
        for id in beats {
            if let Some(conn) = self.conn(id) {
                conn.line.beat(conn.codec, now_s);
            }
        }
        self.counters.publish();
        metrics::sizes(self.index, self.conns.len(), self.drivers.len());
    }

    /// All leases held, for renewal.
    pub fn leases(&self) -> Vec<(DriverId, Lease)> {
        self.drivers.iter().map(|(driver, tracked)| (*driver, tracked.lease)).collect()
    }
}
