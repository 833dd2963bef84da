//! Traccar's JSON: one object with `device_id` and `location` (Traccar Client 9), or flat objects with the names of its queries (Client 10).
//!
//! The nested form is written by the same library as [`super::transistorsoft`], so its location is read there; what differs is the
//! recognition and the answer. Upstream leaves out accuracies under 10 m and sends 0 for them, which is unknown here too.

use super::query::{self, Parameters};
use super::values::Object;
use super::{Reading, Rule, What, transistorsoft};

/// Reads the object of Traccar Client 9.
pub fn read<'a>(raw: &'a [u8], root: &Object, reading: &mut Reading<'a>) {
    match root.get("location").and_then(serde_json::Value::as_object) {
        // Without coordinates it is a heartbeat.
        Some(location) if !location.contains_key("coords") => {
            transistorsoft::hear(location, reading);
            reading.add(raw, What::Alive);
        }
        Some(location) => transistorsoft::record(raw, location, reading),
        None => reading.fault(raw, Rule::Shape, "location is no object"),
    }
}

/// Reads a flat object; without a position it is a heartbeat.
pub fn read_flat<'a>(raw: &'a [u8], flat: &Object, reading: &mut Reading<'a>) {
    query::read(raw, &Parameters::of(flat), reading);
}
