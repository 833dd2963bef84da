//! Device keys: the keys in the addresses of existing phone apps. Stored by their hash.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_net::reply::Refusal;
use wayfare_wire::device_key::DeviceKeyDoc;
use wayfare_wire::dialects::Dialect;
use wayfare_wire::ids;

use crate::db::{Database, DatabaseError, Write};
use crate::input::{check_text, invalid};

/// Digits of the hash that are shown.
const FINGERPRINT_DIGITS: usize = 12;

/// A device key as its record is shown: without the key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceKey {
    /// `dev_…`, by which it is revoked.
    #[schema(value_type = String)]
    pub id: ids::Device,
    /// Who sends with it.
    #[schema(value_type = String)]
    pub driver: ids::Driver,
    /// The operator's own word for the phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `osmand`, `traccar_client`, `traccar_json`, `owntracks`, `transistorsoft` or `overland`, if it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The first digits of the key's SHA-256, to tell keys apart.
    pub fingerprint: String,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
    /// When something last came with it, Unix milliseconds, to the minute; absent if nothing has since the house started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_ms: Option<i64>,
    /// How the app then spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_app: Option<String>,
    /// Revoked then: its address opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<i64>,
}

/// A device key to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDeviceKey {
    /// The operator's own word for the phone, 1 to 200 characters.
    pub name: Option<String>,
    /// The app that will send: `osmand`, `traccar_client`, `traccar_json`, `owntracks`, `transistorsoft` or `overland`. Only needed where
    /// its requests leave a unit open (OsmAnd with a template of one's own).
    pub app: Option<String>,
}

/// A device key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeDeviceKey {
    /// Its record.
    #[serde(flatten)]
    pub record: DeviceKey,
    /// The key: shown once, stored nowhere.
    pub key: String,
    /// The address to paste into the app: shown once.
    pub url: String,
}

/// A key as a door must know it.
pub struct Known {
    pub hash: String,
    pub doc: DeviceKeyDoc,
}

impl NewDeviceKey {
    /// Checks name and app.
    pub fn check(&self) -> Result<(), Refusal> {
        if let Some(name) = &self.name {
            check_text("name", name)?;
        }
        match &self.app {
            Some(app) if Dialect::from_code(app).is_none() => {
                let known = Dialect::ALL.map(Dialect::code).join(", ");
                Err(invalid("app", format!("{app:.40?} is none of {known}")))
            }
            _ => Ok(()),
        }
    }
}

impl DeviceKey {
    /// The record of a key with this hash.
    pub fn new(id: ids::Device, driver: ids::Driver, new: NewDeviceKey, hash: &str, now_ms: i64) -> Self {
        let fingerprint = hash.get(..FINGERPRINT_DIGITS).unwrap_or(hash).to_owned();
        let NewDeviceKey { name, app } = new;
        Self { id, driver, name, app, fingerprint, created_ms: now_ms, seen_ms: None, seen_app: None, revoked_ms: None }
    }

    /// What a door must know of it.
    pub fn doc(&self) -> DeviceKeyDoc {
        DeviceKeyDoc { device: self.id, driver: self.driver, app: self.app.clone() }
    }
}

pub async fn insert(write: &mut Write, key: &DeviceKey, hash: &str) -> Result<(), DatabaseError> {
    sqlx::query("INSERT INTO device_key (id, driver, hash, created_ms, version, doc) VALUES ($1, $2, $3, $4, 1, $5)")
        .bind(key.id.to_string())
        .bind(key.driver.to_string())
        .bind(hash)
        .bind(key.created_ms)
        .bind(serde_json::to_string(key)?)
        .execute(&mut **write)
        .await?;
    Ok(())
}

/// All of a driver's keys, revoked ones included, the oldest first.
pub async fn of_driver(db: &Database, driver: &str) -> Result<Vec<DeviceKey>, DatabaseError> {
    let docs: Vec<String> = sqlx::query_scalar("SELECT doc FROM device_key WHERE driver = $1 ORDER BY created_ms, id")
        .bind(driver)
        .fetch_all(db.read())
        .await?;
    docs.iter().map(|doc| Ok(serde_json::from_str(doc)?)).collect()
}

/// How many keys of a driver there are: those that open something, and all.
pub async fn count_of(write: &mut Write, driver: &str) -> Result<(i64, i64), DatabaseError> {
    let count = "SELECT COALESCE(SUM(CASE WHEN revoked_ms IS NULL THEN 1 ELSE 0 END), 0), COUNT(*) FROM device_key WHERE driver = $1";
    Ok(sqlx::query_as(count).bind(driver).fetch_one(&mut **write).await?)
}

/// Revokes the keys of a driver that open something: one, or all. Returns the hashes of those that did, with their ids.
pub async fn revoke(
    write: &mut Write,
    driver: &str,
    id: Option<&str>,
    now_ms: i64,
) -> Result<Vec<(String, String)>, DatabaseError> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT id, hash, doc FROM device_key WHERE driver = $1 AND revoked_ms IS NULL")
            .bind(driver)
            .fetch_all(&mut **write)
            .await?;
    let mut revoked = Vec::new();
    for (known, hash, doc) in rows.into_iter().filter(|(known, ..)| id.is_none_or(|id| id == known)) {
        let mut key: DeviceKey = serde_json::from_str(&doc)?;
        key.revoked_ms = Some(now_ms);
        sqlx::query("UPDATE device_key SET version = 2, revoked_ms = $2, doc = $3 WHERE id = $1")
            .bind(&known)
            .bind(now_ms)
            .bind(serde_json::to_string(&key)?)
            .execute(&mut **write)
            .await?;
        revoked.push((known, hash));
    }
    Ok(revoked)
}

/// Whether a driver has such a key, revoked or not.
pub async fn exists(write: &mut Write, driver: &str, id: &str) -> Result<bool, DatabaseError> {
    let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM device_key WHERE driver = $1 AND id = $2")
        .bind(driver)
        .bind(id)
        .fetch_optional(&mut **write)
        .await?;
    Ok(found.is_some())
}

/// A page of keys that open something, by hash, after `after`.
pub async fn live_page(db: &Database, after: &str, limit: i64) -> Result<Vec<Known>, DatabaseError> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT hash, doc FROM device_key WHERE hash > $1 AND revoked_ms IS NULL ORDER BY hash LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    rows.into_iter()
        .map(|(hash, doc)| Ok(Known { hash, doc: serde_json::from_str::<DeviceKey>(&doc)?.doc() }))
        .collect()
}
