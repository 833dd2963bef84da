//! A constant-velocity Kalman filter on the plane that touches the Earth near the driver.
//!
//! Noise is the same in every direction, so both axes share one 2 x 2 covariance and an update costs a few dozen
//! multiplications. GPS errors have a heavy tail (p99 36 m at p50 3.4 m): a fix too far from the
//! prediction is not trusted with its own accuracy but with the one that would make it just believable.

use crate::bytes::{Reader, Writer};
use crate::geo::{Unit, compass_deg};
use crate::{LocalPlane, Millis, Position, RestoreError};

/// Squared distance in sigmas beyond which a fix counts as an outlier: 99 % of a two-dimensional normal distribution.
const GATE_2: f64 = 9.21;
/// Outliers in a row after which it is the filter that is wrong.
const OUTLIERS_MOST: u8 = 3;
/// A 68 % radius is this many standard deviations of one axis.
const SIGMAS_PER_RADIUS: f64 = 1.51;
/// Distance from the plane's origin at which it is laid anew; lengths there are 33 mm short.
const PLANE_REACH_M: f64 = 20_000.0;
/// Speed uncertainty of a filter that has seen one fix, m/s.
const FIRST_SPEED_SIGMA_MPS: f64 = 15.0;

/// Velocity as a phone measures it (from Doppler shifts, so independent of its positions).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Velocity {
    pub(crate) east_mps: f64,
    pub(crate) north_mps: f64,
    pub(crate) sigma_mps: f64,
}

impl Velocity {
    /// From speed and heading, when they say anything: heading is noise below 1 m/s, but standing is known without it.
    pub(crate) fn measured(speed_mps: Option<f32>, heading_deg: Option<f32>) -> Option<Self> {
        let speed_mps = f64::from(speed_mps?);
        if speed_mps < 0.3 {
            return Some(Self { east_mps: 0.0, north_mps: 0.0, sigma_mps: 0.7 });
        }
        if speed_mps < 1.0 {
            return None;
        }
        let (sin, cos) = f64::from(heading_deg?).to_radians().sin_cos();
        Some(Self { east_mps: speed_mps * sin, north_mps: speed_mps * cos, sigma_mps: 1.0 + 0.1 * speed_mps })
    }
}

/// State and uncertainty of one driver's motion.
#[derive(Clone, Debug)]
pub(crate) struct Kalman {
    plane: LocalPlane,
    at: Millis,
    east_m: f64,
    north_m: f64,
    east_mps: f64,
    north_mps: f64,
    /// Variance of position (m^2), covariance with speed (m^2/s), variance of speed (m^2/s^2); per axis.
    var_pos: f64,
    cov: f64,
    var_speed: f64,
    outliers: u8,
}

impl Kalman {
    /// Starts at a fix.
    pub(crate) fn start(position: Position, at: Millis, accuracy_m: f64, velocity: Option<Velocity>) -> Self {
        let mut filter = Self {
            plane: LocalPlane::at(position),
            at,
            east_m: 0.0,
            north_m: 0.0,
            east_mps: 0.0,
            north_mps: 0.0,
            var_pos: (accuracy_m / SIGMAS_PER_RADIUS).powi(2),
            cov: 0.0,
            var_speed: FIRST_SPEED_SIGMA_MPS.powi(2),
            outliers: 0,
        };
        if let Some(velocity) = velocity {
            (filter.east_mps, filter.north_mps) = (velocity.east_mps, velocity.north_mps);
            filter.var_speed = velocity.sigma_mps.powi(2);
        }
        filter
    }

    /// Takes in a fix at or after the last one's time. `accel_density` is the random acceleration in m^2/s^3.
    pub(crate) fn step(
        &mut self,
        (position, unit): (Position, Unit),
        at: Millis,
        accuracy_m: f64,
        velocity: Option<Velocity>,
        accel_density: f64,
    ) {
        self.predict(at, accel_density);
        let (east_m, north_m) = self.plane.flat_of(unit);
        let (off_east, off_north) = (east_m - self.east_m, north_m - self.north_m);
        let mut var_fix = (accuracy_m / SIGMAS_PER_RADIUS).powi(2);
        let off_2 = off_east * off_east + off_north * off_north;
        if off_2 > GATE_2 * (self.var_pos + var_fix) {
            self.outliers += 1;
            if self.outliers >= OUTLIERS_MOST {
                *self = Self::start(position, at, accuracy_m, velocity);
                return;
            }
            var_fix = off_2 / GATE_2 - self.var_pos;
        } else {
            self.outliers = 0;
        }
        let total = self.var_pos + var_fix;
        let (gain, speed_gain) = (self.var_pos / total, self.cov / total);
        self.east_m += gain * off_east;
        self.north_m += gain * off_north;
        self.east_mps += speed_gain * off_east;
        self.north_mps += speed_gain * off_north;
        self.var_speed -= speed_gain * self.cov;
        self.var_pos *= 1.0 - gain;
        self.cov *= 1.0 - gain;
        if let Some(velocity) = velocity {
            self.take_velocity(velocity);
        }
        self.lay_plane_anew_when_far();
    }

    fn predict(&mut self, at: Millis, accel_density: f64) {
        let dt = at.since_s(self.at).max(0.0);
        self.at = at;
        self.east_m += self.east_mps * dt;
        self.north_m += self.north_mps * dt;
        self.var_pos += dt * (2.0 * self.cov + dt * (self.var_speed + accel_density * dt / 3.0));
        self.cov += dt * (self.var_speed + accel_density * dt / 2.0);
        self.var_speed += accel_density * dt;
    }

    fn take_velocity(&mut self, velocity: Velocity) {
        let (off_east, off_north) = (velocity.east_mps - self.east_mps, velocity.north_mps - self.north_mps);
        let total = self.var_speed + velocity.sigma_mps.powi(2);
        if off_east * off_east + off_north * off_north > GATE_2 * total {
            return;
        }
        let (gain, pos_gain) = (self.var_speed / total, self.cov / total);
        self.east_mps += gain * off_east;
        self.north_mps += gain * off_north;
        self.east_m += pos_gain * off_east;
        self.north_m += pos_gain * off_north;
        self.var_pos -= pos_gain * self.cov;
        self.cov *= 1.0 - gain;
        self.var_speed *= 1.0 - gain;
    }

    fn lay_plane_anew_when_far(&mut self) {
        if self.east_m.abs().max(self.north_m.abs()) > PLANE_REACH_M {
            self.plane = LocalPlane::at(self.plane.position(self.east_m, self.north_m));
            (self.east_m, self.north_m) = (0.0, 0.0);
        }
    }

    pub(crate) fn at(&self) -> Millis {
        self.at
    }

    pub(crate) fn unit(&self) -> Unit {
        self.plane.unit(self.east_m, self.north_m)
    }

    pub(crate) fn speed_mps(&self) -> f64 {
        self.east_mps.hypot(self.north_mps)
    }

    /// Direction of motion, degrees 0..360; noise when slow.
    pub(crate) fn heading_deg(&self) -> f64 {
        compass_deg(self.east_mps, self.north_mps)
    }

    /// 68 % radius of the position in metres.
    pub(crate) fn accuracy_m(&self) -> f64 {
        self.var_pos.max(0.0).sqrt() * SIGMAS_PER_RADIUS
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.position(self.plane.origin());
        w.time(self.at);
        let state = [self.east_m, self.north_m, self.east_mps, self.north_mps, self.var_pos, self.cov, self.var_speed];
        state.into_iter().for_each(|number| w.f64(number));
        w.u8(self.outliers);
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let plane = LocalPlane::at(r.position("filter")?);
        let at = r.time("filter")?;
        let mut state = [0.0; 7];
        for number in &mut state {
            *number = r.f64("filter", 1e15)?;
        }
        let [east_m, north_m, east_mps, north_mps, var_pos, cov, var_speed] = state;
        // A covariance matrix has a non-negative diagonal; the least variance keeps divisions sound.
        if !(var_pos >= 0.0 && var_speed >= 0.0) {
            return Err(RestoreError::Invalid { field: "filter" });
        }
        let outliers = r.count("filter", usize::from(OUTLIERS_MOST))? as u8;
        Ok(Self { plane, at, east_m, north_m, east_mps, north_mps, var_pos, cov, var_speed, outliers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Position {
        Position::new(60.0, 179.99).unwrap()
    }

    fn step(filter: &mut Kalman, east_m: f64, north_m: f64, second: i64, accuracy_m: f64) {
        let position = home().offset(east_m, north_m);
        filter.step((position, position.unit()), Millis(second * 1000), accuracy_m, None, 3.0);
    }

    #[test]
    fn speed_and_heading_come_out_of_positions_across_the_antimeridian() {
        let mut filter = Kalman::start(home(), Millis(0), 5.0, None);
        (1..60).for_each(|s| step(&mut filter, 15.0 * s as f64, 0.0, s, 5.0));
        assert!((filter.speed_mps() - 15.0).abs() < 0.3, "{}", filter.speed_mps());
        assert!((filter.heading_deg() - 90.0).abs() < 1.0, "{}", filter.heading_deg());
        assert!(filter.accuracy_m() < 5.0);
        assert!(filter.unit().position().distance_m(home().offset(15.0 * 59.0, 0.0)) < 2.0);
    }

    #[test]
    fn one_outlier_hardly_moves_it_and_a_row_of_them_is_believed() {
        let mut filter = Kalman::start(home(), Millis(0), 5.0, None);
        (1..30).for_each(|s| step(&mut filter, 0.0, 0.0, s, 5.0));
        step(&mut filter, 160.0, 0.0, 30, 5.0);
        assert!(filter.unit().position().distance_m(home()) < 40.0);
        step(&mut filter, 160.0, 0.0, 31, 5.0);
        step(&mut filter, 160.0, 0.0, 32, 5.0);
        assert!(filter.unit().position().distance_m(home().offset(160.0, 0.0)) < 40.0);
    }

    #[test]
    fn a_long_drive_lays_the_plane_anew_and_stays_true() {
        let mut filter = Kalman::start(home(), Millis(0), 5.0, None);
        let mut place = home();
        for s in 1..2000 {
            place = place.offset(0.0, -30.0);
            filter.step((place, place.unit()), Millis(s * 1000), 5.0, None, 3.0);
        }
        assert!(filter.unit().position().distance_m(place) < 2.0);
        assert!(filter.plane.origin().distance_m(home()) > 39_000.0);
    }
}
