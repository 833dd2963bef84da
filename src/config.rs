//! The configuration: one TOML file, and an environment variable for every key.
//!
//! Unknown keys and impossible values are refused by name before anything starts. The sample (`wayfare config`) is made from the
//! defaults here and the sentences in [`KEYS`]; a test keeps the two together.

#![allow(missing_docs, reason = "every key is documented in KEYS, from which the sample is made")]

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use wayfare_engine::roads::Profile;
use wayfare_engine::{LimitsTable, ServiceArea, Vehicle};
use wayfare_net::bucket::Rate;
use wayfare_net::gate::GateConfig;
use wayfare_net::origin::AllowedOrigins;
use wayfare_net::tls::TlsFiles;

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub data: Data,
    pub http: Http,
    pub gate: GateKeys,
    pub tls: Tls,
    pub quic: Quic,
    pub log: Log,
    pub bus: Bus,
    pub cores: CoresConfig,
    pub ingest: Ingest,
    pub fix_log: FixLog,
    pub fanout: Fanout,
    pub trips: Trips,
    pub roads: Roads,
    pub pages: Pages,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    pub dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    pub url: String,
    pub namespace: String,
    pub node: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    pub listen: String,
    pub behind_tls_proxy: bool,
    pub origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub connections_max: u32,
    pub head_timeout_s: u32,
    pub metrics_open: bool,
}

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

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quic {
    pub listen: String,
    pub generated_certificate: bool,
    pub connections_max: u32,
    pub handshakes_max: u32,
    pub retry_above: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub level: String,
    pub format: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoresConfig {
    pub threads: u32,
}

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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FixLog {
    pub keep_hours: u32,
    pub mib_max: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fanout {
    pub heartbeat_s: u32,
    pub auth_timeout_s: u32,
    pub slow_timeout_s: u32,
    pub topics_per_connection_max: u32,
    pub topics_per_url_max: u32,
    pub shard_queue_max: u32,
    pub drain_spread_s: u32,
    pub poll_interval_ms: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trips {
    pub ended_keep_s: u32,
    pub answer_within_s: u32,
    pub arrivals_keep_days: u32,
    pub tracks_keep_days: u32,
    pub records_keep_days: u32,
    pub log_events_max: u32,
    pub log_keep_days: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roads {
    pub files: Vec<PathBuf>,
    pub profiles: Vec<String>,
    pub renew_s: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pages {
    pub streets: String,
    pub basemap_style_url: String,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "data".into() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            behind_tls_proxy: false,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            connections_max: 100_000,
            head_timeout_s: 10,
            metrics_open: false,
        }
    }
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

impl Default for Quic {
    fn default() -> Self {
        Self {
            listen: String::new(),
            generated_certificate: false,
            connections_max: 100_000,
            handshakes_max: 4096,
            retry_above: 0,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: "text".into() }
    }
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

impl Default for FixLog {
    fn default() -> Self {
        Self { keep_hours: 24, mib_max: 4096 }
    }
}

impl Default for Fanout {
    fn default() -> Self {
        Self {
            heartbeat_s: 20,
            auth_timeout_s: 5,
            slow_timeout_s: 30,
            topics_per_connection_max: 100,
            topics_per_url_max: 8,
            shard_queue_max: 65_536,
            drain_spread_s: 10,
            poll_interval_ms: 3000,
        }
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self { url: String::new(), namespace: "wayfare:".into(), node: "node-1".into() }
    }
}

impl Default for Trips {
    fn default() -> Self {
        Self {
            ended_keep_s: 3600,
            answer_within_s: 0,
            arrivals_keep_days: 90,
            tracks_keep_days: 60,
            records_keep_days: 365,
            log_events_max: 100_000,
            log_keep_days: 60,
        }
    }
}

impl Default for Roads {
    fn default() -> Self {
        Self { files: Vec::new(), profiles: Vec::new(), renew_s: 30 }
    }
}

/// Every key and what it means, in the order of the sample.
pub const KEYS: &[(&str, &str)] = &[
    ("data.dir", "Folder of the records, the logs and the keys. Back it up, keep it private."),
    (
        "http.listen",
        "Address and port. A public address is refused without a certificate (tls.cert_file) or a proxy with TLS in front (next key).",
    ),
    (
        "http.behind_tls_proxy",
        "True: a proxy that speaks TLS stands in front, so that tokens never travel in the clear.",
    ),
    (
        "http.origins",
        "Web pages of other hosts that may talk to us: exact origins, like \"https://track.example.com\".",
    ),
    (
        "http.trusted_proxies",
        "Proxies of ours, as addresses or networks (\"10.0.0.0/8\"): the client is whom their X-Forwarded-For names. Nobody else's is believed.",
    ),
    ("http.connections_max", "Most open connections, drivers and watchers together. 1 to 1000000."),
    ("http.head_timeout_s", "A request head must be complete after this long, seconds. 1 to 120."),
    ("http.metrics_open", "True: /metrics needs no token. Otherwise one of the roles support, admin or service."),
    (
        "gate.address_requests_per_second",
        "Requests of one address (IPv4; a /64 of IPv6), sustained. Phone networks put thousands behind one. 0.1 to 1000000.",
    ),
    ("gate.address_requests_burst", "Requests of one address at once. 1 to 1000000."),
    ("gate.network_requests_per_second", "Requests of one network (/24; /48), sustained. 0.1 to 1000000."),
    ("gate.network_requests_burst", "Requests of one network at once. 1 to 1000000."),
    (
        "gate.address_connections_max",
        "Open connections of one address; proxies of ours may have any number. 1 to 1000000.",
    ),
    ("gate.network_connections_max", "Open connections of one network. 1 to 1000000."),
    (
        "gate.arrivals_per_second",
        "New long-lived connections with a valid token a second, of everybody; the others are told each its own time to come again. 0.1 to 1000000.",
    ),
    ("gate.arrivals_burst", "New long-lived connections at once. 1 to 1000000."),
    (
        "tls.cert_file",
        "PEM file of the certificate, its own first. With it HTTP and WebSocket speak TLS, and QUIC uses it. Empty: none.",
    ),
    ("tls.key_file", "PEM file of its private key. Both files may be replaced while the house is open."),
    (
        "quic.listen",
        "Address and UDP port for drivers on QUIC, like \"0.0.0.0:4433\"; needs a certificate. Empty: no QUIC.",
    ),
    (
        "quic.generated_certificate",
        "True: without tls.cert_file, QUIC uses a certificate made at the first start, for trials; its fingerprint is printed.",
    ),
    ("quic.connections_max", "Most open QUIC connections. 1 to 1000000."),
    ("quic.handshakes_max", "Most unfinished QUIC handshakes; further ones are refused. 1 to 65536."),
    (
        "quic.retry_above",
        "With more unfinished handshakes than this, a client must first prove its address, one round trip more. 0: always. 0 to 65536.",
    ),
    ("log.level", "error, warn, info, debug or trace; or a filter like \"info,wayfare_fanout=debug\"."),
    ("log.format", "text, or json for machines."),
    (
        "bus.url",
        "Where the bus lives: \"redis://user:password@host:6379\" for one Redis (7.0 or newer), \"redis-cluster://user:password@host:7001?node=host:7002\" \
         for a Cluster; rediss:// and rediss-cluster:// over TLS. Empty: inside this process.",
    ),
    (
        "bus.node",
        "Name of this process among those on one Redis, the same after a restart; no two of one role may have the same.",
    ),
    ("bus.namespace", "Goes before every key there, so that several houses may share one Redis."),
    ("cores.threads", "Threads that own connections; 0: one per processor. 0 to 256."),
    (
        "ingest.flush_interval_ms",
        "Shortest time between two flushes of the fix log; an idle log flushes at once. 0 to 1000.",
    ),
    (
        "ingest.unflushed_mib_max",
        "Judged fixes that wait for the disk, MiB; beyond it fixes are refused for a while. 1 to 4096.",
    ),
    (
        "ingest.heartbeat_s",
        "Something is sent to every driver with a live trip at least this often, seconds; without one, on a WebSocket, half as often. 1 to 300.",
    ),
    ("ingest.auth_timeout_s", "A driver's hello must arrive within this time, seconds. 1 to 60."),
    ("ingest.slow_timeout_s", "A driver's socket that takes nothing for this long is cut, seconds. 1 to 300."),
    ("ingest.messages_per_second", "Messages of one driver, sustained. 0.1 to 1000000."),
    ("ingest.messages_burst", "Messages of one driver at once. 1 to 1000000."),
    ("ingest.fixes_per_message_max", "Most fixes in one message. 1 to 1000."),
    ("ingest.drain_spread_s", "At shutdown drivers are told to come back within this time, seconds. 0 to 300."),
    (
        "ingest.idle_unload_s",
        "A tracker nobody needs leaves memory after this time without a fix, seconds. 10 to 86400.",
    ),
    ("ingest.checkpoint_interval_s", "A tracker that changes is kept whole this often, seconds. 1 to 600."),
    (
        "ingest.silence_s",
        "A driver with a live trip counts as silent after this time without a position, seconds. 1 to 3600.",
    ),
    (
        "ingest.accuracy_m_max",
        "Fixes with a larger accuracy radius are rejected, metres; 0: the default of the vehicle. 0 to 10000.",
    ),
    ("ingest.mock", "What to do with positions from a mock provider: reject or accept."),
    (
        "ingest.service_area",
        "Box within which fixes are taken: [south, west, north, east] in degrees; empty: everywhere.",
    ),
    ("fix_log.keep_hours", "Kept fixes are dropped after this time, hours. 1 to 8760."),
    ("fix_log.mib_max", "Most MiB of kept fixes; full, durable acks are refused. 1 to 1048576."),
    ("fanout.heartbeat_s", "Something is sent to every watcher at least this often, seconds. 1 to 300."),
    ("fanout.auth_timeout_s", "A watcher's token must arrive within this time, seconds. 1 to 60."),
    ("fanout.slow_timeout_s", "A watcher's socket that takes nothing for this long is cut, seconds. 1 to 300."),
    ("fanout.topics_per_connection_max", "Most topics on one WebSocket. 1 to 10000."),
    ("fanout.topics_per_url_max", "Most topics of one SSE stream or poll. 1 to 64."),
    (
        "fanout.shard_queue_max",
        "Events between the bus and one thread; beyond it topics are conflated. 16 to 16777216.",
    ),
    ("fanout.drain_spread_s", "At shutdown watchers are told to come back within this time, seconds. 0 to 300."),
    ("fanout.poll_interval_ms", "How often pollers are asked to come back, milliseconds. 100 to 60000."),
    (
        "trips.answer_within_s",
        "A driver who is given a trip is asked, and has so many seconds to answer; 0: the trip is the driver's at once. 0 or 5 to 3600.",
    ),
    ("trips.ended_keep_s", "Late watchers of an ended trip get its final status for this long, seconds. 0 to 604800."),
    ("trips.arrivals_keep_days", "It is remembered for this long how well arrivals were foreseen, days. 1 to 3650."),
    ("trips.tracks_keep_days", "Where a trip's driver was is kept for this long, days. 1 to 3650."),
    ("trips.records_keep_days", "Records of trips are kept for this long after their end, days. 1 to 3650."),
    ("trips.log_keep_days", "Events of a log are kept for this long, days. 1 to 3650."),
    ("trips.log_events_max", "Most events kept of one log (of a store, of phases). 100 to 100000000."),
    (
        "roads.files",
        "Roads files, one per city or region, made by `wayfare roads build`. None: arrivals are estimated on straight lines.",
    ),
    (
        "roads.profiles",
        "Which networks of those files are opened: \"car\", \"bicycle\", \"foot\". Empty: all there are.",
    ),
    ("roads.renew_s", "How often learned speeds re-weight the roads, seconds. 5 to 600."),
    ("pages.streets", "GeoJSON file with the streets behind the map; empty: none."),
    (
        "pages.basemap_style_url",
        "MapLibre style used in place of the streets; its host is then contacted by browsers. Empty: none.",
    ),
];

/// Variables that begin like ours and are no keys.
const OTHER_VARIABLES: &[&str] = &["WAYFARE_DATA", "WAYFARE_CONFIG", "WAYFARE_TOKEN", "WAYFARE_URL"];

impl Config {
    /// Reads the file (if any), then the environment over it, and checks everything.
    pub fn load(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let mut table = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the configuration {}", path.display()))?;
                text.parse::<Table>().with_context(|| format!("the configuration {} is not TOML", path.display()))?
            }
            None => Table::new(),
        };
        for (name, value) in environment {
            if !name.starts_with("WAYFARE_") || OTHER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let key = KEYS.iter().map(|(key, _)| *key).find(|key| variable(key) == name);
            let Some(key) = key else {
                bail!("the environment variable {name} stands for no key of the configuration")
            };
            set(&mut table, key, &value)?;
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| {
            anyhow::anyhow!("the configuration has an unknown key or a wrong value: {}", error.message())
        })?;
        config.check()?;
        Ok(config)
    }

    /// The documented sample.
    pub fn sample() -> String {
        let defaults = Value::try_from(Self::default()).expect("the defaults are TOML");
        let mut sample = String::from(
            "# Configuration of Wayfare. Every key is optional; the values here are the defaults.\n\
             # Each key can be given by an environment variable too: http.listen is WAYFARE_HTTP_LISTEN.\n",
        );
        let mut section = "";
        for (key, meaning) in KEYS {
            let (begin, name) = key.split_once('.').expect("every key has a section");
            if begin != section {
                section = begin;
                sample.push_str(&format!("\n[{section}]\n"));
            }
            sample.push_str(&format!("# {meaning}\n{name} = {}\n", defaults[section][name]));
        }
        sample
    }

    fn check(&self) -> anyhow::Result<()> {
        let (http, ingest, fanout) = (&self.http, &self.ingest, &self.fanout);
        self.listen()?;
        AllowedOrigins::new(http.origins.iter().cloned()).context("http.origins")?;
        ensure!(
            matches!(self.log.format.as_str(), "text" | "json"),
            "log.format is {:?}, not text or json",
            self.log.format
        );
        ensure!(
            matches!(ingest.mock.as_str(), "reject" | "accept"),
            "ingest.mock is {:?}, not reject or accept",
            ingest.mock
        );
        self.tls_files()?;
        self.quic_listen()?;
        self.redis()?;
        self.area()?;
        self.trusted_proxies()?;
        let whole: [(&str, u32, u32, u32); 36] = [
            ("http.connections_max", http.connections_max, 1, 1_000_000),
            ("http.head_timeout_s", http.head_timeout_s, 1, 120),
            ("gate.address_connections_max", self.gate.address_connections_max, 1, 1_000_000),
            ("gate.network_connections_max", self.gate.network_connections_max, 1, 1_000_000),
            ("quic.connections_max", self.quic.connections_max, 1, 1_000_000),
            ("quic.handshakes_max", self.quic.handshakes_max, 1, 65_536),
            ("quic.retry_above", self.quic.retry_above, 0, 65_536),
            ("cores.threads", self.cores.threads, 0, 256),
            ("ingest.flush_interval_ms", ingest.flush_interval_ms, 0, 1000),
            ("ingest.unflushed_mib_max", ingest.unflushed_mib_max, 1, 4096),
            ("ingest.heartbeat_s", ingest.heartbeat_s, 1, 300),
            ("ingest.auth_timeout_s", ingest.auth_timeout_s, 1, 60),
            ("ingest.slow_timeout_s", ingest.slow_timeout_s, 1, 300),
            ("ingest.fixes_per_message_max", ingest.fixes_per_message_max, 1, 1000),
            ("ingest.drain_spread_s", ingest.drain_spread_s, 0, 300),
            ("ingest.idle_unload_s", ingest.idle_unload_s, 10, 86_400),
            ("ingest.checkpoint_interval_s", ingest.checkpoint_interval_s, 1, 600),
            ("ingest.silence_s", ingest.silence_s, 1, 3600),
            ("roads.renew_s", self.roads.renew_s, 5, 600),
            ("trips.arrivals_keep_days", self.trips.arrivals_keep_days, 1, 3650),
            ("trips.records_keep_days", self.trips.records_keep_days, 1, 3650),
            ("trips.log_keep_days", self.trips.log_keep_days, 1, 3650),
            ("trips.tracks_keep_days", self.trips.tracks_keep_days, 1, 3650),
            ("fix_log.keep_hours", self.fix_log.keep_hours, 1, 8760),
            ("fix_log.mib_max", self.fix_log.mib_max, 1, 1_048_576),
            ("fanout.heartbeat_s", fanout.heartbeat_s, 1, 300),
            ("fanout.auth_timeout_s", fanout.auth_timeout_s, 1, 60),
            ("fanout.slow_timeout_s", fanout.slow_timeout_s, 1, 300),
            ("fanout.topics_per_connection_max", fanout.topics_per_connection_max, 1, 10_000),
            ("fanout.topics_per_url_max", fanout.topics_per_url_max, 1, 64),
            ("fanout.shard_queue_max", fanout.shard_queue_max, 16, 16_777_216),
            ("fanout.drain_spread_s", fanout.drain_spread_s, 0, 300),
            ("fanout.poll_interval_ms", fanout.poll_interval_ms, 100, 60_000),
            ("trips.ended_keep_s", self.trips.ended_keep_s, 0, 604_800),
            ("trips.answer_within_s", self.trips.answer_within_s, 0, 3600),
            ("trips.log_events_max", self.trips.log_events_max, 100, 100_000_000),
        ];
        for (key, value, least, most) in whole {
            ensure!((least..=most).contains(&value), "{key} is {value}, it must be {least} to {most}");
        }
        let gate = &self.gate;
        let real: [(&str, f32, f32, f32); 9] = [
            ("gate.address_requests_per_second", gate.address_requests_per_second, 0.1, 1e6),
            ("gate.address_requests_burst", gate.address_requests_burst, 1.0, 1e6),
            ("gate.network_requests_per_second", gate.network_requests_per_second, 0.1, 1e6),
            ("gate.network_requests_burst", gate.network_requests_burst, 1.0, 1e6),
            ("gate.arrivals_per_second", gate.arrivals_per_second, 0.1, 1e6),
            ("gate.arrivals_burst", gate.arrivals_burst, 1.0, 1e6),
            ("ingest.messages_per_second", ingest.messages_per_second, 0.1, 1e6),
            ("ingest.messages_burst", ingest.messages_burst, 1.0, 1e6),
            ("ingest.accuracy_m_max", ingest.accuracy_m_max, 0.0, 10_000.0),
        ];
        for (key, value, least, most) in real {
            ensure!((least..=most).contains(&value), "{key} is {value}, it must be {least} to {most}");
        }
        let answer_s = self.trips.answer_within_s;
        ensure!(answer_s == 0 || answer_s >= 5, "trips.answer_within_s is {answer_s}, it must be 0 or 5 to 3600");
        for file in &self.roads.files {
            ensure!(file.is_file(), "roads.files: there is no file {}", file.display());
        }
        self.profiles()?;
        if !self.pages.streets.is_empty() {
            let path = Path::new(&self.pages.streets);
            ensure!(path.is_file(), "pages.streets: there is no file {}", path.display());
        }
        Ok(())
    }

    /// Where to listen.
    pub fn listen(&self) -> anyhow::Result<SocketAddr> {
        let text = &self.http.listen;
        let address: SocketAddr =
            text.parse().with_context(|| format!("http.listen is {text:?}, not an address and a port"))?;
        ensure!(
            address.ip().is_loopback() || self.http.behind_tls_proxy || self.tls_files()?.is_some(),
            "http.listen is {address}, which others can reach: tokens would travel in the clear. Give a certificate (tls.cert_file \
             and tls.key_file), or put a proxy with TLS in front and set http.behind_tls_proxy = true, or listen on 127.0.0.1"
        );
        Ok(address)
    }

    /// Certificate and key, if both are given.
    pub fn tls_files(&self) -> anyhow::Result<Option<TlsFiles>> {
        let Tls { cert_file, key_file } = &self.tls;
        match (cert_file.as_os_str().is_empty(), key_file.as_os_str().is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(TlsFiles { cert_file: cert_file.clone(), key_file: key_file.clone() })),
            (true, false) => bail!("tls.key_file is given without tls.cert_file"),
            (false, true) => bail!("tls.cert_file is given without tls.key_file"),
        }
    }

    /// Where to listen for QUIC, if at all.
    pub fn quic_listen(&self) -> anyhow::Result<Option<SocketAddr>> {
        let text = &self.quic.listen;
        if text.is_empty() {
            return Ok(None);
        }
        let address = text.parse().with_context(|| format!("quic.listen is {text:?}, not an address and a port"))?;
        ensure!(
            self.tls_files()?.is_some() || self.quic.generated_certificate,
            "quic.listen is {text}, and there is no certificate: give tls.cert_file and tls.key_file, or for a trial set \
             quic.generated_certificate = true"
        );
        Ok(Some(address))
    }

    fn trusted_proxies(&self) -> anyhow::Result<Vec<IpNet>> {
        let read = |text: &String| {
            let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            network.with_context(|| format!("http.trusted_proxies: {text:?} is no address and no network"))
        };
        self.http.trusted_proxies.iter().map(read).collect()
    }

    /// For the door.
    pub fn gate(&self) -> anyhow::Result<GateConfig> {
        let gate = &self.gate;
        let rate = |per_second, burst| Rate { per_second, burst };
        Ok(GateConfig {
            address: rate(gate.address_requests_per_second, gate.address_requests_burst),
            network: rate(gate.network_requests_per_second, gate.network_requests_burst),
            address_connections: gate.address_connections_max,
            network_connections: gate.network_connections_max,
            arrivals: rate(gate.arrivals_per_second, gate.arrivals_burst),
            trusted_proxies: self.trusted_proxies()?,
        })
    }

    fn area(&self) -> anyhow::Result<Option<ServiceArea>> {
        match self.ingest.service_area[..] {
            [] => Ok(None),
            [south, west, north, east] => {
                let corner = |lat, lon| wayfare_engine::Position::new(lat, lon).context("ingest.service_area");
                let area = ServiceArea::new().with_box(corner(south, west)?, corner(north, east)?);
                Ok(Some(area.context("ingest.service_area")?))
            }
            _ => bail!("ingest.service_area has {} numbers, it must have none or four", self.ingest.service_area.len()),
        }
    }

    /// What is believed of a fix.
    fn limits(&self) -> anyhow::Result<LimitsTable> {
        let mut table = LimitsTable::default();
        for vehicle in Vehicle::ALL {
            let mut limits = table.get(vehicle).clone();
            limits.silence_ms = i64::from(self.ingest.silence_s) * 1000;
            if self.ingest.accuracy_m_max > 0.0 {
                limits.accuracy_m = self.ingest.accuracy_m_max;
            }
            if self.ingest.mock == "accept" {
                limits.mock = wayfare_engine::MockPolicy::Accept;
            }
            table.set(vehicle, limits).context("ingest.accuracy_m_max")?;
        }
        Ok(table)
    }

    /// For the room of that name.
    pub fn ingest(&self) -> anyhow::Result<wayfare_ingest::IngestConfig> {
        let ingest = &self.ingest;
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        Ok(wayfare_ingest::IngestConfig {
            node: self.bus.node.clone(),
            flush_interval: Duration::from_millis(u64::from(ingest.flush_interval_ms)),
            unflushed_bytes_max: (ingest.unflushed_mib_max as usize) << 20,
            heartbeat: seconds(ingest.heartbeat_s),
            auth_timeout: seconds(ingest.auth_timeout_s),
            slow_timeout: seconds(ingest.slow_timeout_s),
            messages: Rate { per_second: ingest.messages_per_second, burst: ingest.messages_burst },
            fixes_max: ingest.fixes_per_message_max as usize,
            drain_spread: seconds(ingest.drain_spread_s),
            idle_unload: seconds(ingest.idle_unload_s),
            checkpoint_interval: seconds(ingest.checkpoint_interval_s),
            limits: self.limits()?,
            area: self.area()?,
        })
    }

    /// For the room of that name.
    pub fn fanout(&self) -> wayfare_fanout::FanoutConfig {
        let fanout = &self.fanout;
        let seconds = |value: u32| Duration::from_secs(u64::from(value));
        wayfare_fanout::FanoutConfig {
            heartbeat: seconds(fanout.heartbeat_s),
            auth_timeout: seconds(fanout.auth_timeout_s),
            slow_timeout: seconds(fanout.slow_timeout_s),
            topics_per_connection: fanout.topics_per_connection_max as usize,
            topics_per_url: fanout.topics_per_url_max as usize,
            shard_queue: fanout.shard_queue_max as usize,
            drain_spread: seconds(fanout.drain_spread_s),
            poll_interval: Duration::from_millis(u64::from(fanout.poll_interval_ms)),
        }
    }

    /// For the room of that name.
    pub fn api(&self) -> wayfare_api::ApiConfig {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        wayfare_api::ApiConfig {
            database: self.data.dir.join("records.sqlite"),
            streets: some(&self.pages.streets).map(PathBuf::from),
            node: self.bus.node.clone(),
            basemap_style_url: some(&self.pages.basemap_style_url),
            arrivals_keep_ms: i64::from(self.trips.arrivals_keep_days) * 86_400_000,
            tracks_keep_ms: i64::from(self.trips.tracks_keep_days) * 86_400_000,
            records_keep_ms: i64::from(self.trips.records_keep_days) * 86_400_000,
            ended_keep_ms: i64::from(self.trips.ended_keep_s) * 1000,
            answer_within_s: self.trips.answer_within_s,
        }
    }

    fn profiles(&self) -> anyhow::Result<Vec<Profile>> {
        let read = |word: &String| {
            Profile::from_code(word).with_context(|| format!("roads.profiles: {word:?} is not car, bicycle or foot"))
        };
        self.roads.profiles.iter().map(read).collect()
    }

    /// For the maps.
    pub fn atlas(&self) -> anyhow::Result<wayfare_atlas::AtlasConfig> {
        Ok(wayfare_atlas::AtlasConfig {
            files: self.roads.files.clone(),
            profiles: self.profiles()?,
            learned: Some(self.data.dir.join("learned.bin")),
            renew: Duration::from_secs(u64::from(self.roads.renew_s)),
        })
    }

    /// Where the audit trail is.
    pub fn audit_folder(&self) -> PathBuf {
        self.data.dir.join("audit")
    }

    /// For the corridor, where it is on Redis.
    pub fn redis(&self) -> anyhow::Result<Option<wayfare_bus::RedisConfig>> {
        let Bus { url, namespace, node } = &self.bus;
        ensure!(
            (1..=32).contains(&node.len()) && node.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "bus.node is {node:?}, it must be 1 to 32 letters, digits and hyphens"
        );
        ensure!(
            !namespace.is_empty() && namespace.len() <= 64 && !namespace.contains(['{', '}', ' ']),
            "bus.namespace is {namespace:?}, it must be 1 to 64 bytes without braces and spaces"
        );
        if url.is_empty() {
            return Ok(None);
        }
        wayfare_bus::redis::url::read(url)
            .map_err(|why| anyhow::anyhow!("bus.url is {:?}: {why}", wayfare_bus::redis::url::shown(url)))?;
        let local = self.bus();
        Ok(Some(wayfare_bus::RedisConfig {
            url: url.clone(),
            namespace: namespace.clone(),
            log_events_max: local.log_events_max,
            log_keep_ms: local.log_keep_ms,
            fix_log: local.fix_log,
        }))
    }

    /// For the corridor inside this process.
    pub fn bus(&self) -> wayfare_bus::EmbeddedConfig {
        wayfare_bus::EmbeddedConfig {
            dir: self.data.dir.clone(),
            fix_log: wayfare_bus::FixLogLimits {
                keep_ms: i64::from(self.fix_log.keep_hours) * 3_600_000,
                bytes_max: u64::from(self.fix_log.mib_max) << 20,
                fold_first: true,
            },
            log_events_max: u64::from(self.trips.log_events_max),
            log_keep_ms: i64::from(self.trips.log_keep_days) * 86_400_000,
        }
    }
}

/// The environment variable of a key.
fn variable(key: &str) -> String {
    format!("WAYFARE_{}", key.replace('.', "_").to_uppercase())
}

/// Sets a key from text, in the type that its default has.
fn set(table: &mut Table, key: &str, text: &str) -> anyhow::Result<()> {
    let defaults = Value::try_from(Config::default()).expect("the defaults are TOML");
    let (section, name) = key.split_once('.').expect("every key has a section");
    let wrong = || format!("{} is {text:?}, which does not fit {key}", variable(key));
    let value = match &defaults[section][name] {
        Value::String(_) => Value::String(text.to_owned()),
        Value::Array(_) => {
            let parsed: Table = format!("list = {text}").parse().with_context(wrong)?;
            parsed["list"].clone()
        }
        Value::Integer(_) => Value::Integer(text.parse().with_context(wrong)?),
        Value::Float(_) => Value::Float(text.parse().with_context(wrong)?),
        Value::Boolean(_) => Value::Boolean(text.parse().with_context(wrong)?),
        other => bail!("{key} has no form for the environment: {other}"),
    };
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(section) = section else { bail!("{key}: its section is no table") };
    section.insert(name.to_owned(), value);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    fn load(toml: &str, environment: &[(&str, &str)]) -> anyhow::Result<Config> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), toml)?;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(file.path()), environment)
    }

    #[test]
    fn the_sample_documents_every_key_and_reads_back_as_the_defaults() {
        let defaults = Value::try_from(Config::default()).unwrap();
        let mut keys: Vec<String> = Vec::new();
        for (section, values) in defaults.as_table().unwrap() {
            keys.extend(values.as_table().unwrap().keys().map(|name| format!("{section}.{name}")));
        }
        let mut documented: Vec<String> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
        keys.sort();
        documented.sort();
        assert_eq!(documented, keys);
        assert_eq!(load(&Config::sample(), &[]).unwrap(), Config::default());
    }

    #[test]
    fn the_environment_stands_above_the_file() {
        let environment =
            [("WAYFARE_HTTP_LISTEN", "127.0.0.1:9"), ("WAYFARE_HTTP_ORIGINS", r#"["https://a.example"]"#)];
        let config = load("[http]\nlisten = \"127.0.0.1:1\"\n", &environment).unwrap();
        assert_eq!((config.http.listen.as_str(), config.http.origins.len()), ("127.0.0.1:9", 1));
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        let check = |toml: &str, environment: &[(&str, &str)], name: &str| {
            let error = format!("{:#}", load(toml, environment).unwrap_err());
            assert!(error.contains(name), "{error:?} should name {name}");
        };
        check("[http]\nlisten = \"nonsense\"", &[], "http.listen");
        check("[http]\nlisten = \"0.0.0.0:80\"", &[], "behind_tls_proxy");
        check("[http]\nlisen = \"127.0.0.1:80\"", &[], "lisen");
        check("[htp]\n", &[], "htp");
        check("[http]\norigins = [\"*\"]", &[], "http.origins");
        check("[ingest]\nflush_interval_ms = 1001", &[], "ingest.flush_interval_ms");
        check("[ingest]\nmessages_burst = 0.0", &[], "ingest.messages_burst");
        check("[ingest]\nmessages_per_second = nan", &[], "ingest.messages_per_second");
        check("[ingest]\nmock = \"maybe\"", &[], "ingest.mock");
        check("[ingest]\nservice_area = [1.0]", &[], "ingest.service_area");
        check("[ingest]\nservice_area = [1.0, 2.0, 300.0, 4.0]", &[], "ingest.service_area");
        check("[log]\nformat = \"xml\"", &[], "log.format");
        check("[tls]\ncert_file = \"a.pem\"", &[], "tls.key_file");
        check("[tls]\nkey_file = \"a.pem\"", &[], "tls.cert_file");
        check("[quic]\nlisten = \"here\"\ngenerated_certificate = true", &[], "quic.listen");
        check("[quic]\nlisten = \"127.0.0.1:0\"", &[], "quic.generated_certificate");
        check("[quic]\nhandshakes_max = 0", &[], "quic.handshakes_max");
        check("[bus]\nurl = \"http://127.0.0.1\"", &[], "bus.url");
        check("[bus]\nurl = \"redis://10.0.0.1:6379\"", &[], "bus.url");
        check("[bus]\nnamespace = \"{x}\"", &[], "bus.namespace");
        check("[pages]\nstreets = \"/nowhere.geojson\"", &[], "pages.streets");
        check("", &[("WAYFARE_HTTP_LISEN", "x")], "WAYFARE_HTTP_LISEN");
        check("", &[("WAYFARE_CORES_THREADS", "many")], "cores.threads");
        check("", &[("WAYFARE_CORES_THREADS", "-1")], "wrong value");
        check("data = 7", &[], "wrong value");
    }
}
