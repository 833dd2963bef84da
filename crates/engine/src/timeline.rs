//! When a driver was inside a stop's fence, told in any order.
//!
//! Phones that were offline send the newest first, or two queues at once. So fixes are not followed one by one here: they are put where
//! they belong in time, as runs of fixes inside and outside, and what they mean is read off at the end.

use crate::bytes::{Reader, Writer};
use crate::fence::{Place, proves_leaving};
use crate::{Millis, RestoreError};
use smallvec::SmallVec;

/// Most runs remembered: some visits to one stop, and some gaps that may yet be filled.
const RUNS: usize = 16;

/// Fixes this near to each other in time, in ms, have nothing between them that matters.
const NEXT_MS: i64 = 2_000;

/// Fixes after each other in time, all inside or all outside. Between two runs of one kind is a gap, of which nothing is known yet.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    from: Millis,
    until: Millis,
    inside: bool,
    fixes: u8,
}

/// The runs, in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Timeline {
    runs: SmallVec<[Run; 2]>,
}

/// A stay inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    /// The first fix inside.
    pub(crate) entered: Millis,
    /// The last one.
    pub(crate) last_inside: Millis,
    /// The first fix outside after it, if there are enough of them.
    pub(crate) left: Option<Millis>,
}

impl Visit {
    /// Since when the driver has dwelt there; time before `not_before` does not count.
    pub(crate) fn dwelt(&self, dwell_ms: i64, not_before: Millis) -> Option<Millis> {
        let since = self.entered.max(not_before);
        (self.last_inside.since_ms(since) >= dwell_ms.max(0)).then_some(since)
    }
}

impl Timeline {
    /// Takes in a fix. One on the line says nothing.
    pub(crate) fn note(&mut self, place: Place, taken: Millis) {
        let inside = match place {
            Place::Inside => true,
            Place::Outside => false,
            Place::OnTheLine => return,
        };
        // Nearly always the newest.
        let index = match self.runs.last() {
            Some(last) if last.until < taken => self.runs.len(),
            _ => self.runs.partition_point(|run| run.until < taken),
        };
        if let Some(run) = self.runs.get_mut(index).filter(|run| run.from <= taken) {
            if run.inside == inside {
                run.fixes = run.fixes.saturating_add(1);
            } else if run.from < taken && taken < run.until {
                self.split(index, taken, inside);
            }
        } else {
            self.place(index, taken, inside);
        }
        while self.runs.len() > RUNS {
            self.forget_least();
        }
    }

    /// Puts a fix between two runs, or makes it part of one that it is next to.
    fn place(&mut self, index: usize, taken: Millis, inside: bool) {
        let next_to = |run: &Run, gap_ms: i64| run.inside == inside && gap_ms <= NEXT_MS;
        let after = self.runs.get(index).is_some_and(|run| next_to(run, run.from.since_ms(taken)));
        let before = index.checked_sub(1).map(|index| &mut self.runs[index]);
        if let Some(run) = before.filter(|run| next_to(run, taken.since_ms(run.until))) {
            (run.until, run.fixes) = (taken, run.fixes.saturating_add(1));
            if after {
                self.join(index - 1);
            }
        } else if after {
            let run = &mut self.runs[index];
            (run.from, run.fixes) = (taken, run.fixes.saturating_add(1));
        } else {
            self.runs.insert(index, Run { from: taken, until: taken, inside, fixes: 1 });
        }
    }

    /// The stays, oldest first.
    pub(crate) fn visits(&self) -> impl Iterator<Item = Visit> {
        let mut runs = self.runs.iter();
        std::iter::from_fn(move || {
            let first = runs.by_ref().find(|run| run.inside)?;
            let mut visit = Visit { entered: first.from, last_inside: first.until, left: None };
            let (mut fixes, mut outside_since) = (0_u8, None);
            for run in runs.by_ref() {
                if run.inside {
                    (visit.last_inside, fixes, outside_since) = (run.until, 0, None);
                    continue;
                }
                fixes = fixes.saturating_add(run.fixes);
                let since = *outside_since.get_or_insert(run.from);
                if proves_leaving(fixes, run.until.since_ms(since)) {
                    visit.left = Some(since);
                    break;
                }
            }
            Some(visit)
        })
    }

    /// The stay that was going on then.
    pub(crate) fn visit_at(&self, at: Millis) -> Option<Visit> {
        self.visits().find(|visit| visit.entered <= at && at <= visit.last_inside)
    }

    /// Where within a run its fixes lie is not known: half of them may be on either side.
    fn split(&mut self, index: usize, taken: Millis, inside: bool) {
        let run = self.runs[index];
        let fixes = (run.fixes / 2).max(1);
        self.runs[index] = Run { until: taken - 1, fixes, ..run };
        self.runs.insert(index + 1, Run { from: taken, until: taken, inside, fixes: 1 });
        self.runs.insert(index + 2, Run { from: taken + 1, fixes, ..run });
    }

    /// Forgets the smallest gap; where there is none, the shortest run.
    fn forget_least(&mut self) {
        let gaps = self.runs.windows(2).enumerate().filter(|(_, pair)| pair[0].inside == pair[1].inside);
        let smallest = gaps.min_by_key(|(_, pair)| pair[1].from.since_ms(pair[0].until)).map(|(at, _)| at);
        if let Some(at) = smallest {
            return self.join(at);
        }
        let length_ms = |index: &usize| self.runs[*index].until.since_ms(self.runs[*index].from);
        let Some(index) = (1..self.runs.len() - 1).min_by_key(length_ms) else { return };
        // Its neighbours are alike.
        self.runs.remove(index);
        self.join(index - 1);
    }

    /// Makes one run of two of the same kind.
    fn join(&mut self, index: usize) {
        let after = self.runs.remove(index + 1);
        let run = &mut self.runs[index];
        (run.until, run.fixes) = (after.until, run.fixes.saturating_add(after.fixes));
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.u8(self.runs.len() as u8);
        let mut before = Millis(0);
        for run in &self.runs {
            w.int(run.from.since_ms(before));
            w.int(run.until.since_ms(run.from));
            w.bool(run.inside);
            w.u8(run.fixes);
            before = run.until;
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let count = r.count("visits", RUNS)?;
        let (mut runs, mut before) = (SmallVec::new(), Millis(0));
        for _ in 0..count {
            let from = before + r.int("visits")?;
            let until = from + r.int("visits")?;
            runs.push(Run { from, until, inside: r.bool("visits")?, fixes: r.u8()? });
            before = until;
        }
        Ok(Self { runs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A way past a fence, one fix every `step_s`: outside, inside for a while, outside again, and so on.
    fn truth(stays: &[(i64, i64)], step_s: i64) -> Vec<(Millis, Place)> {
        let mut second = 0;
        let mut all = Vec::new();
        let mut stay = |length_s: i64, place| {
            let until = second + length_s;
            while second < until {
                all.push((Millis(second * 1000), place));
                second += step_s;
            }
        };
        for (outside_s, inside_s) in stays {
            stay(*outside_s, Place::Outside);
            stay(*inside_s, Place::Inside);
        }
        stay(60, Place::Outside);
        all
    }

    fn visits(fixes: &[(Millis, Place)]) -> Vec<Visit> {
        let mut timeline = Timeline::default();
        fixes.iter().for_each(|(taken, place)| timeline.note(*place, *taken));
        timeline.visits().collect()
    }

    proptest! {
        #[test]
        fn visits_are_the_same_in_whatever_order_their_fixes_come(
            stays in prop::collection::vec((40_i64..300, 20_i64..300), 1..6), step_s in 1_i64..10, piece in 1_usize..60, turn in 0_u8..4,
        ) {
            let forwards = truth(&stays, step_s);
            let expected = visits(&forwards);
            prop_assert_eq!(expected.len(), stays.len());
            let other: Vec<_> = match turn {
                0 => forwards.iter().rev().copied().collect(),
                1 => forwards.rchunks(piece).flatten().copied().collect(),
                2 => forwards.rchunks(piece).flat_map(|piece| piece.iter().rev()).copied().collect(),
                // Two phones' queues that take turns, with fixes twice.
                _ => {
                    let (one, two) = (forwards.iter().step_by(2), forwards.iter().skip(1).step_by(2));
                    one.rev().chain(two.rev()).chain(forwards.iter().take(piece)).copied().collect()
                }
            };
            prop_assert_eq!(visits(&other), expected);
        }

        #[test]
        fn it_is_bounded_and_comes_back_from_its_bytes(fixes in prop::collection::vec((any::<i64>(), 0_u8..3), 0..200), near: bool) {
            let mut timeline = Timeline::default();
            for (ms, place) in fixes {
                let place = [Place::Inside, Place::Outside, Place::OnTheLine][usize::from(place)];
                timeline.note(place, Millis(if near { ms % 10_000 } else { ms }));
                prop_assert!(timeline.runs.len() <= RUNS);
                let in_order = timeline.runs.windows(2).all(|pair| pair[0].until < pair[1].from);
                prop_assert!(in_order, "{:?}", timeline);
            }
            let mut bytes = Vec::new();
            timeline.save(&mut Writer(&mut bytes));
            if near {
                prop_assert_eq!(Timeline::load(&mut Reader::new(&bytes)), Ok(timeline));
            }
        }
    }
}
