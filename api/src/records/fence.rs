//! A fence: a piece of the map that the operator wants to hear about.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use wayfare_engine::Bounds;
use wayfare_net::reply::Refusal;
use wayfare_wire::fence::{Circle, FenceDoc, Geometry};
use wayfare_wire::{ErrorCode, ids};

use super::table::{self, Record};
use crate::db::{Database, DatabaseError, Write};
use crate::input::{check_text, invalid};

/// Most fences of an installation.
const FENCES_MAX: i64 = 100_000;

/// Most corners of all fences together: so many take about 60 MB on each node that judges fixes.
const CORNERS_MAX: i64 = 5_000_000;

/// A fence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Fence {
    /// `fen_…`
    #[schema(value_type = String)]
    pub id: ids::Fence,
    /// The members of [`NewFence`], and `changed_ms`: when it was made or last replaced, Unix milliseconds.
    #[serde(flatten)]
    #[schema(value_type = NewFence)]
    pub doc: FenceDoc,
    /// When it was created, Unix milliseconds.
    pub created_ms: i64,
    /// Grows with each change.
    pub version: u64,
}

/// A fence to be made, or to take the place of another. A GeoJSON Feature is taken too: its `geometry`, and of its `properties` `name`, `dwell_ms`,
/// `events`, and for a Point `radius_m`; or a bare GeoJSON geometry with these members beside it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewFence {
    /// 1 to 200 characters.
    name: String,
    /// GeoJSON Polygon or MultiPolygon, closed rings, at most 2,000 corners in all, none beyond 89 degrees of latitude. It may cross the antimeridian. Or `circle`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    geometry: Option<Value>,
    /// `lat`, `lon`, `radius_m` (5 to 100,000). Or `geometry`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    circle: Option<Value>,
    /// After this time inside `dwell` is told, once per stay: 1,000 to 604,800,000 ms. Absent: never.
    #[serde(default)]
    dwell_ms: Option<i64>,
    /// Which of `enter`, `inside`, `dwell`, `exit` are told. Absent: all.
    #[serde(default)]
    events: Option<Vec<String>>,
}

/// Where a box stands: `west`, `south`, `east`, `north` in degrees, as GeoJSON orders them. `west` may be greater than `east`: it crosses the antimeridian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window(pub [f64; 4]);

impl Fence {
    /// A new fence from what was sent.
    pub fn read(id: ids::Fence, body: Value, now_ms: i64) -> Result<Self, Refusal> {
        let fence = Self { id, doc: read_doc(body, now_ms)?, created_ms: now_ms, version: 1 };
        fence.bounds()?;
        Ok(fence)
    }

    /// Takes the place of the fence.
    pub fn replace(&mut self, body: Value, now_ms: i64) -> Result<(), Refusal> {
        // Trackers notice a new shape by its time.
        self.doc = read_doc(body, now_ms.max(self.doc.changed_ms + 1))?;
        self.version += 1;
        self.bounds().map(drop)
    }

    /// Checks the shape by making it.
    fn bounds(&self) -> Result<Bounds, Refusal> {
        let fence = self.doc.fence(self.id.into());
        fence.map(|fence| fence.bounds()).map_err(|error| invalid(error.field, error.message))
    }

    fn corners(&self) -> i64 {
        self.doc.geometry.as_ref().map_or(0, |geometry| geometry.corners() as i64)
    }

    /// As a GeoJSON Feature; a circle is a Point with `radius_m`.
    pub fn feature(&self) -> Value {
        let doc = &self.doc;
        let mut properties = json!({
            "name": doc.name, "dwell_ms": doc.dwell_ms, "events": doc.events, "version": self.version,
        });
        let geometry = match (&doc.geometry, &doc.circle) {
            (None, Some(circle)) => {
                properties["radius_m"] = json!(circle.radius_m);
                json!({ "type": "Point", "coordinates": [circle.lon, circle.lat] })
            }
            (geometry, _) => json!(geometry),
        };
        json!({ "type": "Feature", "id": self.id, "geometry": geometry, "properties": properties })
    }
}

/// Any of the forms that [`NewFence`] names.
fn read_doc(body: Value, changed_ms: i64) -> Result<FenceDoc, Refusal> {
    let new: NewFence =
        serde_json::from_value(plain(body)?).map_err(|error| Refusal::new(ErrorCode::Invalid, error.to_string()))?;
    check_text("name", &new.name)?;
    let geometry: Option<Geometry> = member("geometry", new.geometry)?;
    let circle: Option<Circle> = member("circle", new.circle)?;
    Ok(FenceDoc { name: new.name, geometry, circle, dwell_ms: new.dwell_ms, events: new.events, changed_ms })
}

/// A Feature or a bare geometry, as the members of a [`NewFence`].
fn plain(mut body: Value) -> Result<Value, Refusal> {
    let kind = body.get("type").and_then(Value::as_str).map(str::to_owned);
    match kind.as_deref() {
        None => Ok(body),
        Some("Feature") => {
            let (geometry, properties) = (body["geometry"].take(), body["properties"].take());
            let mut plain = Map::new();
            for name in ["name", "dwell_ms", "events"] {
                plain.extend(properties.get(name).map(|value| (name.to_owned(), value.clone())));
            }
            if geometry["type"] == "Point" {
                let (lon, lat) = (geometry["coordinates"][0].clone(), geometry["coordinates"][1].clone());
                let circle = json!({ "lat": lat, "lon": lon, "radius_m": properties["radius_m"] });
                plain.insert("circle".into(), circle);
            } else {
                plain.insert("geometry".into(), geometry);
            }
            Ok(plain.into())
        }
        Some("Polygon" | "MultiPolygon") => {
            let coordinates = body["coordinates"].take();
            let Value::Object(mut plain) = body else { return Ok(body) };
            plain.retain(|name, _| !matches!(name.as_str(), "type" | "coordinates" | "bbox"));
            plain.insert("geometry".into(), json!({ "type": kind, "coordinates": coordinates }));
            Ok(plain.into())
        }
        Some(other) => Err(invalid("type", format!("{other:.30?} is not a Feature, a Polygon or a MultiPolygon"))),
    }
}

/// A member of its own form, with its name in the refusal.
fn member<T: serde::de::DeserializeOwned>(name: &str, value: Option<Value>) -> Result<Option<T>, Refusal> {
    let read = value.map(serde_json::from_value).transpose();
    read.map_err(|error| invalid(name, error.to_string()))
}

impl Window {
    /// `west,south,east,north`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || invalid("bbox", "must be west,south,east,north in degrees");
        let numbers: Vec<f64> = text.split(',').map_while(|part| part.trim().parse().ok()).collect();
        let edges: [f64; 4] = numbers.try_into().map_err(|_| wrong())?;
        let [west, south, east, north] = edges;
        let legal = [west, east].iter().all(|lon| lon.abs() <= 180.0) && south >= -90.0 && north <= 90.0;
        if !legal || south > north || text.split(',').count() != 4 {
            return Err(wrong());
        }
        Ok(Self([west, south, if west > east { east + 360.0 } else { east }, north]))
    }
}

impl Record for Fence {
    const BY_ID: &'static str = "SELECT doc FROM fence WHERE id = $1";
    const INSERT: &'static str = "INSERT INTO fence (id, created_ms, version, doc) VALUES ($1, $2, $3, $4)";
    const UPDATE: &'static str = "UPDATE fence SET version = $2, doc = $3 WHERE id = $1 AND version = $4";
    const PAGE: &'static str =
        "SELECT doc FROM fence WHERE (created_ms, id) > ($1, $2) ORDER BY created_ms, id LIMIT $3";

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

/// Stores a new fence, if there is room for it.
pub async fn insert(write: &mut Write, fence: &Fence) -> Result<Result<(), Refusal>, DatabaseError> {
    table::insert(write, fence).await?;
    place(write, fence).await
}

/// Stores a fence whose version is one above the stored one.
pub async fn update(write: &mut Write, fence: &Fence) -> Result<Result<(), Refusal>, DatabaseError> {
    // Nobody else writes inside this transaction, which has read the version: it cannot be lost.
    let _ = table::update(write, fence).await?;
    place(write, fence).await
}

/// Writes the columns that fences are found and counted by; refuses when there are too many now.
async fn place(write: &mut Write, fence: &Fence) -> Result<Result<(), Refusal>, DatabaseError> {
    let bounds = match fence.bounds() {
        Ok(bounds) => bounds,
        Err(refusal) => return Ok(Err(refusal)),
    };
    sqlx::query("UPDATE fence SET corners = $2, south = $3, west = $4, north = $5, east = $6 WHERE id = $1")
        .bind(fence.id())
        .bind(fence.corners())
        .bind(bounds.south)
        .bind(bounds.west)
        .bind(bounds.north)
        .bind(bounds.east)
        .execute(&mut **write)
        .await?;
    let (count, corners): (i64, i64) =
        sqlx::query_as("SELECT COUNT(*), CAST(COALESCE(SUM(corners), 0) AS BIGINT) FROM fence")
            .fetch_one(&mut **write)
            .await?;
    let refuse = |text: String| Ok(Err(Refusal::new(ErrorCode::TooMany, text)));
    if count > FENCES_MAX {
        return refuse(format!("this would be fence number {count}, the limit is {FENCES_MAX}"));
    }
    if corners > CORNERS_MAX {
        return refuse(format!("all fences together would have {corners} corners, the limit is {CORNERS_MAX}"));
    }
    Ok(Ok(()))
}

/// Removes a fence.
pub async fn delete(write: &mut Write, id: &str) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM fence WHERE id = $1").bind(id).execute(&mut **write).await?;
    Ok(())
}

/// A page of the fences whose box touches the window.
pub async fn page_in(
    db: &Database,
    window: Window,
    after: (i64, &str),
    limit: i64,
) -> Result<Vec<Fence>, DatabaseError> {
    let Window([west, south, east, north]) = window;
    let docs: Vec<String> = sqlx::query_scalar(
        "SELECT doc FROM fence WHERE (created_ms, id) > ($1, $2) AND south <= $4 AND north >= $5
         AND ((west <= $6 AND east >= $7) OR (west + 360 <= $6 AND east + 360 >= $7) OR (west - 360 <= $6 AND east - 360 >= $7))
         ORDER BY created_ms, id LIMIT $3",
    )
    .bind(after.0)
    .bind(after.1)
    .bind(limit)
    .bind(north)
    .bind(south)
    .bind(east)
    .bind(west)
    .fetch_all(db.read())
    .await?;
    docs.iter().map(|doc| Ok(serde_json::from_str(doc)?)).collect()
}
