//! Routes and traffic.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use wayfare_engine::roads::{Bounds, Profile, RoadClass, StreetId};
use wayfare_engine::{City, Knowledge, Millis, Position, Vehicle};
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

use crate::House;
use crate::input::invalid;
use crate::route_json::{collection, route_geojson, street_geojson};

/// From where to where, and with what.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RouteQuery {
    /// `latitude,longitude` in degrees.
    pub from: String,
    /// `latitude,longitude` in degrees.
    pub to: String,
    /// `foot`, `bicycle`, `motorbike`, `car` (by default) or `van`.
    pub vehicle: Option<String>,
    /// Direction of travel at the start in degrees, if it is known: a driver does not turn on the spot.
    pub heading_deg: Option<f32>,
    /// `polyline6` (by default), `geojson` (a line for each street with its speed), or `none`.
    pub geometry: Option<String>,
}

/// The quickest way now.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteAnswer {
    /// Its length in metres.
    pub distance_m: f64,
    /// How long it takes now, seconds: median, and the ends of the 80 % interval.
    pub duration_s: f64,
    /// See `duration_s`.
    pub low_s: f64,
    /// See `duration_s`.
    pub high_s: f64,
    /// How long the roads of it take when they are free, seconds.
    pub free_s: f64,
    /// What it rests on: `roads_live` or `roads`.
    pub basis: &'static str,
    /// Encoded polyline with six decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polyline6: Option<String>,
    /// FeatureCollection of lines with `speed_kmh`, `free_kmh`, `ratio`, `class`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geojson: Option<Value>,
    /// Whose data the roads are; to be shown with any map of it.
    pub attribution: String,
}

/// Find the quickest way between two places
#[utoipa::path(get, path = "/v1/route", tag = "roads", params(RouteQuery), responses((status = 200, body = RouteAnswer)))]
pub async fn route(
    State(house): State<Arc<House>>,
    Query(query): Query<RouteQuery>,
) -> Result<Json<RouteAnswer>, Refusal> {
    let (from, to) = (place("from", &query.from)?, place("to", &query.to)?);
    let word = query.vehicle.as_deref().unwrap_or("car");
    let vehicle = Vehicle::from_code(word)
        .ok_or_else(|| invalid("vehicle", format!("{word:.20?} is none of foot, bicycle, motorbike, car, van")))?;
    if let Some(heading) = query.heading_deg.filter(|heading| !(0.0..=360.0).contains(heading)) {
        return Err(invalid("heading_deg", format!("{heading} is not 0 to 360")));
    }
    let geometry = query.geometry.as_deref().unwrap_or("polyline6");
    if !matches!(geometry, "polyline6" | "geojson" | "none") {
        return Err(invalid("geometry", format!("{geometry:.20?} is none of polyline6, geojson, none")));
    }
    let knowledge = house.atlas.knowledge();
    city_at(&knowledge, "to", to, vehicle)?;
    let city = city_at(&knowledge, "from", from, vehicle)?;
    let (network, metric) = (&city.network, &city.metric);
    let goal = network.goal(to).ok_or_else(|| no_road("to", to))?;
    let starts = network.starts(from, query.heading_deg);
    if starts.is_empty() {
        return Err(no_road("from", from));
    }
    // With a heading only the direction that fits it; without, whichever is quicker.
    let tried = if query.heading_deg.is_some() { 1 } else { starts.len() };
    let routes = starts.iter().take(tried).filter_map(|start| network.route(metric, *start, &goal));
    let Some(route) = routes.min_by_key(|route| route.ms) else {
        let text = "no way leads there on the roads that are loaded";
        return Err(Refusal::new(ErrorCode::NoRoads, text));
    };
    let now = Millis(wayfare_bus::now_ms());
    let estimate = knowledge.estimate(route.ms, route.length_m, goal.access_m, vehicle, now);
    let free_ms: u64 =
        route.streets.iter().filter_map(|id| network.street(*id)).map(|street| u64::from(street.free_ms())).sum();
    let live_ms: u64 = route.streets.iter().map(|id| u64::from(metric.street_ms(*id))).sum();
    Ok(Json(RouteAnswer {
        distance_m: route.length_m.round(),
        duration_s: estimate.drive_s.round(),
        low_s: estimate.low_s.round(),
        high_s: estimate.high_s.round(),
        // The first and the last street are not driven whole: the same share of their free time.
        free_s: (f64::from(route.ms) / 1000.0 * free_ms as f64 / live_ms.max(1) as f64).round(),
        basis: estimate.basis.code(),
        polyline6: (geometry == "polyline6").then(|| wayfare_wire::polyline::encode(&network.route_line(&route).0)),
        geojson: (geometry == "geojson").then(|| route_geojson(network, metric, &route)),
        attribution: network.attribution().to_owned(),
    }))
}

/// Which window.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TrafficQuery {
    /// `west,south,east,north` in degrees; west may lie east of east across the antimeridian.
    pub bbox: String,
    /// `car` (by default), `bicycle` or `foot`.
    pub profile: Option<String>,
}

/// Most streets of one answer; classes that would go beyond are left out, the least important first.
const STREETS_MOST: usize = 4_000;

/// Speeds of the streets in a window, the slower direction of each
#[utoipa::path(get, path = "/v1/traffic", tag = "roads", params(TrafficQuery), responses((status = 200, description = "GeoJSON FeatureCollection of lines with speed_kmh, free_kmh, ratio, class")))]
pub async fn traffic(
    State(house): State<Arc<House>>,
    Query(query): Query<TrafficQuery>,
) -> Result<Json<Value>, Refusal> {
    let window = bbox(&query.bbox)?;
    let word = query.profile.as_deref().unwrap_or("car");
    let profile = Profile::from_code(word)
        .ok_or_else(|| invalid("profile", format!("{word:.20?} is none of car, bicycle, foot")))?;
    let knowledge = house.atlas.knowledge();
    let cities: Vec<&City> = knowledge.cities().iter().filter(|city| city.network.profile() == profile).collect();
    let first = cities.first().ok_or_else(|| Refusal::new(ErrorCode::NotFound, "no file of roads is loaded"))?;
    let mut found: Vec<(RoadClass, &City, StreetId)> = Vec::new();
    for city in &cities {
        let streets = city.network.streets().iter().enumerate();
        found.extend(streets.filter_map(|(number, street)| {
            let id = StreetId(number as u32);
            let slower = city.network.reverse(id).is_none_or(|back| {
                let (own, other) = (city.metric.street_ms(id), city.metric.street_ms(back));
                (own, back) > (other, id)
            });
            (slower && window.contains(city.network.start_of(id))).then_some((street.class, *city, id))
        }));
    }
    let mut counts = [0_usize; RoadClass::ALL.len()];
    found.iter().for_each(|(class, ..)| counts[*class as usize] += 1);
    let mut sum = 0;
    let shown = counts.iter().take_while(|count| {
        sum += **count;
        sum <= STREETS_MOST
    });
    let classes = shown.count();
    let lines = found.iter().filter(|(class, ..)| (*class as usize) < classes);
    let features = lines.filter_map(|(_, city, id)| street_geojson(&city.network, &city.metric, *id)).collect();
    Ok(Json(collection(features, first.network.attribution())))
}

fn place(field: &str, text: &str) -> Result<Position, Refusal> {
    let refusal = || invalid(field, format!("{text:.40?} is not latitude,longitude"));
    let (lat, lon) = text.split_once(',').ok_or_else(refusal)?;
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| refusal());
    Position::new(number(lat)?, number(lon)?).map_err(|error| invalid(field, error.to_string()))
}

fn bbox(text: &str) -> Result<Bounds, Refusal> {
    let refusal = || invalid("bbox", format!("{text:.80?} is not west,south,east,north"));
    let numbers: Vec<f64> =
        text.split(',').map(|number| number.trim().parse().map_err(|_| refusal())).collect::<Result<_, _>>()?;
    let [west, south, east, north] = numbers[..] else { return Err(refusal()) };
    let on_earth = Position::new(south, west).is_ok() && Position::new(north, east).is_ok();
    if !on_earth || south > north {
        return Err(refusal());
    }
    Ok(Bounds { south, west, north, east })
}

fn city_at<'a>(knowledge: &'a Knowledge, field: &str, at: Position, vehicle: Vehicle) -> Result<&'a City, Refusal> {
    knowledge.city(at, vehicle).ok_or_else(|| {
        let profile = Profile::of(vehicle).code();
        let text =
            format!("no file of roads for {profile} is loaded that holds {:.5},{:.5}", at.lat_deg(), at.lon_deg());
        wayfare_wire::ErrorBody::new(ErrorCode::NoRoads, text).field(field).into()
    })
}

fn no_road(field: &str, at: Position) -> Refusal {
    let text = format!("there is no road within 3 km of {:.5},{:.5}", at.lat_deg(), at.lon_deg());
    wayfare_wire::ErrorBody::new(ErrorCode::NoRoads, text).field(field).into()
}
