//! What a tracker looks things up in; shared by all trackers of a node.

use crate::drive::{Knowledge, Room};
use crate::{Geofences, LimitsTable, Millis, RawFix, ServiceArea};

/// The surroundings of a judgement. Borrowed for one call, never kept.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// Limits by vehicle.
    pub limits: &'a LimitsTable,
    /// Where the operator delivers; `None`: everywhere.
    pub area: Option<&'a ServiceArea>,
    /// Roads, and what is known of driving.
    pub knowledge: &'a Knowledge,
    /// Room of the calling thread for looking things up.
    pub room: &'a Room,
    /// The operator's fences; `None`: none are watched.
    pub fences: Option<&'a Geofences>,
}

impl<'a> World<'a> {
    /// Surroundings without any area.
    #[must_use]
    pub fn new(limits: &'a LimitsTable, knowledge: &'a Knowledge, room: &'a Room) -> Self {
        Self { limits, area: None, knowledge, room, fences: None }
    }
}

/// One message of a driver's phone.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The phone's session, any number but 0; 0 means that the sender has none (foreign apps, plain HTTP) and `seq` is ignored.
    pub session: u64,
    /// Number of the message in its session. Sent in growing order with at most 64 unacknowledged.
    pub seq: u64,
    /// The phone's clock at the moment of sending (of this very sending, when it is a resend). Tells clock error
    /// from age; without it only a clock that is ahead can be noticed.
    pub sent: Option<Millis>,
    /// The fixes, oldest first.
    pub fixes: &'a [RawFix],
}
