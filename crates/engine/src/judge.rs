//! The judgement of one fix, in the order in which reasons are given.

use crate::tracker::Tracker;
use crate::{Fix, Limits, Millis, MockPolicy, Position, RawFix, Reason, World};

/// A fix that is to be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    /// The newest so far.
    Accepted(Fix),
    /// The newest, at a place that the driver cannot have reached but has proved to be at: the filter starts afresh.
    Elsewhere(Fix),
    /// Older than the newest.
    Late(Fix),
}

impl Tracker {
    /// Judges a fix received at `now` whose phone's clock is off by `offset_ms`. Only the memory of refused jumps changes.
    pub(crate) fn judge(
        &mut self,
        now: Millis,
        raw: &RawFix,
        offset_ms: i64,
        world: &World<'_>,
    ) -> Result<Kept, Reason> {
        let limits = world.limits.get(self.vehicle);
        let fix = raw.admit(offset_ms)?;
        if self.recent.contains(raw.taken, fix.position()) || self.gate.is_last(&fix) {
            return Err(Reason::Duplicate);
        }
        check_age(now, &fix, limits)?;
        let is_late = self.newest.is_some_and(|newest| fix.taken() < newest);
        if !self.duty.covers(fix.taken(), limits.shift_slack_ms) {
            return Err(Reason::OffShift);
        }
        check_area(fix.position(), world)?;
        check_accuracy(&fix, limits)?;
        let is_mock = fix.mock() && limits.mock == MockPolicy::Reject;
        if is_late {
            self.check_late_speed(raw.taken, &fix, limits)?;
            return if is_mock { Err(Reason::Mock) } else { Ok(Kept::Late(fix)) };
        }
        if let Some(mps) = self.gate.excess_mps(&fix, limits) {
            // A made-up position must not vouch for a jump.
            if is_mock || !self.gate.is_believed(&fix, limits) {
                return Err(Reason::ImplausibleSpeed { mps, limit_mps: limits.speed_mps });
            }
            return Ok(Kept::Elsewhere(fix));
        }
        if is_mock { Err(Reason::Mock) } else { Ok(Kept::Accepted(fix)) }
    }

    /// A late fix is refused only when it fits neither of its neighbours in time. It locks nobody out, as it decides nothing.
    fn check_late_speed(&self, phone_taken: Millis, fix: &Fix, limits: &Limits) -> Result<(), Reason> {
        let accuracy_m = fix.accuracy_m().unwrap_or(limits.unknown_accuracy_m);
        let slack_m = f64::from(accuracy_m + limits.unknown_accuracy_m);
        let to_newest_mps = self.gate.speed_mps(fix, limits);
        match self.recent.speed_between_mps(fix, phone_taken, slack_m, to_newest_mps) {
            Some(mps) if mps as f32 > limits.speed_mps => {
                Err(Reason::ImplausibleSpeed { mps: mps as f32, limit_mps: limits.speed_mps })
            }
            _ => Ok(()),
        }
    }
}

fn check_age(now: Millis, fix: &Fix, limits: &Limits) -> Result<(), Reason> {
    let age_ms = now.since_ms(fix.taken());
    let ahead_ms = fix.taken().since_ms(now);
    if ahead_ms > limits.future_ms {
        return Err(Reason::Future { ahead_ms, limit_ms: limits.future_ms });
    }
    if age_ms > limits.stale_ms {
        return Err(Reason::Stale { age_ms, limit_ms: limits.stale_ms });
    }
    Ok(())
}

fn check_area(position: Position, world: &World<'_>) -> Result<(), Reason> {
    let Some(area) = world.area.filter(|area| !area.contains(position)) else {
        return Ok(());
    };
    let swapped = Position::new(position.lon_deg(), position.lat_deg());
    Err(Reason::OutsideArea { swapped_would_fit: swapped.is_ok_and(|swapped| area.contains(swapped)) })
}

fn check_accuracy(fix: &Fix, limits: &Limits) -> Result<(), Reason> {
    match fix.accuracy_m() {
        Some(accuracy_m) if accuracy_m > limits.accuracy_m => {
            Err(Reason::Inaccurate { accuracy_m, limit_m: limits.accuracy_m })
        }
        _ => Ok(()),
    }
}
