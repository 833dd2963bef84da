//! Records to topics: what each view shows. The writer projects; fan-out never filters fields.

use wayfare_bus::Fields;
use wayfare_wire::state::{field, write_i64, write_micro_degrees, write_string, write_u64};

use crate::outbox::Cause;
use crate::records::trip::Place;
use crate::records::{Driver, Trip};

/// Whose view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// `trip:{id}`.
    Customer,
    /// `trip:{id}:ops`.
    Operator,
}

/// Fields that the record owns. Phases and positions that a tracker finds are its own to tell: here they are told only when the
/// record decides them.
pub fn trip(trip: &Trip, driver: Option<&Driver>, cause: Cause, view: View) -> Fields {
    let mut fields = Fields::new();
    if !matches!(cause, Cause::Phase | Cause::Manual | Cause::Access) {
        fields.set(field::PICKUP, |out| place(out, &trip.pickup));
        fields.set(field::DROPOFF, |out| place(out, &trip.dropoff));
        optional(&mut fields, field::READY_AT_MS, trip.ready_at_ms, write_i64);
        optional(&mut fields, field::REFERENCE, trip.reference.as_deref(), write_string);
        optional(&mut fields, field::DRIVER, driver, |out, driver| write_driver(out, driver, view));
    }
    if matches!(cause, Cause::Created | Cause::Assigned) {
        phase(&mut fields, trip);
        fields.set_null(field::POSITION).set_null(field::ROUTE).set_null(field::ETA).set_null(field::STOPS_LEFT);
        fields.set_null(field::SILENT_SINCE_MS).set_null(field::SILENT_REASON);
        if view == View::Operator {
            fields.set_null(field::OUTAGE).set_null(field::PHONE);
        }
    }
    if cause == Cause::Manual {
        phase(&mut fields, trip);
    }
    if view == View::Operator {
        optional(&mut fields, field::OFFER, trip.offer.as_ref(), write_json);
        if !trip.manual.is_empty() {
            optional(&mut fields, field::MANUAL, trip.said(), write_json);
        }
        fields.set(field::CUSTOMER, |out| write_string(out, &trip.customer));
        optional(&mut fields, field::STORE, trip.store, |out, store| write_string(out, &store.to_string()));
        fields.set(field::VERSION, |out| write_u64(out, trip.version));
    }
    fields
}

/// The whole final state: no position, no estimate, nobody's whereabouts.
pub fn ended(trip: &Trip, view: View) -> Fields {
    let mut fields = Fields::new();
    phase(&mut fields, trip);
    optional(&mut fields, field::REFERENCE, trip.reference.as_deref(), write_string);
    if view == View::Operator {
        fields.set(field::CUSTOMER, |out| write_string(out, &trip.customer));
        optional(&mut fields, field::STORE, trip.store, |out, store| write_string(out, &store.to_string()));
        optional(&mut fields, "reason", trip.reason.as_deref(), write_string);
        fields.set(field::VERSION, |out| write_u64(out, trip.version));
    }
    fields
}

/// Who may watch, for fan-out.
pub fn access(trip: &Trip) -> Fields {
    let mut fields = Fields::new();
    fields.set(field::CUSTOMER, |out| write_string(out, &trip.customer));
    optional(&mut fields, field::STORE, trip.store, |out, store| write_string(out, &store.to_string()));
    fields.set(field::SHARES, |out| write_json(out, &trip.shares));
    fields
}

/// `driver:{id}`.
pub fn driver(driver: &Driver, trips: &[wayfare_wire::plan::TripDoc]) -> Fields {
    let mut fields = Fields::new();
    fields.set(field::DRIVER, |out| write_driver(out, driver, View::Operator));
    fields.set_json(field::AVAILABLE, if driver.available { "true" } else { "false" });
    fields.set(field::TRIPS, |out| write_json(out, &trips.iter().map(|trip| trip.id).collect::<Vec<_>>()));
    fields
}

/// An event of `store:{id}`.
pub fn store_event(trip: &Trip) -> (String, Vec<u8>) {
    let id = format!("{}/{}", trip.id, trip.version);
    let event = serde_json::json!({
        "id": id, "kind": "trip", "trip": trip.id, "phase": trip.phase, "at_ms": trip.phase_since_ms,
        "driver": trip.driver, "reference": trip.reference, "version": trip.version,
        "offer": trip.offer, "manual": trip.said(),
    });
    (id, event.to_string().into_bytes())
}

fn phase(fields: &mut Fields, trip: &Trip) {
    fields.set(field::PHASE, |out| write_string(out, &trip.phase));
    fields.set(field::PHASE_SINCE_MS, |out| write_i64(out, trip.phase_since_ms));
}

fn place(out: &mut Vec<u8>, place: &Place) {
    out.extend_from_slice(b"{\"lat\":");
    write_micro_degrees(out, (place.lat * 1e6).round() as i64);
    out.extend_from_slice(b",\"lon\":");
    write_micro_degrees(out, (place.lon * 1e6).round() as i64);
    out.extend_from_slice(b",\"name\":");
    write_string(out, &place.name);
    out.push(b'}');
}

fn write_driver(out: &mut Vec<u8>, driver: &Driver, view: View) {
    out.push(b'{');
    if view == View::Operator {
        out.extend_from_slice(b"\"id\":");
        write_string(out, &driver.id.to_string());
        out.push(b',');
    }
    out.extend_from_slice(b"\"name\":");
    write_string(out, &driver.name);
    out.extend_from_slice(b",\"vehicle\":");
    write_string(out, &driver.vehicle);
    out.push(b'}');
}

fn write_json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    // They have string keys and whole numbers, and a Vec takes every write.
    serde_json::to_writer(out, value).expect("ids and records are JSON");
}

fn optional<T>(fields: &mut Fields, name: &'static str, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => fields.set(name, |out| write(out, value)),
        None => fields.set_null(name),
    };
}
