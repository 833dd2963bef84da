//! Points are added to the tracks of many trips at once: a statement costs more than a point, so that one statement looks up or writes
//! what is wanted of hundreds of trips.

use std::collections::{BTreeMap, HashSet};

use sqlx::{AssertSqlSafe, Row};

use super::Point;
use super::chunk::{decode, encode};
use crate::db::{DatabaseError, Write, rows_of};

/// Points of one chunk: small enough to be written again each time a few are added.
const CHUNK_POINTS: usize = 256;

/// Trips that one statement is about. The seven columns of so many rows are far below what SQLite (32,766) and PostgreSQL (65,535) take.
const STEP: usize = 256;

/// What a driver adds to a trip's track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// Which trip, as text.
    pub trip: String,
    /// Who was there, as text.
    pub driver: String,
    /// In the order received.
    pub points: Vec<Point>,
}

/// Adds points to tracks, in the order received, without those that a track has: two apps of one driver may tell of the same moment, and a
/// phone may send again after days what it was told is kept. Returns how many were new.
pub async fn append(write: &mut Write, additions: &[Addition]) -> Result<usize, DatabaseError> {
    let mut of_trips: BTreeMap<&str, Vec<&Addition>> = BTreeMap::new();
    for addition in additions.iter().filter(|addition| !addition.points.is_empty()) {
        of_trips.entry(&addition.trip).or_default().push(addition);
    }
    let of_trips: Vec<_> = of_trips.into_iter().collect();
    let mut new = 0;
    for of_trips in of_trips.chunks(STEP) {
        let mut ends = read_ends(write, of_trips).await?;
        for (trip, additions) in of_trips {
            let end = ends.entry((*trip).to_owned()).or_default();
            new += additions.iter().map(|addition| end.add(addition)).sum::<usize>();
        }
        let changed: Vec<(&str, &Chunk)> = ends
            .iter()
            .flat_map(|(trip, end)| end.chunks.iter().map(|chunk| (trip.as_str(), chunk)))
            .filter(|(_, chunk)| chunk.changed)
            .collect();
        for changed in changed.chunks(STEP) {
            write_chunks(write, changed).await?;
        }
    }
    Ok(new)
}

/// Where a track grows: its last chunk, those that follow, and what it has in the span of time of what is added.
#[derive(Default)]
struct End {
    chunks: Vec<Chunk>,
    known: HashSet<(i64, i32, i32)>,
}

struct Chunk {
    number: i64,
    driver: String,
    /// `None` if what is stored is damaged: it is left as it is, and told when it is read.
    points: Option<Vec<Point>>,
    changed: bool,
}

impl End {
    /// Returns how many were new.
    fn add(&mut self, addition: &Addition) -> usize {
        let Self { chunks, known } = self;
        let mut new = 0;
        for point in addition.points.iter().filter(|point| known.insert(place_of(point))) {
            new += 1;
            let open = chunks.last_mut().filter(|chunk| chunk.driver == addition.driver);
            if let Some(Chunk { points: Some(points), changed, .. }) = open
                && points.len() < CHUNK_POINTS
            {
                points.push(*point);
                *changed = true;
                continue;
            }
            let number = chunks.last().map_or(0, |chunk| chunk.number + 1);
            chunks.push(Chunk { number, driver: addition.driver.clone(), points: Some(vec![*point]), changed: true });
        }
        new
    }
}

/// What makes a point the same point.
fn place_of(point: &Point) -> (i64, i32, i32) {
    (point.at_ms, point.lat_e7, point.lon_e7)
}

/// First and last moment, Unix milliseconds.
fn span<'a>(points: impl Iterator<Item = &'a Point> + Clone) -> (i64, i64) {
    let times = points.map(|point| point.at_ms);
    (times.clone().min().unwrap_or(0), times.max().unwrap_or(0))
}

/// The ends of tracks by trip; a trip without a track has none.
async fn read_ends(
    write: &mut Write,
    of_trips: &[(&str, Vec<&Addition>)],
) -> Result<BTreeMap<String, End>, DatabaseError> {
    let statement = format!(
        "WITH added (trip, from_ms, to_ms) AS (VALUES {})
         SELECT chunk.trip, chunk.number, chunk.driver, chunk.body FROM added JOIN track_chunk AS chunk ON chunk.trip = added.trip
         WHERE (chunk.to_ms >= added.from_ms AND chunk.from_ms <= added.to_ms)
            OR chunk.number = (SELECT MAX(number) FROM track_chunk WHERE trip = added.trip)
         ORDER BY chunk.trip, chunk.number",
        rows_of(3, of_trips.len())
    );
    // Only the full ones are of one form, worth keeping.
    let mut query = sqlx::query(AssertSqlSafe(statement)).persistent(of_trips.len() == STEP);
    for (trip, additions) in of_trips {
        let (from_ms, to_ms) = span(additions.iter().flat_map(|addition| &addition.points));
        query = query.bind(*trip).bind(from_ms).bind(to_ms);
    }
    let mut ends: BTreeMap<String, End> = BTreeMap::new();
    for row in query.fetch_all(&mut **write).await? {
        let end = ends.entry(row.get("trip")).or_default();
        let points = decode(row.get("body"));
        end.known.extend(points.iter().flatten().map(place_of));
        // Only the last one grows.
        end.chunks = vec![Chunk { number: row.get("number"), driver: row.get("driver"), points, changed: false }];
    }
    Ok(ends)
}

async fn write_chunks(write: &mut Write, chunks: &[(&str, &Chunk)]) -> Result<(), DatabaseError> {
    let statement = format!(
        "INSERT INTO track_chunk (trip, number, driver, from_ms, to_ms, points, body) VALUES {}
         ON CONFLICT (trip, number) DO UPDATE SET
         from_ms = excluded.from_ms, to_ms = excluded.to_ms, points = excluded.points, body = excluded.body",
        rows_of(7, chunks.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(statement)).persistent(chunks.len() == STEP);
    for (trip, chunk) in chunks {
        let points = chunk.points.as_deref().unwrap_or_default();
        let (from_ms, to_ms) = span(points.iter());
        query = query
            .bind(*trip)
            .bind(chunk.number)
            .bind(&chunk.driver)
            .bind(from_ms)
            .bind(to_ms)
            .bind(points.len() as i64)
            .bind(encode(points));
    }
    query.execute(&mut **write).await?;
    Ok(())
}
