//! `[fix_log]`: how long kept fixes stay.

use serde::{Deserialize, Serialize};

use super::key::{Key, number};

pub(super) const KEYS: &[Key] = &[
    number("keep_hours", 1.0..=8760.0, "Kept fixes are dropped after this time, hours."),
    number("mib_max", 1.0..=1_048_576.0, "Most MiB of kept fixes; full, durable acks are refused."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FixLog {
    pub keep_hours: u32,
    pub mib_max: u32,
}

impl Default for FixLog {
    fn default() -> Self {
        Self { keep_hours: 24, mib_max: 4096 }
    }
}
