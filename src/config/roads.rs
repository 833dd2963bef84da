//! `[roads]`: the maps.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use wayfare_engine::roads::Profile;

use super::Data;
use super::key::{Key, number, word};

pub(super) const KEYS: &[Key] = &[
    word(
        "files",
        "Roads files, one per city or region, made by `wayfare roads build`. None: arrivals are estimated on straight lines.",
    ),
    word("profiles", "Which networks of those files are opened: \"car\", \"bicycle\", \"foot\". Empty: all there are."),
    number("renew_s", 5.0..=600.0, "How often learned speeds re-weight the roads, seconds."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roads {
    pub files: Vec<PathBuf>,
    pub profiles: Vec<String>,
    pub renew_s: u32,
}

impl Default for Roads {
    fn default() -> Self {
        Self { files: Vec::new(), profiles: Vec::new(), renew_s: 30 }
    }
}

impl Roads {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for file in &self.files {
            ensure!(file.is_file(), "roads.files: there is no file {}", file.display());
        }
        self.profiles()?;
        Ok(())
    }

    fn profiles(&self) -> anyhow::Result<Vec<Profile>> {
        let read = |word: &String| {
            Profile::from_code(word).with_context(|| format!("roads.profiles: {word:?} is not car, bicycle or foot"))
        };
        self.profiles.iter().map(read).collect()
    }

    /// For the maps.
    pub(super) fn atlas(&self, data: &Data) -> anyhow::Result<wayfare_atlas::AtlasConfig> {
        Ok(wayfare_atlas::AtlasConfig {
            files: self.files.clone(),
            profiles: self.profiles()?,
            learned: Some(data.dir.join("learned.bin")),
            renew: Duration::from_secs(u64::from(self.renew_s)),
        })
    }
}
