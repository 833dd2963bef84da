//! `[database]`: where the records are.

use std::net::IpAddr;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use url::Url;
use wayfare_api::DatabasePlace;

use super::Data;
use super::key::{Key, number, word};

pub(super) const KEYS: &[Key] = &[
    word(
        "url",
        "Where the records are: \"postgres://user:password@host:5432/database?sslmode=verify-full\" for a PostgreSQL (14 or newer), \
         which any number of `wayfare api` may share. Empty: a file of SQLite in data.dir, for one process.",
    ),
    number("readers_max", 1.0..=1000.0, "Most connections to a PostgreSQL that read; two more write and relay."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    pub url: String,
    pub readers_max: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: String::new(), readers_max: 8 }
    }
}

impl Database {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.url.is_empty() {
            return Ok(());
        }
        // What is wrong is never said with the password.
        let url: Url = self.url.parse().context("database.url is not a URL")?;
        ensure!(
            matches!(url.scheme(), "postgres" | "postgresql"),
            "database.url begins with {:?}, it must begin with postgres://",
            url.scheme()
        );
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            // A socket of this machine.
            ensure!(url.query_pairs().any(|(name, _)| name == "host"), "database.url names no host");
            return Ok(());
        };
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let secure = url
            .query_pairs()
            .any(|(name, value)| name == "sslmode" && matches!(&*value, "require" | "verify-ca" | "verify-full"));
        if !here && !secure {
            bail!(
                "database.url names {host}, which is another machine: records and keys would travel in the clear. Add \
                 sslmode=verify-full (or verify-ca, require)"
            );
        }
        Ok(())
    }

    /// For the records.
    pub(super) fn place(&self, data: &Data) -> DatabasePlace {
        if self.url.is_empty() {
            return DatabasePlace::File(data.dir.join("records.sqlite"));
        }
        DatabasePlace::Server { url: self.url.clone(), readers_max: self.readers_max }
    }
}
