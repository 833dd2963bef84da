//! What each app wants to hear before it forgets what it sent, and how it is asked for another rate where it can be.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Value, json};
use wayfare_wire::dialects::Dialect;

use crate::shard::AppTaken;

/// Between two positions of a courier in town lie about this many metres a second.
const TOWN_MPS: u32 = 5;

/// Distances asked for lie between these, metres: below the first a phone reports noise, beyond the last corners are cut.
const DISTANCE_M: std::ops::RangeInclusive<u32> = 10..=150;

/// The answer to a request whose fixes are durable, whatever became of them.
pub fn to(dialect: Dialect, taken: &AppTaken) -> Response {
    let body = match dialect {
        // These look at the status alone.
        Dialect::Osmand | Dialect::TraccarClient | Dialect::TraccarJson => return Response::new(Body::empty()),
        // A list of messages to the phone. None of those it takes over HTTP sets a rate.
        Dialect::OwnTracks => json!([]),
        Dialect::Transistorsoft => transistorsoft(taken),
        Dialect::Overland => overland(taken),
        // Whatever it is, this is what the strictest of them wants.
        Dialect::Unknown => json!({ "result": "ok" }),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Any JSON will do; `background_geolocation` is a list of commands to the library.
fn transistorsoft(taken: &AppTaken) -> Value {
    let mut body = json!({
        "success": true, "accepted": taken.accepted, "late": taken.late, "duplicate": taken.duplicate, "rejected": taken.rejected,
        "details": taken.details.iter().map(|(index, message)| json!({ "index": index, "message": message })).collect::<Vec<_>>(),
    });
    if let Some(interval_ms) = taken.new_interval_ms {
        // Both spellings: version 5 of the library has its settings in groups, those before it do not.
        let settings = json!({ "distanceFilter": distance_m(interval_ms), "locationUpdateInterval": interval_ms });
        let mut both = settings.clone();
        both["geolocation"] = settings;
        body["background_geolocation"] = json!([["setConfig", both]]);
    }
    body
}

/// Exactly this result, or the whole batch comes again.
fn overland(taken: &AppTaken) -> Value {
    let mut body = json!({ "result": "ok" });
    if let Some(interval_ms) = taken.new_interval_ms {
        body["set"] = json!({ "send_interval": interval_ms.div_ceil(1000), "min_distance": distance_m(interval_ms) });
    }
    body
}

/// How far a courier goes in that time.
fn distance_m(interval_ms: u32) -> u32 {
    (interval_ms / 1000 * TOWN_MPS).clamp(*DISTANCE_M.start(), *DISTANCE_M.end())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    async fn body(dialect: Dialect, taken: &AppTaken) -> String {
        let response = to(dialect, taken);
        assert_eq!(response.status(), 200);
        String::from_utf8(axum::body::to_bytes(response.into_body(), 4096).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn each_app_hears_what_it_wants() {
        let taken = AppTaken { rejected: 1, details: vec![(0, "no".into())], ..AppTaken::default() };
        for dialect in [Dialect::Osmand, Dialect::TraccarClient, Dialect::TraccarJson] {
            assert_eq!(body(dialect, &taken).await, "");
        }
        assert_eq!(body(Dialect::OwnTracks, &taken).await, "[]");
        assert_eq!(body(Dialect::Overland, &taken).await, r#"{"result":"ok"}"#);
        assert_eq!(body(Dialect::Unknown, &taken).await, r#"{"result":"ok"}"#);
        let told: Value = serde_json::from_str(&body(Dialect::Transistorsoft, &taken).await).unwrap();
        assert_eq!((&told["success"], &told["rejected"]), (&json!(true), &json!(1)));
        assert_eq!(told.get("background_geolocation"), None);
    }

    #[tokio::test]
    async fn a_new_rate_goes_where_it_is_understood() {
        let taken = AppTaken { new_interval_ms: Some(6000), ..AppTaken::default() };
        let told: Value = serde_json::from_str(&body(Dialect::Transistorsoft, &taken).await).unwrap();
        let config = &told["background_geolocation"][0];
        assert_eq!((&config[0], &config[1]["distanceFilter"]), (&json!("setConfig"), &json!(30)));
        assert_eq!(config[1]["geolocation"]["locationUpdateInterval"], 6000);
        let told: Value = serde_json::from_str(&body(Dialect::Overland, &taken).await).unwrap();
        assert_eq!(told, json!({ "result": "ok", "set": { "send_interval": 6, "min_distance": 30 } }));
        assert_eq!(body(Dialect::OwnTracks, &taken).await, "[]");
        assert_eq!((distance_m(1000), distance_m(60_000)), (10, 150));
    }
}
