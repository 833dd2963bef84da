//! `[log]`: what is told of the day, and how.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::key::{Key, word};

pub(super) const KEYS: &[Key] = &[
    word("level", "error, warn, info, debug or trace; or a filter like \"info,wayfare_fanout=debug\"."),
    word("format", "text, or json for machines."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub level: String,
    pub format: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: "text".into() }
    }
}

impl Log {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let known = matches!(self.format.as_str(), "text" | "json");
        ensure!(known, "log.format is {:?}, not text or json", self.format);
        Ok(())
    }
}
