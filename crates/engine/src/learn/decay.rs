//! An average that forgets, and does not believe what is far out.

use crate::Millis;
use crate::RestoreError;
use crate::bytes::{Reader, Writer};

/// Weighted mean of residuals with exponential forgetting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Decayed {
    weight: f32,
    sum: f32,
    at: Millis,
}

impl Decayed {
    /// Adds `value`, cut to `limit` away from what is believed so far.
    pub(crate) fn add(&mut self, at: Millis, value: f32, weight: f32, limit: f32, half_life_s: f32) {
        let keep = remaining(self.at, at, half_life_s);
        if at > self.at {
            (self.weight, self.sum, self.at) = (self.weight * keep, self.sum * keep, at);
        }
        let mean = if self.weight > 0.0 { self.sum / self.weight } else { 0.0 };
        let value = value.clamp(mean - limit, mean + limit);
        self.weight += weight;
        self.sum += value * weight;
    }

    /// The mean, drawn to 0 as if `prior` of weight had said so; with time it goes there by itself.
    pub(crate) fn mean(&self, at: Millis, prior: f32, half_life_s: f32) -> f32 {
        let keep = remaining(self.at, at, half_life_s);
        self.sum * keep / (self.weight * keep + prior)
    }

    /// Weight left at a time.
    pub(crate) fn weight(&self, at: Millis, half_life_s: f32) -> f32 {
        self.weight * remaining(self.at, at, half_life_s)
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.f32(self.weight);
        w.f32(self.sum);
        w.time(self.at);
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let (weight, sum, at) = (r.f32("average")?, r.f32("average")?, r.time("average")?);
        // A weight below 0 would turn the mean around.
        if !(0.0..=1e9).contains(&weight) || sum.abs() > 1e9 {
            return Err(RestoreError::Invalid { field: "average" });
        }
        Ok(Self { weight, sum, at })
    }
}

/// Share that is left after the time between; 1 if time runs backwards.
fn remaining(from: Millis, to: Millis, half_life_s: f32) -> f32 {
    let seconds = to.since_s(from).max(0.0) as f32;
    (-seconds / half_life_s * std::f32::consts::LN_2).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_by_halves_and_shrinks_to_nothing() {
        let mut average = Decayed::default();
        average.add(Millis(0), 0.4, 10.0, 1.0, 60.0);
        assert!((average.mean(Millis(0), 0.0, 60.0) - 0.4).abs() < 1e-6);
        assert!((average.mean(Millis(0), 10.0, 60.0) - 0.2).abs() < 1e-6);
        assert!((average.mean(Millis(60_000), 5.0, 60.0) - 0.2).abs() < 1e-6);
        assert!(average.mean(Millis(86_400_000), 1.0, 60.0) < 1e-6);
        assert!((average.weight(Millis(120_000), 60.0) - 2.5).abs() < 1e-6);
    }

    #[test]
    fn one_wild_value_moves_it_by_the_limit_only() {
        let mut average = Decayed::default();
        (0..20).for_each(|_| average.add(Millis(0), 0.1, 1.0, 0.5, 60.0));
        average.add(Millis(0), 50.0, 1.0, 0.5, 60.0);
        assert!(average.mean(Millis(0), 0.0, 60.0) < 0.13);
    }
}
