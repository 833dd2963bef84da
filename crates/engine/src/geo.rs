//! Where things are: positions on a spherical Earth, and the flat piece of it around a driver.
//!
//! A sphere of the mean radius is at most 0.56 % wrong against the WGS 84 ellipsoid, which is less than any
//! other error in an arrival time. Everything here works across the antimeridian and over the poles, because
//! the sums are made on unit vectors, which know neither.

use crate::RestoreError;
use crate::bytes::{Reader, Writer};

/// Mean Earth radius R1 in metres (IUGG).
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// A place on Earth, valid by construction: finite, latitude in -90..=90, longitude in -180..=180 degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    lat_deg: f64,
    lon_deg: f64,
}

/// Why two numbers are not a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InvalidPosition {
    /// A coordinate is NaN or infinite.
    #[error("position ({lat_deg}, {lon_deg}) is not finite")]
    NotFinite {
        /// Latitude as given.
        lat_deg: f64,
        /// Longitude as given.
        lon_deg: f64,
    },
    /// Latitude outside -90..=90.
    #[error("latitude {lat_deg} is outside -90..=90 degrees")]
    Latitude {
        /// Latitude as given.
        lat_deg: f64,
    },
    /// Longitude outside -180..=180.
    #[error("longitude {lon_deg} is outside -180..=180 degrees")]
    Longitude {
        /// Longitude as given.
        lon_deg: f64,
    },
}

impl Position {
    /// The North Pole.
    pub(crate) const NORTH_POLE: Self = Self { lat_deg: 90.0, lon_deg: 0.0 };

    /// A position from degrees.
    ///
    /// # Errors
    /// When a coordinate is not finite or out of range; the error carries what was given.
    pub fn new(lat_deg: f64, lon_deg: f64) -> Result<Self, InvalidPosition> {
        if !(lat_deg.is_finite() && lon_deg.is_finite()) {
            return Err(InvalidPosition::NotFinite { lat_deg, lon_deg });
        }
        if !(-90.0..=90.0).contains(&lat_deg) {
            return Err(InvalidPosition::Latitude { lat_deg });
        }
        if !(-180.0..=180.0).contains(&lon_deg) {
            return Err(InvalidPosition::Longitude { lon_deg });
        }
        Ok(Self { lat_deg, lon_deg })
    }

    /// Latitude in degrees, -90..=90.
    #[must_use]
    pub const fn lat_deg(self) -> f64 {
        self.lat_deg
    }

    /// Longitude in degrees, -180..=180.
    #[must_use]
    pub const fn lon_deg(self) -> f64 {
        self.lon_deg
    }

    /// Latitude in units of 1e-7 degree (11 mm), the resolution phones and wire use.
    #[must_use]
    pub fn lat_e7(self) -> i32 {
        (self.lat_deg * 1e7).round() as i32
    }

    /// Longitude in units of 1e-7 degree.
    #[must_use]
    pub fn lon_e7(self) -> i32 {
        (self.lon_deg * 1e7).round() as i32
    }

    /// Great-circle distance in metres (haversine): exact on the sphere, so within 0.56 % of the ellipsoid.
    /// About 50 ns.
    #[must_use]
    pub fn distance_m(self, other: Self) -> f64 {
        let half_lat = (other.lat_deg - self.lat_deg).to_radians() / 2.0;
        let half_lon = (other.lon_deg - self.lon_deg).to_radians() / 2.0;
        let cosines = self.lat_deg.to_radians().cos() * other.lat_deg.to_radians().cos();
        let h = half_lat.sin().powi(2) + cosines * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_M * h.clamp(0.0, 1.0).sqrt().asin()
    }

    /// Initial bearing towards `other` in degrees, 0..360 clockwise from north. 0 when both are the same place.
    #[must_use]
    pub fn bearing_deg(self, other: Self) -> f64 {
        let (lat, other_lat) = (self.lat_deg.to_radians(), other.lat_deg.to_radians());
        let lon = (other.lon_deg - self.lon_deg).to_radians();
        let east = lon.sin() * other_lat.cos();
        let north = lat.cos() * other_lat.sin() - lat.sin() * other_lat.cos() * lon.cos();
        compass_deg(east, north)
    }

    /// The place `east_m` and `north_m` metres away, on the plane that touches the Earth here.
    /// The length is off by less than 4 cm at 20 km; beyond a quarter of the globe it is clamped.
    #[must_use]
    pub fn offset(self, east_m: f64, north_m: f64) -> Self {
        LocalPlane::at(self).position(east_m, north_m)
    }

    pub(crate) fn unit(self) -> Unit {
        let (sin_lat, cos_lat) = self.lat_deg.to_radians().sin_cos();
        let (sin_lon, cos_lon) = self.lon_deg.to_radians().sin_cos();
        Unit([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat])
    }
}

/// Direction of a flat vector in degrees, 0..360 clockwise from north.
pub(crate) fn compass_deg(east: f64, north: f64) -> f64 {
    let deg = east.atan2(north).to_degrees();
    let deg = if deg < 0.0 { deg + 360.0 } else { deg };
    // -1e-17 + 360 rounds to 360 itself.
    if deg >= 360.0 { 0.0 } else { deg }
}

/// A place as a vector of length one from the Earth's centre. Distances cost three multiplications.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Unit([f64; 3]);

impl Unit {
    pub(crate) fn dot(self, other: Self) -> f64 {
        self.0[0] * other.0[0] + self.0[1] * other.0[1] + self.0[2] * other.0[2]
    }

    /// Straight distance through the Earth in metres: below 2 km it equals the arc to a hundredth of a millimetre,
    /// and it grows with the arc everywhere, which is all a fence needs.
    pub(crate) fn chord_m(self, other: Self) -> f64 {
        EARTH_RADIUS_M * self.chord_2(other).sqrt()
    }

    /// The square of the straight distance, in Earth radii: for comparing. Exact to about a millimetre where it matters, unlike `1 - dot`.
    pub(crate) fn chord_2(self, other: Self) -> f64 {
        let (dx, dy, dz) = (self.0[0] - other.0[0], self.0[1] - other.0[1], self.0[2] - other.0[2]);
        dx * dx + dy * dy + dz * dz
    }

    /// The way from `other` to here, straight through the Earth, in Earth radii.
    pub(crate) fn minus(self, other: Self) -> [f64; 3] {
        [self.0[0] - other.0[0], self.0[1] - other.0[1], self.0[2] - other.0[2]]
    }

    pub(crate) const fn from_xyz(xyz: [f64; 3]) -> Self {
        Self(xyz)
    }

    /// Distance from the Earth's axis: the cosine of the latitude.
    pub(crate) fn across(self) -> f64 {
        (self.0[0] * self.0[0] + self.0[1] * self.0[1]).sqrt()
    }

    /// A share of the way to `other`, on the sphere. Not for places opposite each other.
    pub(crate) fn towards(self, other: Self, share: f64) -> Self {
        let axis = |i: usize| self.0[i] + share * (other.0[i] - self.0[i]);
        let (x, y, z) = (axis(0), axis(1), axis(2));
        let length = (x * x + y * y + z * z).sqrt();
        // Only opposite places have nothing between them.
        if length < 0.1 { other } else { Self([x / length, y / length, z / length]) }
    }

    /// The way from here to `middle` times the way from there to `last`, in square metres: positive where it goes on, negative where it
    /// turns back.
    pub(crate) fn turn_m2(self, middle: Self, last: Self) -> f64 {
        let product = |i: usize| (middle.0[i] - self.0[i]) * (last.0[i] - middle.0[i]);
        EARTH_RADIUS_M * EARTH_RADIUS_M * (product(0) + product(1) + product(2))
    }

    pub(crate) fn save(self, w: &mut Writer<'_>) {
        self.0.iter().for_each(|axis| w.f64(*axis));
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let unit = Self([r.f64("unit", 1.0)?, r.f64("unit", 1.0)?, r.f64("unit", 1.0)?]);
        // Rounding moves the length by a few units in the last place, damage by more.
        if (unit.dot(unit) - 1.0).abs() < 1e-9 { Ok(unit) } else { Err(RestoreError::Invalid { field: "unit" }) }
    }

    pub(crate) fn position(self) -> Position {
        let [x, y, z] = self.0;
        let lat_deg = z.atan2(x.hypot(y)).to_degrees().clamp(-90.0, 90.0);
        let lon_deg = y.atan2(x).to_degrees().clamp(-180.0, 180.0);
        Position { lat_deg, lon_deg }
    }
}

/// The plane touching the Earth at an origin, with axes east and north in metres (orthographic projection).
///
/// A length at distance `d` from the origin is short by `d^3 / 6R^2`: 4 mm at 10 km, 33 mm at 20 km.
#[derive(Clone, Copy, Debug)]
pub struct LocalPlane {
    origin: Position,
    up: Unit,
    east: Unit,
    north: Unit,
}

impl LocalPlane {
    /// The plane that touches the Earth at `origin`. Costs two sine/cosine pairs; keep it.
    #[must_use]
    pub fn at(origin: Position) -> Self {
        let (sin_lat, cos_lat) = origin.lat_deg.to_radians().sin_cos();
        let (sin_lon, cos_lon) = origin.lon_deg.to_radians().sin_cos();
        Self {
            origin,
            up: Unit([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]),
            east: Unit([-sin_lon, cos_lon, 0.0]),
            north: Unit([-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat]),
        }
    }

    /// Where the plane touches.
    #[must_use]
    pub const fn origin(&self) -> Position {
        self.origin
    }

    /// East and north of `position` in metres. Meaningful within a quarter of the globe.
    #[must_use]
    pub fn flat(&self, position: Position) -> (f64, f64) {
        self.flat_of(position.unit())
    }

    /// The place at `east_m`, `north_m`.
    #[must_use]
    pub fn position(&self, east_m: f64, north_m: f64) -> Position {
        self.unit(east_m, north_m).position()
    }

    pub(crate) fn flat_of(&self, unit: Unit) -> (f64, f64) {
        (EARTH_RADIUS_M * unit.dot(self.east), EARTH_RADIUS_M * unit.dot(self.north))
    }

    pub(crate) fn unit(&self, east_m: f64, north_m: f64) -> Unit {
        let (mut e, mut n) = (east_m / EARTH_RADIUS_M, north_m / EARTH_RADIUS_M);
        let length = e.hypot(n);
        if !length.is_finite() {
            (e, n) = (0.0, 0.0);
        } else if length > 1.0 {
            // Beyond the edge of the visible half: keep the direction.
            (e, n) = (e / length, n / length);
        }
        let u = (1.0 - e * e - n * n).max(0.0).sqrt();
        let axis = |i: usize| self.up.0[i] * u + self.east.0[i] * e + self.north.0[i] * n;
        Unit([axis(0), axis(1), axis(2)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(lat_deg: f64, lon_deg: f64) -> Position {
        Position::new(lat_deg, lon_deg).unwrap()
    }

    #[track_caller]
    fn check_distance(a: (f64, f64), b: (f64, f64), expect_m: f64) {
        let got = at(a.0, a.1).distance_m(at(b.0, b.1));
        assert!((got - expect_m).abs() < 0.001 * expect_m + 0.01, "{a:?} to {b:?}: {got} m, expected {expect_m} m");
    }

    #[test]
    fn distances_are_known_ones_everywhere() {
        check_distance((41.15, -8.61), (41.15, -8.61), 0.0);
        check_distance((48.8566, 2.3522), (51.5074, -0.1278), 343_556.0);
        check_distance((0.0, 179.999), (0.0, -179.999), 222.39);
        check_distance((0.0, 180.0), (0.0, -180.0), 0.0);
        check_distance((89.999, 0.0), (89.999, 180.0), 222.39);
        check_distance((-90.0, 0.0), (90.0, 0.0), 20_015_115.0);
        check_distance((0.0, 0.0), (0.0, 180.0), 20_015_115.0);
    }

    #[test]
    fn only_places_on_earth_are_positions() {
        for (lat, lon) in [(90.0, 180.0), (-90.0, -180.0), (0.0, 0.0), (-0.0, 1e-300)] {
            assert!(Position::new(lat, lon).is_ok());
        }
        assert!(matches!(Position::new(f64::NAN, 0.0), Err(InvalidPosition::NotFinite { .. })));
        assert!(matches!(Position::new(0.0, f64::INFINITY), Err(InvalidPosition::NotFinite { .. })));
        assert!(matches!(Position::new(90.000_001, 0.0), Err(InvalidPosition::Latitude { .. })));
        let error = Position::new(1.0, -181.0).unwrap_err();
        assert_eq!(error.to_string(), "longitude -181 is outside -180..=180 degrees");
    }

    #[test]
    fn bearings_follow_the_compass() {
        let here = at(10.0, 179.999);
        assert!((here.bearing_deg(at(11.0, 179.999)) - 0.0).abs() < 1e-9);
        assert!((here.bearing_deg(at(10.0, -179.999)) - 90.0).abs() < 0.01);
        assert!((here.bearing_deg(at(9.0, 179.999)) - 180.0).abs() < 1e-9);
        assert!((here.bearing_deg(at(10.0, 179.0)) - 270.0).abs() < 0.2);
        assert_eq!(here.bearing_deg(here), 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn an_offset_is_as_far_as_it_says(lat in -90.0..=90.0, lon in -180.0..=180.0, e in -20e3..20e3, n in -20e3..20e3) {
            let (from, length) = (at(lat, lon), f64::hypot(e, n));
            let to = from.offset(e, n);
            prop_assert!(Position::new(to.lat_deg(), to.lon_deg()).is_ok());
            prop_assert!((from.distance_m(to) - length).abs() < 0.2);
            prop_assert!((from.unit().chord_m(to.unit()) - length).abs() < 0.2);
            let (e2, n2) = LocalPlane::at(from).flat(to);
            prop_assert!((e - e2).abs() < 1e-3 && (n - n2).abs() < 1e-3);
        }

        #[test]
        fn no_offset_panics_or_leaves_the_earth(lat in -90.0..=90.0, lon in -180.0..=180.0, e in any::<f64>(), n in any::<f64>()) {
            let to = at(lat, lon).offset(e, n);
            prop_assert!(Position::new(to.lat_deg(), to.lon_deg()).is_ok());
        }
    }
}
