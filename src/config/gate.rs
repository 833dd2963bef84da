//! `[gate]`: how many may come, and how fast.

use serde::{Deserialize, Serialize};
use wayfare_net::bucket::Rate;
use wayfare_net::gate::GateConfig;

use super::Http;
use super::key::{Key, number};

pub(super) const KEYS: &[Key] = &[
    number(
        "address_requests_per_second",
        0.1..=1e6,
        "Requests of one address (IPv4; a /64 of IPv6), sustained. Phone networks put thousands behind one.",
    ),
    number("address_requests_burst", 1.0..=1e6, "Requests of one address at once."),
    number("network_requests_per_second", 0.1..=1e6, "Requests of one network (/24; /48), sustained."),
    number("network_requests_burst", 1.0..=1e6, "Requests of one network at once."),
    number(
        "address_connections_max",
        1.0..=1_000_000.0,
        "Open connections of one address; proxies of ours may have any number.",
    ),
    number("network_connections_max", 1.0..=1_000_000.0, "Open connections of one network."),
    number(
        "arrivals_per_second",
        0.1..=1e6,
        "New long-lived connections with a valid token a second, of everybody; the others are told each its own time to come again.",
    ),
    number("arrivals_burst", 1.0..=1e6, "New long-lived connections at once."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateKeys {
    pub address_requests_per_second: f32,
    pub address_requests_burst: f32,
    pub network_requests_per_second: f32,
    pub network_requests_burst: f32,
    pub address_connections_max: u32,
    pub network_connections_max: u32,
    pub arrivals_per_second: f32,
    pub arrivals_burst: f32,
}

impl Default for GateKeys {
    /// As told in `PROTOCOL.md`, "Limits".
    fn default() -> Self {
        Self {
            address_requests_per_second: 2_000.0,
            address_requests_burst: 10_000.0,
            network_requests_per_second: 8_000.0,
            network_requests_burst: 40_000.0,
            address_connections_max: 20_000,
            network_connections_max: 50_000,
            arrivals_per_second: 400.0,
            arrivals_burst: 200.0,
        }
    }
}

impl GateKeys {
    /// For the door.
    pub(super) fn gate(&self, http: &Http) -> anyhow::Result<GateConfig> {
        let rate = |per_second, burst| Rate { per_second, burst };
        Ok(GateConfig {
            address: rate(self.address_requests_per_second, self.address_requests_burst),
            network: rate(self.network_requests_per_second, self.network_requests_burst),
            address_connections: self.address_connections_max,
            network_connections: self.network_connections_max,
            arrivals: rate(self.arrivals_per_second, self.arrivals_burst),
            trusted_proxies: http.proxies()?,
        })
    }
}
