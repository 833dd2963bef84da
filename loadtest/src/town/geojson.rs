//! The town as a map reads it.

use std::collections::HashSet;

use serde_json::{Value, json};

use wayfare_engine::Position;
use wayfare_engine::roads::{RoadClass, StreetId};

use super::{ATTRIBUTION, AreaKind, Flat, MapOfTown, Street, StreetKind, Town};

/// A `FeatureCollection`: areas first, so that they are drawn below the streets. Coordinates have six decimals (0.1 m).
pub(super) fn write(town: &Town) -> String {
    let areas = town.areas.iter().map(|area| {
        let mut ring: Vec<Value> = area.ring.iter().map(|at| coordinates(town, *at)).collect();
        ring.extend(ring.first().cloned());
        let kind = match area.kind {
            AreaKind::Water => "water",
            AreaKind::Block => "block",
            AreaKind::Park => "park",
        };
        json!({"type": "Feature", "properties": {"kind": kind},
            "geometry": {"type": "Polygon", "coordinates": [ring]}})
    });
    let streets = runs(&town.streets).into_iter().map(|run| {
        let points = run.junctions.iter().map(|at| town.junctions[*at]);
        let line: Vec<Value> = points.map(|at| coordinates(town, at)).collect();
        let kind = match run.first.kind {
            StreetKind::Street => "street",
            StreetKind::Main => "main",
            StreetKind::Bridge => "bridge",
        };
        json!({"type": "Feature", "properties": {"kind": kind, "name": run.first.name},
            "geometry": {"type": "LineString", "coordinates": line}})
    });
    let features: Vec<Value> = areas.chain(streets).collect();
    json!({"type": "FeatureCollection", "attribution": ATTRIBUTION, "name": town.name, "features": features})
        .to_string()
}

/// A real town in the same form: outlines first, then every road once, paths below side streets below main roads.
pub(super) fn write_map(town: &Town, map: &MapOfTown) -> String {
    let place = |at: &Position| json!([rounded(at.lon_deg(), 1e5), rounded(at.lat_deg(), 1e5)]);
    let mut features: Vec<Value> = Vec::new();
    for (kind, ring) in &map.shapes {
        let ring: Vec<Value> = ring.iter().map(place).collect();
        features.push(json!({"type": "Feature", "properties": {"kind": kind},
            "geometry": {"type": "Polygon", "coordinates": [ring]}}));
    }
    let mut roads: Vec<(bool, Value)> = Vec::new();
    let mut drawn: HashSet<(Position7, Position7)> = HashSet::new();
    for network in map.cities.iter().map(|city| &city.network) {
        for (number, street) in network.streets().iter().enumerate() {
            let id = StreetId(number as u32);
            let line = network.line(id);
            if !map.draws(town, &line) {
                continue;
            }
            // Each piece once, whichever way it leads and whoever may ride on it.
            let new = line.windows(2).map(|step| piece(step[0], step[1])).filter(|piece| drawn.insert(*piece)).count();
            if new == 0 {
                continue;
            }
            let main = street.class <= RoadClass::Tertiary;
            let line: Vec<Value> = line.iter().map(place).collect();
            let kind = if main { "main" } else { "street" };
            roads.push((
                main,
                json!({"type": "Feature", "properties": {"kind": kind},
                "geometry": {"type": "LineString", "coordinates": line}}),
            ));
        }
    }
    roads.sort_by_key(|(main, _)| *main);
    features.extend(roads.into_iter().map(|(_, road)| road));
    json!({"type": "FeatureCollection", "attribution": map.attribution(), "name": town.name, "features": features})
        .to_string()
}

/// Latitude and longitude in ten-millionths of a degree.
type Position7 = (i32, i32);

/// A straight piece of road, the same in both directions.
fn piece(from: Position, to: Position) -> (Position7, Position7) {
    let (from, to) = ((from.lat_e7(), from.lon_e7()), (to.lat_e7(), to.lon_e7()));
    (from.min(to), from.max(to))
}

fn rounded(degrees: f64, places: f64) -> f64 {
    (degrees * places).round() / places
}

/// Pieces of the same street in one line, so that a map can write the name along it once.
struct Run<'a> {
    first: &'a Street,
    junctions: Vec<usize>,
}

fn runs(streets: &[Street]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for street in streets {
        let continued = runs.iter_mut().find(|run| {
            run.junctions.last() == Some(&street.from) && run.first.name == street.name && run.first.kind == street.kind
        });
        match continued {
            Some(run) => run.junctions.push(street.to),
            None => runs.push(Run { first: street, junctions: vec![street.from, street.to] }),
        }
    }
    runs
}

fn coordinates(town: &Town, at: Flat) -> Value {
    let position = town.position(at);
    json!([rounded(position.lon_deg(), 1e6), rounded(position.lat_deg(), 1e6)])
}
