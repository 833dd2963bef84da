//! How our SQLite files are opened: write-ahead log, every commit on the disk before it is answered.

use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::OpenError;

/// How often the write-ahead log is tried to be emptied.
const TRIES: u32 = 50;

/// One connection that writes, several that only read, and one that folds the write-ahead log in.
pub struct Pools {
    pub write: SqlitePool,
    pub read: SqlitePool,
    fold: SqlitePool,
}

/// Opens `path`, creating it with `schema` (statements that may be repeated).
pub async fn open(path: &Path, schema: &'static str, checkpoint_by_hand: bool) -> Result<Pools, OpenError> {
    try_open(path, schema, checkpoint_by_hand)
        .await
        .map_err(|source| OpenError::Database { path: path.display().to_string(), source })
}

async fn try_open(path: &Path, schema: &'static str, checkpoint_by_hand: bool) -> Result<Pools, sqlx::Error> {
    let mut options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5));
    if checkpoint_by_hand {
        options = options.pragma("wal_autocheckpoint", "0");
    }
    let write = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    sqlx::raw_sql(schema).execute(&write).await?;
    let fold = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
    let read = SqlitePoolOptions::new().max_connections(2).connect_with(options.read_only(true)).await?;
    Ok(Pools { write, read, fold })
}

/// Adds a column to a table that was made before there was one.
pub async fn add_column(
    pools: &Pools,
    statement: &'static str,
    table: &str,
    column: &str,
) -> Result<bool, sqlx::Error> {
    let known: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM pragma_table_info($1) WHERE name = $2")
        .bind(table)
        .bind(column)
        .fetch_one(&pools.write)
        .await?;
    if known == 0 {
        sqlx::raw_sql(statement).execute(&pools.write).await?;
    }
    Ok(known == 0)
}

impl Pools {
    /// Folds the write-ahead log into the file as far as readers and the writer allow, on a connection beside the writer's.
    pub async fn checkpoint(&self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("PRAGMA wal_checkpoint(PASSIVE)").execute(&self.fold).await.map(|_| ())
    }

    /// Writes the file anew without what was deleted, and empties the write-ahead log: no byte of it is left. Takes about a second for some
    /// hundred megabytes, in which nothing else is written.
    pub async fn scrub(&self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("VACUUM").execute(&self.write).await?;
        // Readers hold it back for as long as they read.
        for _ in 0..TRIES {
            let busy: i64 = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.fold).await?;
            if busy == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(sqlx::Error::Protocol("the write-ahead log is read all the time and could not be emptied".into()))
    }

    pub async fn close(&self) {
        self.read.close().await;
        self.fold.close().await;
        self.write.close().await;
    }
}
