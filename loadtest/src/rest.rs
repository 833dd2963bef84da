//! The records, over HTTP: stores, drivers, trips, tokens.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wayfare_engine::{Position, Vehicle};
use wayfare_wire::ErrorBody;

/// How often a request is sent again that the server asks to send again.
const ATTEMPTS: u32 = 6;
/// The pause before, where the server does not tell.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a record could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The server did not answer.
    #[error("{method} {path}: {source}")]
    Unreachable {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// The server refused.
    #[error("{method} {path} was answered {status}: {body}")]
    Refused {
        /// What was asked.
        method: Method,
        /// Of what.
        path: String,
        /// The answer.
        status: StatusCode,
        /// What it said.
        body: String,
    },
}

/// A created record, as far as this crate reads it.
#[derive(Debug, Clone, Deserialize)]
pub struct Created {
    /// Its id.
    pub id: String,
}

/// A trip, as far as this crate reads it.
#[derive(Debug, Clone, Deserialize)]
pub struct Trip {
    /// Its id, `trp_…`.
    pub id: String,
    /// How far it has come.
    pub phase: String,
}

#[derive(Debug, Deserialize)]
struct Token {
    token: String,
}

/// A named place on Earth.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    lat: f64,
    lon: f64,
    name: String,
}

impl Point {
    /// A place and what it is called.
    pub fn new(position: Position, name: impl Into<String>) -> Self {
        Self { lat: position.lat_deg(), lon: position.lon_deg(), name: name.into() }
    }
}

/// A trip to be created.
#[derive(Debug, Clone, Serialize)]
pub struct NewTrip {
    /// Where the order comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// The operator's own customer id.
    pub customer: String,
    /// Who carries it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Since when the driver has it, Unix ms, if not since now: fixes taken before are nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_since_ms: Option<i64>,
    /// Where it is taken on board.
    pub pickup: Point,
    /// Where it is handed over.
    pub dropoff: Point,
    /// When the kitchen is ready, Unix ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_at_ms: Option<i64>,
    /// The operator's own number of the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// A client of the HTTP API with a service token. Cheap to clone.
#[derive(Clone)]
pub struct Rest {
    client: Client,
    base: String,
    token: String,
}

impl Rest {
    /// A client of the server at `base_url`, for example `http://127.0.0.1:8080`.
    pub fn new(base_url: &str, service_token: &str) -> Self {
        Self { client: Client::new(), base: base_url.trim_end_matches('/').to_owned(), token: service_token.to_owned() }
    }

    /// Where the server is, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// The service token.
    #[must_use]
    pub fn service_token(&self) -> &str {
        &self.token
    }

    /// Creates a store and gives its id.
    ///
    /// # Errors
    /// See [`RestError`]; so for all that follow.
    pub async fn create_store(&self, name: &str, at: Position) -> Result<String, RestError> {
        let body = json!({"name": name, "lat": at.lat_deg(), "lon": at.lon_deg()});
        let created: Created = self.post("/v1/stores", &body).await?;
        Ok(created.id)
    }

    /// The newest store, if there is one.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn newest_store(&self) -> Result<Option<String>, RestError> {
        let stores: Value = self.ask(Method::GET, "/v1/stores?limit=1", &()).await?;
        Ok(stores["items"][0]["id"].as_str().map(str::to_owned))
    }

    /// Creates a driver who is on duty, since `available_since_ms` if given, and gives the id.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn create_driver(
        &self,
        name: &str,
        vehicle: Vehicle,
        available_since_ms: Option<i64>,
    ) -> Result<String, RestError> {
        let mut body = json!({"name": name, "vehicle": vehicle.code(), "available": true});
        if let Some(since_ms) = available_since_ms {
            body["available_since_ms"] = since_ms.into();
        }
        let created: Created = self.post("/v1/drivers", &body).await?;
        Ok(created.id)
    }

    /// Ends a driver's duty.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn end_duty(&self, driver: &str) -> Result<(), RestError> {
        let path = format!("/v1/drivers/{driver}");
        let body = json!({"available": false});
        let _: Value = self.ask(Method::PATCH, &path, &body).await?;
        Ok(())
    }

    /// Creates a trip.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn create_trip(&self, trip: &NewTrip) -> Result<Trip, RestError> {
        self.post("/v1/trips", trip).await
    }

    /// Gives a trip to a driver.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn assign(&self, trip: &str, driver: &str) -> Result<(), RestError> {
        let body = json!({"driver": driver});
        let _: Value = self.post(&format!("/v1/trips/{trip}/assign"), &body).await?;
        Ok(())
    }

    /// The order was handed over.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn complete(&self, trip: &str) -> Result<(), RestError> {
        let path = format!("/v1/trips/{trip}/complete");
        let _: Value = self.post(&path, &json!({})).await?;
        Ok(())
    }

    /// The order is called off.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn cancel(&self, trip: &str, reason: &str) -> Result<(), RestError> {
        let path = format!("/v1/trips/{trip}/cancel");
        let _: Value = self.post(&path, &json!({"reason": reason})).await?;
        Ok(())
    }

    /// How many points a trip's track has, of the first 20,000.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn track_points(&self, trip: &str) -> Result<u64, RestError> {
        let path = format!("/v1/trips/{trip}/track?format=geojson&limit=20000");
        let track: Value = self.ask(Method::GET, &path, &()).await?;
        Ok(track["geometry"]["coordinates"].as_array().map_or(0, Vec::len) as u64)
    }

    /// A token of `role` (`driver`, `share`, …) for `sub`, valid for a day.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn token(&self, role: &str, sub: &str) -> Result<String, RestError> {
        let body = json!({"role": role, "sub": sub, "ttl_s": 86_400});
        let token: Token = self.post("/v1/tokens", &body).await?;
        Ok(token.token)
    }

    async fn post<B: Serialize, R: for<'a> Deserialize<'a>>(&self, path: &str, body: &B) -> Result<R, RestError> {
        self.ask(Method::POST, path, body).await
    }

    /// Sends a request, again and again while the server says that this may help.
    async fn ask<B: Serialize, R: for<'a> Deserialize<'a>>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<R, RestError> {
        let mut attempt = 1;
        loop {
            let request = self.client.request(method.clone(), format!("{}{path}", self.base));
            let answer = request.bearer_auth(&self.token).json(body).send().await;
            let unreachable = |source| RestError::Unreachable { method: method.clone(), path: path.to_owned(), source };
            let answer = answer.map_err(unreachable)?;
            let status = answer.status();
            let bytes = answer.bytes().await.map_err(unreachable)?;
            if status.is_success() {
                // 204 and an empty body read as null.
                let bytes = if bytes.is_empty() { &b"null"[..] } else { &bytes };
                match serde_json::from_slice(bytes) {
                    Ok(record) => return Ok(record),
                    Err(error) => return Err(refused(&method, path, status, &error.to_string())),
                }
            }
            let error: Option<ErrorBody> = serde_json::from_slice(&bytes).ok();
            let pause = error.filter(|error| error.retry).map(|error| {
                let told = error.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
                told.unwrap_or(PAUSE)
            });
            match pause {
                Some(pause) if attempt < ATTEMPTS => tokio::time::sleep(pause).await,
                _ => {
                    let text = String::from_utf8_lossy(&bytes);
                    return Err(refused(&method, path, status, &text));
                }
            }
            attempt += 1;
        }
    }
}

fn refused(method: &Method, path: &str, status: StatusCode, body: &str) -> RestError {
    RestError::Refused { method: method.clone(), path: path.to_owned(), status, body: body.chars().take(300).collect() }
}
