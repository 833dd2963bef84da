//! A marker as it is published: in whole numbers, so that every watcher and every codec holds the same, and whoever computes with it computes
//! the same.

use crate::{Marker, Millis, Position};

/// See the module. The numbers are those of `position` in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Latitude in 10⁻⁶ degrees, -90,000,000..=90,000,000.
    pub lat_e6: i32,
    /// Longitude in 10⁻⁶ degrees, -180,000,000..=180,000,000.
    pub lon_e6: i32,
    /// Direction of motion in whole degrees, 0..360 clockwise from north; `None` before any motion.
    pub heading_deg: Option<u16>,
    /// Speed in 0.1 m/s; 0 while standing.
    pub speed_dmps: u32,
    /// 68 % radius in metres.
    pub accuracy_m: u32,
    /// When it was measured, in server time.
    pub taken: Millis,
}

impl Shown {
    /// A marker as maps show it, see [`Marker::shown`].
    #[must_use]
    pub fn of(marker: &Marker) -> Self {
        let (place, heading_deg) = marker.shown();
        Self {
            lat_e6: (place.lat_deg() * 1e6).round() as i32,
            lon_e6: (place.lon_deg() * 1e6).round() as i32,
            heading_deg: heading_deg.map(|heading| heading.round().rem_euclid(360.0) as u16),
            speed_dmps: (marker.speed_mps.max(0.0) * 10.0).round() as u32,
            accuracy_m: marker.accuracy_m.max(0.0).round() as u32,
            taken: marker.taken,
        }
    }

    /// Where that is.
    #[must_use]
    pub fn position(self) -> Position {
        let (lat_deg, lon_deg) = (f64::from(self.lat_e6) / 1e6, f64::from(self.lon_e6) / 1e6);
        // Out of range only if somebody else made it up.
        Position::new(lat_deg.clamp(-90.0, 90.0), lon_deg.clamp(-180.0, 180.0)).unwrap_or(Position::NORTH_POLE)
    }

    /// Speed in m/s.
    #[must_use]
    pub fn speed_mps(self) -> f64 {
        f64::from(self.speed_dmps) / 10.0
    }
}
