//! The wall clock, once read and from then on steady.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix time that never goes back, whatever happens to the machine's clock. All parts of a run share one copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    start_us: i64,
}

impl Clock {
    /// Reads the wall clock.
    #[must_use]
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self { start: Instant::now(), start_us: since.map_or(0, |since| since.as_micros() as i64) }
    }

    /// Now, Unix microseconds.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.start_us + self.start.elapsed().as_micros() as i64
    }

    /// Now, Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_us().div_euclid(1000)
    }

    /// The moment of a Unix time in ms; the start, if it lies before.
    #[must_use]
    pub fn instant(&self, unix_ms: i64) -> Instant {
        let since_us = unix_ms.saturating_mul(1000).saturating_sub(self.start_us);
        self.start + Duration::from_micros(u64::try_from(since_us).unwrap_or(0))
    }
}
