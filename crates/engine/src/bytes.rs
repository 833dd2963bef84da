//! The engine's own binary form for checkpoints: little endian, small integers short, nothing trusted on the way in.

use crate::{Millis, Position, RestoreError};

/// Appends values to a checkpoint.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Seven bits a byte, lowest first.
    pub(crate) fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Zigzag, so that small negative numbers stay short.
    pub(crate) fn int(&mut self, value: i64) {
        self.uint(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn raw<const N: usize>(&mut self, value: [u8; N]) {
        self.0.extend_from_slice(&value);
    }

    pub(crate) fn f32(&mut self, value: f32) {
        self.raw(value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.raw(value.to_le_bytes());
    }

    pub(crate) fn time(&mut self, value: Millis) {
        self.int(value.0);
    }

    pub(crate) fn position(&mut self, value: Position) {
        self.f64(value.lat_deg());
        self.f64(value.lon_deg());
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Takes values from a checkpoint; every method refuses what the writer cannot have written.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Read<T> = Result<T, RestoreError>;

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn raw<const N: usize>(&mut self) -> Read<[u8; N]> {
        let rest = &self.bytes[self.at..];
        let found = rest.first_chunk::<N>().ok_or(RestoreError::Truncated { at: self.bytes.len() })?;
        self.at += N;
        Ok(*found)
    }

    pub(crate) fn u8(&mut self) -> Read<u8> {
        Ok(self.raw::<1>()?[0])
    }

    pub(crate) fn bool(&mut self, field: &'static str) -> Read<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RestoreError::Invalid { field }),
        }
    }

    pub(crate) fn uint(&mut self, field: &'static str) -> Read<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(RestoreError::Invalid { field });
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RestoreError::Invalid { field })
    }

    pub(crate) fn int(&mut self, field: &'static str) -> Read<i64> {
        let value = self.uint(field)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A length or small number, at most `max`.
    pub(crate) fn count(&mut self, field: &'static str, max: usize) -> Read<usize> {
        let value = self.uint(field)?;
        usize::try_from(value).ok().filter(|count| *count <= max).ok_or(RestoreError::Invalid { field })
    }

    /// A finite number with a magnitude of at most `max`.
    pub(crate) fn f64(&mut self, field: &'static str, max: f64) -> Read<f64> {
        let value = f64::from_le_bytes(self.raw()?);
        // NaN is within nothing.
        if value.abs() <= max { Ok(value) } else { Err(RestoreError::Invalid { field }) }
    }

    /// A finite number.
    pub(crate) fn f32(&mut self, field: &'static str) -> Read<f32> {
        let value = f32::from_le_bytes(self.raw()?);
        if value.is_finite() { Ok(value) } else { Err(RestoreError::Invalid { field }) }
    }

    pub(crate) fn time(&mut self, field: &'static str) -> Read<Millis> {
        Ok(Millis(self.int(field)?))
    }

    pub(crate) fn position(&mut self, field: &'static str) -> Read<Position> {
        let (lat, lon) = (self.f64(field, 90.0)?, self.f64(field, 180.0)?);
        Position::new(lat, lon).map_err(|_| RestoreError::Invalid { field })
    }

    pub(crate) fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<Option<T>> {
        if self.bool(field)? { read(self).map(Some) } else { Ok(None) }
    }

    /// Bytes not yet read.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn finish(self) -> Read<()> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(RestoreError::Invalid { field: "length" }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reading_undoes_writing(u in any::<u64>(), i in any::<i64>(), b in any::<bool>()) {
            let mut bytes = Vec::new();
            let mut w = Writer(&mut bytes);
            w.uint(u);
            w.int(i);
            w.option(b.then_some(i), Writer::int);
            let mut r = Reader::new(&bytes);
            prop_assert_eq!(r.uint("u"), Ok(u));
            prop_assert_eq!(r.int("i"), Ok(i));
            prop_assert_eq!(r.option("o", |r| r.int("o")), Ok(b.then_some(i)));
            prop_assert_eq!(r.finish(), Ok(()));
        }
    }

    #[test]
    fn what_was_never_written_is_refused() {
        assert!(Reader::new(&[0xff; 10]).uint("u").is_err(), "more than 64 bits");
        assert!(Reader::new(&[0xff; 3]).uint("u").is_err(), "cut off");
        assert!(Reader::new(&f64::NAN.to_le_bytes()).f64("f", 1e9).is_err());
        assert!(Reader::new(&[2]).bool("b").is_err());
        assert!(Reader::new(&[9]).count("c", 8).is_err());
    }
}
