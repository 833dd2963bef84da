//! What is known of a key beside its type and default: what it means, and what it may be.

use std::ops::RangeInclusive;

use anyhow::ensure;
use toml::Value;

/// A key of a section.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// A sentence for the sample.
    pub meaning: &'static str,
    /// What a number may be.
    pub range: Option<RangeInclusive<f64>>,
}

/// A key that is no number, or one whose section checks it.
pub(super) const fn word(name: &'static str, meaning: &'static str) -> Key {
    Key { name, meaning, range: None }
}

/// A number and its range.
pub(super) const fn number(name: &'static str, range: RangeInclusive<f64>, meaning: &'static str) -> Key {
    Key { name, meaning, range: Some(range) }
}

impl Key {
    /// Refuses a number outside of its range.
    pub(super) fn check(&self, section: &str, value: &Value) -> anyhow::Result<()> {
        let Some(range) = &self.range else { return Ok(()) };
        // Whole numbers of the configuration have 32 bits, so each is exact as a real one.
        #[allow(clippy::cast_precision_loss, reason = "32 bits fit")]
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        let (least, most) = (range.start(), range.end());
        let within = number.is_some_and(|number| range.contains(&number));
        ensure!(within, "{section}.{} is {value}, it must be {least} to {most}", self.name);
        Ok(())
    }

    /// The sentence of the sample.
    pub(super) fn sentence(&self) -> String {
        match &self.range {
            Some(range) => format!("{} {} to {}.", self.meaning, range.start(), range.end()),
            None => self.meaning.to_owned(),
        }
    }
}
