//! Where a driver most likely is, and how surely: what fences are judged by.
//!
//! A moving driver is where the filter says. One who stays is at the mean of its fixes, each pulled in to what its accuracy allows: a
//! hundred fixes of a parked phone are surer than any one of them, and an outlier moves the mean by a hand's breadth. The two
//! are told apart by their distance.
//!
//! Some phones claim to know better than they do. Noise turns back at once and motion goes on, so the product of a step with the next one
//! tells them apart: on average it is minus the square of the error, whatever the phone says.

use crate::RestoreError;
use crate::bytes::{Reader, Writer};
use crate::geo::Unit;

/// Fixes that the mean remembers: more would follow too slowly when a stay drifts.
const COUNT_MOST: u8 = 100;
/// Fixes after which a stay counts as one.
const STAY_FIXES: u8 = 10;
/// The filter is elsewhere when it is this many accuracies from the mean, and these metres.
const ELSEWHERE_ACCURACIES: f64 = 1.5;
const ELSEWHERE_M: f64 = 10.0;
/// Moving means to have left the last stay by this many accuracies, and these metres: an outlier is soon back.
const AWAY_ACCURACIES: f64 = 4.0;
const AWAY_M: f64 = 50.0;
/// A 68 % radius is this many root mean squares of the distance, in two dimensions.
const RADIUS_PER_ERROR: f64 = 1.07;
/// Steps that the mean error remembers.
const STEPS_MOST: u8 = 30;
/// A step back of more than these metres squared is an outlier, and counts as this much.
const TURN_MOST_M2: f64 = 3_600.0;

/// See the module. Empty until the first fix.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Anchor(Option<Held>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    at: Unit,
    /// Fixes in the mean, 1 while moving.
    count: u8,
    /// Fixes in a row at which the filter was elsewhere.
    moves: u8,
    /// The last two fixes, newest first.
    last: [Unit; 2],
    /// Steps in the mean error.
    steps: u8,
    /// Mean square of the error, as the steps show it.
    error_m2: f32,
    /// Where the last stay was.
    stay: Option<Unit>,
}

/// One fix, as the anchor takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) unit: Unit,
    pub(crate) filtered: Unit,
    /// 68 % radius as the phone has it, or what is believed of phones that do not say.
    pub(crate) accuracy_m: f64,
}

/// What follows from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub(super) at: Unit,
    /// 68 % radius of `at`.
    pub(super) within_m: f64,
    /// 68 % radius of one fix, as it has shown itself to be.
    pub(super) accuracy_m: f64,
    /// On the way for certain.
    pub(super) moving: bool,
    /// Few fixes have been seen since the last move: too few to speak of a stay.
    pub(super) young: bool,
}

impl Anchor {
    pub(super) fn at(&self) -> Option<Unit> {
        self.0.map(|held| held.at)
    }

    pub(super) fn take(&mut self, seen: &Seen) -> Estimate {
        let Some(held) = &mut self.0 else {
            let last = [seen.unit; 2];
            let held = Held { at: seen.unit, count: 1, moves: 0, last, steps: 0, error_m2: 0.0, stay: None };
            self.0 = Some(held);
            return held.estimate(seen.accuracy_m);
        };
        held.learn_error(seen.unit);
        let accuracy_m = seen.accuracy_m.max(RADIUS_PER_ERROR * f64::from(held.error_m2).sqrt());
        if seen.filtered.chord_m(held.at) > (ELSEWHERE_ACCURACIES * accuracy_m).max(ELSEWHERE_M) {
            (held.at, held.count, held.moves) = (seen.filtered, 1, held.moves.saturating_add(1));
            return held.estimate(accuracy_m);
        }
        held.moves = 0;
        let distance_m = seen.unit.chord_m(held.at);
        let allowed_m = 2.0 * accuracy_m;
        held.count = (held.count + 1).min(COUNT_MOST);
        if distance_m > 0.0 {
            let share = (allowed_m / distance_m).min(1.0) / f64::from(held.count);
            held.at = held.at.towards(seen.unit, share);
        }
        if held.count >= STAY_FIXES {
            held.stay = Some(held.at);
        }
        held.estimate(accuracy_m)
    }

    pub(super) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.0, |w, held| {
            held.at.save(w);
            w.u8(held.count);
            w.u8(held.moves);
            held.last.iter().for_each(|unit| unit.save(w));
            w.u8(held.steps);
            w.f32(held.error_m2);
            w.option(held.stay, |w, stay| stay.save(w));
        });
    }

    pub(super) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let held = r.option("anchor", |r| {
            let (at, count, moves) = (Unit::load(r)?, r.u8()?, r.u8()?);
            let last = [Unit::load(r)?, Unit::load(r)?];
            let (steps, error_m2) = (r.u8()?, r.f32("anchor")?);
            let stay = r.option("anchor", Unit::load)?;
            let known = (1..=COUNT_MOST).contains(&count) && steps <= STEPS_MOST && (0.0..1e6).contains(&error_m2);
            let held = Held { at, count, moves, last, steps, error_m2, stay };
            if known { Ok(held) } else { Err(RestoreError::Invalid { field: "anchor" }) }
        })?;
        Ok(Self(held))
    }
}

impl Held {
    fn learn_error(&mut self, unit: Unit) {
        let [middle, first] = self.last;
        self.last = [unit, middle];
        let turn_m2 = first.turn_m2(middle, unit).clamp(-TURN_MOST_M2, TURN_MOST_M2);
        self.steps = (self.steps + 1).min(STEPS_MOST);
        // The first step is from the first fix to itself.
        if self.steps >= 2 {
            let share = 1.0 / f64::from(self.steps);
            self.error_m2 = (f64::from(self.error_m2) * (1.0 - share) - share * turn_m2).max(0.0) as f32;
        }
    }

    fn estimate(&self, accuracy_m: f64) -> Estimate {
        let away_m = (AWAY_ACCURACIES * accuracy_m).max(AWAY_M);
        let away = self.stay.is_none_or(|stay| stay.chord_m(self.at) > away_m);
        // Fixes of a phone that stands err together for minutes: their mean is never as good as its number promises.
        let within_m = accuracy_m * (1.0 / f64::from(self.count).sqrt()).max(0.25);
        Estimate {
            at: self.at,
            within_m,
            accuracy_m,
            moving: self.count == 1 && self.moves >= 2 && away,
            young: self.count < 4,
        }
    }
}
