//! What pages and other programs read without a token.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

use crate::{House, openapi};

/// Streets for the background of maps
#[utoipa::path(get, path = "/v1/streets", tag = "pages", responses((status = 200, description = "GeoJSON FeatureCollection"), (status = 404)))]
pub async fn streets(State(house): State<Arc<House>>) -> Result<Response, Refusal> {
    let none = || Refusal::new(ErrorCode::NotFound, "no streets are configured");
    let path = house.config.streets.as_ref().ok_or_else(none)?;
    let bytes = tokio::fs::read(path).await.map_err(|error| {
        tracing::error!(%error, path = %path.display(), "the streets cannot be read");
        none()
    })?;
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/geo+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}

/// What pages need to know of this installation
#[utoipa::path(get, path = "/v1/web-config", tag = "pages", responses((status = 200, description = "JSON object: basemap_style_url and attribution (of the roads that are loaded), each text or null")))]
pub async fn web_config(State(house): State<Arc<House>>) -> Json<Value> {
    let knowledge = house.atlas.knowledge();
    let attribution = joined(knowledge.cities().iter().map(|city| city.network.attribution()));
    Json(json!({ "basemap_style_url": house.config.basemap_style_url, "attribution": attribution }))
}

/// Each name once, in the order they come; `None` without any. Profiles of one file of roads share theirs.
fn joined<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut distinct: Vec<&str> = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        if !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    (!distinct.is_empty()).then(|| distinct.join(", "))
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "pages", responses((status = 200, description = "OpenAPI document")))]
pub async fn openapi() -> Response {
    let mut response = openapi::document().to_string().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Public keys of tokens: the one that signs now, the next, and those before whose tokens are still valid
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "pages", responses((status = 200, description = "JSON Web Key Set")))]
pub async fn jwks(State(house): State<Arc<House>>) -> Json<Value> {
    let key = |(id, public_key): (String, String)| json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": id, "x": public_key });
    let keys: Vec<Value> = house.signing.believed().into_iter().map(key).collect();
    Json(json!({ "keys": keys }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribution_is_named_once() {
        let names = ["© OpenStreetMap contributors", "", "a town", "© OpenStreetMap contributors"];
        assert_eq!(joined(names.into_iter()).as_deref(), Some("© OpenStreetMap contributors, a town"));
        assert_eq!(joined([""].into_iter()), None);
    }
}
