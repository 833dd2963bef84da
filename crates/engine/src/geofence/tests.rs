//! Fences against slow, obvious versions of themselves; and drivers who walk, drive, park and vanish.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::Effect;
use crate::bytes::{Reader, Writer};
use crate::geo::LocalPlane;

mod drivers;
mod parked;
mod shapes;

fn at(lat_deg: f64, lon_deg: f64) -> Position {
    Position::new(lat_deg, lon_deg).unwrap()
}

fn rules(dwell_ms: Option<i64>) -> GeofenceRules {
    GeofenceRules { dwell_ms, kinds: FenceKinds::ALL }
}

fn circle(id: u128, centre: Position, radius_m: f64) -> Geofence {
    Geofence::circle(GeofenceId(id), Millis(1), rules(None), centre, radius_m).unwrap()
}

/// A ring through these places (latitude, longitude), closed.
fn ring(places: &[(f64, f64)]) -> Vec<Position> {
    places.iter().chain(places.first()).map(|(lat, lon)| at(*lat, *lon)).collect()
}

fn polygons(id: u128, polygons: &[Vec<Vec<Position>>]) -> Result<Geofence, InvalidGeofence> {
    Geofence::polygons(GeofenceId(id), Millis(1), rules(None), polygons)
}

/// A star around a centre: corners by distance in metres, at even angles.
fn star(centre: Position, radii_m: &[f64]) -> Vec<Position> {
    let plane = LocalPlane::at(centre);
    let corner = |(index, radius_m): (usize, &f64)| {
        let (sin, cos) = (index as f64 / radii_m.len() as f64 * std::f64::consts::TAU).sin_cos();
        plane.position(radius_m * sin, radius_m * cos)
    };
    let mut ring: Vec<Position> = radii_m.iter().enumerate().map(corner).collect();
    ring.push(ring[0]);
    ring
}

fn index(fences: impl IntoIterator<Item = Geofence>) -> Geofences {
    Geofences::new(1, fences.into_iter().map(Arc::new))
}
