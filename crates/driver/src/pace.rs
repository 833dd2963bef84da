//! A bucket of messages, so that the server never has to close with 4004.

use std::time::{Duration, Instant};

/// The server allows 50 messages a second and bursts of 200; staying below leaves room for heartbeats and jitter.
const PER_SECOND: f64 = 40.0;
const BURST: f64 = 100.0;

#[derive(Debug)]
pub(crate) struct Pace {
    messages: f64,
    at: Instant,
}

impl Pace {
    pub(crate) fn full(now: Instant) -> Self {
        Self { messages: BURST, at: now }
    }

    /// Takes one message out, or says when there will be one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let elapsed_s = now.saturating_duration_since(self.at).as_secs_f64();
        self.messages = (self.messages + elapsed_s * PER_SECOND).min(BURST);
        self.at = self.at.max(now);
        if self.messages >= 1.0 {
            self.messages -= 1.0;
            return Ok(());
        }
        // A hair later than exact, so that rounding never makes the caller ask twice.
        let missing_s = (1.0 - self.messages) / PER_SECOND;
        Err(now + Duration::from_secs_f64(missing_s) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_forty_a_second() {
        let start = Instant::now();
        let mut pace = Pace::full(start);
        let (mut now, mut taken) = (start, 0);
        while now < start + Duration::from_secs(10) {
            match pace.take(now) {
                Ok(()) => taken += 1,
                Err(at) => {
                    assert!(at > now && at <= now + Duration::from_millis(30));
                    now = at;
                }
            }
        }
        assert!((480..=501).contains(&taken), "{taken}");
    }
}
