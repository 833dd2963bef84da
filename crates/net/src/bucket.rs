//! Token buckets: how often something may happen.

use std::time::Instant;

use ahash::AHashMap;

/// A rate with a burst. Costs one clock reading and a few additions per use.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    tokens: f32,
    filled: Instant,
}

/// How a bucket fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens added each second.
    pub per_second: f32,
    /// Most tokens held.
    pub burst: f32,
}

impl Bucket {
    /// A full bucket.
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { tokens: rate.burst, filled: now }
    }

    /// Takes a token; false if there is none.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f32();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// One bucket per key, for at most `keys_max` keys; beyond that, full buckets are forgotten first and then all.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    keys_max: usize,
    buckets: AHashMap<String, Bucket>,
}

impl Buckets {
    /// No keys yet.
    pub fn new(rate: Rate, keys_max: usize) -> Self {
        Self { rate, keys_max, buckets: AHashMap::new() }
    }

    /// Takes a token of `key`; false if there is none.
    pub fn take(&mut self, key: &str, now: Instant) -> bool {
        if let Some(bucket) = self.buckets.get_mut(key) {
            return bucket.take(self.rate, now);
        }
        if self.buckets.len() >= self.keys_max {
            let rate = self.rate;
            let filling = |bucket: &Bucket| {
                now.saturating_duration_since(bucket.filled).as_secs_f32() * rate.per_second
                    < rate.burst - bucket.tokens
            };
            self.buckets.retain(|_, bucket| filling(bucket));
            if self.buckets.len() >= self.keys_max {
                self.buckets.clear();
            }
        }
        self.buckets.entry(key.to_owned()).or_insert_with(|| Bucket::full(self.rate, now)).take(self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        assert_eq!((0..5).filter(|_| bucket.take(RATE, start)).count(), 3);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..5).filter(|_| bucket.take(RATE, later)).count(), 2);
    }

    #[test]
    fn keys_are_bounded_and_apart() {
        let now = Instant::now();
        let mut buckets = Buckets::new(RATE, 4);
        for key in 0..100 {
            assert!(buckets.take(&key.to_string(), now));
            assert!(buckets.buckets.len() <= 4);
        }
        assert_eq!((0..9).filter(|_| buckets.take("one", now)).count(), 3);
    }
}
