//! Roads as GeoJSON: a route, or the traffic of a window, a line for each street with its speed.

use serde_json::{Value, json};
use wayfare_engine::Position;
use wayfare_engine::roads::{Metric, Network, Route, Street, StreetId};

/// A route as a FeatureCollection of lines, one for each street on it, with `speed_kmh`, `free_kmh`, `ratio` and `class`.
pub fn route_geojson(network: &Network, metric: &Metric, route: &Route) -> Value {
    let (points, begins) = network.route_line(route);
    let ends = begins.iter().skip(1).copied().chain([points.len().saturating_sub(1)]);
    let streets = route.streets.iter().zip(begins.iter().copied().zip(ends));
    let features = streets.filter_map(|(id, (from, to))| {
        let line = points.get(from..=to).filter(|line| line.len() >= 2)?;
        Some(feature(network.street(*id)?, metric.street_ms(*id), line))
    });
    collection(features.collect(), network.attribution())
}

/// One street in one direction.
pub fn street_geojson(network: &Network, metric: &Metric, id: StreetId) -> Option<Value> {
    let street = network.street(id)?;
    Some(feature(street, metric.street_ms(id), &network.line(id)))
}

/// Current speed over free speed: below 1 it is slow.
pub fn speed_ratio(street: &Street, now_ms: u32) -> f64 {
    f64::from(street.free_ms()) / f64::from(now_ms.max(1))
}

pub fn collection(features: Vec<Value>, attribution: &str) -> Value {
    json!({ "type": "FeatureCollection", "attribution": attribution, "features": features })
}

fn feature(street: &Street, now_ms: u32, line: &[Position]) -> Value {
    let place = |at: &Position| json!([rounded(at.lon_deg(), 1e6), rounded(at.lat_deg(), 1e6)]);
    let (ratio, free_kmh) = (speed_ratio(street, now_ms), f64::from(street.free_kmh()));
    json!({
        "type": "Feature",
        "geometry": { "type": "LineString", "coordinates": line.iter().map(place).collect::<Vec<_>>() },
        "properties": {
            "speed_kmh": rounded(free_kmh * ratio, 10.0), "free_kmh": rounded(free_kmh, 10.0),
            "ratio": rounded(ratio, 100.0), "class": street.class.code(),
        },
    })
}

fn rounded(value: f64, places: f64) -> f64 {
    (value * places).round() / places
}
