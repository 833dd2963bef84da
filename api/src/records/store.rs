//! A store: where orders are picked up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_net::reply::Refusal;

use super::table::Record;
use crate::input::{check_position, check_text};

/// A store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Store {
    /// `sto_…`
    #[schema(value_type = String)]
    pub id: wayfare_wire::ids::Store,
    /// Shown to couriers and customers.
    pub name: String,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// When it was created, Unix milliseconds.
    pub created_ms: i64,
    /// Grows with each change.
    pub version: u64,
    /// Revoked then: none of its tokens opens anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<i64>,
}

/// A store to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStore {
    /// 1 to 200 characters.
    pub name: String,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
}

/// What may be changed of a store.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreChange {
    /// 1 to 200 characters.
    pub name: Option<String>,
    /// Degrees; together with `lon`.
    pub lat: Option<f64>,
    /// Degrees; together with `lat`.
    pub lon: Option<f64>,
}

impl Store {
    /// Checks names and places.
    pub fn check(&self) -> Result<(), Refusal> {
        check_text("name", &self.name)?;
        check_position("lat", self.lat, self.lon)
    }

    /// Applies a change; the version grows.
    pub fn change(&mut self, change: StoreChange) -> Result<(), Refusal> {
        self.name = change.name.unwrap_or(std::mem::take(&mut self.name));
        self.lat = change.lat.unwrap_or(self.lat);
        self.lon = change.lon.unwrap_or(self.lon);
        self.version += 1;
        self.check()
    }
}

impl Record for Store {
    const BY_ID: &'static str = "SELECT doc FROM store WHERE id = $1";
    const INSERT: &'static str = "INSERT INTO store (id, created_ms, version, doc) VALUES ($1, $2, $3, $4)";
    const UPDATE: &'static str = "UPDATE store SET version = $2, doc = $3 WHERE id = $1 AND version = $4";
    const PAGE: &'static str =
        "SELECT doc FROM store WHERE (created_ms, id) > ($1, $2) ORDER BY created_ms, id LIMIT $3";

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn version(&self) -> u64 {
        self.version
    }
    fn created_ms(&self) -> i64 {
        self.created_ms
    }
}
