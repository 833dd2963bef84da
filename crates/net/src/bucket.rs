//! Token buckets: how often something may happen.

use std::borrow::Borrow;
use std::hash::Hash;
use std::time::{Duration, Instant};

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

    /// How long until there is a token again, as of the last time one was asked for.
    fn wait(&self, rate: Rate) -> Duration {
        Duration::from_secs_f32(((1.0 - self.tokens) / rate.per_second).max(0.0))
    }
}

/// One bucket per key, for at most `keys_max` keys; beyond that, full buckets are forgotten first and then all.
#[derive(Debug)]
pub struct Buckets<K = String> {
    rate: Rate,
    keys_max: usize,
    buckets: AHashMap<K, Bucket>,
}

impl<K: Hash + Eq> Buckets<K> {
    /// No keys yet.
    pub fn new(rate: Rate, keys_max: usize) -> Self {
        Self { rate, keys_max, buckets: AHashMap::new() }
    }

    /// Takes a token of `key`; false if there is none.
    pub fn take<Q>(&mut self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.take_or_wait(key, now).is_ok()
    }

    /// Takes a token of `key`.
    ///
    /// # Errors
    /// There is none: how long until there is one.
    pub fn take_or_wait<Q>(&mut self, key: &Q, now: Instant) -> Result<(), Duration>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let rate = self.rate;
        if let Some(bucket) = self.buckets.get_mut(key) {
            return if bucket.take(rate, now) { Ok(()) } else { Err(bucket.wait(rate)) };
        }
        if self.buckets.len() >= self.keys_max {
            let filling = |bucket: &Bucket| {
                now.saturating_duration_since(bucket.filled).as_secs_f32() * rate.per_second
                    < rate.burst - bucket.tokens
            };
            self.buckets.retain(|_, bucket| filling(bucket));
            if self.buckets.len() >= self.keys_max {
                self.buckets.clear();
            }
        }
        let bucket = self.buckets.entry(key.to_owned()).or_insert_with(|| Bucket::full(rate, now));
        if bucket.take(rate, now) { Ok(()) } else { Err(bucket.wait(rate)) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

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
    fn an_empty_bucket_says_when_it_has_something() {
        let start = Instant::now();
        let mut buckets = Buckets::<u64>::new(RATE, 4);
        assert_eq!((0..3).filter(|_| buckets.take(&7, start)).count(), 3);
        let wait = buckets.take_or_wait(&7, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        assert!(buckets.take(&7, start + wait));
    }

    #[test]
    fn keys_are_bounded_and_apart() {
        let now = Instant::now();
        let mut buckets = Buckets::<String>::new(RATE, 4);
        for key in 0..100 {
            assert!(buckets.take(&key.to_string(), now));
            assert!(buckets.buckets.len() <= 4);
        }
        assert_eq!((0..9).filter(|_| buckets.take("one", now)).count(), 3);
    }
}
