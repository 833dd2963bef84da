//! How long to wait before the next attempt.

use std::time::Duration;

/// Ceiling of the first wait.
const FIRST: Duration = Duration::from_secs(1);
/// Ceiling of every wait.
const LONGEST: Duration = Duration::from_secs(30);

/// Full jitter: each wait is drawn between zero and a ceiling that doubles, so that ten thousand phones which lost the
/// same node do not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(random: fastrand::Rng) -> Self {
        Self { failures: 0, random }
    }

    /// The next wait, longer on average than the one before.
    pub(crate) fn next(&mut self) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(5)).min(LONGEST);
        self.failures += 1;
        ceiling.mul_f64(self.random.f64())
    }

    /// The connection has proved to be good.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_below_a_ceiling_that_doubles_to_30_s() {
        let mut highest = [Duration::ZERO; 8];
        for seed in 0..2_000 {
            let mut backoff = Backoff::new(fastrand::Rng::with_seed(seed));
            for longest in &mut highest {
                *longest = backoff.next().max(*longest);
            }
        }
        for (attempt, longest) in highest.iter().enumerate() {
            let ceiling_s = f64::from(1 << attempt).min(30.0);
            let ratio = longest.as_secs_f64() / ceiling_s;
            assert!((0.98..=1.0).contains(&ratio), "{attempt}: {longest:?}");
        }
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = Backoff::new(fastrand::Rng::with_seed(1));
        for _ in 0..9 {
            backoff.next();
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
