//! The town as a map reads it.

use serde_json::{Value, json};

use super::{ATTRIBUTION, AreaKind, Flat, Street, StreetKind, Town};

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
    let rounded = |degrees: f64| (degrees * 1e6).round() / 1e6;
    json!([rounded(position.lon_deg()), rounded(position.lat_deg())])
}
