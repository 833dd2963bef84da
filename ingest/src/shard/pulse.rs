//! How often a driver's line is kept warm: less often while nothing depends on it.
//!
//! Each heartbeat wakes a phone's radio, which then stays up for some ten seconds. Without a live trip it is sent half as often. Not less,
//! for three reasons: a client that does not heed the change takes two and a half of the old heartbeats of silence for the end, and must not;
//! proxies commonly end a connection on which nothing travels for 60 s, and 40 s stays below that; and it is longer already than the 30 s
//! after which a driver on shift is asked for a fix, so that beside those nothing travels at all. What TCP itself needs is less: networks
//! forget a connection after minutes.
//!
//! On QUIC there is nothing to save: many routers forget where a UDP packet went after 30 s, and what is told to the driver after that is
//! lost. There the heartbeat stays what it is.

use wayfare_engine::DriverId;

use super::line::Line;
use super::state::{ConnId, State};

/// Heartbeats without a live trip are this many times as far apart. Under two and a half, see the module.
const IDLE_TIMES: u32 = 2;

impl State {
    /// How far apart the heartbeats of this driver's connection should be now, seconds.
    pub fn wanted_heartbeat_s(&self, driver: DriverId, line: &Line) -> u32 {
        let heartbeat_s = self.link_limits.heartbeat_s;
        let tracked = self.drivers.get(&driver);
        let is_live = tracked.is_some_and(|tracked| tracked.tracker.trips().next().is_some());
        match line {
            Line::WebSocket(_) if !is_live => heartbeat_s * IDLE_TIMES,
            _ => heartbeat_s,
        }
    }

    /// The new distance of heartbeats, seconds, if it is to be another from now on.
    pub fn new_heartbeat_s(&mut self, driver: DriverId, id: ConnId) -> Option<u32> {
        let now_s = self.now_s();
        let conn = self.conns.get(id.place as usize).filter(|conn| conn.generation == id.generation)?;
        let heartbeat_s = self.wanted_heartbeat_s(driver, &conn.line);
        let conn = self.conn(id).filter(|conn| conn.heartbeat_s != heartbeat_s)?;
        conn.heartbeat_s = heartbeat_s;
        // It was silent by the old measure: by the new one it is from now on.
        conn.line.heard_anew(now_s);
        Some(heartbeat_s)
    }
}
