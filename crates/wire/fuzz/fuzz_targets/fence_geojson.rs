//! Any bytes as a fence: refused in a sentence, or a fence that can be asked about any place, alone and in an index.
//!
//! `cargo fuzz run fence_geojson` in `crates/wire`.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use wayfare_engine::{Geofence, GeofenceId, Geofences, Position};
use wayfare_wire::fence::{Coordinate, FenceDoc, Geometry};

fuzz_target!(|input: (Vec<u8>, Vec<Vec<(i16, i16)>>, bool)| {
    let (bytes, rings, multi) = input;
    if let Ok(doc) = serde_json::from_slice::<FenceDoc>(&bytes) {
        let written = serde_json::to_vec(&doc).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<FenceDoc>(&written).expect("and read again"), doc);
        ask(doc.fence(GeofenceId(1)));
    }
    // Shapes that bytes would take long to find: corners on a coarse grid, which touch, cross and repeat.
    let coordinate = |(lon, lat): &(i16, i16)| Coordinate { lon: f64::from(lon % 1801) / 10.0, lat: f64::from(lat % 901) / 10.0 };
    let ring = |corners: &Vec<(i16, i16)>| corners.iter().chain(corners.first()).map(coordinate).collect::<Vec<_>>();
    let rings: Vec<_> = rings.iter().map(ring).collect();
    let geometry = if multi {
        Geometry::MultiPolygon(rings.into_iter().map(|ring| vec![ring]).collect())
    } else {
        Geometry::Polygon(rings)
    };
    let doc = FenceDoc {
        name: String::new(), geometry: Some(geometry), circle: None, dwell_ms: None, events: None, changed_ms: 1,
    };
    ask(doc.fence(GeofenceId(1)));
});

fn ask(fence: Result<Geofence, wayfare_wire::fence::InvalidFence>) {
    let Ok(fence) = fence.inspect_err(|error| assert!(!error.to_string().is_empty())) else { return };
    let index = Geofences::new(1, [Arc::new(fence.clone())]);
    let bounds = fence.bounds();
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let lon = bounds.west + share * (bounds.east - bounds.west);
        let lon = if lon > 180.0 { lon - 360.0 } else { lon };
        let lat = bounds.south + share * (bounds.north - bounds.south);
        let Ok(place) = Position::new(lat, lon) else { continue };
        assert!(fence.signed_distance_m(place).is_finite());
        assert_eq!(index.containing(place).len() == 1, fence.contains(place));
    }
}
