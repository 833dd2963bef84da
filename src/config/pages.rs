//! `[pages]`: what the pages show behind the map.

use std::path::Path;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::key::{Key, word};

pub(super) const KEYS: &[Key] = &[
    word("streets", "GeoJSON file with the streets behind the map; empty: none."),
    word(
        "basemap_style_url",
        "MapLibre style used in place of the streets; its host is then contacted by browsers. Empty: none.",
    ),
];

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pages {
    pub streets: String,
    pub basemap_style_url: String,
}

impl Pages {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let file = Path::new(&self.streets);
        ensure!(self.streets.is_empty() || file.is_file(), "pages.streets: there is no file {}", file.display());
        Ok(())
    }
}
