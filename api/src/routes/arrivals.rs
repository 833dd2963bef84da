//! How well arrivals were foreseen.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_net::reply::Refusal;

use super::{Page, PageQuery};
use crate::House;
use crate::input::{fault, invalid};
use crate::records::arrival::{self, Arrival};

/// Which span of time.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SpanQuery {
    /// Arrivals from this Unix millisecond on.
    pub from_ms: Option<i64>,
    /// Arrivals before this Unix millisecond.
    pub until_ms: Option<i64>,
}

/// List trips that arrived, with what had been foreseen, oldest first
#[utoipa::path(get, path = "/v1/arrivals", tag = "roads", params(SpanQuery, PageQuery), responses((status = 200, body = Page<Arrival>)))]
pub async fn list(
    State(house): State<Arc<House>>,
    Query(span): Query<SpanQuery>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Arrival>>, Refusal> {
    let begin = span.from_ms.unwrap_or(i64::MIN);
    let (limit, (after_ms, after_trip)) = (query.limit()?, query.position((begin, ""))?);
    let until_ms = span.until_ms.unwrap_or(i64::MAX);
    let arrivals =
        arrival::page(&house.db, (after_ms.max(begin), &after_trip), until_ms, limit + 1).await.map_err(fault)?;
    Ok(Json(Page::of(arrivals, limit, |arrival| (arrival.arrived_ms, arrival.trip.to_string()))))
}

/// How good forecasts were, by how much was left when they were made.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Quality {
    /// What the forecasts rested on.
    pub basis: String,
    /// Real time left when they were made, seconds: from this on.
    pub left_from_s: i64,
    /// Forecasts judged.
    pub forecasts: u64,
    /// Mean absolute percentage error.
    pub mape: f64,
    /// Summed forecasts over summed truth, less 1: negative if too early.
    pub bias: f64,
    /// Share within 20 %.
    pub within_20_percent: f64,
    /// Share within two minutes.
    pub within_2_min: f64,
    /// Share inside the 80 % interval.
    pub inside_interval: f64,
}

/// A summary of a span of time.
#[derive(Debug, Serialize, ToSchema)]
pub struct Summary {
    /// Trips that arrived.
    pub trips: u64,
    /// There were more than are counted here: ask for a shorter span.
    pub more: bool,
    /// By basis and by time left.
    pub quality: Vec<Quality>,
}

/// Most trips that go into one summary.
const TRIPS_MOST: i64 = 20_000;
/// Lower ends of the classes of time left, seconds.
const LEFT_FROM_S: [i64; 5] = [0, 120, 300, 600, 1_200];

#[derive(Default)]
struct Sums {
    count: u64,
    error: f64,
    foreseen_s: f64,
    real_s: f64,
    within_20: u64,
    within_2_min: u64,
    inside: u64,
}

/// Sum up how well arrivals were foreseen
#[utoipa::path(get, path = "/v1/arrivals/summary", tag = "roads", params(SpanQuery), responses((status = 200, body = Summary)))]
pub async fn summary(State(house): State<Arc<House>>, Query(span): Query<SpanQuery>) -> Result<Json<Summary>, Refusal> {
    let (from_ms, until_ms) = (span.from_ms.unwrap_or(i64::MIN), span.until_ms.unwrap_or(i64::MAX));
    if from_ms > until_ms {
        return Err(invalid("from_ms", format!("{from_ms} lies after until_ms {until_ms}")));
    }
    let mut arrivals = arrival::page(&house.db, (from_ms, ""), until_ms, TRIPS_MOST + 1).await.map_err(fault)?;
    let more = arrivals.len() as i64 > TRIPS_MOST;
    arrivals.truncate(TRIPS_MOST as usize);
    Ok(Json(Summary { trips: arrivals.len() as u64, more, quality: sum_up(&arrivals) }))
}

fn sum_up(arrivals: &[Arrival]) -> Vec<Quality> {
    let mut sums: BTreeMap<(&str, i64), Sums> = BTreeMap::new();
    for arrival in arrivals {
        for forecast in &arrival.forecasts {
            let real_s = (arrival.arrived_ms - forecast.made_ms) as f64 / 1000.0;
            let foreseen_s = (forecast.at_ms - forecast.made_ms) as f64 / 1000.0;
            if real_s <= 0.0 {
                continue;
            }
            let class = LEFT_FROM_S.iter().rev().find(|from| real_s >= **from as f64).copied().unwrap_or(0);
            let sum = sums.entry((&forecast.basis, class)).or_default();
            let off_s = (foreseen_s - real_s).abs();
            sum.count += 1;
            sum.error += off_s / real_s;
            sum.foreseen_s += foreseen_s;
            sum.real_s += real_s;
            sum.within_20 += u64::from(off_s <= 0.2 * real_s);
            sum.within_2_min += u64::from(off_s <= 120.0);
            sum.inside += u64::from((forecast.low_ms..=forecast.high_ms).contains(&arrival.arrived_ms));
        }
    }
    let quality = |((basis, left_from_s), sum): ((&str, i64), Sums)| {
        let count = sum.count as f64;
        let share = |hits: u64| rounded(hits as f64 / count);
        Quality {
            basis: basis.to_owned(),
            left_from_s,
            forecasts: sum.count,
            mape: rounded(sum.error / count),
            bias: rounded(sum.foreseen_s / sum.real_s - 1.0),
            within_20_percent: share(sum.within_20),
            within_2_min: share(sum.within_2_min),
            inside_interval: share(sum.inside),
        }
    };
    sums.into_iter().map(quality).collect()
}

fn rounded(share: f64) -> f64 {
    (share * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::arrival::Forecast;

    #[test]
    fn forecasts_are_judged_by_what_was_left() {
        let forecast = |made_s: i64, at_s: i64| Forecast {
            made_ms: made_s * 1000,
            at_ms: at_s * 1000,
            low_ms: (at_s - 60) * 1000,
            high_ms: (at_s + 60) * 1000,
            basis: "roads".into(),
        };
        let arrival = Arrival {
            trip: wayfare_wire::ids::Trip(1),
            driver: None,
            assignment: 1,
            arrived_ms: 1_000_000,
            forecasts: vec![forecast(0, 900), forecast(600, 1_080), forecast(900, 1_000)],
        };
        let quality = sum_up(&[arrival]);
        let shown: Vec<_> =
            quality.iter().map(|one| (one.left_from_s, one.mape, one.bias, one.inside_interval)).collect();
        assert_eq!(shown, [(0, 0.0, 0.0, 1.0), (300, 0.2, 0.2, 0.0), (600, 0.1, -0.1, 0.0)]);
    }
}
