//! How the drivers of a load move: round in a circle, so that every fix is accepted and told.

use wayfare_driver::Fix;
use wayfare_engine::{LocalPlane, Position};

/// 15 m/s is faster than anything counted as standing, and slower than any vehicle's limit.
const SPEED_MPS: f64 = 15.0;
/// Large enough that the course changes slowly, metres.
const RADIUS_M: f64 = 1_000.0;
/// Once round, ms.
pub(super) const TURN_MS: i64 = (std::f64::consts::TAU * RADIUS_M / SPEED_MPS * 1000.0) as i64;
/// Circles lie this far apart, metres.
const APART_M: f64 = 300.0;
/// Middle of all circles: open sea.
const CENTRE: (f64, f64) = (45.0, -20.0);

/// A driver's circle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circle {
    plane: LocalPlane,
}

impl Circle {
    /// The circle of the driver with this number.
    pub(super) fn new(number: usize) -> Self {
        let (row, column) = (number / 100, number % 100);
        let (lat_deg, lon_deg) = CENTRE;
        let centre = Position::new(lat_deg, lon_deg).expect("the centre is a place on Earth");
        let middle = centre.offset(column as f64 * APART_M, row as f64 * APART_M);
        Self { plane: LocalPlane::at(middle) }
    }

    /// The place at a time, Unix ms.
    pub(super) fn at(&self, t_ms: i64) -> Position {
        let angle = Self::angle(t_ms);
        self.plane.position(RADIUS_M * angle.sin(), RADIUS_M * angle.cos())
    }

    /// The fix taken at a time, Unix ms. Clockwise: at the northernmost point the course is east.
    pub(super) fn fix(&self, t_ms: i64) -> Fix {
        let at = self.at(t_ms);
        let course_deg = (Self::angle(t_ms).to_degrees() + 90.0).rem_euclid(360.0);
        // What a phone knows, and what is written.
        let rounded = |degrees: f64| (degrees * 1e7).round() / 1e7;
        Fix {
            lat: rounded(at.lat_deg()),
            lon: rounded(at.lon_deg()),
            t_ms: Some(t_ms),
            accuracy_m: Some(5.0),
            speed_mps: Some(SPEED_MPS as f32),
            heading_deg: Some(course_deg as f32),
            ..Fix::default()
        }
    }

    fn angle(t_ms: i64) -> f64 {
        // Whole turns are left out before the division loses digits.
        t_ms.rem_euclid(TURN_MS) as f64 / TURN_MS as f64 * std::f64::consts::TAU
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wayfare_engine::{
        Batch, Effect, Fence, Knowledge, LimitsTable, Millis, Phase, Plan, PlanStop, PlanTrip, Room, StopKind, Tracker,
        TripId, Vehicle, Verdict, World,
    };

    /// Sends fixes this many ms apart to the engine and expects each to be accepted and told.
    #[track_caller]
    fn check(step_ms: i64, count: i64) {
        const START_MS: i64 = 1_800_000_000_000;
        let (limits, knowledge, room) = (LimitsTable::default(), Knowledge::default(), Room::default());
        let world = World::new(&limits, &knowledge, &room);
        let circle = Circle::new(7);
        let stop = |kind, position| PlanStop {
            trip: TripId(1),
            kind,
            position,
            fence: Fence::for_vehicle(Vehicle::Car),
            service_ms: 0,
        };
        let plan = Plan {
            version: 1,
            available: true,
            vehicle: Vehicle::Car,
            trips: vec![PlanTrip { id: TripId(1), assignment: 1, phase: Phase::Assigned, since: None, ready_at: None }],
            stops: vec![
                stop(StopKind::Pickup, circle.at(START_MS)),
                stop(StopKind::Dropoff, circle.at(START_MS + 200_000)),
            ],
        };
        let (mut tracker, mut effects) = (Tracker::new(Millis(START_MS), Vehicle::Car), Vec::new());
        tracker.apply_plan(Millis(START_MS), plan, &world, &mut effects);
        for seq in 0..count {
            effects.clear();
            let now = Millis(START_MS + seq * step_ms);
            let batch =
                Batch { session: 1, seq: seq as u64 + 1, sent: Some(now), fixes: &[circle.fix(now.0).raw(now)] };
            tracker.observe(now, batch, &world, &mut effects);
            let accepted = |effect: &Effect| matches!(effect, Effect::Judged { verdict: Verdict::Accepted, .. });
            let told = |effect: &Effect| matches!(effect, Effect::Moved(marker) if marker.taken == now);
            assert!(effects.iter().any(accepted), "fix {seq}: {effects:?}");
            assert!(effects.iter().any(told), "fix {seq} was not told: {effects:?}");
        }
    }

    #[test]
    fn every_fix_is_accepted_and_told_at_any_rate() {
        check(1, 5_000);
        check(2, 20_000);
        check(22, 5_000);
        check(1_000, 1_000);
        check(3_000, 300);
    }
}
