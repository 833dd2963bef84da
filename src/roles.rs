//! Which rooms a process holds: all of them, or one where the bus is on Redis.

use std::time::Duration;

use anyhow::ensure;
use wayfare_blobs::Blobs;
use wayfare_bus::Bus;

use crate::Config;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    /// `wayfare serve`.
    All,
    /// Drivers in.
    Ingest,
    /// Watchers out.
    Fanout,
    /// People and records.
    Api,
    /// Pictures for menus.
    MediaWorker,
}

impl Roles {
    /// Whether drivers are taken in here.
    pub fn ingest(self) -> bool {
        matches!(self, Self::All | Self::Ingest)
    }

    /// Whether watchers are served here.
    pub fn fanout(self) -> bool {
        matches!(self, Self::All | Self::Fanout)
    }

    /// Whether the records are here.
    pub fn api(self) -> bool {
        matches!(self, Self::All | Self::Api)
    }

    /// Whether pictures are made here.
    pub fn media(self) -> bool {
        matches!(self, Self::All | Self::MediaWorker)
    }

    /// A room alone meets the others on Redis, or nowhere.
    pub fn check(self, config: &Config) -> anyhow::Result<()> {
        ensure!(
            self == Self::All || config.redis().is_some(),
            "bus.url is empty: a role alone meets the others on Redis, so it must say where that is"
        );
        ensure!(
            self != Self::MediaWorker || config.files.is_shared(),
            "files.bucket and files.dir are empty: pictures come from another process, so both must know a place for them"
        );
        Ok(())
    }

    /// Where this process finds pictures, if it has to do with them.
    pub(crate) fn files(self, config: &Config) -> anyhow::Result<Option<Blobs>> {
        let has_to = self.media() || self.api() && config.files.is_shared();
        if has_to { config.files().map(Some) } else { Ok(None) }
    }

    /// Whether two processes may do this at the same time, so that one can follow the other with its door open.
    pub fn may_overlap(self, config: &Config) -> bool {
        match self {
            Self::All => false,
            Self::Ingest | Self::Fanout | Self::MediaWorker => true,
            // A file of SQLite is for one.
            Self::Api => !config.database.url.is_empty(),
        }
    }

    /// Trackers come back to plans that the records have told, and doors open to tokens whose keys they have told. Where they are elsewhere,
    /// it is waited for.
    pub(crate) async fn wait_for_records(self, bus: &Bus) {
        let mut told = false;
        while !self.api() && !bus.topics.is_ready(&["api"]) {
            if !std::mem::replace(&mut told, true) {
                tracing::info!("waiting until the records are told to the bus");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
