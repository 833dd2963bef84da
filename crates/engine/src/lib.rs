//! The judgement of Wayfare, without I/O: fixes and their quality, the trips of a driver, arrival times.
//!
//! One [`Tracker`] per driver. Its caller feeds it plans ([`Tracker::apply_plan`]), messages of the driver's phone
//! ([`Tracker::observe`]) and the passing of time ([`Tracker::on_timeout`]), and carries out the [`Effect`]s.
//!
//! What is deliberately absent: clocks (time is an argument), sockets, files, environment, randomness, logging,
//! serialization of its types, and `unsafe`. The same calls give the same effects, on any machine, on any day.

mod area;
mod bytes;
mod cell;
mod checkpoint;
mod drive;
mod driving;
mod duty;
mod effects;
mod eta;
mod evenness;
mod fence;
mod fix;
mod following;
mod foresight;
mod gate;
mod geo;
mod geofence;
mod ids;
mod itinerary;
mod journey;
mod judge;
mod kalman;
pub mod learn;
mod limits;
mod map_cell;
mod motion;
mod nearby;
mod pacing;
mod phase;
mod phone;
mod plan;
mod rate;
pub mod roads;
mod seen;
mod shown;
mod skew;
mod standing;
mod timeline;
mod tracker;
mod trip;
mod units;
mod vehicle;
mod verdict;
mod visibility;
mod world;

pub use area::{InvalidArea, ServiceArea};
pub use checkpoint::RestoreError;
pub use drive::{City, Knowledge, Room};
pub use effects::{Effect, Marker};
pub use eta::{Eta, EtaBasis, EtaCause, Forecast, LegEstimate, StraightLine, worth_telling};
pub use fence::{Fence, InvalidFence};
pub use fix::{Fix, RawFix};
pub use following::{RouteChange, RouteLine};
pub use foresight::{Line, Told};
pub use geo::{EARTH_RADIUS_M, InvalidPosition, LocalPlane, Position};
pub use geofence::{
    Bounds, FenceKind, FenceKinds, Geofence, GeofenceRules, Geofences, InvalidGeofence, Place as GeofencePlace,
};
pub use ids::{DriverId, GeofenceId, TripId};
pub use limits::{InvalidLimit, Limits, LimitsTable, MockPolicy};
pub use map_cell::{InvalidMapCell, MapCell};
pub use nearby::{Availability, DriverIndex, Filter, Found, IndexFull, Nearest, Presence, Way};
pub use pacing::{AREA_LEAST_MS, Pace, Pacing, area_is_off, area_worth_telling, is_unforeseen};
pub use phase::Phase;
pub use phone::{Outage, OutageReason, Phone, PhoneReport, Said};
pub use plan::{Plan, PlanStop, PlanTrip, StopKind};
pub use rate::{Rate, Reach, Watch};
pub use shown::Shown;
pub use skew::{ClockReading, Skew};
pub use tracker::Tracker;
pub use trip::TripView;
pub use units::Millis;
pub use vehicle::Vehicle;
pub use verdict::{Invalid, Reason, Verdict};
pub use visibility::{InvalidRule, Rule, Sees, Visibility, is_exact};
pub use world::{Batch, World};
