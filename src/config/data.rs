//! `[data]`: where the house keeps what is its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::key::{Key, word};

pub(super) const KEYS: &[Key] =
    &[word("dir", "Folder of the records, the logs and the keys. Back it up, keep it private.")];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "data".into() }
    }
}
