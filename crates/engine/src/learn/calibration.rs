//! From what a model says to what is told: the correction that recent arrivals ask for, and an interval that holds 80 % of them.
//!
//! Both go by how much driving is left: near the goal other things are wrong than far from it. The interval's ends are moved a little
//! outwards by every miss and a little less inwards by every hit, so that each end is crossed by a tenth of arrivals whatever the
//! errors look like (online quantile tracking; Gibbs and Candès, Adaptive Conformal Inference Under Distribution Shift, 2021).

use super::Arrival;
use super::decay::Decayed;
use crate::bytes::{Reader, Writer};
use crate::{Millis, RestoreError};

/// Upper ends of the buckets in seconds of driving left; the last has none.
const BUCKET_ENDS_S: [f32; BUCKETS - 1] = [90.0, 180.0, 300.0, 450.0, 660.0, 960.0, 1_500.0];
const BUCKETS: usize = 8;

/// Half-life of corrections in s, and arrivals a correction must have seen to be believed by half.
const HALF_LIFE_S: f32 = 1_800.0;
const ALL_PRIOR: f32 = 3.0;
const BUCKET_PRIOR: f32 = 6.0;
/// One arrival is believed to be at most this far from what is known, as a logarithm.
const LIMIT: f32 = 0.7;

/// Share of arrivals that may lie beyond each end of the interval.
const TAIL: f32 = 0.1;
/// How far one arrival moves an end, as a logarithm: at first in large steps, in the end in these.
const STEP: f32 = 0.03;
const STEP_FIRST: f32 = 0.15;
/// Ends at the start, below and above, as logarithms; errors of unlearned estimates on real trips.
const FIRST_SPREAD: [f32; 2] = [0.40, 0.50];
const SPREAD: std::ops::RangeInclusive<f32> = 0.02..=1.5;

/// Median and 80 % interval of a drive, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Half of the drives are shorter.
    pub median_s: f32,
    /// A tenth is shorter.
    pub low_s: f32,
    /// A tenth is longer.
    pub high_s: f32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    correction: Decayed,
    /// Distance of the interval's ends from the median, below and above, as logarithms.
    spread: [f32; 2],
    arrivals: u32,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    all: Decayed,
    buckets: [Bucket; BUCKETS],
}

impl Default for Calibration {
    fn default() -> Self {
        let bucket = Bucket { correction: Decayed::default(), spread: FIRST_SPREAD, arrivals: 0 };
        Self { all: Decayed::default(), buckets: [bucket; BUCKETS] }
    }
}

impl Calibration {
    /// What to tell when the model says `model_s`.
    #[must_use]
    pub fn estimate(&self, at: Millis, model_s: f32) -> Estimate {
        let model_s = model_s.max(0.0);
        // Between the middles of two buckets their words are mixed, so that nothing jumps at a border.
        let (low, high, share) = between(model_s);
        let mix =
            |of: &dyn Fn(&Bucket) -> f32| of(&self.buckets[low]) * (1.0 - share) + of(&self.buckets[high]) * share;
        let correction = self.all.mean(at, ALL_PRIOR, HALF_LIFE_S)
            + mix(&|bucket| bucket.correction.mean(at, BUCKET_PRIOR, HALF_LIFE_S));
        let median_s = model_s * correction.exp();
        Estimate {
            median_s,
            low_s: median_s * (-mix(&|bucket| bucket.spread[0])).exp(),
            high_s: median_s * mix(&|bucket| bucket.spread[1]).exp(),
        }
    }

    pub(crate) fn learn(&mut self, arrival: &Arrival) {
        let Arrival { at, model_s, told, real_s, .. } = *arrival;
        if !(model_s > 1.0 && real_s > 1.0 && told.median_s > 0.0 && (model_s + real_s + told.median_s).is_finite()) {
            return;
        }
        let bucket = &mut self.buckets[bucket_of(model_s)];
        let log = (real_s / model_s).ln();
        self.all.add(at, log, 1.0, LIMIT, HALF_LIFE_S);
        bucket.correction.add(at, log - self.all.mean(at, ALL_PRIOR, HALF_LIFE_S), 1.0, LIMIT, HALF_LIFE_S);
        bucket.arrivals = bucket.arrivals.saturating_add(1);
        let step = (STEP_FIRST / (bucket.arrivals as f32).sqrt()).max(STEP);
        let missed = [real_s < told.low_s, real_s > told.high_s];
        for (spread, missed) in bucket.spread.iter_mut().zip(missed) {
            let moved = *spread + step * (f32::from(u8::from(missed)) - TAIL);
            *spread = moved.clamp(*SPREAD.start(), *SPREAD.end());
        }
    }

    /// Arrivals it has seen.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(bucket.arrivals)).sum()
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        self.all.save(w);
        for bucket in &self.buckets {
            bucket.correction.save(w);
            bucket.spread.iter().for_each(|end| w.f32(*end));
            w.uint(u64::from(bucket.arrivals));
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let mut loaded = Self { all: Decayed::load(r)?, ..Self::default() };
        for bucket in &mut loaded.buckets {
            bucket.correction = Decayed::load(r)?;
            for end in &mut bucket.spread {
                *end = r.f32("calibration")?;
                if !SPREAD.contains(end) {
                    return Err(RestoreError::Invalid { field: "calibration" });
                }
            }
            bucket.arrivals = r.count("calibration", u32::MAX as usize)? as u32;
        }
        Ok(loaded)
    }
}

fn bucket_of(model_s: f32) -> usize {
    BUCKET_ENDS_S.partition_point(|end| *end <= model_s)
}

/// Middle of a bucket in seconds.
fn middle_s(bucket: usize) -> f32 {
    let low = if bucket == 0 { 0.0 } else { BUCKET_ENDS_S[bucket - 1] };
    let high = BUCKET_ENDS_S.get(bucket).copied().unwrap_or(2_400.0);
    (low + high) / 2.0
}

/// The two buckets whose middles enclose a time, and how far it is on the way from one to the other.
fn between(model_s: f32) -> (usize, usize, f32) {
    let own = bucket_of(model_s);
    let (low, high) =
        if model_s < middle_s(own) { (own.saturating_sub(1), own) } else { (own, (own + 1).min(BUCKETS - 1)) };
    if low == high {
        return (own, own, 0.0);
    }
    (low, high, (model_s - middle_s(low)) / (middle_s(high) - middle_s(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_comes_to_hold_four_fifths_whatever_the_errors_look_like() {
        let mut calibration = Calibration::default();
        let (mut inside, mut random) = (0, 12_345_u64);
        for step in 0..4_000 {
            let at = Millis(step * 30_000);
            let told = calibration.estimate(at, 600.0);
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = (random >> 33) as f32 / (1_u64 << 31) as f32;
            // A skewed distribution with a median of 720 s.
            let real_s = 720.0 * (0.5 * (uniform / (1.0 - uniform).max(1e-3)).ln().max(-0.8)).exp();
            if step >= 1_000 {
                inside += i32::from((told.low_s..=told.high_s).contains(&real_s));
            }
            calibration.learn(&Arrival { at, model_s: 600.0, told, real_s, on_roads: true });
        }
        let share = f64::from(inside) / 3_000.0;
        assert!((0.77..0.83).contains(&share), "{share}");
        let median_s = calibration.estimate(Millis(120_000_000), 600.0).median_s;
        assert!((650.0..880.0).contains(&median_s), "{median_s}");
    }

    #[test]
    fn estimates_are_ordered_and_continuous() {
        let mut calibration = Calibration::default();
        for step in 0..200_u16 {
            let told = Estimate { median_s: 100.0, low_s: 80.0, high_s: 130.0 };
            let (model_s, real_s) = (f32::from(step) * 10.0, f32::from(step) * 14.0);
            calibration.learn(&Arrival { at: Millis(0), model_s, told, real_s, on_roads: false });
        }
        let mut last = calibration.estimate(Millis(0), 0.0);
        for second in 1..3_000_u16 {
            let next = calibration.estimate(Millis(0), f32::from(second));
            assert!(next.low_s <= next.median_s && next.median_s <= next.high_s);
            assert!((next.median_s - last.median_s).abs() < 6.0 && (next.high_s - last.high_s).abs() < 12.0);
            last = next;
        }
    }
}
