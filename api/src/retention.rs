//! What is past its time is forgotten, class by class, in small steps: others write meanwhile.
//!
//! Tracks, arrivals, trips and what was set aside have a time each. A token is remembered as long as it could be
//! used, and a while longer for whoever asks what it was; a device key that was revoked likewise. Of a signing key the private half goes as soon
//! as another one signs.

use std::time::Duration;

use tokio::sync::watch;

use crate::db::{Database, DatabaseError};
use crate::records::track;
use crate::{House, quarantine, signing};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(300);

/// Rows forgotten in one transaction.
const STEP: i64 = 256;

/// Tokens that are over, and device keys that were revoked, are known for so long, milliseconds.
const ENDED_KEEP_MS: i64 = 30 * 86_400_000;

/// Until when, Unix milliseconds, each class is forgotten.
#[derive(Debug, Clone, Copy)]
struct Until {
    tracks_ms: i64,
    arrivals_ms: i64,
    trips_ms: i64,
    ended_ms: i64,
    aside_ms: i64,
}

/// Forgets until told to stop.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    loop {
        let (now_ms, config) = (wayfare_bus::now_ms(), &house.config);
        let until = Until {
            tracks_ms: now_ms - config.tracks_keep_ms,
            arrivals_ms: now_ms - config.arrivals_keep_ms,
            trips_ms: now_ms - config.records_keep_ms,
            ended_ms: now_ms - ENDED_KEEP_MS,
            aside_ms: now_ms - quarantine::KEEP_MS,
        };
        let forgetting = async {
            forget(&house.db, until).await?;
            let mut write = house.db.write().await?;
            signing::forget_private(&mut write, now_ms).await?;
            Ok::<(), DatabaseError>(write.commit().await?)
        };
        if house.leads()
            && let Err(error) = forgetting.await
        {
            tracing::warn!(%error, "what is past its time could not be forgotten; trying again later");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn forget(db: &Database, until: Until) -> Result<(), DatabaseError> {
    loop {
        let mut write = db.write().await?;
        let more = track::forget(&mut write, until.tracks_ms).await?;
        write.commit().await?;
        if !more {
            break;
        }
    }
    // Parts of trips last: as long as the record is there they say whose fixes belong to it.
    for (statement, until) in [
        (
            "DELETE FROM arrival WHERE (trip, assignment) IN (SELECT trip, assignment FROM arrival WHERE arrived_ms < $1 LIMIT $2)",
            until.arrivals_ms,
        ),
        (
            "DELETE FROM track_chunk WHERE (trip, number) IN (SELECT track_chunk.trip, track_chunk.number FROM track_chunk JOIN trip ON trip.id = track_chunk.trip WHERE trip.ended_ms < $1 LIMIT $2)",
            until.trips_ms,
        ),
        (
            "DELETE FROM trip WHERE id IN (SELECT id FROM trip WHERE live = 0 AND ended_ms < $1 LIMIT $2)",
            until.trips_ms,
        ),
        (
            "DELETE FROM assignment WHERE (trip, assignment) IN (SELECT trip, assignment FROM assignment WHERE until_ms < $1 AND trip NOT IN (SELECT id FROM trip) LIMIT $2)",
            until.trips_ms,
        ),
        ("DELETE FROM token WHERE id IN (SELECT id FROM token WHERE expires_s * 1000 < $1 LIMIT $2)", until.ended_ms),
        (
            "DELETE FROM device_key WHERE id IN (SELECT id FROM device_key WHERE revoked_ms < $1 LIMIT $2)",
            until.ended_ms,
        ),
        ("DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine WHERE at_ms < $1 LIMIT $2)", until.aside_ms),
    ] {
        loop {
            let mut write = db.write().await?;
            let done = sqlx::query(statement).bind(until).bind(STEP).execute(&mut *write).await?;
            write.commit().await?;
            if (done.rows_affected() as i64) < STEP {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use crate::db::testing::databases;

    #[tokio::test]
    async fn after_one_cycle_nothing_is_held_that_is_past_its_time_and_everything_else_is() {
        for scratch in &databases().await {
            check(&scratch.db).await;
        }
    }

    async fn check(db: &Database) {
        let mut write = db.write().await.unwrap();
        // Old ones, more than fit into one step, and new ones.
        for (name, at_ms, count) in [("old", 1_000_i64, 600), ("new", 9_000, 5)] {
            for place in 0..count {
                let id = format!("{name}-{place}");
                for statement in [
                    "INSERT INTO trip (id, created_ms, version, live, ended_ms, customer, doc) VALUES ($1, $2, 1, 0, $2, 'c', '{}')",
                    "INSERT INTO assignment (trip, assignment, driver, from_ms, until_ms) VALUES ($1, 1, 'd', $2, $2)",
                    "INSERT INTO track_chunk (trip, number, driver, from_ms, to_ms, points, body) VALUES ($1, 1, 'd', $2, $2, 1, '0')",
                    "INSERT INTO arrival (trip, assignment, arrived_ms, doc) VALUES ($1, 1, $2, '{}')",
                    "INSERT INTO token (id, role, sub, issued_s, expires_s) VALUES ($1, 'driver', 'd', 0, $2 / 1000)",
                    "INSERT INTO device_key (id, driver, hash, created_ms, version, revoked_ms, doc) VALUES ($1, 'd', $1, 0, 2, $2, '{}')",
                ] {
                    sqlx::query(statement).bind(&id).bind(at_ms).execute(&mut *write).await.unwrap();
                }
            }
        }
        write.commit().await.unwrap();
        let until = Until { tracks_ms: 5_000, arrivals_ms: 5_000, trips_ms: 5_000, ended_ms: 5_000, aside_ms: 5_000 };
        forget(db, until).await.unwrap();
        for (table, id) in [
            ("trip", "id"),
            ("assignment", "trip"),
            ("track_chunk", "trip"),
            ("arrival", "trip"),
            ("token", "id"),
            ("device_key", "id"),
        ] {
            let statement = sqlx::AssertSqlSafe(format!("SELECT {id} FROM {table}"));
            let left: Vec<String> = sqlx::query_scalar(statement).fetch_all(db.read()).await.unwrap();
            assert_eq!(left.len(), 5, "{table}");
            assert!(left.iter().all(|id| id.starts_with("new")), "{table}: {left:?}");
        }
    }
}
