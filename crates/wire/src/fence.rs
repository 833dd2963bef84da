//! An operator's fence as the API takes it and as it travels to ingest: GeoJSON for polygons, centre and radius for circles.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wayfare_engine::{FenceKind, Geofence, GeofenceId, GeofenceRules, Millis, Position};

/// A fence without its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FenceDoc {
    /// For people.
    pub name: String,
    /// Polygons; or `circle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geometry: Option<Geometry>,
    /// A circle; or `geometry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<Circle>,
    /// See [`GeofenceRules::dwell_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dwell_ms: Option<i64>,
    /// Which events are told; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    /// When the fence was made or last replaced, Unix milliseconds.
    pub changed_ms: i64,
}

/// GeoJSON (RFC 7946) of the two types that enclose something. Other members are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "coordinates")]
pub enum Geometry {
    /// A border and holes in it.
    Polygon(Vec<Vec<Coordinate>>),
    /// Several of them.
    MultiPolygon(Vec<Vec<Vec<Coordinate>>>),
}

/// A GeoJSON position: `[longitude, latitude]` in degrees; an altitude behind them is ignored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinate {
    /// Degrees.
    pub lon: f64,
    /// Degrees.
    pub lat: f64,
}

/// A circle on the ground.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circle {
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Metres, 5 to 100,000.
    pub radius_m: f64,
}

/// What is wrong with a fence, and with which member of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidFence {
    /// The member.
    pub field: &'static str,
    /// The value seen and what is allowed.
    pub message: String,
}

fn invalid(field: &'static str, message: impl ToString) -> InvalidFence {
    InvalidFence { field, message: message.to_string() }
}

impl FenceDoc {
    /// The engine's form.
    ///
    /// # Errors
    /// [`InvalidFence`]: the first member that is wrong.
    pub fn fence(&self, id: GeofenceId) -> Result<Geofence, InvalidFence> {
        let (changed, rules) = (Millis(self.changed_ms), self.rules()?);
        match (&self.geometry, &self.circle) {
            (Some(geometry), None) => {
                let polygons = geometry.polygons()?;
                Geofence::polygons(id, changed, rules, &polygons).map_err(|error| invalid("geometry", error))
            }
            (None, Some(circle)) => {
                let centre = Position::new(circle.lat, circle.lon).map_err(|error| invalid("circle", error))?;
                Geofence::circle(id, changed, rules, centre, circle.radius_m).map_err(|error| invalid("circle", error))
            }
            _ => Err(invalid("geometry", "a fence has either a `geometry` or a `circle`")),
        }
    }

    fn rules(&self) -> Result<GeofenceRules, InvalidFence> {
        let mut rules = GeofenceRules::default();
        if let Some(dwell_ms) = self.dwell_ms {
            if !Geofence::DWELL_MS.contains(&dwell_ms) {
                let (least, most) = (Geofence::DWELL_MS.start(), Geofence::DWELL_MS.end());
                return Err(invalid("dwell_ms", format!("{dwell_ms} is not {least} to {most}")));
            }
            rules.dwell_ms = Some(dwell_ms);
        }
        if let Some(events) = &self.events {
            let kind = |code: &String| {
                let unknown = || invalid("events", format!("{code:.20?} is not enter, inside, dwell or exit"));
                FenceKind::from_code(code).ok_or_else(unknown)
            };
            rules.kinds = events.iter().map(kind).collect::<Result<_, _>>()?;
        }
        Ok(rules)
    }
}

impl Geometry {
    /// Corners of all rings, closing ones not counted.
    pub fn corners(&self) -> usize {
        let of = |rings: &Vec<Vec<Coordinate>>| rings.iter().map(|ring| ring.len().saturating_sub(1)).sum::<usize>();
        match self {
            Self::Polygon(rings) => of(rings),
            Self::MultiPolygon(polygons) => polygons.iter().map(of).sum(),
        }
    }

    fn polygons(&self) -> Result<Vec<Vec<Vec<Position>>>, InvalidFence> {
        let polygons = match self {
            Self::Polygon(rings) => std::slice::from_ref(rings),
            Self::MultiPolygon(polygons) => polygons,
        };
        let position = |corner: &Coordinate| Position::new(corner.lat, corner.lon);
        let ring = |(at, corners): (usize, &Vec<Coordinate>)| {
            let read: Result<Vec<Position>, _> = corners.iter().map(position).collect();
            read.map_err(|error| invalid("geometry", format!("ring {}: {error}", at + 1)))
        };
        polygons.iter().map(|rings| rings.iter().enumerate().map(ring).collect()).collect()
    }
}

impl Serialize for Coordinate {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        (self.lon, self.lat).serialize(out)
    }
}

impl<'de> Deserialize<'de> for Coordinate {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_seq(CoordinateVisitor)
    }
}

struct CoordinateVisitor;

impl<'de> Visitor<'de> for CoordinateVisitor {
    type Value = Coordinate;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a position [longitude, latitude]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Coordinate, A::Error> {
        let short = |length| serde::de::Error::invalid_length(length, &self);
        let lon = seq.next_element()?.ok_or_else(|| short(0))?;
        let lat = seq.next_element()?.ok_or_else(|| short(1))?;
        // Altitude, and whatever else a tool has put there.
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Coordinate { lon, lat })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: GeofenceId = GeofenceId(1);

    fn read(text: &str) -> Result<Geofence, String> {
        let doc: FenceDoc = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let written = serde_json::to_string(&doc).unwrap();
        assert_eq!(serde_json::from_str::<FenceDoc>(&written).unwrap(), doc);
        doc.fence(ID).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(members: &str, refusal: &str) {
        let refused = read(&format!(r#"{{"name":"x","changed_ms":1,{members}}}"#)).unwrap_err();
        assert!(refused.starts_with(refusal), "{refused}");
    }

    #[test]
    fn polygons_and_circles_are_read() {
        let square = r#"{"name":"x","changed_ms":1,"dwell_ms":60000,"events":["enter","exit"],"geometry":
            {"type":"Polygon","bbox":[0,0,1,1],"coordinates":[[[0,0],[1,0,12.5],[1,1],[0,1],[0,0]]]}}"#;
        let fence = read(square).unwrap();
        assert!(fence.contains(Position::new(0.5, 0.5).unwrap()));
        assert!(!fence.rules().kinds.contains(FenceKind::Dwell) && fence.rules().kinds.contains(FenceKind::Exit));
        assert!(read(r#"{"name":"x","changed_ms":1,"circle":{"lat":90,"lon":0,"radius_m":50}}"#).is_ok());
        let parts = r#"{"name":"x","changed_ms":1,"geometry":{"type":"MultiPolygon","coordinates":
            [[[[0,0],[1,0],[1,1],[0,0]]],[[[2,2],[3,2],[3,3],[2,2]]]]}}"#;
        assert!(read(parts).unwrap().contains(Position::new(2.1, 2.5).unwrap()));
    }

    #[test]
    fn what_is_no_fence_says_why() {
        check(r#""dwell_ms":5,"circle":{"lat":0,"lon":0,"radius_m":50}"#, "dwell_ms: 5 is not 1000 to 604800000");
        check(r#""circle":{"lat":0,"lon":0,"radius_m":4}"#, "circle: radius_m is 4, it must be 5 to 100000");
        check(r#""circle":{"lat":95,"lon":0,"radius_m":9}"#, "circle: latitude 95 is outside -90..=90 degrees");
        check(r#""events":["leave"],"circle":{"lat":0,"lon":0,"radius_m":9}"#, "events: \"leave\" is not enter,");
        check(r#""dwell_ms":60000"#, "geometry: a fence has either a `geometry` or a `circle`");
        check(r#""geometry":{"type":"Point","coordinates":[0,0]}"#, "unknown variant `Point`");
        check(r#""geometry":{"type":"Polygon","coordinates":[[[0]]]}"#, "invalid length 1, expected a position");
        check(r#""geometry":{"type":"Polygon","coordinates":[]}"#, "geometry: the fence has no ring of corners");
        let bow = r#""geometry":{"type":"Polygon","coordinates":[[[0,0],[1,1],[1,0],[0,1],[0,0]]]}"#;
        check(bow, "geometry: polygon 1 crosses itself: the edge from corner 1");
        let far = r#""geometry":{"type":"Polygon","coordinates":[[[0,0],[200,1],[1,0],[0,0]]]}"#;
        check(far, "geometry: ring 1: longitude 200 is outside -180..=180 degrees");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,80}", rings in prop::collection::vec(prop::collection::vec((-200.0..200.0_f64, -100.0..100.0_f64), 0..7), 0..4)) {
            let _ = read(&text);
            let coordinates = serde_json::to_string(&rings).unwrap();
            let _ = read(&format!(r#"{{"name":"x","changed_ms":1,"geometry":{{"type":"Polygon","coordinates":{coordinates}}}}}"#));
        }
    }
}
