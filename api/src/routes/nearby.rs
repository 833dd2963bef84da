//! Who is nearest.

use std::num::NonZeroU16;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_engine::{Availability, Filter, Found, Millis, Position, Vehicle};
use wayfare_net::reply::Refusal;

use crate::House;
use crate::input::{check_position, invalid};
use crate::nearby::{NearDriver, by_road};

/// Most drivers of one answer.
const K_MAX: u32 = 100;

/// Drivers by air that are ranked by road, for each one that is wanted: a river makes the second nearest the first.
const ROAD_SHARE: usize = 3;

/// Positions come to this view up to 10 s late, so a smaller age would leave out drivers of whom all is known.
const FRESHER_THAN_S_MIN: u32 = 15;
const FRESHER_THAN_S_MAX: u32 = 86_400;

/// Where, how many, and who fits.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct NearbyQuery {
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// How many drivers, 1 to 100; 10 by default.
    pub k: Option<u32>,
    /// `air` (by default): along the great circle. `road`: by the time they need by road; `no_roads` where no file of roads is loaded.
    pub by: Option<String>,
    /// Comma-separated: `foot`, `bicycle`, `motorbike`, `car`, `van`. All by default.
    pub vehicle: Option<String>,
    /// Only drivers whose capacity is known and at least this, 1 to 10000.
    pub min_capacity: Option<u16>,
    /// Comma-separated: `available` (on shift, nothing on board), `busy` (on shift, with trips), `finishing` (off shift, bringing the last trips). All by
    /// default.
    pub status: Option<String>,
    /// Only drivers whose position was taken within so many seconds, 15 to 86400.
    pub fresher_than_s: Option<u32>,
}

/// Who is near, nearest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nearby {
    /// `air` or `road`.
    pub by: &'static str,
    /// The drivers.
    pub drivers: Vec<NearDriver>,
}

/// Find the drivers nearest to a place
#[utoipa::path(get, path = "/v1/nearby", tag = "drivers", params(NearbyQuery), responses((status = 200, body = Nearby)))]
pub async fn nearby(
    State(house): State<Arc<House>>,
    Query(query): Query<NearbyQuery>,
) -> Result<Json<Nearby>, Refusal> {
    check_position("lat", query.lat, query.lon)?;
    let from = Position::new(query.lat, query.lon).map_err(|error| invalid("lat", error.to_string()))?;
    let k = query.k.unwrap_or(10);
    if !(1..=K_MAX).contains(&k) {
        return Err(invalid("k", format!("{k} is not 1 to {K_MAX}")));
    }
    let road = match query.by.as_deref() {
        None | Some("air") => false,
        Some("road") => true,
        Some(other) => return Err(invalid("by", format!("{other:.20?} is neither air nor road"))),
    };
    let filter = filter(&query, wayfare_bus::now_ms())?;
    let most = if road { k as usize * ROAD_SHARE } else { k as usize };
    let mut found = Found::default();
    house.town.drivers()?.nearest(from, most, &filter, &mut found);
    let mut drivers: Vec<NearDriver> = found.drivers.iter().map(NearDriver::from).collect();
    if road {
        drivers = by_road(&house.atlas.knowledge(), from, drivers, Millis(wayfare_bus::now_ms()))?;
        drivers.truncate(k as usize);
    }
    Ok(Json(Nearby { by: if road { "road" } else { "air" }, drivers }))
}

fn filter(query: &NearbyQuery, now_ms: i64) -> Result<Filter, Refusal> {
    let mut filter = Filter::default();
    if let Some(text) = &query.vehicle {
        filter = filter.vehicles(words("vehicle", text, Vehicle::from_code, "foot, bicycle, motorbike, car, van")?);
    }
    if let Some(text) = &query.status {
        filter = filter.availabilities(words("status", text, Availability::from_code, "available, busy, finishing")?);
    }
    if let Some(capacity) = query.min_capacity {
        let capacity = NonZeroU16::new(capacity).filter(|capacity| capacity.get() <= 10_000);
        let refusal = || invalid("min_capacity", format!("{} is not 1 to 10000", query.min_capacity.unwrap_or(0)));
        filter = filter.capacity_least(capacity.ok_or_else(refusal)?);
    }
    if let Some(age_s) = query.fresher_than_s {
        if !(FRESHER_THAN_S_MIN..=FRESHER_THAN_S_MAX).contains(&age_s) {
            let text = format!("{age_s} is not {FRESHER_THAN_S_MIN} to {FRESHER_THAN_S_MAX}");
            return Err(invalid("fresher_than_s", text));
        }
        filter = filter.taken_from(Millis(now_ms - i64::from(age_s) * 1000));
    }
    Ok(filter)
}

/// Comma-separated words, each of which must be known.
fn words<T>(field: &str, text: &str, read: impl Fn(&str) -> Option<T>, known: &str) -> Result<Vec<T>, Refusal> {
    let read = |word: &str| read(word).ok_or_else(|| invalid(field, format!("{word:.20?} is none of {known}")));
    text.split(',').map(read).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    fn query() -> NearbyQuery {
        NearbyQuery {
            lat: 0.0,
            lon: 0.0,
            k: None,
            by: None,
            vehicle: None,
            min_capacity: None,
            status: None,
            fresher_than_s: None,
        }
    }

    #[test]
    fn words_become_a_filter() {
        let asked = NearbyQuery {
            vehicle: Some("bicycle,van".into()),
            min_capacity: Some(3),
            status: Some("available".into()),
            fresher_than_s: Some(60),
            ..query()
        };
        let expected = Filter::default()
            .vehicles([Vehicle::Bicycle, Vehicle::Van])
            .capacity_least(NonZeroU16::new(3).unwrap())
            .availabilities([Availability::Available])
            .taken_from(Millis(40_000));
        assert_eq!(filter(&asked, 100_000).map_err(drop), Ok(expected));
        assert_eq!(filter(&query(), 0).map_err(drop), Ok(Filter::default()));
    }

    #[test]
    fn what_is_no_filter_is_refused_by_name() {
        for bad in [
            NearbyQuery { vehicle: Some("rocket".into()), ..query() },
            NearbyQuery { vehicle: Some("car,".into()), ..query() },
            NearbyQuery { status: Some(String::new()), ..query() },
            NearbyQuery { min_capacity: Some(0), ..query() },
            NearbyQuery { min_capacity: Some(10_001), ..query() },
            NearbyQuery { fresher_than_s: Some(14), ..query() },
            NearbyQuery { fresher_than_s: Some(86_401), ..query() },
        ] {
            assert!(filter(&bad, 0).is_err(), "{bad:?}");
        }
    }
}
