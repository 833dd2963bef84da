//! Fixes of existing phone apps that were not kept: from their log into a table that can be asked, bounded per driver, in all, and in age.

use wayfare_bus::LogPage;
use wayfare_wire::quarantine::{Aside, QUARANTINE_LOG};

use crate::House;
use crate::db::{Database, DatabaseError, Write};
use crate::follow::{Failure, Follow};

/// Rows kept of one driver: an hour of a phone that is wrong every time it sends.
const OF_DRIVER_MAX: i64 = 500;

/// Rows kept in all, of at most 2 KiB each.
const ROWS_MAX: i64 = 50_000;

/// Rows are kept for this long.
pub const KEEP_MS: i64 = 7 * 86_400_000;

/// What was not kept.
pub struct SetAside;

impl Follow for SetAside {
    const LOG: &str = QUARANTINE_LOG;
    const CURSOR: &str = "quarantine_cursor";
    const BATCH: usize = 250;
    const WHAT: &str = "fixes set aside";

    async fn fold(_: &House, write: &mut Write, page: &LogPage) -> Result<(), Failure> {
        let mut drivers = std::collections::BTreeSet::new();
        for event in &page.events {
            let Ok(aside) = serde_json::from_slice::<Aside>(&event.payload) else {
                tracing::error!(event = event.event_id, "an event of the log of fixes set aside cannot be read");
                continue;
            };
            // The id is the writer's number, so that an event read twice is one row.
            let Ok(id) = i64::from_str_radix(&event.event_id, 16) else { continue };
            sqlx::query(
                "INSERT INTO quarantine (id, driver, at_ms, doc) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
            )
            .bind(id)
            .bind(&aside.driver)
            .bind(aside.at_ms)
            .bind(serde_json::to_string(&aside)?)
            .execute(&mut **write)
            .await?;
            drivers.insert(aside.driver);
        }
        Ok(forget(write, &drivers).await?)
    }
}

/// Lets go of the oldest where there is too much.
async fn forget(write: &mut Write, drivers: &std::collections::BTreeSet<String>) -> Result<(), DatabaseError> {
    for driver in drivers {
        let beyond = "DELETE FROM quarantine WHERE driver = $1 AND id <= COALESCE(
            (SELECT id FROM quarantine WHERE driver = $1 ORDER BY id DESC LIMIT 1 OFFSET $2), -1)";
        sqlx::query(beyond).bind(driver).bind(OF_DRIVER_MAX).execute(&mut **write).await?;
    }
    let beyond = "DELETE FROM quarantine WHERE id <= COALESCE((SELECT id FROM quarantine ORDER BY id DESC LIMIT 1 OFFSET $1), -1)";
    sqlx::query(beyond).bind(ROWS_MAX).execute(&mut **write).await?;
    Ok(())
}

/// A page before `before`, the newest first.
pub async fn page(
    db: &Database,
    driver: Option<&str>,
    before: i64,
    limit: i64,
) -> Result<Vec<(i64, Aside)>, DatabaseError> {
    let rows: Vec<(i64, String)> = match driver {
        Some(driver) => {
            sqlx::query_as("SELECT id, doc FROM quarantine WHERE driver = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
                .bind(driver)
                .bind(before)
                .bind(limit)
                .fetch_all(db.read())
                .await?
        }
        None => {
            sqlx::query_as("SELECT id, doc FROM quarantine WHERE id < $1 ORDER BY id DESC LIMIT $2")
                .bind(before)
                .bind(limit)
                .fetch_all(db.read())
                .await?
        }
    };
    rows.into_iter().map(|(id, doc)| Ok((id, serde_json::from_str(&doc)?))).collect()
}
