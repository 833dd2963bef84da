//! Fences that the operator draws: polygons with holes, or circles; and when a driver enters, stays in and leaves them.
//!
//! A [`Geofence`] cannot be invalid: its constructors check it once. [`Geofences`] is the index over all of them, immutable and shared by
//! all trackers of a node. What one driver is inside of is the tracker's ([`state`]): it looks into the index again only when the driver
//! has left the neighbourhood of the last look in which nothing can have changed.
//!
//! Edges are straight in latitude and longitude, as GeoJSON has them, and take the short way round the globe.

mod anchor;
mod boxes;
mod index;
mod outline;
mod ring;
mod state;

use crate::geo::Unit;
use crate::{EARTH_RADIUS_M, GeofenceId, Millis, Position};

pub(crate) use anchor::Seen;
pub use index::Geofences;
pub use ring::{InvalidGeofence, Place};
pub(crate) use state::GeofenceState;

use outline::Outline;

/// Metres in a degree of latitude.
pub(crate) const DEGREE_M: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0;

/// One fence, ready to be asked.
#[derive(Clone, Debug)]
pub struct Geofence {
    id: GeofenceId,
    changed: Millis,
    rules: GeofenceRules,
    form: Form,
    bounds: Bounds,
}

/// What a fence tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeofenceRules {
    /// Time inside after which [`FenceKind::Dwell`] is told, in ms, 1,000..=604,800,000 (a week); `None`: never.
    pub dwell_ms: Option<i64>,
    /// Which events are told.
    pub kinds: FenceKinds,
}

impl Default for GeofenceRules {
    fn default() -> Self {
        Self { dwell_ms: None, kinds: FenceKinds::ALL }
    }
}

/// What happened at a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FenceKind {
    /// The driver came in.
    Enter,
    /// The driver was inside when first seen, or when the fence was made or replaced.
    Inside,
    /// The driver has been inside for [`GeofenceRules::dwell_ms`]. Once per stay.
    Dwell,
    /// The driver has left.
    Exit,
}

impl FenceKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Enter, Self::Inside, Self::Dwell, Self::Exit];

    /// Name on the wire.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Inside => "inside",
            Self::Dwell => "dwell",
            Self::Exit => "exit",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceKinds(u8);

impl FenceKinds {
    /// Every kind.
    pub const ALL: Self = Self(0b1111);

    /// Whether the kind is in the set.
    #[must_use]
    pub const fn contains(self, kind: FenceKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

impl FromIterator<FenceKind> for FenceKinds {
    fn from_iter<I: IntoIterator<Item = FenceKind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | (1 << kind as u8)))
    }
}

/// Smallest box around a fence, in degrees. `east` may lie beyond 180: the box then crosses the antimeridian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Southern edge, -90..=90.
    pub south: f64,
    /// Western edge, -180..180.
    pub west: f64,
    /// Northern edge, -90..=90.
    pub north: f64,
    /// Eastern edge, at most 360 east of the western one.
    pub east: f64,
}

#[derive(Clone, Debug)]
enum Form {
    Circle {
        centre: Unit,
        /// The radius as a straight line through the Earth, comparable with [`Unit::chord_m`].
        chord_m: f64,
    },
    Polygons(Outline),
}

/// A place about which fences are asked, with what all of them need to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) lat_deg: f64,
    pub(crate) lon_deg: f64,
    pub(crate) unit: Unit,
    /// Metres in a degree of longitude here.
    pub(crate) lon_m: f64,
}

impl Spot {
    pub(crate) fn new(position: Position, unit: Unit) -> Self {
        let (lat_deg, lon_deg) = (position.lat_deg(), position.lon_deg());
        Self { lat_deg, lon_deg, unit, lon_m: DEGREE_M * unit.across() }
    }
}

impl Geofence {
    /// Most corners of one fence, closing ones not counted.
    pub const CORNERS_MAX: usize = 2_000;
    /// Radius of a circle in metres.
    pub const RADIUS_M: std::ops::RangeInclusive<f64> = 5.0..=100_000.0;
    /// Farthest latitude of a polygon's corner; beyond it lengths along and across differ too much within one fence.
    pub const LATITUDE_MAX: f64 = 89.0;
    /// Legal dwell times.
    pub const DWELL_MS: std::ops::RangeInclusive<i64> = 1_000..=604_800_000;

    /// A circle, anywhere on Earth, poles included. `changed` is when the operator made it or last replaced it.
    ///
    /// # Errors
    /// When radius or dwell are outside their range.
    pub fn circle(
        id: GeofenceId,
        changed: Millis,
        rules: GeofenceRules,
        centre: Position,
        radius_m: f64,
    ) -> Result<Self, InvalidGeofence> {
        check_rules(&rules)?;
        // Written positively, so that NaN falls on the refusing side.
        if !Self::RADIUS_M.contains(&radius_m) {
            return Err(InvalidGeofence::Radius { radius_m });
        }
        let angle = radius_m / EARTH_RADIUS_M;
        let chord_m = 2.0 * EARTH_RADIUS_M * (angle / 2.0).sin();
        let bounds = Bounds::of_circle(centre, angle);
        Ok(Self { id, changed, rules, form: Form::Circle { centre: centre.unit(), chord_m }, bounds })
    }

    /// A union of polygons. Each is a list of rings, the first one the border, the others holes in it; each ring ends with its first
    /// corner. Rings may turn either way and cross the antimeridian; touching in a point is allowed. Costs about a microsecond per corner.
    ///
    /// # Errors
    /// [`InvalidGeofence`] names what is wrong and where.
    pub fn polygons(
        id: GeofenceId,
        changed: Millis,
        rules: GeofenceRules,
        polygons: &[Vec<Vec<Position>>],
    ) -> Result<Self, InvalidGeofence> {
        check_rules(&rules)?;
        let unrolled = ring::unroll(polygons)?;
        let outline = Outline::new(&unrolled);
        Ok(Self { id, changed, rules, form: Form::Polygons(outline), bounds: unrolled.bounds })
    }

    /// Which fence.
    #[must_use]
    pub const fn id(&self) -> GeofenceId {
        self.id
    }

    /// When it was made or last replaced.
    #[must_use]
    pub const fn changed(&self) -> Millis {
        self.changed
    }

    /// What it tells of.
    #[must_use]
    pub const fn rules(&self) -> &GeofenceRules {
        &self.rules
    }

    /// The box around it.
    #[must_use]
    pub const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Whether the place is inside.
    #[must_use]
    pub fn contains(&self, position: Position) -> bool {
        self.signed_distance_m(position) <= 0.0
    }

    /// Metres to the border, negative inside. Within 5 km it is right to a few per cent (to one below 60 degrees of latitude); farther
    /// away only its sign counts.
    #[must_use]
    pub fn signed_distance_m(&self, position: Position) -> f64 {
        self.probe(&Spot::new(position, position.unit()))
    }

    pub(crate) fn probe(&self, spot: &Spot) -> f64 {
        match &self.form {
            Form::Circle { centre, chord_m } => spot.unit.chord_m(*centre) - chord_m,
            Form::Polygons(outline) => outline.probe(spot),
        }
    }
}

impl Bounds {
    fn of_circle(centre: Position, angle: f64) -> Self {
        let (lat, reach_deg) = (centre.lat_deg(), angle.to_degrees());
        let (south, north) = ((lat - reach_deg).max(-90.0), (lat + reach_deg).min(90.0));
        // The meridians that touch the circle; around a pole there are none.
        let half = (angle.sin() / lat.to_radians().cos()).abs();
        let around = south <= -90.0 || north >= 90.0 || half >= 1.0;
        let half_deg = if around { 180.0 } else { half.asin().to_degrees() };
        let west = if around { -180.0 } else { turn_deg(centre.lon_deg() - half_deg) };
        Self { south, west, north, east: west + 2.0 * half_deg }
    }
}

fn check_rules(rules: &GeofenceRules) -> Result<(), InvalidGeofence> {
    match rules.dwell_ms {
        Some(dwell_ms) if !Geofence::DWELL_MS.contains(&dwell_ms) => Err(InvalidGeofence::Dwell { dwell_ms }),
        _ => Ok(()),
    }
}

/// The same turn within -180..180 degrees.
pub(crate) fn turn_deg(deg: f64) -> f64 {
    (deg + 180.0).rem_euclid(360.0) - 180.0
}

/// The same for a turn known to be within -540..540, without a division.
pub(crate) fn near_turn(deg: f64) -> f64 {
    if deg >= 180.0 {
        deg - 360.0
    } else if deg < -180.0 {
        deg + 360.0
    } else {
        deg
    }
}

#[cfg(test)]
mod tests;
