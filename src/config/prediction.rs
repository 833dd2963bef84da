//! `[prediction]`: how far watchers are left to their own foresight.

use serde::{Deserialize, Serialize};
use wayfare_engine::{Pace, Pacing};

use super::key::{Key, number};

pub(super) const KEYS: &[Key] = &[
    number(
        "waiting_tolerance_m",
        0.0..=500.0,
        "Before the driver sets out, and at the kitchen: a position is told when watchers, who carry the last one on by themselves, see the courier further away than this, metres; 0: every move is told.",
    ),
    number("waiting_silence_s", 1.0..=600.0, "And when the last one is this old, seconds."),
    number("under_way_tolerance_m", 0.0..=500.0, "The same on the way to the kitchen and to the customer, metres."),
    number("under_way_silence_s", 1.0..=600.0, "The same on the way to the kitchen and to the customer, seconds."),
    number("arriving_tolerance_m", 0.0..=500.0, "The same near the customer's door, metres."),
    number("arriving_silence_s", 1.0..=600.0, "The same near the customer's door, seconds."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prediction {
    pub waiting_tolerance_m: f32,
    pub waiting_silence_s: u32,
    pub under_way_tolerance_m: f32,
    pub under_way_silence_s: u32,
    pub arriving_tolerance_m: f32,
    pub arriving_silence_s: u32,
}

impl Default for Prediction {
    fn default() -> Self {
        let Pacing { waiting, under_way, arriving } = Pacing::default();
        let seconds = |pace: Pace| (pace.longest_silence_ms / 1000) as u32;
        Self {
            waiting_tolerance_m: waiting.tolerance_m,
            waiting_silence_s: seconds(waiting),
            under_way_tolerance_m: under_way.tolerance_m,
            under_way_silence_s: seconds(under_way),
            arriving_tolerance_m: arriving.tolerance_m,
            arriving_silence_s: seconds(arriving),
        }
    }
}

impl Prediction {
    /// For ingest.
    pub(super) fn pacing(&self) -> Pacing {
        let pace = |tolerance_m, silence_s: u32| Pace { tolerance_m, longest_silence_ms: i64::from(silence_s) * 1000 };
        Pacing {
            waiting: pace(self.waiting_tolerance_m, self.waiting_silence_s),
            under_way: pace(self.under_way_tolerance_m, self.under_way_silence_s),
            arriving: pace(self.arriving_tolerance_m, self.arriving_silence_s),
        }
    }
}
