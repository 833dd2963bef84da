//! Time as the engine knows it: a number somebody else read from a clock.

/// A moment in Unix milliseconds (UTC), any `i64`.
///
/// All arithmetic saturates, so a phone that claims the year 292,277,026 is merely far away and never a panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// This moment moved by `ms` milliseconds (negative: earlier), saturating.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This moment moved back by `ms` milliseconds, saturating.
    #[must_use]
    pub const fn minus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this moment; negative when `earlier` is in fact later. Saturates.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Seconds from `earlier` to this moment, for physics.
    #[must_use]
    pub fn since_s(self, earlier: Self) -> f64 {
        self.since_ms(earlier) as f64 / 1000.0
    }
}

impl std::ops::Add<i64> for Millis {
    type Output = Self;
    fn add(self, ms: i64) -> Self {
        self.plus_ms(ms)
    }
}

impl std::ops::Sub<i64> for Millis {
    type Output = Self;
    fn sub(self, ms: i64) -> Self {
        self.minus_ms(ms)
    }
}

impl std::ops::Sub for Millis {
    type Output = i64;
    fn sub(self, earlier: Self) -> i64 {
        self.since_ms(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_time_do_not_panic() {
        assert_eq!(Millis(i64::MAX) + 1, Millis(i64::MAX));
        assert_eq!(Millis(i64::MIN) - 1, Millis(i64::MIN));
        assert_eq!(Millis(i64::MAX) - Millis(i64::MIN), i64::MAX);
        assert_eq!(Millis(i64::MIN) - Millis(i64::MAX), i64::MIN);
        assert_eq!(Millis(5_000).since_s(Millis(2_500)), 2.5);
    }
}
