//! A driver.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_engine::Vehicle;
use wayfare_net::reply::Refusal;

use super::table::Record;
use crate::input::{check_text, invalid};

/// Largest capacity of a driver.
const CAPACITY_MAX: u16 = 10_000;

/// A driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Driver {
    /// `drv_…`
    #[schema(value_type = String)]
    pub id: wayfare_wire::ids::Driver,
    /// Shown to customers.
    pub name: String,
    /// `foot`, `bicycle`, `motorbike`, `car` or `van`.
    pub vehicle: String,
    /// How much fits in, in the operator's own units (parcels, crates), 1 to 10000; absent if nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u16>,
    /// On shift: positions are taken although no trip is live.
    pub available: bool,
    /// On shift since then, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_since_ms: Option<i64>,
    /// Version of the plan made from this record and its trips.
    pub plan_version: u64,
    /// When the record was created, Unix milliseconds.
    pub created_ms: i64,
    /// Grows with each change.
    pub version: u64,
    /// Revoked then: none of its tokens opens anything, and no trip can be given to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<i64>,
}

/// A driver to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDriver {
    /// 1 to 200 characters.
    pub name: String,
    /// `foot`, `bicycle`, `motorbike`, `car` or `van`.
    pub vehicle: String,
    /// How much fits in, in the operator's own units, 1 to 10000.
    pub capacity: Option<u16>,
    /// On shift from the start.
    #[serde(default)]
    pub available: bool,
    /// On shift since an earlier moment, Unix milliseconds: positions taken since then are welcome.
    pub available_since_ms: Option<i64>,
}

/// What may be changed of a driver.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DriverChange {
    /// 1 to 200 characters.
    pub name: Option<String>,
    /// `foot`, `bicycle`, `motorbike`, `car` or `van`.
    pub vehicle: Option<String>,
    /// How much fits in, in the operator's own units, 1 to 10000; 0: unknown again.
    pub capacity: Option<u16>,
    /// On or off shift.
    pub available: Option<bool>,
}

impl Driver {
    /// Checks name, vehicle and capacity.
    pub fn check(&self) -> Result<(), Refusal> {
        check_text("name", &self.name)?;
        if Vehicle::from_code(&self.vehicle).is_none() {
            let known = "foot, bicycle, motorbike, car, van";
            return Err(invalid("vehicle", format!("{:?} is none of {known}", self.vehicle)));
        }
        if let Some(capacity) = self.capacity
            && !(1..=CAPACITY_MAX).contains(&capacity)
        {
            return Err(invalid("capacity", format!("{capacity} is not 1 to {CAPACITY_MAX}")));
        }
        Ok(())
    }

    /// Applies a change; the version grows.
    pub fn change(&mut self, change: DriverChange, now_ms: i64) -> Result<(), Refusal> {
        self.name = change.name.unwrap_or(std::mem::take(&mut self.name));
        self.vehicle = change.vehicle.unwrap_or(std::mem::take(&mut self.vehicle));
        self.capacity = match change.capacity {
            Some(0) => None,
            Some(capacity) => Some(capacity),
            None => self.capacity,
        };
        match change.available {
            Some(true) if !self.available => self.available_since_ms = Some(now_ms),
            Some(false) => self.available_since_ms = None,
            _ => {}
        }
        self.available = change.available.unwrap_or(self.available);
        self.version += 1;
        self.check()
    }
}

impl Record for Driver {
    const BY_ID: &'static str = "SELECT doc FROM driver WHERE id = $1";
    const INSERT: &'static str = "INSERT INTO driver (id, created_ms, version, doc) VALUES ($1, $2, $3, $4)";
    const UPDATE: &'static str = "UPDATE driver SET version = $2, doc = $3 WHERE id = $1 AND version = $4";
    const PAGE: &'static str =
        "SELECT doc FROM driver WHERE (created_ms, id) > ($1, $2) ORDER BY created_ms, id LIMIT $3";

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
