//! Who had a trip, and from when until when: a fix that comes after the trip was given to somebody else still belongs to it.

use sqlx::{AssertSqlSafe, Row};

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

/// Drivers that one statement asks for.
const STEP: usize = 256;

/// The parts of drivers in trips that go on, or ended not before a moment of each (Unix milliseconds). In the order of driver, trip and part.
pub async fn of_drivers_since(
    write: &mut Write,
    drivers: &[(String, i64)],
) -> Result<Vec<(String, Part)>, DatabaseError> {
    let mut parts = Vec::new();
    for drivers in drivers.chunks(STEP) {
        // In two parts, since each is then found by the index alone: a driver may have had thousands of trips.
        let statement = format!(
            "WITH asked (driver, since_ms) AS (VALUES {})
             SELECT part.driver, part.trip, part.from_ms, part.until_ms, part.assignment
             FROM asked JOIN assignment AS part ON part.driver = asked.driver AND part.until_ms >= asked.since_ms
             UNION ALL
             SELECT part.driver, part.trip, part.from_ms, part.until_ms, part.assignment
             FROM asked JOIN assignment AS part ON part.driver = asked.driver AND part.until_ms IS NULL
             ORDER BY 1, 2, 5",
            db::rows_of(2, drivers.len())
        );
        // Only the full ones are of one form, worth keeping.
        let mut query = sqlx::query(AssertSqlSafe(statement)).persistent(drivers.len() == STEP);
        for (driver, since_ms) in drivers {
            query = query.bind(driver).bind(since_ms);
        }
        parts.extend(query.fetch_all(&mut **write).await?.into_iter().map(with_driver));
    }
    Ok(parts)
}

fn with_driver(row: sqlx::any::AnyRow) -> (String, Part) {
    (row.get("driver"), Part { trip: row.get("trip"), from_ms: row.get("from_ms"), until_ms: row.get("until_ms") })
}

/// All parts of a trip, with who had it.
pub async fn of_trip(db: &Database, trip: &str) -> Result<Vec<(String, Part)>, DatabaseError> {
    let rows =
        sqlx::query("SELECT driver, trip, from_ms, until_ms FROM assignment WHERE trip = $1 ORDER BY assignment")
            .bind(trip)
            .fetch_all(db.read())
            .await?;
    Ok(rows.into_iter().map(with_driver).collect())
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
