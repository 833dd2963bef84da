//! Where a watcher takes a courier to be between two messages.
//!
//! Watchers carry the last position on by themselves: along the published line where the courier is on it, otherwise straight on. This is the same
//! computation (`web/client/src/foresight.ts` is its twin, tried on the same vectors), from the same published whole numbers, so it says here
//! what they show there. It happens on the plane that touches the Earth at the position, where a degree of latitude is [`DEGREE_M`] long.

use crate::{Marker, Millis, Position, Shown};

/// Metres in a degree of latitude, for watchers and for us.
pub(crate) const DEGREE_M: f64 = 111_195.0;
/// Slower than this nothing is carried on: the heading of the standing is noise. 0.1 m/s.
const STANDING_DMPS: u32 = 5;
/// Carried on at full speed for this long, ms.
const FULL_SPEED_MS: i64 = 10_000;
/// And then, ever slower, to a stand within this time, ms: who is not heard of any more is not drawn driving on.
const SLOWING_MS: i64 = 4_000;
/// A courier this far beside the line does not follow it, metres.
const BESIDE_M: f64 = 30.0;
/// Nor does one that heads elsewhere: cosine of 60 degrees.
const ALONG_COS: f64 = 0.5;

/// The published way to a stop: points in 10⁻⁶ degrees, latitude first, as in the polyline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Box<[(i32, i32)]>);

impl Line {
    /// From the points of a route.
    #[must_use]
    pub fn of(points: &[Position]) -> Self {
        let e6 = |degrees: f64| (degrees * 1e6).round() as i32;
        Self(points.iter().map(|point| (e6(point.lat_deg()), e6(point.lon_deg()))).collect())
    }
}

/// A plane that touches the Earth at a published position: north and east in metres.
#[derive(Clone, Copy)]
struct Plane {
    lat_e6: i32,
    lon_e6: i32,
    narrowing: f64,
}

impl Plane {
    fn at(shown: &Shown) -> Self {
        // Never zero, even at a pole.
        let narrowing = (f64::from(shown.lat_e6) / 1e6).to_radians().cos().max(1e-6);
        Self { lat_e6: shown.lat_e6, lon_e6: shown.lon_e6, narrowing }
    }

    fn flat(&self, (lat_e6, lon_e6): (i32, i32)) -> (f64, f64) {
        let north = f64::from(lat_e6 - self.lat_e6) / 1e6;
        // The short way round.
        let east = i64::from(lon_e6) - i64::from(self.lon_e6);
        let east = (east + 180_000_000).rem_euclid(360_000_000) - 180_000_000;
        (north * DEGREE_M, east as f64 / 1e6 * DEGREE_M * self.narrowing)
    }
}

/// A place on a line: the leg from its point `leg` to the next, and how much of it lies behind.
#[derive(Clone, Copy, Debug, PartialEq)]
struct OnLine {
    leg: usize,
    share: f64,
}

/// What a watcher holds of a courier, and from where on the line it is carried on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// The position.
    pub shown: Shown,
    /// The courier stood still.
    pub standing: bool,
    on: Option<OnLine>,
}

impl Told {
    /// A marker that was told to watchers who hold this line.
    #[must_use]
    pub fn new(marker: &Marker, line: Option<&Line>) -> Self {
        let mut told = Self { shown: Shown::of(marker), standing: marker.standing, on: None };
        told.place_on(line);
        told
    }

    /// Another line was told, or the line was taken back. Looks at each of its points.
    pub fn place_on(&mut self, line: Option<&Line>) {
        self.on = line.and_then(|line| find(&self.shown, line));
    }

    /// How far from `current` watchers see the courier, metres. `line` is the one it was placed on. Some 20 ns, and as much per point passed.
    #[must_use]
    pub fn error_m(&self, line: Option<&Line>, current: &Shown) -> f64 {
        let plane = Plane::at(&self.shown);
        let (north, east) = self.carried(&plane, line, current.taken);
        let (to_north, to_east) = plane.flat((current.lat_e6, current.lon_e6));
        (to_north - north).hypot(to_east - east)
    }

    /// Where watchers see the courier at `now`: degrees of latitude and longitude.
    #[must_use]
    pub fn at(&self, line: Option<&Line>, now: Millis) -> (f64, f64) {
        let plane = Plane::at(&self.shown);
        let (north, east) = self.carried(&plane, line, now);
        let lat = f64::from(self.shown.lat_e6) / 1e6 + north / DEGREE_M;
        let lon = f64::from(self.shown.lon_e6) / 1e6 + east / (DEGREE_M * plane.narrowing);
        (lat.clamp(-90.0, 90.0), (lon + 180.0).rem_euclid(360.0) - 180.0)
    }

    /// North and east of the told position, metres.
    fn carried(&self, plane: &Plane, line: Option<&Line>, now: Millis) -> (f64, f64) {
        let Some(heading_deg) = self.shown.heading_deg.filter(|_| self.shown.speed_dmps >= STANDING_DMPS) else {
            return (0.0, 0.0);
        };
        let way_m = self.shown.speed_mps() * carried_ms(now.since_ms(self.shown.taken)) / 1000.0;
        match (self.on, line) {
            (Some(on), Some(line)) => follow(plane, line, on, way_m),
            _ => {
                let (sin, cos) = f64::from(heading_deg).to_radians().sin_cos();
                (way_m * cos, way_m * sin)
            }
        }
    }
}

/// So many ms of full speed make the way of this time.
fn carried_ms(age_ms: i64) -> f64 {
    if age_ms <= FULL_SPEED_MS {
        return age_ms.max(0) as f64;
    }
    // From full speed to none, evenly: half the way that full speed would make.
    let slowing_ms = (age_ms - FULL_SPEED_MS).min(SLOWING_MS) as f64;
    FULL_SPEED_MS as f64 + slowing_ms - slowing_ms * slowing_ms / (2.0 * SLOWING_MS as f64)
}

/// The nearest place on the line that leads where the courier heads.
fn find(shown: &Shown, line: &Line) -> Option<OnLine> {
    let heading_deg = shown.heading_deg?;
    let (sin, cos) = f64::from(heading_deg).to_radians().sin_cos();
    let plane = Plane::at(shown);
    let (mut best, mut best_m) = (None, BESIDE_M);
    for (leg, ends) in line.0.windows(2).enumerate() {
        let (from, to) = (plane.flat(ends[0]), plane.flat(ends[1]));
        let (north, east) = (to.0 - from.0, to.1 - from.1);
        let length_m = north.hypot(east);
        if length_m == 0.0 || north * cos + east * sin < ALONG_COS * length_m {
            continue;
        }
        let share = (-(from.0 * north + from.1 * east) / (length_m * length_m)).clamp(0.0, 1.0);
        let beside_m = (from.0 + north * share).hypot(from.1 + east * share);
        if beside_m < best_m {
            (best, best_m) = (Some(OnLine { leg, share }), beside_m);
        }
    }
    best
}

/// Along the line, as far beside it as the courier was; at its end there is no further.
fn follow(plane: &Plane, line: &Line, on: OnLine, way_m: f64) -> (f64, f64) {
    let points = &line.0;
    let (mut left_m, mut share) = (way_m, on.share);
    let mut beside = (0.0, 0.0);
    let mut at = (0.0, 0.0);
    for leg in on.leg..points.len().saturating_sub(1) {
        let (from, to) = (plane.flat(points[leg]), plane.flat(points[leg + 1]));
        let (north, east) = (to.0 - from.0, to.1 - from.1);
        if leg == on.leg {
            beside = (-(from.0 + north * share), -(from.1 + east * share));
        }
        let length_m = north.hypot(east);
        let rest_m = length_m * (1.0 - share);
        if left_m <= rest_m && length_m > 0.0 {
            let share = share + left_m / length_m;
            return (from.0 + north * share + beside.0, from.1 + east * share + beside.1);
        }
        (left_m, share, at) = (left_m - rest_m, 0.0, to);
    }
    (at.0 + beside.0, at.1 + beside.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn marker(heading_deg: f32, speed_mps: f32) -> Marker {
        Marker {
            position: Position::new(41.15, -8.61).unwrap(),
            speed_mps,
            heading_deg: Some(heading_deg),
            accuracy_m: 5.0,
            taken: Millis(0),
            standing: speed_mps == 0.0,
            cell: 0,
            road: None,
        }
    }

    /// Points north and east of the start, metres.
    fn line(points: &[(f64, f64)]) -> Line {
        let start = marker(0.0, 0.0).position;
        Line::of(&points.iter().map(|(north, east)| start.offset(*east, *north)).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(told: &Told, line: Option<&Line>, second: i64, north_m: f64, east_m: f64) {
        let there = marker(0.0, 0.0).position.offset(east_m, north_m);
        let there = Marker { position: there, taken: Millis(second * 1000), ..marker(0.0, 0.0) };
        let error_m = told.error_m(line, &Shown::of(&there));
        assert!(error_m < 0.3, "{error_m} m from {north_m}, {east_m} after {second} s");
    }

    #[test]
    fn without_a_line_the_way_goes_straight_on_and_ends() {
        let told = Told::new(&marker(90.0, 10.0), None);
        check(&told, None, 0, 0.0, 0.0);
        check(&told, None, 7, 0.0, 70.0);
        check(&told, None, 14, 0.0, 120.0);
        check(&told, None, 600, 0.0, 120.0);
        check(&told, None, -5, 0.0, 0.0);
        check(&Told::new(&marker(90.0, 0.4), None), None, 7, 0.0, 0.0);
    }

    #[test]
    fn on_a_line_the_way_takes_its_turns_and_ends_with_it() {
        let bend = line(&[(-50.0, 0.0), (40.0, 0.0), (40.0, 30.0)]);
        let told = Told::new(&marker(0.0, 10.0), Some(&bend));
        check(&told, Some(&bend), 4, 40.0, 0.0);
        check(&told, Some(&bend), 6, 40.0, 20.0);
        check(&told, Some(&bend), 9, 40.0, 30.0);
    }

    #[test]
    fn who_is_beside_the_line_stays_as_far_beside_it() {
        let street = line(&[(-50.0, 12.0), (200.0, 12.0)]);
        check(&Told::new(&marker(0.0, 10.0), Some(&street)), Some(&street), 5, 50.0, 0.0);
    }

    #[test]
    fn who_is_far_from_the_line_or_heads_elsewhere_does_not_follow_it() {
        let far = line(&[(-50.0, 35.0), (20.0, 35.0), (20.0, 200.0)]);
        check(&Told::new(&marker(0.0, 10.0), Some(&far)), Some(&far), 5, 50.0, 0.0);
        let back = line(&[(50.0, 0.0), (-50.0, 0.0), (-50.0, 90.0)]);
        check(&Told::new(&marker(0.0, 10.0), Some(&back)), Some(&back), 5, 50.0, 0.0);
    }

    #[test]
    fn another_line_is_followed_from_where_the_courier_was_told() {
        let bend = line(&[(-50.0, 0.0), (10.0, 0.0), (10.0, 90.0)]);
        let mut told = Told::new(&marker(0.0, 10.0), None);
        told.place_on(Some(&bend));
        check(&told, Some(&bend), 5, 10.0, 40.0);
        told.place_on(None);
        check(&told, None, 5, 50.0, 0.0);
        // Where a street is driven in both directions, the one that is driven.
        let loop_back = line(&[(30.0, 0.0), (-80.0, 0.0), (-80.0, 1.0), (60.0, 1.0), (60.0, 50.0)]);
        let told = Told::new(&marker(0.0, 10.0), Some(&loop_back));
        check(&told, Some(&loop_back), 7, 60.0, 10.0);
    }

    proptest! {
        #[test]
        fn nobody_is_carried_further_than_the_speed_allows(
            points in prop::collection::vec((-300.0..300.0, -300.0..300.0), 0..8), heading in 0..360_u16, speed_mps in 0.0..40.0_f32, second in 0..30_i64,
        ) {
            let line = line(&points);
            let told = Told::new(&marker(f32::from(heading), speed_mps), Some(&line));
            let start = Marker { taken: Millis(second * 1000), ..marker(0.0, 0.0) };
            let way_m = told.error_m(Some(&line), &Shown::of(&start));
            prop_assert!(way_m <= told.shown.speed_mps() * 12.0 + 0.01, "{way_m}");
            prop_assert!(way_m <= told.shown.speed_mps() * second as f64 + 0.01, "{way_m}");
            let (lat, lon) = told.at(Some(&line), Millis(second * 1000));
            prop_assert!(lat.is_finite() && lon.is_finite());
        }

        #[test]
        fn any_published_position_is_carried_somewhere(lat_e6 in -90_000_000..=90_000_000, lon_e6 in -180_000_000..=180_000_000, heading_deg in prop::option::of(0..360_u16), speed_dmps: u32, taken: i64, now: i64) {
            let shown = Shown { lat_e6, lon_e6, heading_deg, speed_dmps, accuracy_m: 0, taken: Millis(taken) };
            let line = Line(Box::new([(lat_e6, lon_e6), (-lat_e6, -lon_e6)]));
            let mut told = Told { shown, standing: false, on: None };
            told.place_on(Some(&line));
            let (lat, lon) = told.at(Some(&line), Millis(now));
            prop_assert!((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon), "{lat} {lon}");
        }
    }
}
