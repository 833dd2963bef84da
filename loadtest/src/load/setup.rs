//! The records that a load needs: drivers, each with a trip and a token.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use wayfare_engine::Vehicle;

use super::circle::Circle;
use super::progress;
use crate::clock::Clock;
use crate::rest::{NewTrip, Point, Rest, RestError};

/// Requests on their way at the same time.
const AT_ONCE: usize = 16;
/// Pick-up and drop-off lie behind each other on the circle, a third of it apart, ms at the circle's speed.
const APART_MS: i64 = 140_000;
/// Drivers have had their trip for this long: whoever drives as fast as it can begins in the past.
const HAD_MS: i64 = 3_600_000;

/// A driver and a trip.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Which circle it drives on.
    pub(super) number: usize,
    pub(super) driver: String,
    pub(super) token: String,
    /// Empty if it has nothing to do.
    pub(super) trip: String,
}

/// Creates `count` drivers with a trip each.
pub(super) async fn records(rest: &Rest, count: usize, show: bool) -> Result<Vec<Record>, RestError> {
    let creating = stream::iter(0..count).map(|number| record(rest, number));
    let mut creating = creating.buffer_unordered(AT_ONCE);
    let mut records = Vec::with_capacity(count);
    while let Some(record) = creating.try_next().await? {
        records.push(record);
        if show && records.len() % 50 == 0 {
            progress::step("creating drivers and trips", records.len(), count);
        }
    }
    if show {
        progress::clear();
    }
    Ok(records)
}

/// Creates `count` drivers who have nothing to do.
pub(super) async fn idle_drivers(rest: &Rest, count: usize) -> Result<Vec<Record>, RestError> {
    let creating = stream::iter(0..count).map(|number| async move {
        let (driver, token) = idle_driver(rest, number).await?;
        Ok(Record { number, driver, token, trip: String::new() })
    });
    creating.buffer_unordered(AT_ONCE).try_collect().await
}

/// What a relay, which has no records, needs instead: a room's name for each driver.
pub(super) fn rooms(count: usize) -> Vec<Record> {
    let room =
        |number: usize| Record { number, driver: String::new(), token: String::new(), trip: format!("room{number}") };
    (0..count).map(room).collect()
}

/// A driver without a trip, and its token.
pub(super) async fn idle_driver(rest: &Rest, number: usize) -> Result<(String, String), RestError> {
    let name = format!("load {number}");
    let driver = rest.create_driver(&name, Vehicle::Car, None).await?;
    let token = rest.token("driver", &driver).await?;
    Ok((driver, token))
}

/// A trip on a circle, of a driver or of nobody yet.
pub(super) fn trip(number: usize, driver: Option<String>) -> NewTrip {
    let (circle, now_ms) = (Circle::new(number), Clock::start().now_ms());
    NewTrip {
        store: None,
        customer: format!("cus-load-{number}"),
        driver_since_ms: driver.as_ref().map(|_| now_ms - HAD_MS),
        driver,
        pickup: Point::new(circle.at(now_ms + APART_MS), "pick-up"),
        dropoff: Point::new(circle.at(now_ms + 2 * APART_MS), "drop-off"),
        ready_at_ms: None,
        reference: None,
    }
}

/// Divides the records among threads.
pub(super) fn share(records: &[Record], threads: usize) -> Vec<Vec<Record>> {
    let mut shares = vec![Vec::new(); threads];
    for (index, record) in records.iter().enumerate() {
        shares[index % threads].push(record.clone());
    }
    shares
}

/// Ends what was begun. A server that has gone keeps its records.
pub(super) async fn tidy(rest: &Rest, records: &[Record]) {
    let ending = stream::iter(records).map(|record| async move {
        if !record.trip.is_empty() {
            let _ = rest.cancel(&record.trip, "the load test ended").await;
        }
        let _ = rest.end_duty(&record.driver).await;
    });
    ending.buffer_unordered(AT_ONCE).collect::<()>().await;
}

async fn record(rest: &Rest, number: usize) -> Result<Record, RestError> {
    let (driver, token) = idle_driver(rest, number).await?;
    let trip = rest.create_trip(&trip(number, Some(driver.clone()))).await?;
    Ok(Record { number, driver, token, trip: trip.id })
}
