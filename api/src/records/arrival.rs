//! How well the arrival of a trip was foreseen: what was believed on the way, and when it came.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_wire::ids;

use crate::db::{Database, DatabaseError, Write};

/// A trip that arrived, with what had been foreseen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Arrival {
    /// `trp_…`
    #[schema(value_type = String)]
    pub trip: ids::Trip,
    /// Who drove; absent if the record has forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub driver: Option<ids::Driver>,
    /// Number of the assignment.
    pub assignment: u64,
    /// When it arrived, Unix milliseconds.
    pub arrived_ms: i64,
    /// What was foreseen, oldest first: at first, and whenever a quarter of what was left was behind.
    pub forecasts: Vec<Forecast>,
}

/// An arrival as it was foreseen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// When it was foreseen, Unix milliseconds.
    pub made_ms: i64,
    /// The arrival foreseen.
    pub at_ms: i64,
    /// Lower end of the 80 % interval.
    pub low_ms: i64,
    /// Upper end of the 80 % interval.
    pub high_ms: i64,
    /// What it rested on: `roads_live`, `roads`, `straight_line_live`, `straight_line`.
    pub basis: String,
}

/// As ingest writes it: made, at, low, high, basis.
pub type ForecastTuple = (i64, i64, i64, i64, String);

impl From<ForecastTuple> for Forecast {
    fn from((made_ms, at_ms, low_ms, high_ms, basis): ForecastTuple) -> Self {
        Self { made_ms, at_ms, low_ms, high_ms, basis }
    }
}

/// Keeps an arrival; one that is kept already stays as it is.
pub async fn keep(write: &mut Write, arrival: &Arrival) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO arrival (trip, assignment, arrived_ms, doc) VALUES ($1, $2, $3, $4) ON CONFLICT (trip, assignment) DO NOTHING",
    )
    .bind(arrival.trip.to_string())
    .bind(arrival.assignment as i64)
    .bind(arrival.arrived_ms)
    .bind(serde_json::to_string(arrival)?)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// Forgets arrivals from before `until_ms`.
pub async fn forget(write: &mut Write, until_ms: i64) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM arrival WHERE arrived_ms < $1").bind(until_ms).execute(&mut **write).await?;
    Ok(())
}

/// Arrivals of a span of time after `(arrived_ms, trip)`, oldest first.
pub async fn page(db: &Database, after: (i64, &str), until_ms: i64, limit: i64) -> Result<Vec<Arrival>, DatabaseError> {
    let docs: Vec<String> = sqlx::query_scalar(
        "SELECT doc FROM arrival WHERE (arrived_ms > $1 OR (arrived_ms = $1 AND trip > $2)) AND arrived_ms < $3 ORDER BY arrived_ms, trip LIMIT $4",
    )
    .bind(after.0)
    .bind(after.1)
    .bind(until_ms)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    docs.iter().map(|doc| Ok(serde_json::from_str(doc)?)).collect()
}
