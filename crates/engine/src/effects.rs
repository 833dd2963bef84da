//! What the engine tells its caller: plain facts, to be carried out in order.

use crate::learn::Lesson;
use crate::roads::{Confirmed, Matched};
use crate::{Eta, FenceKind, Fix, Forecast, GeofenceId, Millis, Phase, Position, TripId, Verdict};

/// One thing that follows from a fix, a plan or the passing of time.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The judgement of one fix of the batch.
    Judged {
        /// Its index in the batch.
        index: usize,
        /// The judgement.
        verdict: Verdict,
        /// The fix as it is to be kept, in server time. `None` when rejected: what is not kept is not passed on.
        fix: Option<Fix>,
    },
    /// The live marker changed, or is due to be refreshed. At most once per batch, with the newest state.
    Moved(Marker),
    /// A trip went into another phase because of where its driver is or was.
    Phase {
        /// Which trip.
        trip: TripId,
        /// Assignment number of the plan.
        assignment: u64,
        /// The phase it is in from `at` on.
        phase: Phase,
        /// When it happened, in server time; for late fixes long before now.
        at: Millis,
        /// Running number of the phases this tracker raised for this assignment, from 1. The same fixes give the same numbers.
        ordinal: u32,
    },
    /// A trip's arrival estimate moved enough to be told, or ended (`None`).
    Eta {
        /// Which trip.
        trip: TripId,
        /// The estimate; `None` when there is none any more.
        eta: Option<Eta>,
    },
    /// The driver entered, left or stayed in a fence of the operator's.
    Fence {
        /// Which fence.
        fence: GeofenceId,
        /// What happened.
        kind: FenceKind,
        /// When it happened, in server time.
        at: Millis,
        /// Where the driver was when it was found out.
        position: Position,
        /// Number of the event: grows over all fence events of the driver. The same fixes give the same numbers.
        number: u64,
    },
    /// No fix has been accepted for [`crate::Limits::silence_ms`] although a trip is live. Told once.
    Silent {
        /// When the last accepted fix was received, or the first trip became live if there was none since.
        since: Millis,
    },
    /// What is known of the driver's phone changed: see [`crate::Tracker::phone`] and [`crate::Tracker::outage`].
    Phone,
    /// The feed began to look made up, or no longer does: see [`crate::Tracker::too_even_since`].
    Suspect,
    /// Where on the road the driver was two fixes ago, now that it is certain. Where it is by the newest fix stands in [`Marker::road`].
    Confirmed(Confirmed),
    /// Something was found out about driving, for the [`crate::learn::Learner`].
    Lesson(Lesson),
    /// A trip reached its drop-off, and these arrivals had been foreseen on the way, oldest first.
    Outcome {
        /// Which trip.
        trip: TripId,
        /// Assignment number of the plan.
        assignment: u64,
        /// When it arrived.
        arrived: Millis,
        /// What had been foreseen.
        forecasts: Box<[Forecast]>,
    },
    /// Fixes are accepted again after [`Effect::Silent`], or the last live trip ended while silent.
    Back,
}

/// Where the driver is shown on a map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marker {
    /// Filtered position.
    pub position: Position,
    /// Filtered speed in m/s; 0 while standing.
    pub speed_mps: f32,
    /// Direction of motion in degrees, 0..360 clockwise from north; the last one while standing, `None` before any motion.
    pub heading_deg: Option<f32>,
    /// 68 % radius of the filtered position, in metres.
    pub accuracy_m: f32,
    /// When the newest accepted fix was taken, in server time. Never goes back.
    pub taken: Millis,
    /// The driver stands still; the position is frozen.
    pub standing: bool,
    /// H3 cell of `position` at resolution 9.
    pub cell: u64,
    /// Where that is on the road, if there is a road.
    pub road: Option<Matched>,
}

/// A match at least this probable is shown on the road,
const SHOWN_CONFIDENCE: f32 = 0.5;
/// unless the road is this far from the fix, metres.
const SHOWN_M: f32 = 40.0;

impl Marker {
    /// Where a map shows the driver: on the road when the match is sure enough, and in which direction.
    #[must_use]
    pub fn shown(&self) -> (Position, Option<f32>) {
        match &self.road {
            Some(road) if road.confidence >= SHOWN_CONFIDENCE && road.distance_m <= SHOWN_M => {
                (road.place, if self.heading_deg.is_some() { Some(road.bearing_deg) } else { None })
            }
            _ => (self.position, self.heading_deg),
        }
    }
}
