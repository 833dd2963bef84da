//! Numbers, times and texts as apps write them.

use serde_json::{Map, Value};

use super::{Fault, Rule};

/// Below this an epoch is in seconds (until the year 5138), from it on in milliseconds (since 1973).
const SECONDS_BELOW: f64 = 1e11;

/// Longest id or word that is taken from an app, bytes.
const TEXT_BYTES_MAX: usize = 64;

/// A JSON object.
pub type Object = Map<String, Value>;

/// A finite number, also one written as text.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => parse(text),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

/// A finite number from text.
pub fn parse(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// A member that is a number.
pub fn member(object: &Object, name: &str) -> Option<f64> {
    object.get(name).and_then(number)
}

/// A member that is true or false, also as text or number.
pub fn flag(object: &Object, name: &str) -> Option<bool> {
    match object.get(name)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_f64().map(|number| number != 0.0),
        Value::String(text) => flag_of(text),
        _ => None,
    }
}

/// True or false from text.
pub fn flag_of(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "TRUE" | "True" => Some(true),
        "false" | "0" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A member that is a text, if it is one and not too long to be an id or a word.
pub fn word<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|text| (1..=TEXT_BYTES_MAX).contains(&text.len()))
}

/// Zero and less mean unknown: an accuracy.
pub fn positive(value: Option<f64>) -> Option<f32> {
    value.filter(|value| *value > 0.0).map(|value| value as f32)
}

/// Less than zero means unknown: a speed, a course.
pub fn not_negative(value: Option<f64>) -> Option<f32> {
    value.filter(|value| *value >= 0.0).map(|value| value as f32)
}

/// A battery from 0 to 1. What is above is a percentage, what is below unknown.
pub fn battery(value: Option<f64>) -> Option<f32> {
    match value? {
        share @ 0.0..=1.0 => Some(share as f32),
        percent if percent > 1.0 && percent <= 100.0 => Some((percent / 100.0) as f32),
        _ => None,
    }
}

/// A battery in percent, in which 1 is one percent.
pub fn battery_percent(value: Option<f64>) -> Option<f32> {
    value.filter(|percent| (0.0..=100.0).contains(percent)).map(|percent| (percent / 100.0) as f32)
}

/// Latitude and longitude, by name; what is wrong is named.
pub fn position(object: &Object, lat: &str, lon: &str) -> Result<(f64, f64), Fault> {
    let coordinate = |name: &str| {
        let value = object.get(name).unwrap_or(&Value::Null);
        number(value).ok_or_else(|| Fault::new(Rule::Position, format!("{name} is {value:.40}")))
    };
    Ok((coordinate(lat)?, coordinate(lon)?))
}

/// A time by its name; `None` is a fault, because an item may have waited in a queue for days.
pub fn taken(object: &Object, name: &str) -> Result<i64, Fault> {
    let value = object.get(name).unwrap_or(&Value::Null);
    time_ms(value).ok_or_else(|| Fault::new(Rule::Time, format!("{name} is {value:.40}")))
}

/// A time: seconds or milliseconds since 1970, or ISO 8601.
pub fn time_ms(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => time_of(text),
        _ => number(value).map(epoch_ms),
    }
}

/// The same from text.
pub fn time_of(text: &str) -> Option<i64> {
    parse(text).map(epoch_ms).or_else(|| iso_ms(text.trim()))
}

/// Seconds or milliseconds since 1970 as milliseconds.
pub fn epoch_ms(epoch: f64) -> i64 {
    let ms = if epoch.abs() < SECONDS_BELOW { epoch * 1000.0 } else { epoch };
    // A cast saturates.
    ms.round() as i64
}

/// `2025-11-21T08:00:00.250-07:00` in its variants: a blank for the `T`, no seconds, no fraction, `Z`, `+0200`, `+02`, or no zone (then UTC).
pub fn iso_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = bytes.get(from..to)?;
        part.iter().all(u8::is_ascii_digit).then_some(())?;
        std::str::from_utf8(part).ok()?.parse().ok()
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute) = (digits(11, 13)?, digits(14, 16)?);
    let shaped = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":");
    if !shaped || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24 || minute > 59 {
        return None;
    }
    let (mut at, mut second_ms) = (16, 0);
    if is(at, b":") {
        let second = digits(17, 19).filter(|second| *second <= 60)?;
        (at, second_ms) = (19, second * 1000);
        if is(at, b".,") {
            let end = (at + 1..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
            let fraction = bytes.get(at + 1..end).filter(|digits| !digits.is_empty())?;
            let weights = [100, 10, 1];
            second_ms += fraction.iter().zip(weights).map(|(digit, ms)| i64::from(digit - b'0') * ms).sum::<i64>();
            at = end;
        }
    }
    if is(at, b" ") {
        at += 1;
    }
    let zone_min = match bytes.get(at..)? {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (hours, minutes) = match rest.len() {
                2 => (digits(at + 1, at + 3)?, 0),
                4 => (digits(at + 1, at + 3)?, digits(at + 3, at + 5)?),
                5 if rest[2] == b':' => (digits(at + 1, at + 3)?, digits(at + 4, at + 6)?),
                _ => return None,
            };
            let east_min = hours * 60 + minutes;
            if *sign == b'-' { -east_min } else { east_min }
        }
        _ => return None,
    };
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - zone_min;
    Some(minutes * 60_000 + second_ms)
}

/// Days between 1970-01-01 and a date of the Gregorian calendar, by counting years from March: then the odd day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_in_every_spelling() {
        let check = |text: &str, ms: i64| assert_eq!(time_of(text), Some(ms), "{text}");
        check("2015-10-01T08:00:00-0700", 1_443_711_600_000);
        check("2015-10-01T08:00:00-07:00", 1_443_711_600_000);
        check("2015-10-01T15:00:00Z", 1_443_711_600_000);
        check("2015-10-01T15:00:00.250Z", 1_443_711_600_250);
        check("2015-10-01T15:00:00.250123456Z", 1_443_711_600_250);
        check("2015-10-01 15:00:00", 1_443_711_600_000);
        check("2015-10-01T15:00Z", 1_443_711_600_000);
        check("2015-10-01T17:00:00+02", 1_443_711_600_000);
        check("2024-02-29T00:00:00Z", 1_709_164_800_000);
        check("1443711600", 1_443_711_600_000);
        check("1443711600.5", 1_443_711_600_500);
        check("1443711600250", 1_443_711_600_250);
        for text in [
            "",
            "now",
            "2015-13-01T08:00:00Z",
            "2015-10-01",
            "2015-10-01T08:00:00+1",
            "2015-10-01T08:00:00.Z",
            "NaN",
            "1e999",
        ] {
            assert_eq!(time_of(text), None, "{text}");
        }
    }

    #[test]
    fn batteries_are_shares_or_percentages() {
        assert_eq!(battery(Some(0.89)), Some(0.89));
        assert_eq!(battery(Some(-1.0)), None);
        assert_eq!(battery(Some(89.0)), Some(0.89));
        assert_eq!(battery(Some(1.0)), Some(1.0));
        assert_eq!(battery_percent(Some(1.0)), Some(0.01));
        assert_eq!(battery_percent(Some(-1.0)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_no_time_or_one(text in ".{0,40}") {
            let _ = time_of(&text);
        }

        #[test]
        fn days_grow_by_one(days in -700_000..700_000_i64) {
            // The civil date of a day, by search: slow and obvious.
            let year = (1970 + days * 400 / 146_097 - 2..).find(|year| days_since_1970(year + 1, 1, 1) > days).unwrap();
            let month = (1..=12).rev().find(|month| days_since_1970(year, *month, 1) <= days).unwrap();
            let day = days - days_since_1970(year, month, 1) + 1;
            prop_assert!((1..=31).contains(&day));
            prop_assert_eq!(days_since_1970(year, month, day), days);
        }
    }
}
