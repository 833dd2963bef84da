//! The browser foresees what the server says it does: `web/client/test/foresight.test.ts` tries its own computation on these cases.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use serde_json::{Value, json};
use wayfare_engine::{Line, Marker, Millis, Position, Shown, Told};
use wayfare_wire::polyline;
use wayfare_wire::state::write_shown;

struct Dice(u64);

impl Dice {
    /// 0 to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn position(shown: &Shown) -> Value {
    let mut text = Vec::new();
    write_shown(&mut text, shown);
    serde_json::from_slice(&text).unwrap()
}

/// A courier somewhere, on its way along a crooked line that it may be beside of.
fn case(dice: &mut Dice, number: usize) -> Value {
    let home = match number % 10 {
        0 => Position::new(-17.0, 179.9999).unwrap(),
        1 => Position::new(0.0, 0.0).unwrap(),
        _ => Position::new(dice.roll() * 120.0 - 60.0, dice.roll() * 360.0 - 180.0).unwrap(),
    };
    let mut heading = dice.roll() * 360.0;
    let marker = Marker {
        position: home,
        speed_mps: (dice.roll() * 25.0) as f32,
        heading_deg: (number % 13 != 5).then_some(heading as f32),
        accuracy_m: 5.0,
        taken: Millis(1_763_686_800_000),
        standing: false,
        cell: 0,
        road: None,
    };
    let beside_m = dice.roll() * 45.0 - 22.0;
    let (sin, cos) = heading.to_radians().sin_cos();
    let behind_m = -60.0 * dice.roll();
    let mut at = home.offset(behind_m * sin + beside_m * cos, behind_m * cos - beside_m * sin);
    let mut points = vec![at];
    for _ in 0..(dice.roll() * 12.0) as usize {
        let way_m = dice.roll() * 80.0;
        at = at.offset(way_m * heading.to_radians().sin(), way_m * heading.to_radians().cos());
        points.push(at);
        heading += dice.roll() * 140.0 - 70.0;
    }
    let line = (number % 4 != 3).then(|| Line::of(&points));
    let told = Told::new(&marker, line.as_ref());
    let seen: Vec<Value> = [-500, 0, 900, 4_000, 9_999, 12_345, 14_000, 60_000]
        .into_iter()
        .map(|age_ms| {
            let (lat, lon) = told.at(line.as_ref(), marker.taken + age_ms);
            json!({ "age_ms": age_ms, "lat": lat, "lon": lon })
        })
        .collect();
    let polyline6 = line.is_some().then(|| polyline::encode(&points));
    json!({ "position": position(&told.shown), "polyline6": polyline6, "seen": seen })
}

#[test]
fn the_browsers_cases_are_ours() {
    let mut dice = Dice(1);
    let lines: Vec<String> = (0..120).map(|number| case(&mut dice, number).to_string()).collect();
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/client/test/vectors/foresight.json");
    if std::env::var_os("WRITE_VECTORS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let known: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let ours: Value = serde_json::from_str(&text).unwrap();
    // Sines differ in their last digits from system to system.
    for (known, ours) in known.as_array().unwrap().iter().zip(ours.as_array().unwrap()) {
        assert_eq!((&known["position"], &known["polyline6"]), (&ours["position"], &ours["polyline6"]));
        for (known, ours) in known["seen"].as_array().unwrap().iter().zip(ours["seen"].as_array().unwrap()) {
            for name in ["lat", "lon"] {
                let (known, ours) = (known[name].as_f64().unwrap(), ours[name].as_f64().unwrap());
                assert!((known - ours).abs() < 1e-9, "{known} {ours}: WRITE_VECTORS=1 writes the file anew");
            }
        }
    }
}
