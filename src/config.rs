//! The configuration: one TOML file, and an environment variable for every key.
//!
//! Unknown keys and impossible values are refused by name before anything starts. Each section has a file of its own (`config/`) with its
//! keys, their defaults, what they mean and what they may be; the sample (`wayfare config`) is made from these, and a test keeps them together.

#![allow(missing_docs, reason = "every key is documented where its section lists it, from which the sample is made")]

mod bus;
mod cores;
mod data;
mod database;
mod fanout;
mod files;
mod fix_log;
mod gate;
mod http;
mod ingest;
mod key;
mod log;
mod media;
mod pages;
mod prediction;
mod quic;
mod roads;
mod tls;
mod trips;
mod visibility;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use wayfare_net::gate::GateConfig;
use wayfare_net::tls::TlsFiles;

pub use self::bus::Bus;
pub use self::cores::CoresConfig;
pub use self::data::Data;
pub use self::database::Database;
pub use self::fanout::Fanout;
pub use self::files::Files;
pub use self::fix_log::FixLog;
pub use self::gate::GateKeys;
pub use self::http::Http;
pub use self::ingest::Ingest;
pub use self::key::Key;
pub use self::log::Log;
pub use self::media::Media;
pub use self::pages::Pages;
pub use self::prediction::Prediction;
pub use self::quic::Quic;
pub use self::roads::Roads;
pub use self::tls::Tls;
pub use self::trips::Trips;
pub use self::visibility::Visibility;

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
    pub database: Database,
    pub cores: CoresConfig,
    pub ingest: Ingest,
    pub prediction: Prediction,
    pub fix_log: FixLog,
    pub fanout: Fanout,
    pub trips: Trips,
    pub visibility: Visibility,
    pub files: Files,
    pub media: Media,
    pub roads: Roads,
    pub pages: Pages,
}

/// Every section and its keys, in the order of the sample.
const SECTIONS: &[(&str, &[Key])] = &[
    ("data", data::KEYS),
    ("http", http::KEYS),
    ("gate", gate::KEYS),
    ("tls", tls::KEYS),
    ("quic", quic::KEYS),
    ("log", log::KEYS),
    ("bus", bus::KEYS),
    ("database", database::KEYS),
    ("cores", cores::KEYS),
    ("ingest", ingest::KEYS),
    ("prediction", prediction::KEYS),
    ("fix_log", fix_log::KEYS),
    ("fanout", fanout::KEYS),
    ("trips", trips::KEYS),
    ("visibility", visibility::KEYS),
    ("files", files::KEYS),
    ("media", media::KEYS),
    ("roads", roads::KEYS),
    ("pages", pages::KEYS),
];

/// Variables that begin like ours and are no keys.
const OTHER_VARIABLES: &[&str] =
    &["WAYFARE_DATA", "WAYFARE_CONFIG", "WAYFARE_TOKEN", "WAYFARE_URL", crate::handover::SUCCEEDS];

fn keys() -> impl Iterator<Item = (&'static str, &'static Key)> {
    SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(|key| (*section, key)))
}

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
            let key = keys().find(|(section, key)| variable(section, key.name) == name);
            let Some((section, key)) = key else {
                bail!("the environment variable {name} stands for no key of the configuration")
            };
            set(&mut table, section, key.name, &value)?;
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| {
            anyhow::anyhow!("the configuration has an unknown key or a wrong value: {}", error.message())
        })?;
        config.check()?;
        Ok(config)
    }

    /// The documented sample.
    pub fn sample() -> String {
        let defaults = Self::default().to_toml();
        let mut sample = String::from(
            "# Configuration of Wayfare. Every key is optional; the values here are the defaults.\n\
             # Each key can be given by an environment variable too: http.listen is WAYFARE_HTTP_LISTEN.\n",
        );
        for (section, keys) in SECTIONS {
            sample.push_str(&format!("\n[{section}]\n"));
            for key in *keys {
                sample.push_str(&format!("# {}\n{} = {}\n", key.sentence(), key.name, defaults[*section][key.name]));
            }
        }
        sample
    }

    fn to_toml(&self) -> Value {
        Value::try_from(self).expect("a configuration is TOML")
    }

    fn check(&self) -> anyhow::Result<()> {
        let values = self.to_toml();
        for (section, key) in keys() {
            key.check(section, &values[section][key.name])?;
        }
        self.tls.files()?;
        self.http.check(&self.tls)?;
        self.quic.address(&self.tls)?;
        self.log.check()?;
        self.bus.check()?;
        self.database.check()?;
        self.ingest.check()?;
        self.trips.check()?;
        self.visibility.rules()?;
        self.files.check()?;
        self.roads.check()?;
        self.media.check()?;
        self.pages.check()
    }

    /// Where to listen.
    pub fn listen(&self) -> anyhow::Result<SocketAddr> {
        self.http.address(&self.tls)
    }

    /// Certificate and key, if both are given.
    pub fn tls_files(&self) -> anyhow::Result<Option<TlsFiles>> {
        self.tls.files()
    }

    /// Where to listen for QUIC, if at all.
    pub fn quic_listen(&self) -> anyhow::Result<Option<SocketAddr>> {
        self.quic.address(&self.tls)
    }

    /// For the door.
    pub fn gate(&self) -> anyhow::Result<GateConfig> {
        self.gate.gate(&self.http)
    }

    /// For the room of that name.
    pub fn ingest(&self) -> anyhow::Result<wayfare_ingest::IngestConfig> {
        self.ingest.room(&self.bus.node, self.prediction.pacing(), self.visibility.rules()?)
    }

    /// For the room of that name.
    pub fn fanout(&self) -> wayfare_fanout::FanoutConfig {
        self.fanout.room()
    }

    /// For the room of that name.
    pub fn api(&self) -> wayfare_api::ApiConfig {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        wayfare_api::ApiConfig {
            database: self.database.place(&self.data),
            streets: some(&self.pages.streets).map(PathBuf::from),
            node: self.bus.node.clone(),
            basemap_style_url: some(&self.pages.basemap_style_url),
            arrivals_keep_ms: i64::from(self.trips.arrivals_keep_days) * 86_400_000,
            tracks_keep_ms: i64::from(self.trips.tracks_keep_days) * 86_400_000,
            records_keep_ms: i64::from(self.trips.records_keep_days) * 86_400_000,
            ended_keep_ms: i64::from(self.trips.ended_keep_s) * 1000,
            answer_within_s: self.trips.answer_within_s,
            uploads: self.media.uploads(),
        }
    }

    /// Where pictures are.
    ///
    /// # Errors
    /// The place cannot be opened.
    pub fn files(&self) -> anyhow::Result<wayfare_blobs::Blobs> {
        self.files.open(&self.data)
    }

    /// For the room of that name.
    ///
    /// # Errors
    /// What [`Self::check`] finds.
    pub fn media(&self) -> anyhow::Result<wayfare_media_worker::MediaConfig> {
        self.media.room(&self.bus.node)
    }

    /// For the maps.
    pub fn atlas(&self) -> anyhow::Result<wayfare_atlas::AtlasConfig> {
        self.roads.atlas(&self.data)
    }

    /// Where the audit trail is.
    pub fn audit_folder(&self) -> PathBuf {
        self.data.dir.join("audit")
    }

    /// For the corridor, where it is on Redis.
    pub fn redis(&self) -> Option<wayfare_bus::RedisConfig> {
        let Bus { url, namespace, .. } = &self.bus;
        let local = self.bus();
        (!url.is_empty()).then(|| wayfare_bus::RedisConfig {
            url: url.clone(),
            namespace: namespace.clone(),
            log_events_max: local.log_events_max,
            log_keep_ms: local.log_keep_ms,
            fix_log: local.fix_log,
        })
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
fn variable(section: &str, name: &str) -> String {
    format!("WAYFARE_{section}_{name}").to_uppercase()
}

/// Sets a key from text, in the type that its default has.
fn set(table: &mut Table, section: &str, name: &str, text: &str) -> anyhow::Result<()> {
    let defaults = Config::default().to_toml();
    let wrong = || format!("{} is {text:?}, which does not fit {section}.{name}", variable(section, name));
    let value = match &defaults[section][name] {
        Value::String(_) => Value::String(text.to_owned()),
        Value::Array(_) => {
            let parsed: Table = format!("list = {text}").parse().with_context(wrong)?;
            parsed["list"].clone()
        }
        Value::Integer(_) => Value::Integer(text.parse().with_context(wrong)?),
        Value::Float(_) => Value::Float(text.parse().with_context(wrong)?),
        Value::Boolean(_) => Value::Boolean(text.parse().with_context(wrong)?),
        other => bail!("{section}.{name} has no form for the environment: {other}"),
    };
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(entry) = entry else { bail!("{section}: the section is no table") };
    entry.insert(name.to_owned(), value);
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
        let defaults = Config::default().to_toml();
        let mut present: Vec<String> = Vec::new();
        for (section, values) in defaults.as_table().unwrap() {
            present.extend(values.as_table().unwrap().keys().map(|name| format!("{section}.{name}")));
        }
        let mut documented: Vec<String> = keys().map(|(section, key)| format!("{section}.{}", key.name)).collect();
        present.sort();
        documented.sort();
        assert_eq!(documented, present);
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
        check("[database]\nurl = \"mysql://127.0.0.1/a\"", &[], "database.url");
        check("[database]\nurl = \"postgres://u:p@10.0.0.1/a\"", &[], "sslmode");
        check("[database]\nurl = \"postgres:///a\"", &[], "names no host");
        check("[media]\nformats = [\"webp\"]", &[], "media.formats: \"jpeg\" is missing");
        check("[media]\nformats = [\"jpeg\", \"bmp\"]", &[], "media.formats: \"bmp\"");
        check("[pages]\nstreets = \"/nowhere.geojson\"", &[], "pages.streets");
        check("", &[("WAYFARE_HTTP_LISEN", "x")], "WAYFARE_HTTP_LISEN");
        check("", &[("WAYFARE_CORES_THREADS", "many")], "cores.threads");
        check("", &[("WAYFARE_CORES_THREADS", "-1")], "wrong value");
        check("data = 7", &[], "wrong value");
    }
}
