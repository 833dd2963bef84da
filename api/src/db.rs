//! The database: SQLite, in statements that PostgreSQL takes too (numbered parameters, `BIGINT`, `TEXT`, upserts).
//!
//! A record is a JSON document with its version, and beside it the few columns that are searched by.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};

/// The database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// What SQLite said.
    #[error("the database: {0}")]
    Sql(#[from] sqlx::Error),
    /// A stored document is not one of ours.
    #[error("a stored record cannot be read: {0}")]
    Document(#[from] serde_json::Error),
    /// The stored signing key is damaged.
    #[error(transparent)]
    Key(#[from] wayfare_net::tokens::InvalidKey),
    /// The write-ahead log cannot be emptied while others read.
    #[error("the database is read all the time; its write-ahead log could not be emptied")]
    Read,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// A write under way.
pub type Write = Transaction<'static, Sqlite>;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS store (id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, version BIGINT NOT NULL, doc TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS driver (id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, version BIGINT NOT NULL, doc TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trip (
    id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, version BIGINT NOT NULL, live BIGINT NOT NULL, ended_ms BIGINT,
    driver TEXT, store TEXT, customer TEXT NOT NULL, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS trip_age ON trip (created_ms, id);
CREATE INDEX IF NOT EXISTS trip_driver ON trip (driver, live);
CREATE INDEX IF NOT EXISTS trip_store ON trip (store, created_ms);
CREATE INDEX IF NOT EXISTS trip_customer ON trip (customer, created_ms);
CREATE INDEX IF NOT EXISTS trip_live ON trip (live, ended_ms);
CREATE TABLE IF NOT EXISTS fence (
    id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, version BIGINT NOT NULL, doc TEXT NOT NULL, corners BIGINT NOT NULL DEFAULT 0,
    south DOUBLE PRECISION NOT NULL DEFAULT 0, west DOUBLE PRECISION NOT NULL DEFAULT 0,
    north DOUBLE PRECISION NOT NULL DEFAULT 0, east DOUBLE PRECISION NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS fence_place ON fence (created_ms, id, south, north, west, east);
CREATE INDEX IF NOT EXISTS fence_corners ON fence (corners);
CREATE TABLE IF NOT EXISTS signing_key (
    id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, signs_from_ms BIGINT NOT NULL, public_key TEXT NOT NULL, pkcs8 TEXT, withdrawn_ms BIGINT);
CREATE TABLE IF NOT EXISTS token (
    id TEXT PRIMARY KEY, role TEXT NOT NULL, sub TEXT NOT NULL, issued_s BIGINT NOT NULL, expires_s BIGINT NOT NULL, revoked_s BIGINT);
CREATE INDEX IF NOT EXISTS token_sub ON token (sub, expires_s);
CREATE TABLE IF NOT EXISTS device_key (
    id TEXT PRIMARY KEY, driver TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, created_ms BIGINT NOT NULL, version BIGINT NOT NULL,
    revoked_ms BIGINT, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS device_key_driver ON device_key (driver, created_ms);
CREATE TABLE IF NOT EXISTS quarantine (id BIGINT PRIMARY KEY, driver TEXT NOT NULL, at_ms BIGINT NOT NULL, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS quarantine_driver ON quarantine (driver, id);
CREATE INDEX IF NOT EXISTS quarantine_age ON quarantine (at_ms);
CREATE TABLE IF NOT EXISTS arrival (
    trip TEXT NOT NULL, assignment BIGINT NOT NULL, arrived_ms BIGINT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (trip, assignment));
CREATE INDEX IF NOT EXISTS arrival_age ON arrival (arrived_ms, trip);
CREATE INDEX IF NOT EXISTS trip_driver_end ON trip (driver, ended_ms);
CREATE TABLE IF NOT EXISTS assignment (
    trip TEXT NOT NULL, assignment BIGINT NOT NULL, driver TEXT NOT NULL, from_ms BIGINT NOT NULL, until_ms BIGINT, PRIMARY KEY (trip, assignment));
CREATE INDEX IF NOT EXISTS assignment_driver ON assignment (driver, until_ms);
CREATE TABLE IF NOT EXISTS track_chunk (
    trip TEXT NOT NULL, number BIGINT NOT NULL, driver TEXT NOT NULL, from_ms BIGINT NOT NULL, to_ms BIGINT NOT NULL,
    points BIGINT NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (trip, number));
CREATE INDEX IF NOT EXISTS track_chunk_age ON track_chunk (to_ms);
CREATE TABLE IF NOT EXISTS erasure (
    id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, state TEXT NOT NULL, subject TEXT, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS erasure_age ON erasure (created_ms, id);
CREATE INDEX IF NOT EXISTS erasure_state ON erasure (state);
CREATE TABLE IF NOT EXISTS offer (trip TEXT PRIMARY KEY, driver TEXT NOT NULL, answer_by_ms BIGINT NOT NULL);
CREATE INDEX IF NOT EXISTS offer_driver ON offer (driver);
CREATE INDEX IF NOT EXISTS offer_end ON offer (answer_by_ms);
CREATE TABLE IF NOT EXISTS outbox (
    entity TEXT NOT NULL, number BIGINT NOT NULL, created_ms BIGINT NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (entity, number));
CREATE INDEX IF NOT EXISTS outbox_age ON outbox (created_ms);
";

/// One connection that writes, several that only read.
pub struct Database {
    write: SqlitePool,
    read: SqlitePool,
}

impl Database {
    /// Opens the file and brings its tables into being.
    pub async fn open(path: &Path) -> Result<Self, DatabaseError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            // What is taken out is overwritten where a page is written anyway: a private key that is gone is gone.
            .pragma("secure_delete", "FAST");
        let write = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        sqlx::raw_sql(SCHEMA).execute(&write).await?;
        let read = SqlitePoolOptions::new().max_connections(4).connect_with(options.read_only(true)).await?;
        Ok(Self { write, read })
    }

    /// Begins a write. It takes the write lock at once: a lock that is upgraded later may fail halfway.
    pub async fn write(&self) -> Result<Write, DatabaseError> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// For statements that only read.
    pub fn read(&self) -> &SqlitePool {
        &self.read
    }

    /// Writes the file anew without what was deleted, and empties the write-ahead log: no byte of it is left. Others who write wait for it.
    pub async fn scrub(&self) -> Result<(), DatabaseError> {
        let mut write = self.write.acquire().await?;
        sqlx::raw_sql("VACUUM").execute(&mut *write).await?;
        // Readers hold it back for as long as they read: whoever scrubs tries again.
        let busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *write).await?;
        if busy == 0 { Ok(()) } else { Err(DatabaseError::Read) }
    }

    /// Whether it answers.
    pub async fn answers(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.read).await.is_ok()
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

/// Reads a value of the `meta` table.
pub async fn meta(db: &Database, name: &str) -> Result<Option<String>, DatabaseError> {
    Ok(sqlx::query_scalar("SELECT value FROM meta WHERE name = $1").bind(name).fetch_optional(db.read()).await?)
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
