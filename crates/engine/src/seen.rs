//! What has been received before: a resent message, or the same fix again.

use crate::bytes::{Reader, Writer};
use crate::skew::Skew;
use crate::{Fix, Millis, Position, RestoreError};
use smallvec::SmallVec;

/// Sessions remembered per driver: the present one, its predecessor, and a second phone's two.
const SESSIONS: usize = 4;
/// Messages remembered below the highest: four times the 64 a client may keep unacknowledged.
const WINDOW: u64 = 256;
/// Kept fixes remembered, for senders that have no sessions.
const RECENT: usize = 64;

/// The last sessions of a driver, the most recently used first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sessions {
    list: SmallVec<[Session; 1]>,
}

/// One session: which messages came, and how wrong its clock is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Session {
    id: u64,
    highest: Option<u64>,
    /// Bit `n` of the window: message `highest - n` came.
    window: [u64; (WINDOW / 64) as usize],
    pub(crate) skew: Skew,
}

impl Sessions {
    /// The session of that id, now the most recently used. The least recently used goes.
    pub(crate) fn enter(&mut self, id: u64) -> &mut Session {
        let found = self.list.iter().position(|session| session.id == id);
        match found {
            Some(index) => self.list[..=index].rotate_right(1),
            None => {
                self.list.truncate(SESSIONS - 1);
                self.list.insert(0, Session { id, ..Session::default() });
            }
        }
        &mut self.list[0]
    }

    /// How wrong the session's clock is known to be; 0 for one that is not known.
    pub(crate) fn offset_ms(&self, id: u64) -> i64 {
        self.list.iter().find(|session| session.id == id).map_or(0, |session| session.skew.offset_ms())
    }

    pub(crate) fn seen(&self, id: u64, seq: u64) -> bool {
        self.list.iter().any(|session| session.id == id && session.seen(seq))
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.u8(self.list.len() as u8);
        for session in &self.list {
            w.uint(session.id);
            w.option(session.highest, Writer::uint);
            for word in session.window {
                // Windows are nearly all ones or all zeros; the complement of a full word is one byte.
                w.uint(!word);
            }
            session.skew.save(w);
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let count = r.count("sessions", SESSIONS)?;
        let mut list = SmallVec::new();
        for _ in 0..count {
            let id = r.uint("session")?;
            let highest = r.option("session", |r| r.uint("session"))?;
            let mut window = [0; (WINDOW / 64) as usize];
            for word in &mut window {
                *word = !r.uint("session")?;
            }
            list.push(Session { id, highest, window, skew: Skew::load(r)? });
        }
        Ok(Self { list })
    }
}

impl Session {
    /// Remembers a message.
    pub(crate) fn mark(&mut self, seq: u64) {
        let highest = self.highest.unwrap_or(seq);
        if seq > highest {
            self.shift(seq - highest);
        }
        self.highest = Some(highest.max(seq));
        let below = highest.max(seq) - seq;
        if below < WINDOW {
            self.window[(below / 64) as usize] |= 1 << (below % 64);
        }
    }

    /// Whether the message came before. One below the window can only be a resend.
    pub(crate) fn seen(&self, seq: u64) -> bool {
        match self.highest {
            Some(highest) if seq <= highest => {
                let below = highest - seq;
                below >= WINDOW || self.window[(below / 64) as usize] >> (below % 64) & 1 == 1
            }
            _ => false,
        }
    }

    fn shift(&mut self, by: u64) {
        if by >= WINDOW {
            self.window = Default::default();
            return;
        }
        let (words, bits) = ((by / 64) as usize, by % 64);
        for index in (0..self.window.len()).rev() {
            let word = |i: Option<usize>| i.map_or(0, |i| self.window[i]);
            let high = word(index.checked_sub(words)) << bits;
            let low = if bits == 0 { 0 } else { word(index.checked_sub(words + 1)) >> (64 - bits) };
            self.window[index] = high | low;
        }
    }
}

/// A kept fix by what makes it the same fix: the phone's own time and place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Kept {
    taken: Millis,
    lat_e7: i32,
    lon_e7: i32,
}

/// The last kept fixes of a driver, in a ring.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    ring: Vec<Kept>,
    next: usize,
}

impl Recent {
    /// Whether a fix of the phone time `taken` at `position` was kept lately. A scan of 1 KiB, about 20 ns.
    pub(crate) fn contains(&self, taken: Millis, position: Position) -> bool {
        self.ring
            .iter()
            .any(|kept| kept.taken == taken && kept.lat_e7 == position.lat_e7() && kept.lon_e7 == position.lon_e7())
    }

    pub(crate) fn push(&mut self, taken: Millis, position: Position) {
        let kept = Kept { taken, lat_e7: position.lat_e7(), lon_e7: position.lon_e7() };
        if self.ring.len() < RECENT {
            self.ring.push(kept);
        } else {
            self.ring[self.next] = kept;
        }
        self.next = (self.next + 1) % RECENT;
    }

    /// The slower of the two speeds, in m/s, that connect a late fix with its neighbours in time; `None` unless it has one on
    /// either side: a single neighbour may itself be the wrong one. Both accuracies are granted as `slack_m`. `to_newest_mps` is the speed
    /// that connects it with the newest accepted fix, which a long queue of late ones has pushed out of here.
    pub(crate) fn speed_between_mps(
        &self,
        fix: &Fix,
        taken: Millis,
        slack_m: f64,
        to_newest_mps: Option<f64>,
    ) -> Option<f64> {
        let before = self.ring.iter().filter(|kept| kept.taken <= taken).max_by_key(|kept| kept.taken)?;
        let after = self.ring.iter().filter(|kept| kept.taken > taken).min_by_key(|kept| kept.taken);
        let speed_mps = |kept: &Kept| {
            let there = Position::new(f64::from(kept.lat_e7) / 1e7, f64::from(kept.lon_e7) / 1e7).ok()?;
            let way_m = (fix.position().distance_m(there) - slack_m).max(0.0);
            Some(way_m / kept.taken.since_s(taken).abs().max(1.0))
        };
        let after_mps = match after {
            Some(after) => speed_mps(after)?,
            None => to_newest_mps?,
        };
        Some(speed_mps(before)?.min(after_mps))
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.u8(self.ring.len() as u8);
        w.u8(self.next as u8);
        let mut last = Kept::default();
        for kept in &self.ring {
            // Neighbours are seconds and metres apart: differences take a third of the space.
            w.int(kept.taken.0.wrapping_sub(last.taken.0));
            w.int(i64::from(kept.lat_e7) - i64::from(last.lat_e7));
            w.int(i64::from(kept.lon_e7) - i64::from(last.lon_e7));
            last = *kept;
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let count = r.count("recent", RECENT)?;
        let next = r.count("recent", RECENT - 1)?;
        if next != count % RECENT && count != RECENT {
            return Err(RestoreError::Invalid { field: "recent" });
        }
        let (mut ring, mut last) = (Vec::with_capacity(count), Kept::default());
        for _ in 0..count {
            let taken = Millis(last.taken.0.wrapping_add(r.int("recent")?));
            let mut e7 = |last: i32| -> Result<i32, RestoreError> {
                let value = i64::from(last).checked_add(r.int("recent")?).and_then(|value| i32::try_from(value).ok());
                value.ok_or(RestoreError::Invalid { field: "recent" })
            };
            last = Kept { taken, lat_e7: e7(last.lat_e7)?, lon_e7: e7(last.lon_e7)? };
            ring.push(last);
        }
        Ok(Self { ring, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_window_equals_a_set_within_its_reach(steps in prop::collection::vec((0_u64..40, 0_u64..200), 1..200)) {
            let (mut session, mut set, mut highest) = (Session::default(), HashSet::new(), 1_000_u64);
            for (up, back) in steps {
                highest += up;
                let seq = highest - back;
                let top = set.iter().copied().max().unwrap_or(0);
                if top < seq + WINDOW {
                    prop_assert_eq!(session.seen(seq), set.contains(&seq));
                }
                session.mark(seq);
                set.insert(seq);
                prop_assert!(session.seen(seq));
            }
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_panic() {
        let mut session = Session::default();
        for seq in [0, u64::MAX, 0, u64::MAX - 1, 1 << 63] {
            session.mark(seq);
            assert!(session.seen(seq));
        }
        assert!(!session.seen(u64::MAX - 2));
    }

    #[test]
    fn the_fifth_session_pushes_out_the_one_longest_unused() {
        let mut sessions = Sessions::default();
        for id in [1, 2, 3, 4, 1, 5] {
            sessions.enter(id).mark(7);
        }
        assert_eq!([1, 2, 3, 4, 5].map(|id| sessions.seen(id, 7)), [true, false, true, true, true]);
    }
}
