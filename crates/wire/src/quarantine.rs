//! Fixes of existing phone apps that were not kept, on their way from ingest to the records.

use serde::{Deserialize, Serialize};

/// Log, for services only, of what was set aside: each event an [`Aside`].
pub const QUARANTINE_LOG: &str = "quarantine";

/// Most bytes that are kept of what was sent.
pub const RAW_BYTES_MAX: usize = 1024;

/// A fix that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aside {
    /// `drv_…`
    pub driver: String,
    /// `dev_…`: the phone, by its key.
    pub device: String,
    /// How the app speaks: `osmand`, `traccar_client`, `traccar_json`, `owntracks`, `transistorsoft`, `overland` or `unknown`.
    pub dialect: String,
    /// The rule it broke: a verdict (`invalid`, `future`, `inaccurate`, …), or why it could not be read (`shape`, `position`, `time`,
    /// `valid`, `encrypted`, `count`).
    pub rule: String,
    /// The value seen, and the limit.
    pub message: String,
    /// When it came, Unix milliseconds.
    pub at_ms: i64,
    /// When it was taken, as it said itself, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_ms: Option<i64>,
    /// What was sent, cut to 1 KiB; absent if the driver was off duty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// The same in hexadecimal digits, if it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_hex: Option<String>,
}
