//! What a driver has been asked to do, as the records say.

use crate::{Fence, Millis, Phase, Position, TripId, Vehicle};

/// A driver's ordered stops and the trips they belong to. Versions only grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Version of the record; a tracker ignores plans below the one it has.
    pub version: u64,
    /// The driver is on duty although no trip may be live.
    pub available: bool,
    /// What the driver moves with.
    pub vehicle: Vehicle,
    /// Trips on board or waiting, at most [`Plan::MAX_TRIPS`]; more are ignored.
    pub trips: Vec<PlanTrip>,
    /// Stops in driving order, at most [`Plan::MAX_STOPS`]; more are ignored, as are stops of unlisted trips.
    pub stops: Vec<PlanStop>,
}

impl Plan {
    /// Trips a tracker follows at once.
    pub const MAX_TRIPS: usize = 32;
    /// Stops a tracker follows at once.
    pub const MAX_STOPS: usize = 64;
}

/// One trip of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanTrip {
    /// Which trip.
    pub id: TripId,
    /// Number of the assignment: how often the trip has been given to somebody.
    pub assignment: u64,
    /// Phase as recorded; the tracker never goes below it.
    pub phase: Phase,
    /// When the driver got the trip, if that is known: fixes from then on count for it, however late they come. Otherwise when the plan arrives.
    pub since: Option<Millis>,
    /// When the kitchen says the order is ready.
    pub ready_at: Option<Millis>,
}

/// What is done at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StopKind {
    /// The order is taken on board.
    Pickup = 0,
    /// The order is handed over.
    Dropoff = 1,
}

/// One stop of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanStop {
    /// The trip it serves.
    pub trip: TripId,
    /// What is done there.
    pub kind: StopKind,
    /// Where it is.
    pub position: Position,
    /// When the driver counts as there. One that fails [`Fence::validate`] is replaced by [`Fence::for_vehicle`].
    pub fence: Fence,
    /// Time usually spent there, in ms, from arrival (or readiness) to departure; negative counts as 0.
    pub service_ms: i64,
}
