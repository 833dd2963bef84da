//! Where a trip's driver was: the kept fixes of a trip, in chunks.
//!
//! A chunk is a run of points in the order they were received, packed as differences: about 12 bytes a point. Late ones stand where they
//! came in; whoever reads puts them where they belong.

use std::collections::HashSet;

use sqlx::Row;
use wayfare_engine::RawFix;
use wayfare_wire::kept::KeptFix;

use crate::db::{Database, DatabaseError, Write};

/// Points of one chunk: small enough to be written again each time a few are added.
const CHUNK_POINTS: usize = 256;

/// Version of the form.
const VERSION: u8 = 1;

const LATE: u8 = 1;
const MOCK: u8 = 2;
const ACCURACY: u8 = 4;
const SPEED: u8 = 8;
const HEADING: u8 = 16;
const ALTITUDE: u8 = 32;

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

/// Adds points to a trip's track, in the order received, without those that it has: two apps of one driver may tell of the same moment,
/// and a phone may send again after days what it was told is kept. Returns how many were new.
pub async fn append(write: &mut Write, trip: &str, driver: &str, points: &[Point]) -> Result<usize, DatabaseError> {
    let mut known = known_within(write, trip, span(points)).await?;
    let new: Vec<Point> = points.iter().filter(|point| known.insert(place_of(point))).copied().collect();
    if !new.is_empty() {
        append_new(write, trip, driver, &new).await?;
    }
    Ok(new.len())
}

/// What makes a point the same point.
fn place_of(point: &Point) -> (i64, i32, i32) {
    (point.at_ms, point.lat_e7, point.lon_e7)
}

/// The points that a track has within a span of time, and some beside it.
async fn known_within(
    write: &mut Write,
    trip: &str,
    (from_ms, to_ms): (i64, i64),
) -> Result<HashSet<(i64, i32, i32)>, DatabaseError> {
    let bodies: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT body FROM track_chunk WHERE trip = $1 AND to_ms >= $2 AND from_ms <= $3")
            .bind(trip)
            .bind(from_ms)
            .bind(to_ms)
            .fetch_all(&mut **write)
            .await?;
    let points = bodies.iter().filter_map(|body| decode(body)).flatten();
    Ok(points.filter(|point| (from_ms..=to_ms).contains(&point.at_ms)).map(|point| place_of(&point)).collect())
}

async fn append_new(write: &mut Write, trip: &str, driver: &str, points: &[Point]) -> Result<(), DatabaseError> {
    let last = sqlx::query(
        "SELECT number, driver, points, body FROM track_chunk WHERE trip = $1 ORDER BY number DESC LIMIT 1",
    )
    .bind(trip)
    .fetch_optional(&mut **write)
    .await?;
    let (mut number, mut open) = (0_i64, Vec::new());
    if let Some(row) = last {
        number = row.get("number");
        let full = row.get::<i64, _>("points") as usize >= CHUNK_POINTS || row.get::<String, _>("driver") != driver;
        match if full { None } else { decode(row.get("body")) } {
            Some(points) => open = points,
            // A damaged chunk is left as it is: it is told when it is read.
            None => number += 1,
        }
    }
    open.extend_from_slice(points);
    for chunk in open.chunks(CHUNK_POINTS) {
        let (from_ms, to_ms) = span(chunk);
        sqlx::query(
            "INSERT INTO track_chunk (trip, number, driver, from_ms, to_ms, points, body) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (trip, number) DO UPDATE SET
             from_ms = excluded.from_ms, to_ms = excluded.to_ms, points = excluded.points, body = excluded.body",
        )
        .bind(trip)
        .bind(number)
        .bind(driver)
        .bind(from_ms)
        .bind(to_ms)
        .bind(chunk.len() as i64)
        .bind(encode(chunk))
        .execute(&mut **write)
        .await?;
        number += 1;
    }
    Ok(())
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

fn span(points: &[Point]) -> (i64, i64) {
    let times = || points.iter().map(|point| point.at_ms);
    (times().min().unwrap_or(0), times().max().unwrap_or(0))
}

/// Version, then for each point: flags, differences of time and place to the point before, and what the flags announce; variable-length
/// integers. A checksum (CRC-32) of all of it at the end.
fn encode(points: &[Point]) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut before = (0_i64, 0_i64, 0_i64);
    for point in points {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            flag(point.late, LATE)
                | flag(point.mock, MOCK)
                | flag(point.accuracy_dm.is_some(), ACCURACY)
                | flag(point.speed_cmps.is_some(), SPEED)
                | flag(point.heading_cdeg.is_some(), HEADING)
                | flag(point.altitude_dm.is_some(), ALTITUDE),
        );
        let now = (point.at_ms, i64::from(point.lat_e7), i64::from(point.lon_e7));
        push_signed(&mut out, now.0.wrapping_sub(before.0));
        push_signed(&mut out, now.1 - before.1);
        push_signed(&mut out, now.2 - before.2);
        before = now;
        for value in [point.accuracy_dm, point.speed_cmps, point.heading_cdeg].into_iter().flatten() {
            push(&mut out, value.into());
        }
        if let Some(altitude_dm) = point.altitude_dm {
            push_signed(&mut out, altitude_dm.into());
        }
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// `None` if the bytes are not what was written.
fn decode(bytes: &[u8]) -> Option<Vec<Point>> {
    let (bytes, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(bytes) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (mut points, mut before) = (Vec::new(), (0_i64, 0_i64, 0_i64));
    while let Some((flags, more)) = rest.split_first() {
        rest = more;
        before.0 = before.0.wrapping_add(take_signed(&mut rest)?);
        before.1 = before.1.checked_add(take_signed(&mut rest)?)?;
        before.2 = before.2.checked_add(take_signed(&mut rest)?)?;
        let mut value = |flag: u8| -> Option<Option<u32>> {
            if flags & flag == 0 { Some(None) } else { Some(Some(u32::try_from(take(&mut rest)?).ok()?)) }
        };
        let (accuracy_dm, speed_cmps, heading_cdeg) = (value(ACCURACY)?, value(SPEED)?, value(HEADING)?);
        let altitude_dm = match flags & ALTITUDE {
            0 => None,
            _ => Some(i32::try_from(take_signed(&mut rest)?).ok()?),
        };
        points.push(Point {
            at_ms: before.0,
            lat_e7: i32::try_from(before.1).ok()?,
            lon_e7: i32::try_from(before.2).ok()?,
            accuracy_dm,
            speed_cmps,
            heading_cdeg,
            altitude_dm,
            late: flags & LATE != 0,
            mock: flags & MOCK != 0,
        });
    }
    Some(points)
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_signed(out: &mut Vec<u8>, value: i64) {
    push(out, (value << 1 ^ value >> 63) as u64);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    take(bytes).map(|value| (value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use crate::db::testing::databases;
    use proptest::prelude::*;

    fn point() -> impl Strategy<Value = Point> {
        let places = (any::<i64>(), -900_000_000..=900_000_000, -1_800_000_000..=1_800_000_000);
        let value = || prop::option::of(any::<u32>());
        (places, (value(), value(), value()), prop::option::of(any::<i32>()), any::<(bool, bool)>()).prop_map(
            |((at_ms, lat_e7, lon_e7), (accuracy_dm, speed_cmps, heading_cdeg), altitude_dm, (late, mock))| Point {
                at_ms,
                lat_e7,
                lon_e7,
                accuracy_dm,
                speed_cmps,
                heading_cdeg,
                altitude_dm,
                late,
                mock,
            },
        )
    }

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

    proptest! {
        #[test]
        fn decode_undoes_encode(points in prop::collection::vec(point(), 0..50)) {
            prop_assert_eq!(decode(&encode(&points)), Some(points));
        }

        #[test]
        fn no_other_bytes_are_a_chunk(points in prop::collection::vec(point(), 1..9), place: usize, bit in 0..8_u8, noise: Vec<u8>) {
            let mut bytes = encode(&points);
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            prop_assert_eq!(decode(&bytes), None);
            let _ = decode(&noise);
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
            append(&mut write, "trp_1", "drv_1", piece).await.unwrap();
            append(&mut write, "trp_2", "drv_1", &piece[..1]).await.unwrap();
            write.commit().await.unwrap();
        }
        // All of it again, as another app tells it.
        let mut write = db.write().await.unwrap();
        let again: Vec<Point> = sent.iter().rev().map(|point| Point { accuracy_dm: Some(70), ..*point }).collect();
        assert_eq!(append(&mut write, "trp_1", "drv_1", &again).await.unwrap(), 0);
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
