//! `[media]`: pictures that come in, and what is made of them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use wayfare_api::UploadLimits;
use wayfare_media_worker::{ChildCommand, Limits, MediaConfig, Quality, VariantFormat};

use super::key::{Key, number, word};

pub(super) const KEYS: &[Key] = &[
    number(
        "workers",
        0.0..=256.0,
        "Pictures made at once by this process, each in a child of its own; 0: as many as there are cores.",
    ),
    number(
        "child_memory_mib",
        32.0..=4096.0,
        "What a child may hold in memory; one that needs more is ended, and the try has failed.",
    ),
    number("deadline_s", 1.0..=600.0, "A picture that takes longer has failed, seconds."),
    number(
        "lease_s",
        3.0..=600.0,
        "A worker that was not heard of for this long has lost its picture to another, seconds.",
    ),
    word(
        "formats",
        "What is made of each picture: \"jpeg\" always, \"webp\", and \"avif\" if this program was built with it (`--features avif`). What was made before stays as it is.",
    ),
    number("jpeg_quality", 30.0..=100.0, "Quality of JPEG variants."),
    number("webp_quality", 30.0..=100.0, "Quality of WebP variants."),
    number(
        "webp_effort",
        0.0..=6.0,
        "How long WebP variants are searched for: 2 takes half the time of 4 for some 2 % more bytes.",
    ),
    number("avif_quality", 30.0..=100.0, "Quality of AVIF variants."),
    number("avif_speed", 1.0..=10.0, "How fast AVIF variants are made: a lower one takes longer for fewer bytes."),
    number("upload_mb_max", 1.0..=60.0, "Largest picture that is taken, megabytes."),
    number("megapixels_max", 1.0..=200.0, "Most pixels that a picture may declare, millions."),
    number("open_per_store", 1.0..=100_000.0, "Pictures of one store that may be on their way at once."),
    number("receiving_per_user", 1.0..=100_000.0, "Unfinished uploads that one user may have."),
    number("per_store_day", 1.0..=1_000_000.0, "Pictures that one store may upload in a day."),
    number("expire_hours", 0.001..=720.0, "An upload to which no byte was added for this long expires, hours."),
    number("unused_keep_hours", 0.001..=8760.0, "A picture that no menu shows is kept for this long, hours."),
    number("sweep_hours", 0.0001..=8760.0, "Files that no record names are looked for so often, hours."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    pub workers: u32,
    pub child_memory_mib: u32,
    pub deadline_s: u32,
    pub lease_s: u32,
    pub formats: Vec<String>,
    pub jpeg_quality: u8,
    pub webp_quality: u8,
    pub webp_effort: u8,
    pub avif_quality: u8,
    pub avif_speed: u8,
    pub upload_mb_max: u32,
    pub megapixels_max: u32,
    pub open_per_store: u32,
    pub receiving_per_user: u32,
    pub per_store_day: u32,
    pub expire_hours: f64,
    pub unused_keep_hours: f64,
    pub sweep_hours: f64,
}

impl Default for Media {
    fn default() -> Self {
        let quality = Quality::default();
        Self {
            workers: 0,
            child_memory_mib: 256,
            deadline_s: 20,
            lease_s: 15,
            formats: vec!["jpeg".into(), "webp".into()],
            jpeg_quality: quality.jpeg,
            webp_quality: quality.webp,
            webp_effort: quality.webp_effort,
            avif_quality: quality.avif,
            avif_speed: quality.avif_speed,
            upload_mb_max: 20,
            megapixels_max: 50,
            open_per_store: 20,
            receiving_per_user: 10,
            per_store_day: 1000,
            expire_hours: 24.0,
            unused_keep_hours: 24.0,
            sweep_hours: 24.0,
        }
    }
}

impl Media {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.formats().map(drop)
    }

    fn formats(&self) -> anyhow::Result<Vec<VariantFormat>> {
        let known = || VariantFormat::WRITTEN.iter().map(|format| format.word()).collect::<Vec<_>>().join(", ");
        let read = |word: &String| {
            let found = VariantFormat::WRITTEN.iter().find(|format| format.word() == word).copied();
            found.with_context(|| {
                format!("media.formats: {word:?} is none of those that this program writes ({})", known())
            })
        };
        let mut formats = self.formats.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(
            formats.contains(&VariantFormat::Jpeg),
            "media.formats: \"jpeg\" is missing, which every browser shows"
        );
        formats.sort_by_key(|format| VariantFormat::WRITTEN.iter().position(|one| one == format));
        formats.dedup();
        Ok(formats)
    }

    pub(super) fn uploads(&self) -> UploadLimits {
        UploadLimits {
            bytes_max: self.bytes_max(),
            open_per_store: self.open_per_store,
            receiving_per_user: self.receiving_per_user,
            per_store_day: self.per_store_day,
            expire_ms: hours_ms(self.expire_hours),
            unused_keep_ms: hours_ms(self.unused_keep_hours),
            sweep_ms: hours_ms(self.sweep_hours),
        }
    }

    fn bytes_max(&self) -> u64 {
        u64::from(self.upload_mb_max) * 1_000_000
    }

    pub(super) fn room(&self, node: &str) -> anyhow::Result<MediaConfig> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = self.child_memory_mib.to_string();
        Ok(MediaConfig {
            node: node.to_owned(),
            workers: if self.workers == 0 { cores } else { self.workers as usize },
            // This very program, also when its file was replaced by a newer one.
            child: ChildCommand::new("/proc/self/exe", ["media-child", "--memory-mib", &memory]),
            limits: Limits {
                bytes_max: self.bytes_max(),
                pixels_max: u64::from(self.megapixels_max) * 1_000_000,
                ..Limits::default()
            },
            deadline: Duration::from_secs(u64::from(self.deadline_s)),
            lease: Duration::from_secs(u64::from(self.lease_s)),
            quality: Quality {
                jpeg: self.jpeg_quality,
                webp: self.webp_quality,
                webp_effort: self.webp_effort,
                avif: self.avif_quality,
                avif_speed: self.avif_speed,
            },
            widths: vec![320, 640, 1280],
            formats: self.formats()?,
        })
    }
}

fn hours_ms(hours: f64) -> i64 {
    (hours * 3_600_000.0) as i64
}
