//! Where a trip's driver was: as GeoJSON, GPX, CSV or an encoded polyline.

#![allow(unused_qualifications, reason = "the macro that describes parameters writes their paths in full")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use wayfare_engine::Position;
use wayfare_net::reply::Refusal;
use wayfare_wire::polyline;

use super::trips;
use crate::House;
use crate::bearer::Bearer;
use crate::input::{fault, invalid};
use crate::outbox::Cause;
use crate::records::track::{self, After, Part, Point};
use crate::records::trip::Trip;

/// Points of one answer.
const POINTS_DEFAULT: u32 = 2_000;
const POINTS_MAX: u32 = 20_000;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A `Feature`: a line (a point if there is only one, no geometry if there is none), its properties in the order of its points.
    #[default]
    Geojson,
    /// GPX 1.1, one segment.
    Gpx,
    /// A line of names, then one for each point; what is unknown is empty.
    Csv,
    /// `polyline6` and `times_ms`.
    Polyline,
}

/// Which part of a track, in which form.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TrackQuery {
    /// `geojson`, `gpx`, `csv` or `polyline`; absent: by `Accept`, or GeoJSON.
    pub format: Option<Format>,
    /// Points from this Unix millisecond on.
    pub from_ms: Option<i64>,
    /// Points before this Unix millisecond.
    pub until_ms: Option<i64>,
    /// From the `next` of the page before.
    pub cursor: Option<String>,
    /// 1 to 20000 points, 2000 by default.
    pub limit: Option<u32>,
}

/// Read where a trip's driver was while it had the trip
///
/// Fixes as they came from the phone, accepted and late ones, in order of time by the server's clock; complete some seconds after their
/// ack. A page that is not the last has `next` (in JSON) and a `Link` header with `rel="next"`.
#[utoipa::path(get, path = "/v1/trips/{id}/track", tag = "trips", params(("id" = String, Path), TrackQuery),
    responses((status = 200, description = "The points, in the form asked for", content((Value = "application/geo+json"), (String = "application/gpx+xml"), (String = "text/csv")))))]
pub async fn read(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
    Query(query): Query<TrackQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let trip = trips::known(&house, &bearer, &id).await?;
    let limit = query.limit.unwrap_or(POINTS_DEFAULT);
    if !(1..=POINTS_MAX).contains(&limit) {
        return Err(invalid("limit", format!("{limit} is not 1 to {POINTS_MAX}")));
    }
    let begin = After { at_ms: query.from_ms.unwrap_or(i64::MIN), points: 0 };
    let after = query.cursor.as_deref().map_or(Some(begin), parse_cursor);
    let after = after.ok_or_else(|| invalid("cursor", "is not the `next` of a page"))?;
    let until_ms = query.until_ms.unwrap_or(i64::MAX);
    let part = track::read(&house.db, &id, after, until_ms, limit as usize).await.map_err(fault)?;
    if part.damaged > 0 {
        tracing::error!(trip = id, points = part.damaged, "a part of a track is damaged");
    }
    let format = query.format.unwrap_or_else(|| accepted(&headers));
    let mut response = match format {
        Format::Geojson => typed("application/geo+json", geojson(&trip, &part).to_string()),
        Format::Gpx => typed("application/gpx+xml", gpx(&trip, &part.points)),
        Format::Csv => typed("text/csv; charset=utf-8", csv(&part.points)),
        Format::Polyline => Json(encoded(&part)).into_response(),
    };
    if let Some(next) = part.next.map(cursor) {
        let span = query.until_ms.map_or_else(String::new, |until_ms| format!("&until_ms={until_ms}"));
        let link = format!(
            "</v1/trips/{id}/track?format={}&limit={limit}&cursor={next}{span}>; rel=\"next\"",
            name_of(format)
        );
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

/// Erase where a trip's driver was
///
/// Points that come later are not kept either. What was acked in the last hours stands in the fix log until it is dropped there
/// (`fix_log.keep_hours`).
#[utoipa::path(delete, path = "/v1/trips/{id}/track", tag = "trips", params(("id" = String, Path)), responses((status = 204)))]
pub async fn erase(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    trips::known(&house, &bearer, &id).await?;
    let now_ms = wayfare_bus::now_ms();
    // Marked first: whatever is folded from then on is not kept.
    let _ = trips::change_trip(&house, &bearer, &id, None, Cause::Access, |trip| {
        trip.track_erased_ms = Some(now_ms);
        trip.version += 1;
        Ok(())
    })
    .await?;
    let mut write = house.db.write().await.map_err(fault)?;
    track::erase(&mut write, &id).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    bearer.did("DELETE /v1/trips/{id}/track", &wayfare_net::audit::pseudonym(&id));
    tracing::info!(trip = id, by = bearer.0.sub, "a track was erased");
    Ok(StatusCode::NO_CONTENT)
}

fn accepted(headers: &HeaderMap) -> Format {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kind.into_iter()
        .find_map(|kind| match kind {
            "application/gpx+xml" => Some(Format::Gpx),
            "text/csv" => Some(Format::Csv),
            "application/geo+json" => Some(Format::Geojson),
            _ => None,
        })
        .unwrap_or_default()
}

fn name_of(format: Format) -> &'static str {
    match format {
        Format::Geojson => "geojson",
        Format::Gpx => "gpx",
        Format::Csv => "csv",
        Format::Polyline => "polyline",
    }
}

fn typed(kind: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// `at_ms~points`.
fn cursor(after: After) -> String {
    format!("{}~{}", after.at_ms, after.points)
}

fn parse_cursor(text: &str) -> Option<After> {
    let (at_ms, points) = text.split_once('~')?;
    Some(After { at_ms: at_ms.parse().ok()?, points: points.parse().ok()? })
}

fn geojson(trip: &Trip, part: &Part) -> Value {
    let coordinates: Vec<Value> = part
        .points
        .iter()
        .map(|point| match point.altitude_m() {
            Some(altitude_m) => json!([point.lon(), point.lat(), altitude_m]),
            None => json!([point.lon(), point.lat()]),
        })
        .collect();
    let geometry = match coordinates.len() {
        0 => Value::Null,
        1 => json!({ "type": "Point", "coordinates": coordinates[0] }),
        _ => json!({ "type": "LineString", "coordinates": coordinates }),
    };
    fn column<T: Into<Value>>(part: &Part, value: impl Fn(&Point) -> T) -> Vec<Value> {
        part.points.iter().map(|point| value(point).into()).collect()
    }
    let mut properties = json!({
        "trip": trip.id.to_string(),
        "times_ms": column(part, |point| point.at_ms),
        "accuracy_m": column(part, Point::accuracy_m),
        "speed_mps": column(part, Point::speed_mps),
        "heading_deg": column(part, Point::heading_deg),
        "late": column(part, |point| point.late),
    });
    note_rest(&mut properties, part);
    json!({ "type": "Feature", "geometry": geometry, "properties": properties })
}

fn encoded(part: &Part) -> Value {
    let positions = part.points.iter().filter_map(|point| Position::new(point.lat(), point.lon()).ok());
    let times_ms: Vec<i64> = part.points.iter().map(|point| point.at_ms).collect();
    let mut value = json!({ "polyline6": polyline::encode(&positions.collect::<Vec<_>>()), "times_ms": times_ms });
    note_rest(&mut value, part);
    value
}

/// What is not in the answer.
fn note_rest(value: &mut Value, part: &Part) {
    if let Some(next) = part.next {
        value["next"] = cursor(next).into();
    }
    if part.damaged > 0 {
        value["damaged_points"] = part.damaged.into();
    }
}

fn csv(points: &[Point]) -> String {
    let mut out = String::from("t_ms,lat,lon,accuracy_m,speed_mps,heading_deg,altitude_m,late,mock\n");
    for point in points {
        let text = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{},{},{}",
            point.at_ms,
            point.lat(),
            point.lon(),
            text(point.accuracy_m()),
            text(point.speed_mps()),
            text(point.heading_deg()),
            text(point.altitude_m()),
            point.late,
            point.mock
        );
    }
    out
}

/// The only text in it is an id, and ids have nothing to escape.
fn gpx(trip: &Trip, points: &[Point]) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gpx version=\"1.1\" creator=\"Wayfare\" xmlns=\"http://www.topografix.com/GPX/1/1\">\n<trk><name>{}</name><trkseg>\n",
        trip.id
    );
    for point in points {
        let since = Duration::from_millis(u64::try_from(point.at_ms).unwrap_or(0));
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + since);
        let elevation = point.altitude_m().map_or_else(String::new, |metres| format!("<ele>{metres}</ele>"));
        let _ = writeln!(
            out,
            "<trkpt lat=\"{}\" lon=\"{}\">{elevation}<time>{time}</time></trkpt>",
            point.lat(),
            point.lon()
        );
    }
    out.push_str("</trkseg></trk>\n</gpx>\n");
    out
}
