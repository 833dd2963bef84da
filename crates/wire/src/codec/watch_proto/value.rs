//! JSON values as values of Protocol Buffers, written while they are read.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use wayfare_engine::Shown;

use super::pen::{double_anyway, nested, number, number_anyway, text, text_anyway, zigzag};
use crate::state::read_shown;

/// The members of a state or a patch: `"a":1,"b":{…}`, the inside of an object.
pub fn object(out: &mut Vec<u8>, members: &[u8]) {
    for (name, value) in Members(members) {
        nested(out, 1, |out| {
            text(out, 1, name);
            match read_shown(value) {
                Some(shown) => nested(out, 2, |out| nested(out, 8, |out| position(out, &shown))),
                None if value == b"null" => {}
                None => nested(out, 2, |out| write(out, value)),
            }
        });
    }
}

/// Any value. What is on the bus is JSON, made by our own writers; other text is told as null.
pub fn write(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    let mut reader = serde_json::Deserializer::from_slice(json);
    if reader.deserialize_any(Writer(out)).is_err() {
        debug_assert!(false, "not JSON: {}", String::from_utf8_lossy(json));
        out.truncate(start);
    }
}

fn position(out: &mut Vec<u8>, shown: &Shown) {
    number(out, 1, zigzag32(shown.lat_e6));
    number(out, 2, zigzag32(shown.lon_e6));
    if let Some(heading) = shown.heading_deg {
        number_anyway(out, 3, heading.into());
    }
    number(out, 4, shown.speed_dmps.into());
    number(out, 5, shown.accuracy_m.into());
    number(out, 6, shown.taken.0 as u64);
}

fn zigzag32(number: i32) -> u64 {
    zigzag(number.into())
}

/// Names and values of an object's inside, uncopied. Names have nothing in them that JSON escapes.
struct Members<'a>(&'a [u8]);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.strip_prefix(b"\"")?;
        let (name, text) = text.split_at(text.iter().position(|byte| *byte == b'"')?);
        let text = text.strip_prefix(b"\":")?;
        let (value, rest) = text.split_at(value_length(text));
        self.0 = rest.strip_prefix(b",").unwrap_or_default();
        Some((std::str::from_utf8(name).ok()?, value))
    }
}

/// Up to the comma after the value, or the end.
fn value_length(text: &[u8]) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    for (place, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return place,
            _ => {}
        }
    }
    text.len()
}

/// Appends the value that it is shown.
struct Writer<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        number_anyway(self.0, 1, truth.into());
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        number_anyway(self.0, 2, zigzag(number));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => self.visit_f64(number as f64),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        match decimal(value) {
            Some((mantissa, places)) => nested(self.0, 3, |out| {
                number(out, 1, zigzag(mantissa));
                number(out, 2, places.into());
            }),
            None => double_anyway(self.0, 4, value),
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        text_anyway(self.0, 5, text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        nested(self.0, 6, |out| repeated(out, |out| Ok(values.next_element_seed(Writer(out))?.is_some())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        nested(self.0, 7, |out| {
            let member = |out: &mut Vec<u8>| {
                if members.next_key_seed(Name(out))?.is_none() {
                    return Ok(false);
                }
                let start = out.len();
                nested(out, 2, |out| members.next_value_seed(Writer(out)))?;
                if out.len() == start + 2 {
                    out.truncate(start); // null
                }
                Ok(true)
            };
            repeated(out, member)
        })
    }
}

/// Appends the name that it is shown.
struct Name<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<(), E> {
        text(self.0, 1, name);
        Ok(())
    }
}

/// Fields 1, one after the other, until `body` has no more to put into one.
fn repeated<E>(out: &mut Vec<u8>, mut body: impl FnMut(&mut Vec<u8>) -> Result<bool, E>) -> Result<(), E> {
    loop {
        let start = out.len();
        if !nested(out, 1, &mut body)? {
            out.truncate(start);
            return Ok(());
        }
    }
}

/// Ten times as much is a whole number in 53 bits.
const MANTISSA_MOST: f64 = 900e12;

/// The fewest decimal places that give exactly this number, seven at most: what has more is no measure of ours.
fn decimal(value: f64) -> Option<(i64, u32)> {
    let mut scale = 1.0;
    for places in 0..=7 {
        let mantissa = (value * scale).round();
        if mantissa.abs() > MANTISSA_MOST {
            return None;
        }
        if mantissa / scale == value && !(mantissa == 0.0 && value.is_sign_negative()) {
            // A number that was written with a point stays one.
            return Some(if places == 0 { (mantissa as i64 * 10, 1) } else { (mantissa as i64, places) });
        }
        scale *= 10.0;
    }
    None
}
