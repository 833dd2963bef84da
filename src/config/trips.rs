//! `[trips]`: how long things of trips are kept.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::key::{Key, number};

pub(super) const KEYS: &[Key] = &[
    number(
        "answer_within_s",
        0.0..=3600.0,
        "A driver who is given a trip is asked, and has so many seconds to answer; 0: the trip is the driver's at once, otherwise at least 5.",
    ),
    number(
        "ended_keep_s",
        0.0..=604_800.0,
        "Late watchers of an ended trip get its final status for this long, seconds.",
    ),
    number("arrivals_keep_days", 1.0..=3650.0, "It is remembered for this long how well arrivals were foreseen, days."),
    number("tracks_keep_days", 1.0..=3650.0, "Where a trip's driver was is kept for this long, days."),
    number("records_keep_days", 1.0..=3650.0, "Records of trips are kept for this long after their end, days."),
    number("log_keep_days", 1.0..=3650.0, "Events of a log are kept for this long, days."),
    number("log_events_max", 100.0..=100_000_000.0, "Most events kept of one log (of a store, of phases)."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trips {
    pub ended_keep_s: u32,
    pub answer_within_s: u32,
    pub arrivals_keep_days: u32,
    pub tracks_keep_days: u32,
    pub records_keep_days: u32,
    pub log_events_max: u32,
    pub log_keep_days: u32,
}

impl Default for Trips {
    fn default() -> Self {
        Self {
            ended_keep_s: 3600,
            answer_within_s: 0,
            arrivals_keep_days: 90,
            tracks_keep_days: 60,
            records_keep_days: 365,
            log_events_max: 100_000,
            log_keep_days: 60,
        }
    }
}

impl Trips {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let answer_s = self.answer_within_s;
        ensure!(answer_s == 0 || answer_s >= 5, "trips.answer_within_s is {answer_s}, it must be 0 or 5 to 3600");
        Ok(())
    }
}
