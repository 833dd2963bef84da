//! The fields of state topics and how their values are written.
//!
//! A value is JSON text made once, by the writer, from fixed-point numbers; every watcher and every codec therefore
//! holds the same state. Writers here append to a caller's buffer and allocate nothing.

use std::io::Write as _;

use wayfare_engine::{Eta, Marker, Millis, Outage, Phone, Position, RouteLine, Shown};

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
    write_shown(out, &Shown::of(marker));
}

/// The same from the published numbers themselves.
pub fn write_shown(out: &mut Vec<u8>, shown: &Shown) {
    out.extend_from_slice(b"{\"lat\":");
    write_micro_degrees(out, shown.lat_e6.into());
    out.extend_from_slice(b",\"lon\":");
    write_micro_degrees(out, shown.lon_e6.into());
    out.extend_from_slice(b",\"heading_deg\":");
    match shown.heading_deg {
        Some(heading) => write_u64(out, heading.into()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"speed_mps\":");
    write_tenths(out, shown.speed_dmps.into());
    out.extend_from_slice(b",\"accuracy_m\":");
    write_u64(out, shown.accuracy_m.into());
    out.extend_from_slice(b",\"t_ms\":");
    write_i64(out, shown.taken.0);
    out.push(b'}');
}

/// Reads what [`write_shown`] wrote, to the letter; `None` for any other text. Some 50 ns.
pub fn read_shown(text: &[u8]) -> Option<Shown> {
    let (lat_e6, text) = read_decimal(text.strip_prefix(b"{\"lat\":")?, 6)?;
    let (lon_e6, text) = read_decimal(text.strip_prefix(b",\"lon\":")?, 6)?;
    let text = text.strip_prefix(b",\"heading_deg\":")?;
    let (heading_deg, text) = match text.strip_prefix(b"null") {
        Some(text) => (None, text),
        None => {
            let (heading, text) = read_decimal(text, 0)?;
            (Some(u16::try_from(heading).ok().filter(|heading| *heading < 360)?), text)
        }
    };
    let (speed, text) = read_decimal(text.strip_prefix(b",\"speed_mps\":")?, 1)?;
    let (accuracy, text) = read_decimal(text.strip_prefix(b",\"accuracy_m\":")?, 0)?;
    let (t_ms, text) = read_decimal(text.strip_prefix(b",\"t_ms\":")?, 0)?;
    (text == b"}").then_some(Shown {
        lat_e6: lat_e6.try_into().ok()?,
        lon_e6: lon_e6.try_into().ok()?,
        heading_deg,
        speed_dmps: speed.try_into().ok()?,
        accuracy_m: accuracy.try_into().ok()?,
        taken: Millis(t_ms),
    })
}

/// Reads a number as the writers above write it, in units of the last of `places` decimals: no zeros that could be left out, no `-0`.
fn read_decimal(text: &[u8], places: u32) -> Option<(i64, &[u8])> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |text| (true, text));
    let (whole, mut text) = digits(text);
    if whole.is_empty() || whole.len() > 1 && whole[0] == b'0' {
        return None;
    }
    let mut number = whole.iter().try_fold(0_i64, |number, digit| push_digit(number, *digit))?;
    let mut left = places;
    if let Some(rest) = text.strip_prefix(b".") {
        let (part, rest) = digits(rest);
        if part.last().is_none_or(|last| *last == b'0') {
            return None;
        }
        left = places.checked_sub(u32::try_from(part.len()).ok()?)?;
        number = part.iter().try_fold(number, |number, digit| push_digit(number, *digit))?;
        text = rest;
    }
    let number = number.checked_mul(10_i64.pow(left))?;
    let is_written = !(negative && number == 0);
    is_written.then_some((if negative { -number } else { number }, text))
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len()))
}

fn push_digit(number: i64, digit: u8) -> Option<i64> {
    number.checked_mul(10)?.checked_add(i64::from(digit - b'0'))
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
        fn positions_read_back_and_nothing_else_does(
            lat_e6 in -90_000_000..=90_000_000, lon_e6 in -180_000_000..=180_000_000, heading_deg in prop::option::of(0..360_u16),
            speed_dmps in 0..900_u32, accuracy_m: u32, taken in -9_000_000_000_000_000..9_000_000_000_000_000_i64, at: prop::sample::Index, byte: u8,
        ) {
            let shown = Shown { lat_e6, lon_e6, heading_deg, speed_dmps, accuracy_m, taken: Millis(taken) };
            let mut text = Vec::new();
            write_shown(&mut text, &shown);
            prop_assert_eq!(read_shown(&text), Some(shown));
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
            // Whatever still reads is exactly what would have been written.
            let at = at.index(text.len());
            text[at] = byte;
            if let Some(other) = read_shown(&text) {
                let mut again = Vec::new();
                write_shown(&mut again, &other);
                prop_assert_eq!(again, text);
            }
        }

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
