//! The audit trail: who did what, and who was refused.

use axum::Json;
use axum::extract::Query;
use wayfare_net::audit;
use wayfare_net::audit::trail::{self, Line};
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

use super::{Page, PageQuery};
use crate::input::invalid;

/// Read the audit trail, oldest first: deeds of people and programs, and every refusal. `wayfare audit verify` proves that it is whole
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(PageQuery), responses((status = 200, body = Page<Line>)))]
pub async fn list(Query(query): Query<PageQuery>) -> Result<Json<Page<Line>>, Refusal> {
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
    Ok(Json(Page { items: lines, next }))
}
