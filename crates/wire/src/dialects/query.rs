//! Queries and forms: Traccar Client and the OsmAnd app, which share their names and not their units.
//!
//! Traccar's `speed` is in knots; OsmAnd fills the same parameter with m/s, and puts the accuracy in metres into `hdop`. The OsmAnd app's
//! `timestamp` is when it recorded the position by the phone's clock, close to but not the time of the fix; it has no better one.

use std::borrow::Cow;

use serde_json::Value;

use super::values::{self, Object};
use super::{AppFix, Dialect, Fault, Phone, Reading, Rule, What};
use crate::messages::drive::Fix;

/// A knot in m/s.
const KNOT_MPS: f64 = 1852.0 / 3600.0;

/// Parameters looked at.
const PARAMETERS_MAX: usize = 128;

/// Decoded parameters, in the order sent.
pub struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Reads `a=1&b=2`.
    pub fn parse(text: &'a str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(PARAMETERS_MAX);
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// A flat JSON object, which has the same names.
    pub fn of(object: &Object) -> Self {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let known = object.iter().filter(|(_, value)| !value.is_null()).take(PARAMETERS_MAX);
        Self(known.map(|(name, value)| (Cow::Owned(name.clone()), Cow::Owned(text(value)))).collect())
    }

    /// The first value of a name, if it is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_ref())
            .filter(|value| !value.is_empty())
    }

    /// Whether the name occurs at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(values::parse)
    }
}

/// `+` is a blank, `%41` an A. What is no UTF-8 afterwards is replaced.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let hex = |digit: u8| (digit as char).to_digit(16).map(|digit| digit as u8);
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).and_then(|digits| Some(hex(digits[0])? << 4 | hex(digits[1])?));
        match (byte, escaped) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Reads one position, or a heartbeat when there is none.
pub fn read<'a>(raw: &'a [u8], parameters: &Parameters<'_>, reading: &mut Reading<'a>) {
    let t_ms = match parameters.get("timestamp") {
        None => None,
        Some(text) => match values::time_of(text) {
            Some(t_ms) => Some(t_ms),
            None => return reading.fault(raw, Rule::Time, format!("timestamp is {text}")),
        },
    };
    // OsmAnd writes 0 when there is no route.
    let arrives_ms = parameters.number("eta").filter(|eta| *eta > 0.0).map(values::epoch_ms);
    reading.phone.hear(Phone {
        at_ms: t_ms,
        battery: values::battery_percent(parameters.number("batt")),
        charging: parameters.get("charge").and_then(values::flag_of),
        moving: None,
        activity: None,
        arrives_ms,
    });
    let what = match place(parameters) {
        Ok(None) => What::Alive,
        Ok(Some((lat, lon))) => match parameters.get("valid") {
            None | Some("true" | "1") => What::Fix(fix(parameters, lat, lon, t_ms, reading.dialect)),
            Some(other) => What::Fault(Fault::new(Rule::Valid, format!("valid is {other}"))),
        },
        Err(fault) => What::Fault(fault),
    };
    reading.add(raw, what);
}

fn place(parameters: &Parameters<'_>) -> Result<Option<(f64, f64)>, Fault> {
    let (lat, lon) = match (parameters.get("lat"), parameters.get("lon"), parameters.get("location")) {
        (None, None, None) => return Ok(None),
        (None, None, Some(both)) => both.split_once(',').unwrap_or((both, "")),
        (lat, lon, _) => (lat.unwrap_or_default(), lon.unwrap_or_default()),
    };
    match (values::parse(lat), values::parse(lon)) {
        (Some(lat), Some(lon)) => Ok(Some((lat, lon))),
        _ => Err(Fault::new(Rule::Position, format!("lat is {lat:.30}, lon is {lon:.30}"))),
    }
}

fn fix(parameters: &Parameters<'_>, lat: f64, lon: f64, t_ms: Option<i64>, dialect: Dialect) -> AppFix {
    let is_osmand = dialect == Dialect::Osmand;
    let speed = parameters.number("speed");
    let accuracy = parameters.number("accuracy");
    // In OsmAnd's template `hdop` is the radius in metres; everywhere else it is a number without a unit, and of no use here.
    let accuracy = if is_osmand { accuracy.or_else(|| parameters.number("hdop")) } else { accuracy };
    let fix = Fix {
        lat,
        lon,
        t_ms,
        accuracy_m: values::positive(accuracy),
        speed_mps: values::not_negative(if is_osmand { speed } else { speed.map(|knots| knots * KNOT_MPS) }),
        heading_deg: values::not_negative(parameters.number("bearing").or_else(|| parameters.number("heading"))),
        altitude_m: parameters.number("altitude").map(|altitude| altitude as f32),
        mock: parameters.get("mock").and_then(values::flag_of).unwrap_or(false),
    };
    AppFix { fix, id: None, ahead: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_once() {
        let parameters = Parameters::parse("a=1%2C2&b=x+y&c&&d=%zz%4&a=3&e=%2541");
        assert_eq!(parameters.get("a"), Some("1,2"));
        assert_eq!(parameters.get("b"), Some("x y"));
        assert_eq!(parameters.get("c"), None);
        assert!(parameters.has("c"));
        assert_eq!(parameters.get("d"), Some("%zz%4"));
        assert_eq!(parameters.get("e"), Some("%41"));
    }
}
