//! `[visibility]`: what customers see, and when.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use wayfare_engine::Rule;

use super::key::{Key, number, word};

pub(super) const KEYS: &[Key] = &[
    word(
        "position",
        "When a customer sees where the courier is, never before the pick-up: always, never, within N stops, within N minutes or within N metres.",
    ),
    word("route", "When a customer sees the way the courier will take: the same words."),
    word("eta", "When a customer sees the arrival: the same words."),
    word("stops_left", "When a customer sees how many stops are made before: the same words."),
    number(
        "coarse_before_pickup_m",
        0.0..=10_000.0,
        "Before the pick-up a customer sees the middle of a square with sides this long, metres; 0: nothing.",
    ),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Visibility {
    pub position: String,
    pub route: String,
    pub eta: String,
    pub stops_left: String,
    pub coarse_before_pickup_m: u32,
}

impl Default for Visibility {
    fn default() -> Self {
        let always = || "always".to_owned();
        Self { position: always(), route: always(), eta: always(), stops_left: always(), coarse_before_pickup_m: 0 }
    }
}

impl Visibility {
    /// For ingest.
    pub(super) fn rules(&self) -> anyhow::Result<wayfare_engine::Visibility> {
        let rule = |key: &str, text: &str| text.parse::<Rule>().with_context(|| format!("visibility.{key}"));
        Ok(wayfare_engine::Visibility {
            position: rule("position", &self.position)?,
            route: rule("route", &self.route)?,
            eta: rule("eta", &self.eta)?,
            stops_left: rule("stops_left", &self.stops_left)?,
            coarse_m: self.coarse_before_pickup_m,
        })
    }
}
