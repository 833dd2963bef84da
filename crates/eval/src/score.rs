//! Statistics of predictions against what happened.

/// Predictions and truths, seconds.
#[derive(Debug, Clone, Default)]
pub struct Pairs(pub Vec<(f64, f64)>);

impl Pairs {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn errors(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().map(|(predicted, real)| (predicted - real).abs() / real)
    }

    /// Mean absolute percentage error, and its standard error.
    pub fn mape(&self) -> (f64, f64) {
        let errors: Vec<f64> = self.errors().collect();
        let mean = mean(&errors);
        let variance =
            errors.iter().map(|error| (error - mean).powi(2)).sum::<f64>() / (errors.len().max(2) - 1) as f64;
        (mean, (variance / errors.len().max(1) as f64).sqrt())
    }

    /// Median absolute percentage error.
    pub fn median_error(&self) -> f64 {
        median(self.errors().collect())
    }

    /// Summed error over summed truth: negative if predictions are too short.
    pub fn bias(&self) -> f64 {
        let (predicted, real) = self.0.iter().fold((0.0, 0.0), |(p, r), (predicted, real)| (p + predicted, r + real));
        (predicted - real) / real
    }

    /// Share within a percentage.
    pub fn within(&self, share: f64) -> f64 {
        self.share(|error, _| error <= share)
    }

    /// Share within so many seconds.
    pub fn within_s(&self, seconds: f64) -> f64 {
        self.share(|error, real| error * real <= seconds)
    }

    fn share(&self, good: impl Fn(f64, f64) -> bool) -> f64 {
        let hits = self.0.iter().filter(|(predicted, real)| good((predicted - real).abs() / real, *real)).count();
        hits as f64 / self.len().max(1) as f64
    }
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The middle value; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
