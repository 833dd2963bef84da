//! A courier's ride: from south of the kitchen to the kitchen, a wait there, and on to the customer in the north.

use serde_json::{Value, json};

pub const PICKUP: (f64, f64) = (41.149_600, -8.611_000);
pub const DROPOFF: (f64, f64) = (41.161_600, -8.611_000);

/// Metres in a degree of latitude.
const DEGREE_M: f64 = 111_195.0;

/// One second of the ride.
#[derive(Clone, Copy)]
pub struct Second {
    lat: f64,
    speed_mps: f64,
}

/// A ride at 8 m/s, second by second.
pub struct Ride {
    /// Up to and with the wait at the kitchen.
    pub to_pickup: Vec<Second>,
    /// From the kitchen to the customer's door.
    pub to_dropoff: Vec<Second>,
}

impl Ride {
    pub fn new() -> Self {
        let mut to_pickup = way(PICKUP.0 - 400.0 / DEGREE_M, PICKUP.0);
        to_pickup.extend([Second { lat: PICKUP.0, speed_mps: 0.0 }; 40]);
        let mut to_dropoff = way(PICKUP.0, DROPOFF.0);
        to_dropoff.extend([Second { lat: DROPOFF.0, speed_mps: 0.0 }; 3]);
        Self { to_pickup, to_dropoff }
    }

    /// Seconds from beginning to end.
    pub fn seconds(&self) -> i64 {
        (self.to_pickup.len() + self.to_dropoff.len()) as i64
    }
}

fn way(from: f64, to: f64) -> Vec<Second> {
    let speed_mps = 8.0;
    let steps = ((to - from) * DEGREE_M / speed_mps) as usize;
    (0..=steps).map(|step| Second { lat: from + step as f64 * speed_mps / DEGREE_M, speed_mps }).collect()
}

/// Seconds as fixes, the first taken at `start_ms`.
pub fn fixes(seconds: &[Second], start_ms: i64) -> Vec<Value> {
    let fix = |(at, second): (usize, &Second)| {
        json!({
            "lat": second.lat, "lon": PICKUP.1, "t_ms": start_ms + at as i64 * 1000,
            "accuracy_m": 5, "speed_mps": second.speed_mps, "heading_deg": 0,
        })
    };
    seconds.iter().enumerate().map(fix).collect()
}

/// A good fix, some metres north of the kitchen.
pub fn near_pickup(north_m: f64, t_ms: i64) -> Value {
    json!({ "lat": PICKUP.0 + north_m / DEGREE_M, "lon": PICKUP.1, "t_ms": t_ms, "accuracy_m": 5, "speed_mps": 3.0, "heading_deg": 0 })
}
