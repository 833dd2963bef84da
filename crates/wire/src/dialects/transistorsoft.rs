//! Records of Transistor Software's background-geolocation, and of templates and relatives of it in the wild.
//!
//! -1 means unknown throughout. `timestamp` is ISO 8601, or milliseconds if so configured; older relatives have a flat
//! `{latitude, longitude, time}`. Neither `recorded_at` nor `age` is used: the first is not the time of the fix, the second has had two units.

use serde_json::Value;
use wayfare_engine::OutageReason;

use super::values::{self, Object};
use super::{AppFix, Outage, Phone, Reading, Rule, What};
use crate::messages::drive::Fix;

/// Reads a record that was sent as this text.
pub fn read<'a>(raw: &'a [u8], reading: &mut Reading<'a>) {
    match serde_json::from_slice::<Value>(raw) {
        Ok(Value::Object(record)) => self::record(raw, &record, reading),
        // A template may make a record anything, even an array without names: nothing tells which number is which.
        Ok(other) => reading.fault(raw, Rule::Shape, format!("a record is {other:.60}")),
        Err(error) => reading.fault(raw, Rule::Shape, error.to_string()),
    }
}

/// Reads a record.
pub fn record<'a>(raw: &'a [u8], record: &Object, reading: &mut Reading<'a>) {
    if values::flag(record, "sample") == Some(true) {
        return reading.add(raw, What::Ignored);
    }
    hear(record, reading);
    let event = event(record);
    if event == Some("providerchange") {
        hear_provider(record, reading);
    }
    // The library's last word when the system, or the driver, ends the app.
    if event == Some("terminate") {
        let at_ms = record.get("timestamp").and_then(values::time_ms);
        reading.outages.push(Outage { cause: OutageReason::AppGone, at_ms });
    }
    // The position that comes with a heartbeat is the last known one, and was sent before.
    if event == Some("heartbeat") || values::flag(record, "is_heartbeat") == Some(true) {
        return reading.add(raw, What::Alive);
    }
    let coords = record.get("coords").and_then(Value::as_object);
    let is_dummy = coords.is_none_or(|coords| {
        let zero = |name| values::member(coords, name).is_none_or(|degrees| degrees == 0.0);
        zero("latitude") && zero("longitude")
    });
    // Events that are not about a position carry none, or a dummy at (0, 0).
    if is_dummy && matches!(event, Some("providerchange" | "boot" | "terminate" | "authorization")) {
        return reading.add(raw, What::Alive);
    }
    let flat = coords.unwrap_or(record);
    let place = values::position(flat, "latitude", "longitude");
    let time = if record.contains_key("timestamp") { "timestamp" } else { "time" };
    let what = match place.and_then(|place| Ok((place, values::taken(record, time)?))) {
        Ok(((lat, lon), t_ms)) => {
            let fix = Fix {
                lat,
                lon,
                t_ms: Some(t_ms),
                accuracy_m: values::positive(values::member(flat, "accuracy")),
                speed_mps: values::not_negative(values::member(flat, "speed")),
                heading_deg: values::not_negative(
                    values::member(flat, "heading").or_else(|| values::member(flat, "bearing")),
                ),
                altitude_m: values::member(flat, "altitude").map(|altitude| altitude as f32),
                mock: values::flag(record, "mock").unwrap_or(false),
            };
            What::Fix(AppFix { fix, id: values::word(record, "uuid").map(str::to_owned), ahead: false })
        }
        Err(fault) => What::Fault(fault),
    };
    reading.add(raw, what);
}

/// Takes over what the record says of the phone.
pub fn hear(record: &Object, reading: &mut Reading<'_>) {
    let part = |name: &str| record.get(name).and_then(Value::as_object);
    let (battery, activity) = (part("battery"), part("activity"));
    reading.phone.hear(Phone {
        at_ms: record.get("timestamp").and_then(values::time_ms),
        battery: battery.and_then(|battery| values::battery(values::member(battery, "level"))),
        charging: battery.and_then(|battery| values::flag(battery, "is_charging")),
        moving: values::flag(record, "is_moving"),
        activity: activity.and_then(|activity| values::word(activity, "type")).map(str::to_owned),
        arrives_ms: None,
    });
}

/// `event` is a word, or an object with a name.
fn event(record: &Object) -> Option<&str> {
    match record.get("event")? {
        Value::Object(event) => values::word(event, "name"),
        _ => values::word(record, "event"),
    }
}

/// Authorization status of iOS, which the library uses on Android too.
const DENIED: [f64; 2] = [1.0, 2.0];

fn hear_provider(record: &Object, reading: &mut Reading<'_>) {
    let Some(provider) = record.get("provider").and_then(Value::as_object) else { return };
    let at_ms = record.get("timestamp").and_then(values::time_ms);
    let cause = if values::flag(provider, "airplane") == Some(true) {
        OutageReason::Airplane
    } else if values::member(provider, "status").is_some_and(|status| DENIED.contains(&status)) {
        OutageReason::Permission
    } else if values::flag(provider, "enabled") == Some(false) {
        OutageReason::LocationOff
    } else {
        return;
    };
    reading.outages.push(Outage { cause, at_ms });
}
