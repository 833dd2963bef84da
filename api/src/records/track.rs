//! Where a trip's driver was: the kept fixes of a trip, in chunks.
//!
//! A chunk is a run of points in the order they were received, packed as differences: about 12 bytes a point. Late ones stand where they
//! came in; whoever reads puts them where they belong.

mod append;
mod chunk;

use sqlx::Row;
use wayfare_engine::RawFix;
use wayfare_wire::kept::KeptFix;

use crate::db::{Database, DatabaseError, Write};
use chunk::decode;

pub use append::{Addition, append};

/// One place of a track, as the phone gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// When it was measured, Unix milliseconds, server's clock.
    pub at_ms: i64,
    /// Latitude, 10⁻⁷ degrees.
    pub lat_e7: i32,
    /// Longitude, 10⁻⁷ degrees.
    pub lon_e7: i32,
    /// Radius of 68 % confidence, decimetres.
    pub accuracy_dm: Option<u32>,
    /// Speed over ground, centimetres per second.
    pub speed_cmps: Option<u32>,
    /// Course over ground, hundredths of a degree.
    pub heading_cdeg: Option<u32>,
    /// Height above the ellipsoid, decimetres.
    pub altitude_dm: Option<i32>,
    /// It came later than a newer one.
    pub late: bool,
    /// The phone said that it is from a mock provider.
    pub mock: bool,
}

impl Point {
    /// What is kept of a fix. Values beyond what a phone can mean are as good as none.
    pub fn of(fix: &KeptFix) -> Self {
        let RawFix { lat_deg, lon_deg, accuracy_m, speed_mps, heading_deg, altitude_m, mock, .. } = fix.raw;
        let e7 = |degrees: f64| (degrees * 1e7).round() as i32;
        let scaled = |value: Option<f32>, scale: f32| {
            value.filter(|value| (0.0..1e6).contains(value)).map(|value| (value * scale).round() as u32)
        };
        Self {
            at_ms: fix.at.0,
            lat_e7: e7(lat_deg),
            lon_e7: e7(lon_deg),
            accuracy_dm: scaled(accuracy_m.filter(|radius_m| *radius_m > 0.0), 10.0),
            speed_cmps: scaled(speed_mps, 100.0),
            heading_cdeg: scaled(heading_deg, 100.0),
            altitude_dm: altitude_m.filter(|metres| metres.abs() < 1e5).map(|metres| (metres * 10.0).round() as i32),
            late: fix.late,
            mock,
        }
    }

    /// Latitude in degrees.
    pub fn lat(&self) -> f64 {
        f64::from(self.lat_e7) / 1e7
    }

    /// Longitude in degrees.
    pub fn lon(&self) -> f64 {
        f64::from(self.lon_e7) / 1e7
    }

    /// Metres.
    pub fn accuracy_m(&self) -> Option<f64> {
        self.accuracy_dm.map(|value| f64::from(value) / 10.0)
    }

    /// Metres per second.
    pub fn speed_mps(&self) -> Option<f64> {
        self.speed_cmps.map(|value| f64::from(value) / 100.0)
    }

    /// Degrees.
    pub fn heading_deg(&self) -> Option<f64> {
        self.heading_cdeg.map(|value| f64::from(value) / 100.0)
    }

    /// Metres.
    pub fn altitude_m(&self) -> Option<f64> {
        self.altitude_dm.map(|value| f64::from(value) / 10.0)
    }
}

/// A part of a track.
#[derive(Debug, Default)]
pub struct Part {
    /// In order of time.
    pub points: Vec<Point>,
    /// For what follows; `None` at the end.
    pub next: Option<After>,
    /// Points that cannot be read any more.
    pub damaged: u64,
}

/// A place between two points of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// Everything before this Unix millisecond is behind,
    pub at_ms: i64,
    /// and so many points of it.
    pub points: usize,
}

/// Reads at most `limit` points of a span of time.
pub async fn read(db: &Database, trip: &str, after: After, until_ms: i64, limit: usize) -> Result<Part, DatabaseError> {
    let rows = sqlx::query(
        "SELECT from_ms, points, body FROM track_chunk WHERE trip = $1 AND to_ms >= $2 AND from_ms < $3 ORDER BY from_ms, number",
    )
    .bind(trip)
    .bind(after.at_ms)
    .bind(until_ms)
    .fetch_all(db.read())
    .await?;
    let mut part = Part::default();
    for row in &rows {
        // What lies before the next chunk begins cannot be preceded by anything in it.
        let begins_ms: i64 = row.get("from_ms");
        if part.points.iter().filter(|point| point.at_ms < begins_ms).count() > after.points + limit {
            break;
        }
        match decode(row.get("body")) {
            Some(points) => {
                let wanted = |point: &Point| (after.at_ms..until_ms).contains(&point.at_ms);
                part.points.extend(points.into_iter().filter(wanted));
            }
            None => part.damaged += row.get::<i64, _>("points") as u64,
        }
    }
    part.points.sort();
    part.points.drain(..after.points.min(part.points.len()));
    if part.points.len() > limit {
        let at_ms = part.points[limit].at_ms;
        let told = part.points[..limit].iter().filter(|point| point.at_ms == at_ms).count();
        let before = if at_ms == after.at_ms { after.points } else { 0 };
        part.next = Some(After { at_ms, points: before + told });
        part.points.truncate(limit);
    }
    Ok(part)
}

/// Chunks that hold where a driver was, after one of them (trip, number): trip, number, points. Damaged ones have none.
pub async fn chunks_of_driver(
    db: &Database,
    driver: &str,
    after: (&str, i64),
    limit: i64,
) -> Result<Vec<(String, i64, Vec<Point>)>, DatabaseError> {
    let rows: Vec<(String, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT trip, number, body FROM track_chunk WHERE driver = $1 AND (trip, number) > ($2, $3) ORDER BY trip, number LIMIT $4",
    )
    .bind(driver)
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    Ok(rows.into_iter().map(|(trip, number, body)| (trip, number, decode(&body).unwrap_or_default())).collect())
}

/// Erases a trip's track.
pub async fn erase(write: &mut Write, trip: &str) -> Result<u64, DatabaseError> {
    let done = sqlx::query("DELETE FROM track_chunk WHERE trip = $1").bind(trip).execute(&mut **write).await?;
    Ok(done.rows_affected())
}

/// Forgets at most some hundred chunks whose newest point is older than `until_ms`; true if there may be more.
pub async fn forget(write: &mut Write, until_ms: i64) -> Result<bool, DatabaseError> {
    const STEP: u64 = 256;
    let done = sqlx::query(
        "DELETE FROM track_chunk WHERE (trip, number) IN (SELECT trip, number FROM track_chunk WHERE to_ms < $1 LIMIT $2)",
    )
    .bind(until_ms)
    .bind(STEP as i64)
    .execute(&mut **write)
    .await?;
    Ok(done.rows_affected() == STEP)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use crate::db::testing::databases;

    fn at(at_ms: i64) -> Point {
        Point {
            at_ms,
            lat_e7: 411_500_000 + at_ms as i32,
            lon_e7: -86_100_000,
            accuracy_dm: Some(60),
            speed_cmps: Some(820),
            heading_cdeg: None,
            altitude_dm: None,
            late: false,
            mock: false,
        }
    }

    fn adds(trip: &str, driver: &str, points: &[Point]) -> Addition {
        Addition { trip: trip.to_owned(), driver: driver.to_owned(), points: points.to_vec() }
    }

    #[tokio::test]
    async fn many_tracks_grow_at_once_as_they_grow_one_by_one() {
        for scratch in &databases().await {
            check_many(&scratch.db).await;
        }
    }

    /// 600 trips (more than one statement takes), of which every third is handed from one driver to another and back; what overlaps comes twice.
    async fn check_many(db: &Database) {
        let name = |at_once: bool, trip: i64| format!("trp_{at_once}_{trip}");
        for round in 0..3_i64 {
            let mut additions = Vec::new();
            for trip in 0..600 {
                let points: Vec<Point> = (round * 150..round * 150 + 160 + trip % 2).map(at).collect();
                let driver = if trip % 3 == 0 && round == 1 { "drv_2" } else { "drv_1" };
                additions.push((trip, driver, points));
            }
            let mut write = db.write().await.unwrap();
            let named = |at_once: bool| {
                let add =
                    |(trip, driver, points): &(i64, &str, Vec<Point>)| adds(&name(at_once, *trip), driver, points);
                additions.iter().map(add).collect::<Vec<_>>()
            };
            for addition in named(false).iter().step_by(7) {
                append(&mut write, std::slice::from_ref(addition)).await.unwrap();
            }
            let at_once = append(&mut write, &named(true)).await.unwrap();
            assert_eq!(at_once, if round == 0 { 600 * 160 + 300 } else { 600 * 150 });
            write.commit().await.unwrap();
        }
        for trip in (0..600).step_by(7) {
            let chunks = async |at_once: bool| -> Vec<(i64, String, i64, i64, i64, Vec<u8>)> {
                let rows = "SELECT number, driver, from_ms, to_ms, points, body FROM track_chunk WHERE trip = $1 ORDER BY number";
                sqlx::query_as(rows).bind(name(at_once, trip)).fetch_all(db.read()).await.unwrap()
            };
            let (many, few) = (chunks(true).await, chunks(false).await);
            assert_eq!(many, few, "trip {trip}");
            let drivers: Vec<&str> = many.iter().map(|chunk| chunk.1.as_str()).collect();
            let expected: &[&str] = if trip % 3 == 0 { &["drv_1", "drv_2", "drv_1"] } else { &["drv_1", "drv_1"] };
            assert_eq!(drivers, expected, "trip {trip}");
            let points: i64 = many.iter().map(|chunk| chunk.4).sum();
            assert_eq!(points, 460 + trip % 2);
        }
    }

    #[tokio::test]
    async fn points_come_back_in_order_of_time_page_by_page_wherever_they_stand() {
        for scratch in &databases().await {
            check(&scratch.db).await;
        }
    }

    async fn check(db: &Database) {
        // 1,000 in order, then 300 late ones between them, then two of the same time.
        let mut sent: Vec<Point> = (0..1_000).map(|at_ms| at(at_ms * 10)).collect();
        sent.extend((0..300).rev().map(|at_ms| Point { late: true, ..at(at_ms * 30 + 5) }));
        sent.extend([at(77), Point { lat_e7: 7, ..at(77) }]);
        for piece in sent.chunks(37) {
            let mut write = db.write().await.unwrap();
            append(&mut write, &[adds("trp_1", "drv_1", piece), adds("trp_2", "drv_1", &piece[..1])]).await.unwrap();
            write.commit().await.unwrap();
        }
        // All of it again, as another app tells it.
        let mut write = db.write().await.unwrap();
        let again: Vec<Point> = sent.iter().rev().map(|point| Point { accuracy_dm: Some(70), ..*point }).collect();
        assert_eq!(append(&mut write, &[adds("trp_1", "drv_1", &again)]).await.unwrap(), 0);
        write.commit().await.unwrap();
        let mut expected = sent.clone();
        expected.sort();
        for limit in [1_usize, 2, 7, 500, 5_000] {
            let (mut after, mut all) = (After { at_ms: i64::MIN, points: 0 }, Vec::new());
            loop {
                let part = read(db, "trp_1", after, i64::MAX, limit).await.unwrap();
                assert!(part.points.len() <= limit && part.damaged == 0);
                all.extend(part.points);
                let Some(next) = part.next else { break };
                after = next;
                if limit < 7 && all.len() > 60 {
                    break;
                }
            }
            assert_eq!(all, expected[..all.len()], "limit {limit}");
        }
        let part = read(db, "trp_1", After { at_ms: 100, points: 0 }, 200, 100).await.unwrap();
        let inside: Vec<Point> = expected.iter().copied().filter(|point| (100..200).contains(&point.at_ms)).collect();
        assert_eq!(part.points, inside);
        let bytes: i64 =
            sqlx::query_scalar("SELECT CAST(SUM(LENGTH(body)) AS BIGINT) FROM track_chunk WHERE trip = 'trp_1'")
                .fetch_one(db.read())
                .await
                .unwrap();
        assert!(bytes < 16 * sent.len() as i64, "{bytes}");

        let mut write = db.write().await.unwrap();
        assert!(!forget(&mut write, 2_000).await.unwrap());
        assert!(erase(&mut write, "trp_2").await.unwrap() > 0);
        sqlx::query("UPDATE track_chunk SET body = $1 WHERE trip = 'trp_1' AND number = 2")
            .bind(&b"other bytes"[..])
            .execute(&mut *write)
            .await
            .unwrap();
        write.commit().await.unwrap();
        let part = read(db, "trp_1", After { at_ms: i64::MIN, points: 0 }, i64::MAX, 5_000).await.unwrap();
        assert_eq!(part.damaged, 256, "what cannot be read is told, the rest served");
        assert!(part.points.len() > 500);
        assert!(read(db, "trp_2", After { at_ms: i64::MIN, points: 0 }, i64::MAX, 9).await.unwrap().points.is_empty());
    }
}
