//! Riding along a route: pulling away, slowing for turns, waiting at junctions, stopping at the end.

use crate::town::{Flat, Route};

/// Pulling away, m/s².
const ACCEL_MPS2: f64 = 1.4;
/// Braking, m/s².
const BRAKE_MPS2: f64 = 1.8;
/// Nobody creeps slower than this while there is way ahead, m/s.
const CREEP_MPS: f64 = 0.8;
/// Share of junctions at which one has to wait, and for how long, seconds.
const WAITS: f64 = 0.12;
const WAIT_S: (f64, f64) = (3.0, 11.0);
/// Length of a step of the simulation, seconds.
const STEP_S: f64 = 0.1;

/// Where a rider is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// The true place.
    pub at: Flat,
    /// The true speed, m/s.
    pub speed_mps: f64,
    /// The direction of the road, degrees clockwise from north.
    pub heading_deg: f64,
}

/// A ride along a route.
#[derive(Debug)]
pub struct Walk {
    points: Vec<Flat>,
    /// Speed at which each point may be passed, m/s, and how long to wait there, seconds.
    passes: Vec<(f64, f64)>,
    cruise_mps: f64,
    /// The point behind, and metres since.
    behind: usize,
    since_m: f64,
    speed_mps: f64,
    wait_s: f64,
}

impl Walk {
    /// A ride that has not begun. `cruise_mps`: speed on a free, straight road.
    #[must_use]
    pub fn new(route: &Route, cruise_mps: f64, random: &mut fastrand::Rng) -> Self {
        let mut points = Vec::with_capacity(route.points.len());
        let mut junctions = Vec::with_capacity(route.points.len());
        for (point, junction) in route.points.iter().zip(&route.junctions) {
            if points.last() != Some(point) {
                points.push(*point);
                junctions.push(*junction);
            }
        }
        let last = points.len() - 1;
        let passes = (0..points.len()).map(|index| {
            if index == 0 || index == last {
                return (0.0, 0.0);
            }
            if junctions[index] && random.f64() < WAITS {
                let (least, most) = WAIT_S;
                return (0.0, least + (most - least) * random.f64());
            }
            let turn_deg = turn_deg(points[index - 1], points[index], points[index + 1]);
            // A right angle is taken at a third of the speed.
            let share = (1.0 - turn_deg / 90.0 * 0.67).clamp(0.25, 1.0);
            (cruise_mps * share, 0.0)
        });
        Self { passes: passes.collect(), points, cruise_mps, behind: 0, since_m: 0.0, speed_mps: 0.0, wait_s: 0.0 }
    }

    /// Rides on for `seconds`, or to the end.
    pub fn advance(&mut self, seconds: f64) {
        let mut left_s = seconds;
        while left_s > 0.0 && !self.is_done() {
            let step_s = left_s.min(STEP_S);
            left_s -= step_s;
            self.step(step_s);
        }
    }

    /// Whether the end is reached.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.behind + 1 >= self.points.len()
    }

    /// Where the rider is now.
    #[must_use]
    pub fn pose(&self) -> Pose {
        let here = self.points[self.behind];
        let Some(next) = self.points.get(self.behind + 1) else {
            let before = self.points[self.behind.saturating_sub(1)];
            return Pose { at: here, speed_mps: 0.0, heading_deg: before.heading_deg(here) };
        };
        Pose {
            at: here.towards(*next, self.since_m / here.distance_m(*next)),
            speed_mps: self.speed_mps,
            heading_deg: here.heading_deg(*next),
        }
    }

    fn step(&mut self, step_s: f64) {
        if self.wait_s > 0.0 {
            self.wait_s -= step_s;
            return;
        }
        let allowed_mps = self.allowed_mps().max(CREEP_MPS);
        self.speed_mps = (self.speed_mps + ACCEL_MPS2 * step_s).min(allowed_mps);
        self.since_m += self.speed_mps * step_s;
        while !self.is_done() {
            let leg_m = self.points[self.behind].distance_m(self.points[self.behind + 1]);
            if self.since_m < leg_m {
                return;
            }
            self.behind += 1;
            self.since_m -= leg_m;
            let (_, wait_s) = self.passes[self.behind];
            if wait_s > 0.0 {
                (self.wait_s, self.speed_mps, self.since_m) = (wait_s, 0.0, 0.0);
                return;
            }
        }
    }

    /// The speed from which every point ahead can still be passed as slowly as it must be.
    fn allowed_mps(&self) -> f64 {
        let (mut allowed_mps, mut ahead_m) = (self.cruise_mps, -self.since_m);
        let braking_m = self.cruise_mps.powi(2) / (2.0 * BRAKE_MPS2);
        for next in self.behind + 1..self.points.len() {
            ahead_m += self.points[next - 1].distance_m(self.points[next]);
            let (pass_mps, _) = self.passes[next];
            let from_here = (pass_mps.powi(2) + 2.0 * BRAKE_MPS2 * ahead_m.max(0.0)).sqrt();
            allowed_mps = allowed_mps.min(from_here);
            if ahead_m > braking_m {
                break;
            }
        }
        allowed_mps
    }
}

/// Change of direction at `b`, degrees, 0..=180.
fn turn_deg(a: Flat, b: Flat, c: Flat) -> f64 {
    let turn = (b.heading_deg(c) - a.heading_deg(b)).rem_euclid(360.0);
    turn.min(360.0 - turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::Town;

    fn ride(seed: u64, cruise_mps: f64) -> (Route, Vec<Pose>) {
        let town = Town::generate(seed);
        let route = town.route(&town.stores[0], &town.homes[seed as usize], wayfare_engine::Vehicle::Bicycle);
        let mut walk = Walk::new(&route, cruise_mps, &mut fastrand::Rng::with_seed(seed));
        let mut poses = vec![walk.pose()];
        while !walk.is_done() {
            walk.advance(1.0);
            poses.push(walk.pose());
            assert!(poses.len() < 2_000, "the ride ends");
        }
        (route, poses)
    }

    #[test]
    fn a_ride_begins_and_ends_where_the_route_does_and_never_jumps() {
        for seed in 0..20 {
            let (route, poses) = ride(seed, 8.0);
            assert_eq!(Some(&poses[0].at), route.points.first());
            assert_eq!(poses.last().map(|pose| pose.at), route.points.last().copied());
            for step in poses.windows(2) {
                assert!(step[0].at.distance_m(step[1].at) <= 8.0 + 1e-6);
                assert!(step[1].speed_mps - step[0].speed_mps <= ACCEL_MPS2 + 1e-6);
            }
        }
    }

    #[test]
    fn a_rider_is_slower_than_the_free_road_but_not_by_much() {
        let (mut way_m, mut time_s) = (0.0, 0.0);
        for seed in 0..40 {
            let (route, poses) = ride(seed, 8.0);
            way_m += route.length_m;
            time_s += poses.len() as f64;
        }
        let mean_mps = way_m / time_s;
        assert!((4.5..7.5).contains(&mean_mps), "{mean_mps}");
    }

    #[test]
    fn a_sharp_turn_is_taken_slowly() {
        let flat = |east_m, north_m| Flat { east_m, north_m };
        let points = vec![flat(0.0, 0.0), flat(200.0, 0.0), flat(200.0, 200.0)];
        let route = Route { points, junctions: vec![true; 3], length_m: 400.0 };
        // A seed that does not wait at the corner.
        let mut walk = Walk::new(&route, 10.0, &mut fastrand::Rng::with_seed(1));
        assert_eq!(walk.passes[1].1, 0.0);
        let (mut fastest, mut at_corner) = (0.0_f64, f64::INFINITY);
        while !walk.is_done() {
            walk.advance(0.1);
            let pose = walk.pose();
            fastest = fastest.max(pose.speed_mps);
            if pose.at.distance_m(flat(200.0, 0.0)) < 1.0 {
                at_corner = at_corner.min(pose.speed_mps);
            }
        }
        assert!(fastest > 9.9 && at_corner < 4.5, "{fastest} {at_corner}");
    }
}
