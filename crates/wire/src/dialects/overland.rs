//! Overland: GeoJSON features, longitude first; -1 means unknown.
//!
//! When its queue is long, the newest position comes ahead of it as `current`, and again in its turn.

use serde_json::Value;

use super::values::{self, Object};
use super::{AppFix, Fault, Phone, Reading, Rule, What};
use crate::messages::drive::Fix;

/// Reads a feature that was sent as this text.
pub fn read<'a>(raw: &'a [u8], ahead: bool, reading: &mut Reading<'a>) {
    match serde_json::from_slice::<Value>(raw) {
        Ok(Value::Object(feature)) => self::feature(raw, &feature, ahead, reading),
        Ok(other) => reading.fault(raw, Rule::Shape, format!("a feature is {other:.60}")),
        Err(error) => reading.fault(raw, Rule::Shape, error.to_string()),
    }
}

fn feature<'a>(raw: &'a [u8], feature: &Object, ahead: bool, reading: &mut Reading<'a>) {
    let Some(properties) = feature.get("properties").and_then(Value::as_object) else {
        return reading.fault(raw, Rule::Shape, "a feature without properties");
    };
    // Visits and notes about the app itself come among the positions when its statistics are on.
    if properties.contains_key("action") {
        return reading.add(raw, What::Ignored);
    }
    let state = values::word(properties, "battery_state");
    let motion = properties.get("motion").and_then(|motion| motion.get(0)).and_then(Value::as_str);
    reading.phone.hear(Phone {
        at_ms: properties.get("timestamp").and_then(values::time_ms),
        battery: values::battery(values::member(properties, "battery_level")),
        charging: match state {
            Some("charging" | "full") => Some(true),
            Some("unplugged") => Some(false),
            _ => None,
        },
        moving: motion.map(|motion| motion != "stationary"),
        activity: motion.map(|motion| motion.chars().take(32).collect()),
        arrives_ms: None,
    });
    let what = match place(feature).and_then(|place| Ok((place, values::taken(properties, "timestamp")?))) {
        Ok(((lat, lon), t_ms)) => {
            let fix = Fix {
                lat,
                lon,
                t_ms: Some(t_ms),
                accuracy_m: values::positive(values::member(properties, "horizontal_accuracy")),
                speed_mps: values::not_negative(values::member(properties, "speed")),
                heading_deg: values::not_negative(values::member(properties, "course")),
                altitude_m: values::member(properties, "altitude").map(|altitude| altitude as f32),
                mock: false,
            };
            What::Fix(AppFix { fix, id: None, ahead })
        }
        Err(fault) => What::Fault(fault),
    };
    reading.add(raw, what);
}

/// Latitude and longitude of a point.
fn place(feature: &Object) -> Result<(f64, f64), Fault> {
    let geometry = feature.get("geometry").unwrap_or(&Value::Null);
    let coordinate = |place: usize| geometry.get("coordinates")?.get(place).and_then(values::number);
    match (geometry.get("type").and_then(Value::as_str), coordinate(1), coordinate(0)) {
        (Some("Point"), Some(lat), Some(lon)) => Ok((lat, lon)),
        _ => Err(Fault::new(Rule::Position, format!("geometry is {geometry:.60}"))),
    }
}
