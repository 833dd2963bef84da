//! `[cores]`: the threads that own connections.

use serde::{Deserialize, Serialize};

use super::key::{Key, number};

pub(super) const KEYS: &[Key] =
    &[number("threads", 0.0..=256.0, "Threads that own connections; 0: one per processor.")];

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoresConfig {
    pub threads: u32,
}
