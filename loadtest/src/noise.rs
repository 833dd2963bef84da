//! GPS error as phones in towns have it: small most of the time, with a heavy tail, and slow to change.
//!
//! The radius is log-normal, which fits errors measured against matched roads (p50 3.4 m, p90 11 m, p95 16 m, p99 36 m, at most
//! 162 m) almost by itself; rare outliers make up the far tail. Its logarithm and its direction each follow a first-order
//! autoregression, so that the error wanders as a real one does instead of jumping around the truth.

/// Median radius, metres.
const MEDIAN_M: f64 = 3.4;
/// Standard deviation of the logarithm of the radius.
const SIGMA: f64 = 0.96;
/// How long the radius stays alike, seconds.
const RADIUS_S: f64 = 40.0;
/// How long the direction stays alike, seconds.
const DIRECTION_S: f64 = 25.0;
/// Share of fixes that are far off, from one to the next: reflections.
const OUTLIERS: f64 = 0.002;
/// How far off those are, metres.
const OUTLIER_M: (f64, f64) = (50.0, 160.0);

/// The error of one fix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpsError {
    /// To be added to the true place, metres.
    pub east_m: f64,
    /// To be added to the true place, metres.
    pub north_m: f64,
    /// What the phone believes its 68 % radius to be, metres. Only loosely related to the truth.
    pub accuracy_m: f32,
}

/// One phone's error over time.
#[derive(Debug)]
pub struct GpsNoise {
    random: fastrand::Rng,
    /// Standard normal values: of the radius, and of the two components of the direction.
    radius: f64,
    east: f64,
    north: f64,
}

impl GpsNoise {
    /// A phone that has just been switched on.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (radius, east, north) = (normal(&mut random), normal(&mut random), normal(&mut random));
        Self { random, radius, east, north }
    }

    /// The error `elapsed_s` seconds after the one before.
    pub fn next(&mut self, elapsed_s: f64) -> GpsError {
        self.radius = self.wander(self.radius, elapsed_s, RADIUS_S);
        self.east = self.wander(self.east, elapsed_s, DIRECTION_S);
        self.north = self.wander(self.north, elapsed_s, DIRECTION_S);
        let mut radius_m = MEDIAN_M * (SIGMA * self.radius).exp();
        // Phones know roughly how good they are, but never claim better than 3 m.
        let belief = 0.55 * SIGMA * self.radius + 0.3 * normal(&mut self.random);
        let accuracy_m = (5.0 * belief.exp()).clamp(3.0, 65.0) as f32;
        if self.random.f64() < OUTLIERS {
            let (least, most) = OUTLIER_M;
            radius_m = least + (most - least) * self.random.f64();
        }
        let length = self.east.hypot(self.north).max(1e-9);
        GpsError { east_m: radius_m * self.east / length, north_m: radius_m * self.north / length, accuracy_m }
    }

    fn wander(&mut self, value: f64, elapsed_s: f64, memory_s: f64) -> f64 {
        let kept = (-elapsed_s.max(0.0) / memory_s).exp();
        kept * value + (1.0 - kept * kept).sqrt() * normal(&mut self.random)
    }
}

/// A standard normal value (Box and Muller).
pub fn normal(random: &mut fastrand::Rng) -> f64 {
    let (u, v) = (1.0 - random.f64(), random.f64());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn radii(step_s: f64, count: usize) -> Vec<(f64, f64)> {
        let mut noise = GpsNoise::new(11);
        let radius = |error: GpsError| {
            let radius_m = error.east_m.hypot(error.north_m);
            (radius_m, f64::from(error.accuracy_m))
        };
        (0..count).map(|_| radius(noise.next(step_s))).collect()
    }

    #[test]
    fn the_tail_is_as_heavy_as_measured() {
        let mut radii: Vec<f64> = radii(15.0, 400_000).into_iter().map(|(m, _)| m).collect();
        radii.sort_by(f64::total_cmp);
        let quantile = |share: f64| radii[(share * radii.len() as f64) as usize];
        let check = |share, range: std::ops::Range<f64>| {
            let value = quantile(share);
            assert!(range.contains(&value), "p{}: {value} m", share * 100.0);
        };
        check(0.50, 3.0..4.0);
        check(0.90, 9.0..13.0);
        check(0.95, 14.0..19.0);
        check(0.99, 28.0..45.0);
    }

    #[test]
    fn the_error_wanders_instead_of_jumping() {
        let radii = radii(1.0, 20_000);
        let step: f64 = radii.windows(2).map(|w| (w[1].0 - w[0].0).abs()).sum();
        let mean: f64 = radii.iter().map(|(m, _)| m).sum();
        // Independent values would differ by about their own size from one to the next.
        assert!(step / mean < 0.4, "{}", step / mean);
    }

    #[test]
    fn the_claimed_accuracy_follows_the_error_loosely() {
        let mut radii = radii(15.0, 50_000);
        radii.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mean = |part: &[(f64, f64)]| part.iter().map(|(_, a)| a).sum::<f64>() / part.len() as f64;
        let (best, worst) = (mean(&radii[..5_000]), mean(&radii[45_000..]));
        assert!(worst > 2.0 * best, "{best} {worst}");
        assert!(radii.iter().all(|(_, a)| (3.0..=65.0).contains(a)));
    }
}
