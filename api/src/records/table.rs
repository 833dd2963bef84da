//! Reading and writing records of any kind. A write names the version it started from: two who change one record at once do not
//! overwrite each other.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::db::{Database, DatabaseError, Write};

/// A kind of record that is a document with an id and a version.
pub trait Record: Serialize + DeserializeOwned {
    /// `SELECT doc … WHERE id = $1`.
    const BY_ID: &'static str;
    /// `INSERT … (id, created_ms, version, doc)`.
    const INSERT: &'static str;
    /// `UPDATE … SET version = $2, doc = $3 WHERE id = $1 AND version = $4`.
    const UPDATE: &'static str;
    /// A page of documents after `(created_ms, id)`: `$1`, `$2`, at most `$3`.
    const PAGE: &'static str;

    /// The id as text.
    fn id(&self) -> String;
    /// Grows with each change.
    fn version(&self) -> u64;
    /// When it was made, Unix milliseconds.
    fn created_ms(&self) -> i64;
}

/// Someone else changed the record first.
#[derive(Debug)]
pub struct Lost;

pub async fn by_id<R: Record>(db: &Database, id: &str) -> Result<Option<R>, DatabaseError> {
    let doc: Option<String> = sqlx::query_scalar(R::BY_ID).bind(id).fetch_optional(db.read()).await?;
    Ok(doc.map(|doc| serde_json::from_str(&doc)).transpose()?)
}

/// The same inside a write, which sees its own changes.
pub async fn by_id_in<R: Record>(write: &mut Write, id: &str) -> Result<Option<R>, DatabaseError> {
    let doc: Option<String> = sqlx::query_scalar(R::BY_ID).bind(id).fetch_optional(&mut **write).await?;
    Ok(doc.map(|doc| serde_json::from_str(&doc)).transpose()?)
}

pub async fn page<R: Record>(db: &Database, after: (i64, &str), limit: i64) -> Result<Vec<R>, DatabaseError> {
    let docs: Vec<String> =
        sqlx::query_scalar(R::PAGE).bind(after.0).bind(after.1).bind(limit).fetch_all(db.read()).await?;
    docs.iter().map(|doc| Ok(serde_json::from_str(doc)?)).collect()
}

pub async fn insert<R: Record>(write: &mut Write, record: &R) -> Result<(), DatabaseError> {
    sqlx::query(R::INSERT)
        .bind(record.id())
        .bind(record.created_ms())
        .bind(record.version() as i64)
        .bind(serde_json::to_string(record)?)
        .execute(&mut **write)
        .await?;
    Ok(())
}

/// Stores a record whose version is one above the stored one.
pub async fn update<R: Record>(write: &mut Write, record: &R) -> Result<Result<(), Lost>, DatabaseError> {
    let done = sqlx::query(R::UPDATE)
        .bind(record.id())
        .bind(record.version() as i64)
        .bind(serde_json::to_string(record)?)
        .bind(record.version() as i64 - 1)
        .execute(&mut **write)
        .await?;
    Ok(if done.rows_affected() == 1 { Ok(()) } else { Err(Lost) })
}
