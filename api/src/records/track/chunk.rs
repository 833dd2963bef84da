//! A chunk of a track as bytes: about 12 a point.

use super::Point;

/// Version of the form.
const VERSION: u8 = 1;

const LATE: u8 = 1;
const MOCK: u8 = 2;
const ACCURACY: u8 = 4;
const SPEED: u8 = 8;
const HEADING: u8 = 16;
const ALTITUDE: u8 = 32;

/// Version, then for each point: flags, differences of time and place to the point before, and what the flags announce; variable-length
/// integers. A checksum (CRC-32) of all of it at the end.
pub fn encode(points: &[Point]) -> Vec<u8> {
    let mut out = vec![VERSION];
    let mut before = (0_i64, 0_i64, 0_i64);
    for point in points {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            flag(point.late, LATE)
                | flag(point.mock, MOCK)
                | flag(point.accuracy_dm.is_some(), ACCURACY)
                | flag(point.speed_cmps.is_some(), SPEED)
                | flag(point.heading_cdeg.is_some(), HEADING)
                | flag(point.altitude_dm.is_some(), ALTITUDE),
        );
        let now = (point.at_ms, i64::from(point.lat_e7), i64::from(point.lon_e7));
        push_signed(&mut out, now.0.wrapping_sub(before.0));
        push_signed(&mut out, now.1 - before.1);
        push_signed(&mut out, now.2 - before.2);
        before = now;
        for value in [point.accuracy_dm, point.speed_cmps, point.heading_cdeg].into_iter().flatten() {
            push(&mut out, value.into());
        }
        if let Some(altitude_dm) = point.altitude_dm {
            push_signed(&mut out, altitude_dm.into());
        }
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// `None` if the bytes are not what was written.
pub fn decode(bytes: &[u8]) -> Option<Vec<Point>> {
    let (bytes, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(bytes) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (mut points, mut before) = (Vec::new(), (0_i64, 0_i64, 0_i64));
    while let Some((flags, more)) = rest.split_first() {
        rest = more;
        before.0 = before.0.wrapping_add(take_signed(&mut rest)?);
        before.1 = before.1.checked_add(take_signed(&mut rest)?)?;
        before.2 = before.2.checked_add(take_signed(&mut rest)?)?;
        let mut value = |flag: u8| -> Option<Option<u32>> {
            if flags & flag == 0 { Some(None) } else { Some(Some(u32::try_from(take(&mut rest)?).ok()?)) }
        };
        let (accuracy_dm, speed_cmps, heading_cdeg) = (value(ACCURACY)?, value(SPEED)?, value(HEADING)?);
        let altitude_dm = match flags & ALTITUDE {
            0 => None,
            _ => Some(i32::try_from(take_signed(&mut rest)?).ok()?),
        };
        points.push(Point {
            at_ms: before.0,
            lat_e7: i32::try_from(before.1).ok()?,
            lon_e7: i32::try_from(before.2).ok()?,
            accuracy_dm,
            speed_cmps,
            heading_cdeg,
            altitude_dm,
            late: flags & LATE != 0,
            mock: flags & MOCK != 0,
        });
    }
    Some(points)
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn push_signed(out: &mut Vec<u8>, value: i64) {
    push(out, (value << 1 ^ value >> 63) as u64);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    take(bytes).map(|value| (value >> 1) as i64 ^ -((value & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point() -> impl Strategy<Value = Point> {
        let places = (any::<i64>(), -900_000_000..=900_000_000, -1_800_000_000..=1_800_000_000);
        let value = || prop::option::of(any::<u32>());
        (places, (value(), value(), value()), prop::option::of(any::<i32>()), any::<(bool, bool)>()).prop_map(
            |((at_ms, lat_e7, lon_e7), (accuracy_dm, speed_cmps, heading_cdeg), altitude_dm, (late, mock))| Point {
                at_ms,
                lat_e7,
                lon_e7,
                accuracy_dm,
                speed_cmps,
                heading_cdeg,
                altitude_dm,
                late,
                mock,
            },
        )
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(points in prop::collection::vec(point(), 0..50)) {
            prop_assert_eq!(decode(&encode(&points)), Some(points));
        }

        #[test]
        fn no_other_bytes_are_a_chunk(points in prop::collection::vec(point(), 1..9), place: usize, bit in 0..8_u8, noise: Vec<u8>) {
            let mut bytes = encode(&points);
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            prop_assert_eq!(decode(&bytes), None);
            let _ = decode(&noise);
        }
    }
}
