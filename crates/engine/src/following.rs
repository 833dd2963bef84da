//! The line a driver is expected to follow to the next stop, and whether it still does.
//!
//! Drawing costs some 100 us, so nobody draws until somebody looks: the shell asks [`crate::Tracker::route_change`].

use crate::roads::{Matched, Network, Route};
use crate::{Position, StopKind, TripId};

/// Streets of a line that are remembered; a longer line is followed as far as that, and drawn anew there.
const STREETS_MOST: usize = 4_096;
/// Streets ahead among which the driver may be after one fix: 15 s on a motorway or in an old town.
const AHEAD: usize = 48;
/// Fixes off the line in a row before the driver has left it: one may be on the wrong side of a junction.
const OFF_FIXES: u8 = 2;
/// A match less certain than this says nothing about leaving.
const SURE: f32 = 0.5;

/// A line to the next stop.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteLine {
    /// The trip whose stop it leads to.
    pub trip: TripId,
    /// What is done there.
    pub kind: StopKind,
    /// From where the driver is to the stop's place on the road.
    pub points: Vec<Position>,
    /// Its length in metres.
    pub length_m: f64,
}

/// What became of the line to the next stop since it was drawn last.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteChange {
    /// Nothing.
    Same,
    /// It is another: drawn for the first time, to another stop, or because the driver left it.
    Drawn(RouteLine),
    /// There is none any more.
    Gone,
}

/// See the module. Not kept with a checkpoint: a line can be drawn again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Following {
    pub(crate) stop: Option<(TripId, StopKind)>,
    network: u64,
    streets: Vec<u32>,
    at: usize,
    off: u8,
}

impl Following {
    /// Takes in where the driver is. Tens of nanoseconds on the line.
    pub(crate) fn see(&mut self, matched: &Matched) {
        if self.stop.is_none() || self.streets.is_empty() {
            return;
        }
        let ahead = self.streets[self.at..].iter().take(AHEAD).position(|street| *street == matched.street.0);
        match ahead {
            Some(on) => (self.at, self.off) = (self.at + on, 0),
            None if matched.confidence >= SURE => self.off = self.off.saturating_add(1),
            None => {}
        }
    }

    /// Whether the line must be drawn (again) to lead to `stop`.
    pub(crate) fn is_due(&self, stop: (TripId, StopKind), network: &Network) -> bool {
        let ended = self.streets.len() == STREETS_MOST && self.at + AHEAD >= STREETS_MOST;
        self.stop != Some(stop) || self.network != network.content_hash() || self.off >= OFF_FIXES || ended
    }

    pub(crate) fn follow(&mut self, stop: (TripId, StopKind), network: &Network, route: &Route) {
        self.stop = Some(stop);
        self.network = network.content_hash();
        self.streets.clear();
        self.streets.extend(route.streets.iter().take(STREETS_MOST).map(|street| street.0));
        (self.at, self.off) = (0, 0);
    }

    /// Forgets the line; true if there was one.
    pub(crate) fn end(&mut self) -> bool {
        std::mem::take(self).stop.is_some()
    }
}
