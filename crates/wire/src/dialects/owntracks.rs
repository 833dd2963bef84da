//! OwnTracks over HTTP: an object with `_type`.
//!
//! Speeds are in km/h. Accuracy, altitude and speed are left out by some phones when they are zero and always sent as zero by others, so zero is unknown.
//! A `ping` carries the present time and the last known place: it says that the phone lives, not where it is.

use serde_json::Value;
use wayfare_engine::OutageReason;

use super::values::{self, Object};
use super::{AppFix, Outage, Phone, Reading, Rule, What};
use crate::messages::drive::Fix;

/// Reads one message.
pub fn read<'a>(raw: &'a [u8], message: &Object, reading: &mut Reading<'a>) {
    let at_ms = message.get("tst").and_then(values::time_ms);
    match message.get("_type").and_then(Value::as_str).unwrap_or_default() {
        "location" => location(raw, message, reading),
        // The phone has crossed a border of its own; where it then was is a position like others.
        "transition" => position(raw, message, reading),
        "lwt" => {
            reading.outages.push(Outage { cause: OutageReason::AppGone, at_ms });
            reading.add(raw, What::Alive);
        }
        "encrypted" => reading.fault(raw, Rule::Encrypted, "the payload is encrypted on the phone"),
        _ => reading.add(raw, What::Ignored),
    }
}

fn location<'a>(raw: &'a [u8], message: &Object, reading: &mut Reading<'a>) {
    reading.phone.hear(Phone {
        at_ms: message.get("tst").and_then(values::time_ms),
        battery: values::battery_percent(values::member(message, "batt")),
        charging: match values::member(message, "bs") {
            Some(1.0) => Some(false),
            Some(2.0 | 3.0) => Some(true),
            _ => None,
        },
        moving: None,
        activity: message
            .get("motionactivities")
            .and_then(|list| list.get(0))
            .and_then(Value::as_str)
            .map(|word| word.chars().take(32).collect()),
        arrives_ms: None,
    });
    if message.get("t").and_then(Value::as_str) == Some("p") {
        return reading.add(raw, What::Alive);
    }
    position(raw, message, reading);
}

fn position<'a>(raw: &'a [u8], message: &Object, reading: &mut Reading<'a>) {
    let place = values::position(message, "lat", "lon");
    let what = match place.and_then(|place| Ok((place, values::taken(message, "tst")?))) {
        Ok(((lat, lon), t_ms)) => {
            let speed_kmh = values::member(message, "vel").filter(|kmh| *kmh > 0.0);
            let fix = Fix {
                lat,
                lon,
                t_ms: Some(t_ms),
                accuracy_m: values::positive(values::member(message, "acc")),
                speed_mps: speed_kmh.map(|kmh| (kmh / 3.6) as f32),
                heading_deg: values::not_negative(values::member(message, "cog")),
                altitude_m: values::member(message, "alt").filter(|alt| *alt != 0.0).map(|alt| alt as f32),
                mock: false,
            };
            What::Fix(AppFix { fix, id: values::word(message, "_id").map(str::to_owned), ahead: false })
        }
        Err(fault) => What::Fault(fault),
    };
    reading.add(raw, what);
}
