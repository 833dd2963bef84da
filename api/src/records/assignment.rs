//! Who had a trip, and from when until when: a fix that comes after the trip was given to somebody else still belongs to it.

use sqlx::Row;

use super::trip::Trip;
use crate::db::{self, Database, DatabaseError, Write};

/// A driver's part in a trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which trip, as text.
    pub trip: String,
    /// From when, Unix milliseconds.
    from_ms: i64,
    /// Until when; `None` while it goes on.
    until_ms: Option<i64>,
}

impl Part {
    /// Whether a fix taken then belongs to it.
    pub fn covers(&self, at_ms: i64) -> bool {
        self.from_ms <= at_ms && self.until_ms.is_none_or(|until_ms| at_ms <= until_ms)
    }
}

/// Notes what a trip's record says now: parts before the present one end where it begins, the present one with the trip.
pub async fn note(write: &mut Write, trip: &Trip) -> Result<(), DatabaseError> {
    let id = trip.id.to_string();
    sqlx::query(
        "UPDATE assignment SET until_ms = $2 WHERE trip = $1 AND until_ms IS NULL AND (assignment < $3 OR $4 IS NULL)",
    )
    .bind(&id)
    .bind(trip.assigned_ms.unwrap_or(trip.phase_since_ms))
    .bind(trip.assignment as i64)
    .bind(trip.driver.map(|driver| driver.to_string()))
    .execute(&mut **write)
    .await?;
    let (Some(driver), Some(from_ms)) = (trip.driver, trip.assigned_ms) else { return Ok(()) };
    sqlx::query(
        "INSERT INTO assignment (trip, assignment, driver, from_ms, until_ms) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (trip, assignment) DO UPDATE SET until_ms = excluded.until_ms",
    )
    .bind(&id)
    .bind(trip.assignment as i64)
    .bind(driver.to_string())
    .bind(from_ms)
    .bind(trip.ended_ms)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// A driver's parts in trips that keep a track and go on, or ended not before `since_ms`.
pub async fn of_driver_since(write: &mut Write, driver: &str, since_ms: i64) -> Result<Vec<Part>, DatabaseError> {
    let rows = sqlx::query(
        "SELECT trip, from_ms, until_ms FROM assignment WHERE driver = $1 AND (until_ms IS NULL OR until_ms >= $2)
         ORDER BY trip, assignment",
    )
    .bind(driver)
    .bind(since_ms)
    .fetch_all(&mut **write)
    .await?;
    let part = |row: sqlx::any::AnyRow| Part {
        trip: row.get("trip"),
        from_ms: row.get("from_ms"),
        until_ms: row.get("until_ms"),
    };
    Ok(rows.into_iter().map(part).collect())
}

/// All parts of a trip, with who had it.
pub async fn of_trip(db: &Database, trip: &str) -> Result<Vec<(String, Part)>, DatabaseError> {
    let rows =
        sqlx::query("SELECT driver, trip, from_ms, until_ms FROM assignment WHERE trip = $1 ORDER BY assignment")
            .bind(trip)
            .fetch_all(db.read())
            .await?;
    let part = |row: sqlx::any::AnyRow| {
        let part = Part { trip: row.get("trip"), from_ms: row.get("from_ms"), until_ms: row.get("until_ms") };
        (row.get("driver"), part)
    };
    Ok(rows.into_iter().map(part).collect())
}

/// Notes the present part of every trip, in a database from before there were parts.
pub async fn catch_up(db: &Database) -> Result<(), DatabaseError> {
    const DONE: &str = "assignments";
    if db::meta(db, DONE).await?.is_some() {
        return Ok(());
    }
    let mut after = String::new();
    loop {
        let docs: Vec<(String, String)> =
            sqlx::query_as("SELECT id, doc FROM trip WHERE id > $1 AND driver IS NOT NULL ORDER BY id LIMIT 500")
                .bind(&after)
                .fetch_all(db.read())
                .await?;
        let mut write = db.write().await?;
        let Some((last, _)) = docs.last() else {
            db::set_meta(&mut write, DONE, "1").await?;
            return Ok(write.commit().await?);
        };
        after.clone_from(last);
        for (_, doc) in &docs {
            note(&mut write, &serde_json::from_str(doc)?).await?;
        }
        write.commit().await?;
    }
}
