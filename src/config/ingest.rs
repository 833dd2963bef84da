//! `[ingest]`: drivers in.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use wayfare_engine::{LimitsTable, Pacing, ServiceArea, Vehicle, Visibility};
use wayfare_net::bucket::Rate;

use super::key::{Key, number, word};

pub(super) const KEYS: &[Key] = &[
    number(
        "flush_interval_ms",
        0.0..=1000.0,
        "Shortest time between two flushes of the fix log; an idle log flushes at once.",
    ),
    number(
        "unflushed_mib_max",
        1.0..=4096.0,
        "Judged fixes that wait for the disk, MiB; beyond it fixes are refused for a while.",
    ),
    number(
        "heartbeat_s",
        1.0..=300.0,
        "Something is sent to every driver with a live trip at least this often, seconds; without one, on a WebSocket, half as often.",
    ),
    number("auth_timeout_s", 1.0..=60.0, "A driver's hello must arrive within this time, seconds."),
    number("slow_timeout_s", 1.0..=300.0, "A driver's socket that takes nothing for this long is cut, seconds."),
    number("messages_per_second", 0.1..=1e6, "Messages of one driver, sustained."),
    number("messages_burst", 1.0..=1e6, "Messages of one driver at once."),
    number("fixes_per_message_max", 1.0..=1000.0, "Most fixes in one message."),
    number("drain_spread_s", 0.0..=300.0, "At shutdown drivers are told to come back within this time, seconds."),
    number(
        "idle_unload_s",
        10.0..=86_400.0,
        "A tracker nobody needs leaves memory after this time without a fix, seconds.",
    ),
    number("checkpoint_interval_s", 1.0..=600.0, "A tracker that changes is kept whole this often, seconds."),
    number(
        "silence_s",
        1.0..=3600.0,
        "A driver with a live trip counts as silent after this time without a position, seconds.",
    ),
    number(
        "accuracy_m_max",
        0.0..=10_000.0,
        "Fixes with a larger accuracy radius are rejected, metres; 0: the default of the vehicle.",
    ),
    word("mock", "What to do with positions from a mock provider: reject or accept."),
    word("service_area", "Box within which fixes are taken: [south, west, north, east] in degrees; empty: everywhere."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    pub flush_interval_ms: u32,
    pub unflushed_mib_max: u32,
    pub heartbeat_s: u32,
    pub auth_timeout_s: u32,
    pub slow_timeout_s: u32,
    pub messages_per_second: f32,
    pub messages_burst: f32,
    pub fixes_per_message_max: u32,
    pub drain_spread_s: u32,
    pub idle_unload_s: u32,
    pub checkpoint_interval_s: u32,
    pub silence_s: u32,
    pub accuracy_m_max: f32,
    pub mock: String,
    pub service_area: Vec<f64>,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            flush_interval_ms: 15,
            unflushed_mib_max: 16,
            heartbeat_s: 20,
            auth_timeout_s: 5,
            slow_timeout_s: 30,
            messages_per_second: 50.0,
            messages_burst: 200.0,
            fixes_per_message_max: 100,
            drain_spread_s: 10,
            idle_unload_s: 600,
            checkpoint_interval_s: 10,
            silence_s: 60,
            accuracy_m_max: 0.0,
            mock: "reject".into(),
            service_area: Vec::new(),
        }
    }
}

impl Ingest {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let known = matches!(self.mock.as_str(), "reject" | "accept");
        ensure!(known, "ingest.mock is {:?}, not reject or accept", self.mock);
        self.area()?;
        Ok(())
    }

    fn area(&self) -> anyhow::Result<Option<ServiceArea>> {
        match self.service_area[..] {
            [] => Ok(None),
            [south, west, north, east] => {
                let corner = |lat, lon| wayfare_engine::Position::new(lat, lon).context("ingest.service_area");
                let area = ServiceArea::new().with_box(corner(south, west)?, corner(north, east)?);
                Ok(Some(area.context("ingest.service_area")?))
            }
            _ => bail!("ingest.service_area has {} numbers, it must have none or four", self.service_area.len()),
        }
    }

    /// What is believed of a fix.
    fn limits(&self) -> anyhow::Result<LimitsTable> {
        let mut table = LimitsTable::default();
        for vehicle in Vehicle::ALL {
            let mut limits = table.get(vehicle).clone();
            limits.silence_ms = i64::from(self.silence_s) * 1000;
            if self.accuracy_m_max > 0.0 {
                limits.accuracy_m = self.accuracy_m_max;
            }
            if self.mock == "accept" {
                limits.mock = wayfare_engine::MockPolicy::Accept;
            }
            table.set(vehicle, limits).context("ingest.accuracy_m_max")?;
        }
        Ok(table)
    }

    /// For the room of that name; `node` is this process's name.
    pub(super) fn room(
        &self,
        node: &str,
        pacing: Pacing,
        visibility: Visibility,
    ) -> anyhow::Result<wayfare_ingest::IngestConfig> {
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        Ok(wayfare_ingest::IngestConfig {
            node: node.to_owned(),
            flush_interval: Duration::from_millis(u64::from(self.flush_interval_ms)),
            unflushed_bytes_max: (self.unflushed_mib_max as usize) << 20,
            heartbeat: seconds(self.heartbeat_s),
            auth_timeout: seconds(self.auth_timeout_s),
            slow_timeout: seconds(self.slow_timeout_s),
            messages: Rate { per_second: self.messages_per_second, burst: self.messages_burst },
            fixes_max: self.fixes_per_message_max as usize,
            drain_spread: seconds(self.drain_spread_s),
            idle_unload: seconds(self.idle_unload_s),
            checkpoint_interval: seconds(self.checkpoint_interval_s),
            limits: self.limits()?,
            pacing,
            visibility,
            area: self.area()?,
        })
    }
}
