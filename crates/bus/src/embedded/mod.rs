//! The bus inside one process: memory for state topics and leases, SQLite for what must last.

pub mod backup;
mod fixlog;
mod jobs;
mod leases;
mod logs;
mod owners;
mod sqlite;
mod topics;

use std::sync::Arc;

pub use fixlog::FixFile;
pub use jobs::JobFile;
pub use leases::LeaseTable;
pub use logs::LogFile;
pub use topics::{TopicPublisher, TopicSubscriber, Topics};

use crate::{Bus, EmbeddedConfig, FixLog, Jobs, Leases, Logs, StateTopics, now_ms};

/// Why the embedded bus could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder could not be made.
    #[error("cannot make the folder {path}: {source}")]
    Folder {
        /// The folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is damaged, locked by another process, or not ours.
    #[error("cannot open {path}: {source}")]
    Database {
        /// The file.
        path: String,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// Redis cannot be reached, or is none of ours.
    #[error("cannot use {url}: {why}")]
    Redis {
        /// Which, without its password.
        url: String,
        /// What is wrong.
        why: String,
    },
}

/// Opens all parts. The new epoch is stored before anything can be published.
pub async fn open(config: EmbeddedConfig) -> Result<Bus, OpenError> {
    std::fs::create_dir_all(&config.dir)
        .map_err(|source| OpenError::Folder { path: config.dir.display().to_string(), source })?;
    let logs = LogFile::open(&config.dir.join("bus.sqlite"), config.log_events_max, config.log_keep_ms).await?;
    let epoch = logs.next_epoch(now_ms() as u64).await?;
    let leases = Arc::new(LeaseTable::new(epoch));
    let fixes =
        FixFile::open_or_set_aside(&config.dir.join("fixes.sqlite"), config.fix_log, Arc::clone(&leases)).await?;
    let jobs = JobFile::open(&config.dir.join("jobs.sqlite")).await?;
    Ok(Bus {
        topics: StateTopics::Embedded(Arc::new(Topics::new(epoch))),
        logs: Logs::Embedded(Arc::new(logs)),
        leases: Leases::Embedded(leases),
        fixes: FixLog::Embedded(Arc::new(fixes)),
        jobs: Jobs::Embedded(Arc::new(jobs)),
    })
}

/// Opens the fix log alone; nothing is made where there is none.
pub async fn read_fix_log(config: &EmbeddedConfig) -> Result<FixLog, OpenError> {
    let path = config.dir.join("fixes.sqlite");
    if !path.is_file() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(OpenError::Folder { path: path.display().to_string(), source });
    }
    let fixes = FixFile::open(&path, config.fix_log, Arc::new(LeaseTable::new(0))).await?;
    Ok(FixLog::Embedded(Arc::new(fixes)))
}
