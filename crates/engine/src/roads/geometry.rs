//! Small distances in fixed-point degrees.

use crate::geo::compass_deg;
use crate::{EARTH_RADIUS_M, Position};

/// Metres per 1e-7 degree of latitude.
pub(crate) const METRES_PER_E7: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0 / 1e7;

/// A whole turn, and half of one, in 1e-7 degree.
const TURN_E7: i64 = 3_600_000_000;

/// A box in degrees. `west` may lie east of `east`: then it crosses the antimeridian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Southern edge.
    pub south: f64,
    /// Western edge.
    pub west: f64,
    /// Northern edge.
    pub north: f64,
    /// Eastern edge.
    pub east: f64,
}

impl Bounds {
    /// Whether a place lies in the box.
    #[must_use]
    pub fn contains(&self, place: Position) -> bool {
        let width = (self.east - self.west).rem_euclid(360.0);
        (self.south..=self.north).contains(&place.lat_deg()) && (place.lon_deg() - self.west).rem_euclid(360.0) <= width
    }

    /// The box wider by `metres` on all sides.
    #[must_use]
    pub fn widened(&self, metres: f64) -> Self {
        let lat = metres / (METRES_PER_E7 * 1e7);
        let lon = lat / self.north.abs().max(self.south.abs()).min(89.0).to_radians().cos();
        Self { south: self.south - lat, north: self.north + lat, west: self.west - lon, east: self.east + lon }
    }
}

/// Difference of two longitudes in 1e-7 degree, the short way round.
pub(crate) fn lon_diff_e7(to: i32, from: i32) -> i32 {
    let mut diff = i64::from(to) - i64::from(from);
    if diff > TURN_E7 / 2 {
        diff -= TURN_E7;
    } else if diff < -TURN_E7 / 2 {
        diff += TURN_E7;
    }
    diff as i32
}

pub(crate) fn position(lat_e7: i32, lon_e7: i32) -> Position {
    // A point between two others near the antimeridian may lie beyond it.
    let lon = lon_diff_e7(lon_e7, 0);
    Position::new(f64::from(lat_e7) / 1e7, f64::from(lon) / 1e7).unwrap_or(Position::NORTH_POLE)
}

/// The place at a share of the way from one point to a neighbouring one, over the antimeridian where that is the short way.
pub(crate) fn between(a: [i32; 2], b: [i32; 2], share: f64) -> Position {
    let part = |whole: i32| (f64::from(whole) * share).round() as i32;
    position(a[0] + part(b[0].wrapping_sub(a[0])), lon_diff_e7(a[1], 0) + part(lon_diff_e7(b[1], a[1])))
}

/// A plane around a place: near it, degrees become metres by two factors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near {
    lat_e7: i32,
    lon_e7: i32,
    /// Metres per 1e-7 degree of longitude here.
    pub(crate) lon_m: f64,
}

impl Near {
    pub(crate) fn at(lat_e7: i32, lon_e7: i32) -> Self {
        let lat = (f64::from(lat_e7) / 1e7).to_radians();
        Self { lat_e7, lon_e7, lon_m: METRES_PER_E7 * lat.cos().max(1e-6) }
    }

    /// East and north in metres.
    pub(crate) fn flat(&self, [lat, lon]: [i32; 2]) -> (f64, f64) {
        let north = f64::from(lat.wrapping_sub(self.lat_e7)) * METRES_PER_E7;
        (f64::from(lon_diff_e7(lon, self.lon_e7)) * self.lon_m, north)
    }
}

/// Distance of two neighbouring points in metres; right to 0.1 % below 10 km.
pub(crate) fn distance_m(a: [i32; 2], b: [i32; 2]) -> f64 {
    let middle = ((i64::from(a[0]) + i64::from(b[0])) / 2) as i32;
    let near = Near::at(middle, a[1]);
    let (east, _) = near.flat(b);
    let north = f64::from(b[0].wrapping_sub(a[0])) * METRES_PER_E7;
    east.hypot(north)
}

/// Direction from one point to a neighbouring one, degrees 0..360.
pub(crate) fn bearing_deg(a: [i32; 2], b: [i32; 2]) -> f32 {
    let (east, north) = Near::at(a[0], a[1]).flat(b);
    let deg = compass_deg(east, north) as f32;
    if deg < 360.0 { deg } else { 0.0 }
}

/// The smaller angle between two directions, degrees 0..=180.
pub(crate) fn angle_deg(a: f32, b: f32) -> f32 {
    let diff = (a - b).abs() % 360.0;
    diff.min(360.0 - diff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn longitudes_take_the_short_way() {
        assert_eq!(lon_diff_e7(1_799_999_999, -1_799_999_999), -2);
        assert_eq!(lon_diff_e7(-1_800_000_000, 1_800_000_000), 0);
        assert_eq!(position(0, 1_800_000_005).lon_deg(), -179.999_999_5);
        assert_eq!(angle_deg(350.0, 10.0), 20.0);
    }

    proptest! {
        #[test]
        fn near_distances_equal_those_on_the_sphere(
            lat in -880_000_000_i32..=880_000_000, lon in -1_800_000_000_i32..=1_800_000_000,
            dlat in -100_000_i32..=100_000, dlon in -100_000_i32..=100_000,
        ) {
            let (a, b) = ([lat, lon], [lat + dlat, lon_diff_e7(lon, 0).saturating_add(dlon)]);
            let near = distance_m(a, b);
            let exact = position(a[0], a[1]).distance_m(position(b[0], b[1]));
            prop_assert!((near - exact).abs() <= 0.002 * exact + 0.02, "{} {}", near, exact);
        }

        #[test]
        fn a_box_holds_what_is_in_it(lat in -80.0..80.0, lon in -179.9..179.9, east in 0.0..1.0) {
            let west_of = lon - east;
            let west = if west_of < -180.0 { west_of + 360.0 } else { west_of };
            let bounds = Bounds { south: lat - 1.0, north: lat + 1.0, west, east: lon + 0.05 };
            prop_assert!(bounds.contains(Position::new(lat, lon).unwrap()));
        }
    }
}
