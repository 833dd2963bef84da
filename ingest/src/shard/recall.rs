//! What existing apps have sent lately, so that what they send again is known.
//!
//! Such an app sends its queue until it hears an answer; when the answer is lost, the whole request comes again, thousands of records in
//! some dialects. So the records of a driver's last requests are remembered by what identifies them. The memory goes into the driver's
//! checkpoint, and what was kept after that comes back from the log: it is exact after a fall too.

use ahash::AHashMap;
use bytes::{Buf, Bytes};

/// Requests after which a record is forgotten. One would do for an app that waits for its answer; a driver may have several phones.
const REQUESTS: u32 = 16;

/// The same for a record that was sent ahead of a queue: it comes again when the queue has come down to it.
const REQUESTS_AHEAD: u32 = 512;

/// Most records remembered: a request of the largest size has some 15,000.
const RECORDS_MAX: usize = 32_768;

/// Begins the memory in a checkpoint. A tracker's bytes begin with their version, which is another number.
const MARK: u8 = 0xA1;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recall {
    /// Number of the request at hand.
    request: u32,
    /// Records by hash, with the request at which they are forgotten.
    records: AHashMap<u64, u32>,
}

impl Recall {
    /// Another request comes: the oldest records are forgotten.
    pub fn begin(&mut self) {
        self.request += 1;
        let request = self.request;
        self.records.retain(|_, until| *until > request);
    }

    /// Whether one of these was noted.
    pub fn knows(&self, identities: [Option<u64>; 2]) -> bool {
        identities.into_iter().flatten().any(|identity| self.records.contains_key(&identity))
    }

    /// Notes a record. Beyond the bound nothing is noted until requests have passed: then the tracker's own, short memory has to do.
    pub fn note(&mut self, identity: u64, ahead: bool) {
        if self.records.len() >= RECORDS_MAX && !self.records.contains_key(&identity) {
            return;
        }
        let until = self.request + if ahead { REQUESTS_AHEAD } else { REQUESTS };
        let known = self.records.entry(identity).or_insert(until);
        *known = until.max(*known);
    }

    /// Takes back a note about what was not taken after all.
    pub fn forget(&mut self, identity: u64) {
        self.records.remove(&identity);
    }

    /// Appends the memory to a checkpoint; nothing when it is empty.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.records.is_empty() {
            return;
        }
        out.push(MARK);
        out.extend_from_slice(&(self.records.len() as u32).to_le_bytes());
        for (identity, until) in &self.records {
            out.extend_from_slice(&identity.to_le_bytes());
            out.extend_from_slice(&(until.saturating_sub(self.request) as u16).to_le_bytes());
        }
    }

    /// Takes the memory off the front of a checkpoint, if there is one.
    pub fn read(bytes: &mut Bytes) -> Result<Self, String> {
        let mut recall = Self::default();
        if bytes.first() != Some(&MARK) {
            return Ok(recall);
        }
        bytes.advance(1);
        let count = bytes.try_get_u32_le().map_err(|_| "it ends too early")? as usize;
        if count > RECORDS_MAX || bytes.remaining() < count * 10 {
            return Err(format!("it recalls {count} records, more than there are or may be"));
        }
        for _ in 0..count {
            let identity = bytes.get_u64_le();
            recall.records.insert(identity, u32::from(bytes.get_u16_le()));
        }
        Ok(recall)
    }
}

/// What identifies a record that has no id of its own: when it was taken, where, and how surely (a vague fix that was refused must not stand
/// for a better one). The same on every machine: it is stored.
pub fn identity_of_place(t_ms: i64, lat: f64, lon: f64, accuracy_m: Option<f32>) -> u64 {
    let accuracy = u64::from(accuracy_m.unwrap_or(0.0).to_bits());
    let parts = [t_ms.to_le_bytes(), lat.to_le_bytes(), lon.to_le_bytes(), accuracy.to_le_bytes()];
    scatter(parts.iter().fold(SEED, |hash, part| mix(hash, part)))
}

/// What identifies a record by its own id.
pub fn identity_of_id(id: &str) -> u64 {
    scatter(mix(SEED ^ 1, id.as_bytes()))
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: nobody gains anything by a collision but the loss of an own fix.
fn mix(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Spreads the last bytes over all bits.
fn scatter(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53) ^ (hash >> 29)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_is_known_for_some_requests_and_one_sent_ahead_for_many() {
        let mut recall = Recall::default();
        recall.begin();
        recall.note(1, false);
        recall.note(2, true);
        for _ in 1..REQUESTS {
            recall.begin();
            assert!(recall.knows([None, Some(1)]));
        }
        recall.begin();
        assert!(!recall.knows([Some(1), None]) && recall.knows([Some(2), None]));
        recall.forget(2);
        assert_eq!(recall.records.len(), 0);
    }

    #[test]
    fn the_memory_has_a_bound() {
        let mut recall = Recall::default();
        recall.begin();
        (0..2 * RECORDS_MAX as u64).for_each(|identity| recall.note(identity, false));
        assert_eq!(recall.records.len(), RECORDS_MAX);
    }

    #[test]
    fn a_checkpoint_without_a_memory_is_left_alone() {
        let mut out = Vec::new();
        Recall::default().write(&mut out);
        out.extend_from_slice(b"\x03tracker");
        let mut bytes = Bytes::from(out);
        assert_eq!(Recall::read(&mut bytes), Ok(Recall::default()));
        assert_eq!(&bytes[..], b"\x03tracker");
    }

    #[test]
    fn places_and_times_next_to_each_other_differ() {
        let identities = [
            identity_of_place(1_000, 41.15, -8.61, None),
            identity_of_place(1_000, 41.15, -8.61, Some(5.0)),
            identity_of_place(1_001, 41.15, -8.61, None),
            identity_of_place(1_000, 41.150_000_1, -8.61, None),
            identity_of_place(1_000, -8.61, 41.15, None),
            identity_of_id("a"),
            identity_of_id("b"),
        ];
        let different: std::collections::BTreeSet<u64> = identities.into_iter().collect();
        assert_eq!(different.len(), identities.len());
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(records: Vec<(u64, bool)>) {
            let mut recall = Recall::default();
            recall.begin();
            records.iter().for_each(|(identity, ahead)| recall.note(*identity, *ahead));
            let mut out = Vec::new();
            recall.write(&mut out);
            out.extend_from_slice(b"\x03tracker");
            let mut bytes = Bytes::from(out);
            let read = Recall::read(&mut bytes).unwrap();
            prop_assert_eq!(&bytes[..], b"\x03tracker");
            for (identity, _) in records {
                prop_assert!(read.knows([Some(identity), None]));
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _ = Recall::read(&mut bytes.into());
        }
    }
}
