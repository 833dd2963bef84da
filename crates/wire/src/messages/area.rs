//! The value of one driver's field in `area:{cell}`, where markers are told.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use wayfare_engine::{Availability, Marker, Millis, Position, Presence, Vehicle};

use crate::state::{write_position, write_u64};

/// A driver on the map of all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AreaMarker {
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Course over ground; the last one while standing.
    pub heading_deg: Option<u16>,
    /// Metres per second; 0 while standing.
    pub speed_mps: f32,
    /// Radius of 68 % confidence, metres.
    pub accuracy_m: u32,
    /// When it was measured, server's clock.
    pub t_ms: i64,
    /// The driver stands still.
    pub standing: bool,
    /// `foot`, `bicycle`, `motorbike`, `car` or `van`.
    pub vehicle: String,
    /// `available`, `busy` or `finishing`.
    pub status: String,
    /// How much fits in, in the operator's own units.
    pub capacity: Option<NonZeroU16>,
}

impl AreaMarker {
    /// What the index of drivers keeps of it; `None` if it makes no sense.
    pub fn presence(&self) -> Option<Presence> {
        Some(Presence {
            position: Position::new(self.lat, self.lon).ok()?,
            taken: Millis(self.t_ms),
            vehicle: Vehicle::from_code(&self.vehicle)?,
            capacity: self.capacity,
            availability: Availability::from_code(&self.status)?,
        })
    }
}

/// Writes the value. All members are always there, so that a patch replaces the whole.
pub fn write_area_marker(
    out: &mut Vec<u8>,
    marker: &Marker,
    vehicle: Vehicle,
    availability: Availability,
    capacity: Option<NonZeroU16>,
) {
    write_position(out, marker);
    // The members of a position, and some more.
    out.pop();
    out.extend_from_slice(if marker.standing { b",\"standing\":true" } else { b",\"standing\":false" });
    out.extend_from_slice(b",\"vehicle\":\"");
    out.extend_from_slice(vehicle.code().as_bytes());
    out.extend_from_slice(b"\",\"status\":\"");
    out.extend_from_slice(availability.code().as_bytes());
    out.extend_from_slice(b"\",\"capacity\":");
    match capacity {
        Some(capacity) => write_u64(out, u64::from(capacity.get())),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back_rounded(
            lat in -90.0..=90.0, lon in -180.0..=180.0, speed_mps in 0.0..60.0_f32, heading in prop::option::of(0.0..360.0_f32),
            accuracy_m in 0.0..200.0_f32, taken: i64, standing: bool, vehicle in 0..5_usize, availability in 0..3_usize, capacity: u16,
        ) {
            let position = Position::new(lat, lon).unwrap();
            let marker = Marker { position, speed_mps, heading_deg: heading, accuracy_m, taken: Millis(taken), standing, cell: 0, road: None };
            let (vehicle, availability) = (Vehicle::ALL[vehicle], Availability::ALL[availability]);
            let mut text = Vec::new();
            write_area_marker(&mut text, &marker, vehicle, availability, NonZeroU16::new(capacity));
            let read: AreaMarker = serde_json::from_slice(&text).unwrap();
            let presence = read.presence().unwrap();
            prop_assert!(presence.position.distance_m(position) < 0.1);
            prop_assert!((read.speed_mps - speed_mps).abs() < 0.051);
            prop_assert_eq!(read.heading_deg.is_some(), heading.is_some());
            prop_assert_eq!((presence.taken, read.standing), (Millis(taken), standing));
            prop_assert_eq!((presence.vehicle, presence.availability), (vehicle, availability));
            prop_assert_eq!(presence.capacity, NonZeroU16::new(capacity));
        }
    }

    #[test]
    fn a_marker_that_makes_no_sense_is_nobody() {
        let good = AreaMarker {
            lat: 41.0,
            lon: -8.0,
            heading_deg: None,
            speed_mps: 0.0,
            accuracy_m: 5,
            t_ms: 0,
            standing: true,
            vehicle: "car".into(),
            status: "busy".into(),
            capacity: None,
        };
        assert!(good.presence().is_some());
        for bad in [
            AreaMarker { lat: 91.0, ..good.clone() },
            AreaMarker { vehicle: "rocket".into(), ..good.clone() },
            AreaMarker { status: String::new(), ..good },
        ] {
            assert_eq!(bad.presence(), None, "{bad:?}");
        }
    }
}
