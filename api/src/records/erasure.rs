//! Erasures: what was asked for, how far it is, and the receipt. When it is done, nothing in it says whose data they were.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_wire::ids;

use crate::db::{Database, DatabaseError, Write};
use crate::ids::random;

/// Whose data are erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// All of a driver.
    Driver,
    /// All of a trip, which is an order.
    Trip,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Data are being deleted.
    Erasing,
    /// They are gone; what is left of them in unused parts of files is overwritten.
    Scrubbing,
    /// No byte of them is left.
    Done,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Erasing => "erasing",
            Self::Scrubbing => "scrubbing",
            Self::Done => "done",
        }
    }
}

/// An erasure, which when done is its receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Erasure {
    /// `ers_…`
    pub id: String,
    /// What was erased.
    pub kind: Kind,
    /// How far it is.
    pub state: State,
    /// When it was asked for, Unix milliseconds.
    pub requested_ms: i64,
    /// When it was done, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_ms: Option<i64>,
    /// How many items of each class were erased, or go on without what was personal (`…_pseudonymised`).
    pub items: BTreeMap<String, u64>,
}

impl Erasure {
    /// One that was just asked for.
    pub fn new(kind: Kind, now_ms: i64) -> Result<Self, DatabaseError> {
        let id = ids::format("ers", random()?);
        Ok(Self { id, kind, state: State::Erasing, requested_ms: now_ms, done_ms: None, items: BTreeMap::new() })
    }

    /// Counts items of a class.
    pub fn count(&mut self, class: &str, items: u64) {
        if items > 0 {
            *self.items.entry(class.to_owned()).or_default() += items;
        }
    }
}

/// Stores an erasure that was asked for; `subject` is the id of what it is about.
pub async fn insert(write: &mut Write, erasure: &Erasure, subject: &str) -> Result<(), DatabaseError> {
    sqlx::query("INSERT INTO erasure (id, created_ms, state, subject, doc) VALUES ($1, $2, $3, $4, $5)")
        .bind(&erasure.id)
        .bind(erasure.requested_ms)
        .bind(erasure.state.name())
        .bind(subject)
        .bind(serde_json::to_string(erasure)?)
        .execute(&mut **write)
        .await?;
    Ok(())
}

/// Stores how far it is. What it is about is forgotten as soon as nothing of it has to be found any more.
pub async fn update(write: &mut Write, erasure: &Erasure) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE erasure SET state = $2, subject = CASE WHEN $2 = 'erasing' THEN subject END, doc = $3 WHERE id = $1",
    )
    .bind(&erasure.id)
    .bind(erasure.state.name())
    .bind(serde_json::to_string(erasure)?)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// The oldest that is not done, with what it is about.
pub async fn next(db: &Database) -> Result<Option<(Erasure, Option<String>)>, DatabaseError> {
    let row: Option<(String, Option<String>)> =
        sqlx::query_as("SELECT doc, subject FROM erasure WHERE state <> 'done' ORDER BY created_ms, id LIMIT 1")
            .fetch_optional(db.read())
            .await?;
    row.map(|(doc, subject)| Ok((serde_json::from_str(&doc)?, subject))).transpose()
}

/// One of them.
pub async fn by_id(db: &Database, id: &str) -> Result<Option<Erasure>, DatabaseError> {
    let doc: Option<String> =
        sqlx::query_scalar("SELECT doc FROM erasure WHERE id = $1").bind(id).fetch_optional(db.read()).await?;
    Ok(doc.map(|doc| serde_json::from_str(&doc)).transpose()?)
}

/// A page, newest first, before `(requested_ms, id)`.
pub async fn page(db: &Database, before: (i64, &str), limit: i64) -> Result<Vec<Erasure>, DatabaseError> {
    let docs: Vec<String> = sqlx::query_scalar(
        "SELECT doc FROM erasure WHERE (created_ms, id) < ($1, $2) ORDER BY created_ms DESC, id DESC LIMIT $3",
    )
    .bind(before.0)
    .bind(before.1)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    docs.iter().map(|doc| Ok(serde_json::from_str(doc)?)).collect()
}
