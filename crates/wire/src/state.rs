//! The fields of state topics and how their values are written.
//!
//! A value is JSON text made once, by the writer, from fixed-point numbers; every watcher and every codec therefore
//! holds the same state. Writers here append to a caller's buffer and allocate nothing.

use std::io::Write as _;

use wayfare_engine::{Eta, Marker, Millis, Outage, Phone, Position, RouteLine};

/// Names of fields. Which topic has which is in `PROTOCOL.md`, "Topics".
pub mod field {
    /// Phase of the trip.
    pub const PHASE: &str = "phase";
    /// When the phase began.
    pub const PHASE_SINCE_MS: &str = "phase_since_ms";
    /// Where the courier is; null while hidden.
    pub const POSITION: &str = "position";
    /// Arrival at the drop-off.
    pub const ETA: &str = "eta";
    /// The way to the next stop; null when there is none to show.
    pub const ROUTE: &str = "route";
    /// Stops the driver makes before this drop-off.
    pub const STOPS_LEFT: &str = "stops_left";
    /// Since when nothing was heard of the driver.
    pub const SILENT_SINCE_MS: &str = "silent_since_ms";
    /// Why nothing is heard, as far as a customer may know.
    pub const SILENT_REASON: &str = "silent_reason";
    /// Why the phone sends no positions, and since when; for operators.
    pub const OUTAGE: &str = "outage";
    /// The phone's battery; for operators.
    pub const PHONE: &str = "phone";
    /// The feed looks made up, and since when; for operators.
    pub const SUSPECT: &str = "suspect";
    /// The pick-up.
    pub const PICKUP: &str = "pickup";
    /// The drop-off.
    pub const DROPOFF: &str = "dropoff";
    /// Who drives.
    pub const DRIVER: &str = "driver";
    /// When the kitchen is ready.
    pub const READY_AT_MS: &str = "ready_at_ms";
    /// The operator's own number of the order.
    pub const REFERENCE: &str = "reference";
    /// The customer's id.
    pub const CUSTOMER: &str = "customer";
    /// The store's id.
    pub const STORE: &str = "store";
    /// The last offer of the trip to a driver; for operators.
    pub const OFFER: &str = "offer";
    /// Who said by hand that the trip is in this phase; for operators.
    pub const MANUAL: &str = "manual";
    /// Share links that are alive.
    pub const SHARES: &str = "shares";
    /// Version of the record that was projected.
    pub const VERSION: &str = "version";
    /// The driver's plan.
    pub const PLAN: &str = "plan";
    /// Trips on board.
    pub const TRIPS: &str = "trips";
    /// On shift.
    pub const AVAILABLE: &str = "available";
}

/// Writes degrees with six decimals at most, from micro-degrees: 0.11 m on the ground, the resolution of every view.
pub fn write_micro_degrees(out: &mut Vec<u8>, micro: i64) {
    if micro < 0 {
        out.push(b'-');
    }
    let magnitude = micro.unsigned_abs();
    write_u64(out, magnitude / 1_000_000);
    let mut rest = magnitude % 1_000_000;
    if rest == 0 {
        return;
    }
    out.push(b'.');
    let mut place = 100_000;
    while rest > 0 {
        out.push(b'0' + (rest / place) as u8);
        rest %= place;
        place /= 10;
    }
}

/// Writes a decimal integer without the machinery of `format!`.
pub fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Writes a decimal integer with its sign.
pub fn write_i64(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    write_u64(out, number.unsigned_abs());
}

/// Writes tenths as a decimal number with one place at most.
fn write_tenths(out: &mut Vec<u8>, tenths: u64) {
    write_u64(out, tenths / 10);
    if !tenths.is_multiple_of(10) {
        out.push(b'.');
        out.push(b'0' + (tenths % 10) as u8);
    }
}

/// Writes the value of `position`. All members are always there, so that a patch replaces the whole.
pub fn write_position(out: &mut Vec<u8>, marker: &Marker) {
    let (place, heading_deg) = marker.shown();
    out.extend_from_slice(b"{\"lat\":");
    write_micro_degrees(out, micro(place.lat_deg()));
    out.extend_from_slice(b",\"lon\":");
    write_micro_degrees(out, micro(place.lon_deg()));
    out.extend_from_slice(b",\"heading_deg\":");
    match heading_deg {
        Some(heading) => write_u64(out, u64::from(heading.round().rem_euclid(360.0) as u16)),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"speed_mps\":");
    write_tenths(out, (marker.speed_mps.max(0.0) * 10.0).round() as u64);
    out.extend_from_slice(b",\"accuracy_m\":");
    write_u64(out, marker.accuracy_m.max(0.0).round() as u64);
    out.extend_from_slice(b",\"t_ms\":");
    write_i64(out, marker.taken.0);
    out.push(b'}');
}

/// Writes the value of `eta`.
pub fn write_eta(out: &mut Vec<u8>, eta: &Eta) {
    let second = |at: Millis| at.0.div_euclid(1000) * 1000;
    out.extend_from_slice(b"{\"at_ms\":");
    write_i64(out, second(eta.at));
    out.extend_from_slice(b",\"low_ms\":");
    write_i64(out, second(eta.low));
    out.extend_from_slice(b",\"high_ms\":");
    write_i64(out, second(eta.high));
    out.extend_from_slice(b",\"pickup_at_ms\":");
    match eta.pickup_at {
        Some(at) => write_i64(out, second(at)),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"distance_m\":");
    write_u64(out, eta.distance_m.max(0.0).round() as u64);
    out.extend_from_slice(b",\"basis\":\"");
    out.extend_from_slice(eta.basis.code().as_bytes());
    out.extend_from_slice(b"\",\"cause\":");
    match eta.cause {
        Some(cause) => {
            out.push(b'"');
            out.extend_from_slice(cause.code().as_bytes());
            out.extend_from_slice(b"\"}");
        }
        None => out.extend_from_slice(b"null}"),
    }
}

/// Writes the value of `route`: the way to the next stop as a polyline of precision 6, and its length.
pub fn write_route(out: &mut Vec<u8>, line: &RouteLine) {
    out.extend_from_slice(b"{\"polyline6\":");
    // A polyline has backslashes in it: they need escaping.
    write_string(out, &crate::polyline::encode(&line.points));
    out.extend_from_slice(b",\"length_m\":");
    write_u64(out, line.length_m.max(0.0).round() as u64);
    out.push(b'}');
}

/// Writes the value of `outage`.
pub fn write_outage(out: &mut Vec<u8>, outage: &Outage) {
    out.extend_from_slice(b"{\"reason\":\"");
    out.extend_from_slice(outage.reason.code().as_bytes());
    out.extend_from_slice(b"\",\"since_ms\":");
    write_i64(out, outage.since.0);
    out.push(b'}');
}

/// Writes the value of `suspect`.
pub fn write_suspect(out: &mut Vec<u8>, reason: &str, since: Millis) {
    out.extend_from_slice(b"{\"reason\":");
    write_string(out, reason);
    out.extend_from_slice(b",\"since_ms\":");
    write_i64(out, since.0);
    out.push(b'}');
}

/// Writes the value of `phone`. Both members are always there.
pub fn write_phone(out: &mut Vec<u8>, phone: &Phone) {
    out.extend_from_slice(b"{\"battery_pct\":");
    match phone.battery_pct {
        Some(pct) => write_u64(out, pct.into()),
        None => out.extend_from_slice(b"null"),
    }
    let charging: &[u8] = match phone.charging {
        Some(true) => b",\"charging\":true}",
        Some(false) => b",\"charging\":false}",
        None => b",\"charging\":null}",
    };
    out.extend_from_slice(charging);
}

/// Writes a JSON string, escaped.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec cannot fail, and a str always serialises.
    let _ = serde_json::to_writer(out.by_ref(), text);
}

/// A position in whole micro-degrees, latitude first.
pub fn micro_degrees(position: Position) -> (i64, i64) {
    (micro(position.lat_deg()), micro(position.lon_deg()))
}

fn micro(degrees: f64) -> i64 {
    (degrees * 1e6).round() as i64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn micro_degrees_read_back_exactly(value in -180_000_000_i64..=180_000_000) {
            let mut text = Vec::new();
            write_micro_degrees(&mut text, value);
            let read: f64 = std::str::from_utf8(&text).unwrap().parse().unwrap();
            prop_assert_eq!(micro(read), value);
        }

        #[test]
        fn integers_equal_the_standard_library(value: i64) {
            let mut text = Vec::new();
            write_i64(&mut text, value);
            prop_assert_eq!(String::from_utf8(text).unwrap(), value.to_string());
        }

        #[test]
        fn strings_read_back(value: String) {
            let mut text = Vec::new();
            write_string(&mut text, &value);
            prop_assert_eq!(serde_json::from_slice::<String>(&text).unwrap(), value);
        }
    }

    #[test]
    fn numbers_are_short() {
        let show = |micro| {
            let mut text = Vec::new();
            write_micro_degrees(&mut text, micro);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(show(41_141_412), "41.141412");
        assert_eq!(show(-8_600_000), "-8.6");
        assert_eq!(show(-1), "-0.000001");
        assert_eq!(show(0), "0");
        assert_eq!(show(180_000_000), "180");
    }
}
