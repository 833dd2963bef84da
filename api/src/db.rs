//! The database: a file of SQLite, or PostgreSQL. The same statements for both (numbered parameters, `BIGINT`, `TEXT`, upserts).
//!
//! A record is a JSON document with its version, and beside it the few columns that are searched by. Writes are one after the other, over all
//! processes that share the database: whoever writes finds what the one before left, and nothing changes under it. On SQLite the file's
//! write lock sees to that, on PostgreSQL a lock on a table that every write takes first; who reads waits for nobody.

mod schema;
#[cfg(test)]
pub mod testing;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, Executor as _, Transaction};
use tokio::sync::{Mutex, MutexGuard};

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabasePlace {
    /// A file of SQLite, for one process; created if absent.
    File(PathBuf),
    /// A PostgreSQL (14 or newer), for any number of processes.
    Server {
        /// `postgres://user:password@host:port/database`, with the driver's parameters (`sslmode`, `sslrootcert`).
        url: String,
        /// Most connections of this process that read; two more write and relay.
        readers_max: u32,
    },
}

/// The database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// What SQLite or PostgreSQL said.
    #[error("the database: {0}")]
    Sql(#[from] sqlx::Error),
    /// A stored document is not one of ours.
    #[error("a stored record cannot be read: {0}")]
    Document(#[from] serde_json::Error),
    /// The stored signing key is damaged.
    #[error(transparent)]
    Key(#[from] wayfare_net::tokens::InvalidKey),
    /// `database.url` is none.
    #[error("database.url is no address of a PostgreSQL: {0}")]
    Address(String),
    /// The write-ahead log cannot be emptied while others read.
    #[error("the database is read all the time; its write-ahead log could not be emptied")]
    Read,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl DatabaseError {
    /// Whether the database could not be reached, or said that it is going or full: the same may succeed later.
    pub fn is_away(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        let away = |code: &str| ["08", "25P03", "53", "57P"].iter().any(|class| code.starts_with(class));
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
            // Classes of PostgreSQL: connection, silent for too long, too little of something, going down.
            sqlx::Error::Database(said) => said.code().is_some_and(|code| away(&code)),
            _ => false,
        }
    }
}

/// A write under way.
pub type Write = Transaction<'static, Any>;

/// A connection is waited for so long: longer than any write takes, and shorter than who asks waits.
const ACQUIRE: Duration = Duration::from_secs(5);

/// PostgreSQL ends a transaction whose process says nothing for this long, so that a frozen one does not stop all others.
const SILENT_S: u32 = 15;

/// One connection that writes, several that only read.
pub struct Database {
    server: bool,
    write: AnyPool,
    read: AnyPool,
    /// Who relays: on PostgreSQL over all processes, by a connection of its own.
    relay: Option<AnyPool>,
    relays_here: Mutex<()>,
}

/// The right to relay, held by one at a time.
pub struct Turn<'a> {
    _here: MutexGuard<'a, ()>,
    everywhere: Option<Write>,
}

impl Turn<'_> {
    /// Says that it is still used; at least every few seconds.
    pub async fn renew(&mut self) -> Result<(), DatabaseError> {
        if let Some(lock) = &mut self.everywhere {
            sqlx::query("SELECT 1").execute(&mut **lock).await?;
        }
        Ok(())
    }
}

impl Database {
    /// Opens it and brings its tables into being.
    pub async fn open(place: &DatabasePlace) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        match place {
            DatabasePlace::File(path) => Self::open_file(path).await,
            DatabasePlace::Server { url, readers_max } => Self::open_server(url, *readers_max).await,
        }
    }

    async fn open_file(path: &Path) -> Result<Self, DatabaseError> {
        let options = |mode: &str| -> Result<AnyConnectOptions, DatabaseError> {
            // Percent signs and question marks of a path are its own.
            let path = std::path::absolute(path).map_err(sqlx::Error::from)?;
            let mut url = url::Url::parse("sqlite:///").expect("a URL");
            url.set_path(&path.display().to_string());
            url.set_query(Some(mode));
            Ok(url.as_str().parse()?)
        };
        // What is taken out is overwritten where a page is written anyway: a private key that is gone is gone.
        let write = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = FAST;";
        let write = pool(1, write).connect_with(options("mode=rwc")?).await?;
        sqlx::raw_sql(schema::SCHEMA).execute(&write).await?;
        let read = pool(4, "").connect_with(options("mode=ro")?).await?;
        Ok(Self { server: false, write, read, relay: None, relays_here: Mutex::default() })
    }

    async fn open_server(url: &str, readers_max: u32) -> Result<Self, DatabaseError> {
        let options: AnyConnectOptions = url.parse()?;
        // That a table is there already is no news.
        let quiet = "SET client_min_messages = warning";
        let silent = format!("{quiet}; SET idle_in_transaction_session_timeout = '{SILENT_S}s'");
        let write = pool(1, &silent).connect_with(options.clone()).await?;
        let mut create = write.begin().await?;
        // Two that start at once must not create one table twice.
        create.execute("DO $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext('wayfare')); END $$").await?;
        sqlx::raw_sql(schema::SCHEMA).execute(&mut *create).await?;
        create.commit().await?;
        let relay = pool(1, &silent).connect_with(options.clone()).await?;
        let read = pool(readers_max, "SET default_transaction_read_only = on").connect_with(options).await?;
        Ok(Self { server: true, write, read, relay: Some(relay), relays_here: Mutex::default() })
    }

    /// Begins a write, after all others.
    pub async fn write(&self) -> Result<Write, DatabaseError> {
        if self.server {
            let mut write = self.write.begin().await?;
            write.execute("LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE").await?;
            return Ok(write);
        }
        // A lock that is upgraded later may fail halfway.
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// For statements that only read.
    pub fn read(&self) -> &AnyPool {
        &self.read
    }

    /// Waits for the turn to relay what is in the outbox, which nobody else does until it is dropped.
    pub async fn turn(&self) -> Result<Turn<'_>, DatabaseError> {
        let here = self.relays_here.lock().await;
        let everywhere = match &self.relay {
            None => None,
            Some(relay) => {
                let mut lock = relay.begin().await?;
                // Whoever fills the outbox is not kept from it.
                lock.execute("LOCK TABLE outbox IN SHARE UPDATE EXCLUSIVE MODE").await?;
                Some(lock)
            }
        };
        Ok(Turn { _here: here, everywhere })
    }

    /// Takes what was deleted out of the files. On SQLite the file is written anew and the write-ahead log emptied: no byte of it is left, and
    /// others who write wait for it. On PostgreSQL the space is freed, and its bytes are overwritten when it is used again.
    pub async fn scrub(&self) -> Result<(), DatabaseError> {
        let mut write = self.write.acquire().await?;
        sqlx::raw_sql("VACUUM").execute(&mut *write).await?;
        if self.server {
            return Ok(());
        }
        // Readers hold it back for as long as they read: whoever scrubs tries again.
        let busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *write).await?;
        if busy == 0 { Ok(()) } else { Err(DatabaseError::Read) }
    }

    /// Whether it answers, within a second.
    pub async fn answers(&self) -> bool {
        let ask = sqlx::query("SELECT 1").execute(&self.read);
        tokio::time::timeout(Duration::from_secs(1), ask).await.is_ok_and(|answer| answer.is_ok())
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
        if let Some(relay) = &self.relay {
            relay.close().await;
        }
    }
}

/// At most so many connections, each of which hears `first` before anything else.
fn pool(connections: u32, first: &str) -> AnyPoolOptions {
    let first = first.to_owned();
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .acquire_slow_threshold(ACQUIRE)
        .after_connect(move |connection, _| {
            let first = first.clone();
            Box::pin(async move { connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(first))).await.map(|_| ()) })
        })
}

/// Reads a value of the `meta` table.
pub async fn meta(db: &Database, name: &str) -> Result<Option<String>, DatabaseError> {
    Ok(sqlx::query_scalar("SELECT value FROM meta WHERE name = $1").bind(name).fetch_optional(db.read()).await?)
}

/// The same inside a write.
pub async fn meta_in(write: &mut Write, name: &str) -> Result<Option<String>, DatabaseError> {
    Ok(sqlx::query_scalar("SELECT value FROM meta WHERE name = $1").bind(name).fetch_optional(&mut **write).await?)
}

/// Sets a value of the `meta` table.
pub async fn set_meta(write: &mut Write, name: &str, value: &str) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// Moves the cursor of a log that records follow, in the transaction that folds what was read after `from`. False if another process has
/// folded it meanwhile.
pub async fn move_cursor(write: &mut Write, name: &str, from: Option<&str>, to: &str) -> Result<bool, DatabaseError> {
    let statement = match from {
        Some(_) => "UPDATE meta SET value = $2 WHERE name = $1 AND value = $3",
        None => "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
    };
    let mut query = sqlx::query(statement).bind(name).bind(to);
    if let Some(from) = from {
        query = query.bind(from);
    }
    Ok(query.execute(&mut **write).await?.rows_affected() == 1)
}

/// Parameters of so many rows, numbered from 1: `($1, $2), ($3, $4)`.
pub fn rows_of(columns: usize, rows: usize) -> String {
    let mut text = String::with_capacity(rows * (columns * 7 + 4));
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            let _ = write!(text, "{}${}", if column == 1 { "" } else { ", " }, row * columns + column);
        }
        text.push(')');
    }
    text
}
