//! The audit trail: who did what, and who was refused.

use axum::Json;
use axum::extract::Query;
use serde::Serialize;
use utoipa::ToSchema;
use wayfare_net::audit;
use wayfare_net::audit::trail::{self, Line};
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

use super::{Page, PageQuery};
use crate::input::invalid;

/// An entry of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Counts from 1, without a gap.
    pub n: u64,
    /// When, UTC, RFC 3339.
    pub at: String,
    /// Role and id of the bearer (of drivers and customers the first 16 digits of its SHA-256), or the network that a request came from.
    pub who: String,
    /// Method and route, or the door.
    pub what: String,
    /// The id that it was about; empty if there is none.
    pub object: String,
    /// Status or word.
    pub outcome: String,
    /// How many alike within a second.
    pub count: u64,
    /// Hash of the entry before.
    pub prev: String,
}

/// Read the audit trail, oldest first: deeds of people and programs, and every refusal. `wayfare audit verify` proves that it is whole
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(PageQuery), responses((status = 200, body = Page<AuditEntry>)))]
pub async fn list(Query(query): Query<PageQuery>) -> Result<Json<Page<AuditEntry>>, Refusal> {
    let limit = query.limit()?;
    let after = query.cursor.as_deref().map_or(Ok(0), str::parse::<u64>);
    let after = after.map_err(|_| invalid("cursor", "is not the `next` of a page"))?;
    let Some(folder) = audit::folder() else { return Ok(Json(Page { items: Vec::new(), next: None })) };
    let read = tokio::task::spawn_blocking(move || trail::read(folder, after, limit as usize + 1)).await;
    let mut lines = match read {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => {
            tracing::error!(%error, "the audit trail cannot be read");
            return Err(Refusal::new(ErrorCode::Internal, "the audit trail cannot be read; the log says why"));
        }
        Err(_) => return Err(Refusal::new(ErrorCode::Internal, "the audit trail was not read to its end")),
    };
    let more = lines.len() as i64 > limit;
    lines.truncate(limit as usize);
    let next = lines.last().filter(|_| more).map(|last| last.n.to_string());
    Ok(Json(Page { items: lines.into_iter().map(AuditEntry::of).collect(), next }))
}

impl AuditEntry {
    fn of(line: Line) -> Self {
        let Line { n, at, who, what, object, outcome, count, prev } = line;
        Self { n, at, who, what, object, outcome, count, prev }
    }
}
