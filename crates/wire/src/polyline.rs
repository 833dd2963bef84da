//! Encoded polylines of precision 6: differences of whole micro-degrees, five bits a character (Google's Encoded Polyline Algorithm
//! Format; one more digit than its default, as routing engines use).

use wayfare_engine::Position;

use crate::state::micro_degrees;

/// Encodes points. About four characters each where points are near each other.
pub fn encode(points: &[Position]) -> String {
    let mut out = String::with_capacity(points.len() * 8);
    let (mut lat, mut lon) = (0, 0);
    for point in points {
        let (next_lat, next_lon) = micro_degrees(*point);
        push(&mut out, next_lat - lat);
        push(&mut out, next_lon - lon);
        (lat, lon) = (next_lat, next_lon);
    }
    out
}

fn push(out: &mut String, difference: i64) {
    let mut rest = (difference << 1 ^ difference >> 63) as u64;
    loop {
        let more = rest >= 0x20;
        out.push(char::from((rest & 0x1f) as u8 + 63 + if more { 0x20 } else { 0 }));
        rest >>= 5;
        if !more {
            return;
        }
    }
}

/// Decodes what [`encode`] made; `None` if the text is cut off, has a character that is none of its own, or leaves the Earth.
pub fn decode(text: &str) -> Option<Vec<Position>> {
    let mut points = Vec::new();
    let (mut lat, mut lon, mut bytes) = (0_i64, 0_i64, text.bytes());
    while let Some(first) = bytes.next() {
        lat = lat.checked_add(take(first, &mut bytes)?)?;
        let second = bytes.next()?;
        lon = lon.checked_add(take(second, &mut bytes)?)?;
        points.push(Position::new(lat as f64 / 1e6, lon as f64 / 1e6).ok()?);
    }
    Some(points)
}

fn take(first: u8, bytes: &mut std::str::Bytes<'_>) -> Option<i64> {
    let (mut value, mut byte) = (0_u64, first);
    for shift in (0..45).step_by(5) {
        let bits = byte.checked_sub(63).filter(|bits| *bits < 64)?;
        value |= u64::from(bits & 0x1f) << shift;
        if bits < 0x20 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
        byte = bytes.next()?;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoding_undoes_encoding(points in proptest::collection::vec((-90_000_000_i64..=90_000_000, -180_000_000_i64..=180_000_000), 0..20)) {
            let place = |(lat, lon): &(i64, i64)| Position::new(*lat as f64 / 1e6, *lon as f64 / 1e6).unwrap();
            let points: Vec<Position> = points.iter().map(place).collect();
            let again = decode(&encode(&points)).unwrap();
            prop_assert_eq!(points.len(), again.len());
            for (a, b) in points.iter().zip(&again) {
                prop_assert_eq!(micro_degrees(*a), micro_degrees(*b));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = decode(&text);
        }
    }

    #[test]
    fn the_published_example_comes_out_at_our_precision() {
        let points =
            [(38.5, -120.2), (40.7, -120.95), (43.252, -126.453)].map(|(lat, lon)| Position::new(lat, lon).unwrap());
        assert_eq!(encode(&points), "_izlhA~rlgdF_{geC~ywl@_kwzCn`{nI");
    }
}
