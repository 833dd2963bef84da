//! The contraction order: nested dissection by inertial flow.

/// An order in which shortcuts stay few, for [`wayfare_engine::roads::Network::build`]. Some seconds for a city; uses all cores.
#[must_use]
pub fn nested_dissection(places: &[[i32; 2]], pairs: &[[u32; 2]]) -> Vec<u32> {
    let (tails, heads): (Vec<u32>, Vec<u32>) = pairs.iter().map(|[a, b]| (*a, *b)).unzip();
    // Cuts are made along lines on the map, so its scale must be the same in both directions.
    let middle_deg = places.get(places.len() / 2).map_or(0.0, |place| f64::from(place[0]) / 1e7);
    let squeeze = middle_deg.to_radians().cos();
    let origin = places.first().copied().unwrap_or_default();
    let turn = |lon: i32| (f64::from(lon) - f64::from(origin[1]) + 1.8e9).rem_euclid(3.6e9) - 1.8e9;
    let lat: Vec<f32> =
        places.iter().map(|place| ((f64::from(place[0]) - f64::from(origin[0])) / 1e7) as f32).collect();
    let lon: Vec<f32> = places.iter().map(|place| (turn(place[1]) / 1e7 * squeeze) as f32).collect();
    cch::inertial_order(places.len() as u32, &tails, &heads, &lat, &lon)
}
