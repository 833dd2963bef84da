//! Fixes of phone apps that were not kept, set aside for whoever asks why: from the shards to a log, beside the way of those that were.
//!
//! Best effort: nobody waits for it. What is too much at once is counted and dropped; the end of the house may take the last ones along. Of a driver off duty
//! no coordinates are set aside, and nothing at all of fixes that were taken off duty.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use wayfare_bus::{Append, Bus};
use wayfare_engine::{DriverId, Reason};
use wayfare_wire::ids;
use wayfare_wire::quarantine::{QUARANTINE_LOG, RAW_BYTES_MAX};

use crate::metrics;
use crate::shard::{AppItem, AppMessage};

/// Entries that wait for the log.
const QUEUE: usize = 4096;

/// Entries appended in one step.
const AT_ONCE: usize = 256;

/// Between two appends: they share the disk with what matters more.
const PAUSE: Duration = Duration::from_millis(200);

/// A fix that is set aside.
pub struct Aside {
    driver: DriverId,
    device: u128,
    dialect: &'static str,
    rule: &'static str,
    message: String,
    t_ms: Option<i64>,
    raw: Bytes,
    is_wanted: bool,
}

impl Aside {
    /// What became of an item: the rule that it broke, and the value seen.
    pub fn new(driver: DriverId, message: &AppMessage, item: &AppItem, reason: &Reason, on_duty: bool) -> Self {
        let (rule, sentence) = match &item.fault {
            Some(fault) => (fault.rule.code(), fault.value.clone()),
            None => (reason.code(), reason.to_string()),
        };
        // Whether the driver was on duty when a stale fix was taken is not known any more.
        let may_show = on_duty && !matches!(reason, Reason::Stale { .. });
        let hidden = item.fault.is_some() && !on_duty;
        Self {
            driver,
            device: message.device,
            dialect: message.dialect.code(),
            rule,
            message: if hidden { "not shown: the driver was off duty".into() } else { sentence },
            t_ms: item.fix.t_ms,
            raw: if may_show { item.raw.slice(..item.raw.len().min(RAW_BYTES_MAX)) } else { Bytes::new() },
            is_wanted: !matches!(reason, Reason::OffShift),
        }
    }

    /// For the app's answer.
    pub fn sentence(&self) -> &str {
        &self.message
    }

    fn payload(&self, at_ms: i64) -> Vec<u8> {
        let mut body = json!({
            "driver": ids::Driver::from(self.driver), "device": ids::Device(self.device), "dialect": self.dialect,
            "rule": self.rule, "message": self.message, "at_ms": at_ms, "t_ms": self.t_ms,
        });
        // Cut bytes may end within a letter; what is no text at all is told in hexadecimal digits.
        match std::str::from_utf8(&self.raw) {
            Ok("") => {}
            Ok(text) => body["raw"] = text.into(),
            Err(error) if error.error_len().is_none() => {
                body["raw"] = String::from_utf8_lossy(&self.raw[..error.valid_up_to()]).into();
            }
            Err(_) => body["raw_hex"] = self.raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        }
        body.to_string().into_bytes()
    }
}

/// Where shards put what is set aside. Never waits.
pub struct Quarantine(mpsc::Sender<(i64, Aside)>);

impl Quarantine {
    /// Starts the writer, which ends when this is dropped.
    pub fn start(bus: Bus) -> Self {
        let (sender, entries) = mpsc::channel(QUEUE);
        tokio::spawn(write(bus, entries));
        Self(sender)
    }

    /// Sets a fix aside.
    pub fn put(&self, aside: Aside) {
        if aside.is_wanted && self.0.try_send((wayfare_bus::now_ms(), aside)).is_err() {
            metrics::quarantine_dropped();
        }
    }
}

async fn write(bus: Bus, mut entries: mpsc::Receiver<(i64, Aside)>) {
    // Grows over restarts too, as the clock does.
    let mut number = (wayfare_bus::now_ms() as u64) << 16;
    let mut batch = Vec::new();
    while entries.recv_many(&mut batch, AT_ONCE).await > 0 {
        let rows: Vec<(u64, String, Vec<u8>)> = batch
            .drain(..)
            .map(|(at_ms, aside)| {
                number += 1;
                (number, format!("{number:x}"), aside.payload(at_ms))
            })
            .collect();
        let mut appends = Vec::with_capacity(rows.len());
        for (number, event_id, payload) in &rows {
            appends.push(Append { entity: "quarantine", number: *number, event_id, payload });
        }
        if let Err(error) = bus.logs.append_all(QUARANTINE_LOG, &appends).await {
            tracing::warn!(%error, count = rows.len(), "fixes could not be set aside; they are forgotten");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
