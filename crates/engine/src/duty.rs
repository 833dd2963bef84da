//! When the driver was on duty: only then may coordinates be kept.

use crate::bytes::{Reader, Writer};
use crate::{Millis, RestoreError};
use smallvec::SmallVec;

/// Intervals remembered; older ones count as off duty.
const INTERVALS: usize = 8;

/// The last duty intervals, oldest first; the last may be open.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Duty {
    intervals: SmallVec<[(Millis, Option<Millis>); 2]>,
}

impl Duty {
    pub(crate) fn is_on(&self) -> bool {
        self.intervals.last().is_some_and(|(_, until)| until.is_none())
    }

    /// Begins or ends duty at `now`; nothing happens when it already is so.
    pub(crate) fn set(&mut self, now: Millis, on: bool) {
        if on == self.is_on() {
            return;
        }
        if !on {
            if let Some((from, until)) = self.intervals.last_mut() {
                *until = Some(now.max(*from));
            }
            return;
        }
        if self.intervals.len() == INTERVALS {
            self.intervals.remove(0);
        }
        self.intervals.push((now, None));
    }

    /// The present duty began earlier than was noticed.
    pub(crate) fn extend_back(&mut self, since: Millis) {
        if let Some((from, None)) = self.intervals.last_mut() {
            *from = since.min(*from);
        }
    }

    /// Whether the driver was on duty at `taken`, give or take `slack_ms`.
    pub(crate) fn covers(&self, taken: Millis, slack_ms: i64) -> bool {
        let holds = |(from, until): &(Millis, Option<Millis>)| {
            *from - slack_ms <= taken && until.is_none_or(|until| taken <= until + slack_ms)
        };
        self.intervals.iter().rev().any(holds)
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.u8(self.intervals.len() as u8);
        for (from, until) in &self.intervals {
            w.time(*from);
            w.option(*until, Writer::time);
        }
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let count = r.count("duty", INTERVALS)?;
        let mut intervals = SmallVec::new();
        for _ in 0..count {
            intervals.push((r.time("duty")?, r.option("duty", |r| r.time("duty"))?));
        }
        Ok(Self { intervals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duty_is_what_was_switched_on_and_off_plus_slack() {
        let mut duty = Duty::default();
        assert!(!duty.covers(Millis(100), 1_000_000));
        duty.set(Millis(1_000), true);
        duty.set(Millis(1_500), true);
        duty.set(Millis(2_000), false);
        duty.set(Millis(5_000), true);
        for (taken, on) in
            [(889, false), (890, true), (1_500, true), (2_110, true), (2_111, false), (4_890, true), (i64::MAX, true)]
        {
            assert_eq!(duty.covers(Millis(taken), 110), on, "{taken}");
        }
        duty.extend_back(Millis(3_000));
        assert!(duty.covers(Millis(3_000), 0) && !duty.covers(Millis(2_999), 0));
    }

    #[test]
    fn only_the_last_eight_intervals_are_remembered() {
        let mut duty = Duty::default();
        for day in 0..20 {
            duty.set(Millis(day * 100), true);
            duty.set(Millis(day * 100 + 50), false);
        }
        assert!(!duty.covers(Millis(1_125), 0) && duty.covers(Millis(1_225), 0));
    }
}
