//! Where a driver most likely is, and how surely: what fences are judged by.
//!
//! A moving driver is where the filter says. One who stays is at the mean of its fixes, each pulled in to what its accuracy allows: a
//! hundred fixes of a parked phone are surer than any one of them, and an outlier moves the mean by a hand's breadth. The two are told
//! apart by their distance. In a long stay the mean of several minutes counts, until the driver is out of sight of it.
//!
//! Some phones claim to know better than they do. Noise turns back at once and motion goes on, so the product of a step with the next one
//! tells them apart: on average it is minus the square of the error, whatever the phone says. Noise that wanders for minutes shows itself
//! only in a long stay, by the distances from its middle.

use crate::bytes::{Reader, Writer};
use crate::geo::Unit;
use crate::{Millis, RestoreError};

/// Fixes that the mean remembers: more would follow too slowly when a stay drifts.
const COUNT_MOST: u8 = 100;
/// Fixes after which a stay counts as one.
const STAY_FIXES: u8 = 10;
/// Time near a stay after which it is a long one, in ms: nobody who walks takes so long.
const LONG_MS: i64 = 120_000;
/// Time that the middle of a stay remembers, in ms.
const MIDDLE_MS: i64 = 1_200_000;
/// Errors of a phone that stands are alike for about a minute; fixes this far apart, in ms, count as independent ones.
const APART_MS: f64 = 120_000.0;
/// What is believed of a phone at best, in metres, until this many fixes of long stays have shown how it errs: before, noise that
/// wanders looks like a slow walk.
const UNPROVEN_M: f64 = 15.0;
const PROOF_FIXES: u8 = 100;
/// Steps before which the error is not known well enough to believe in motion, and moves in a row that make it.
const STEPS_LEAST: u8 = 20;
const MOVES_LEAST: u8 = 3;
/// Share of a fix in the spread of a long stay.
const SPREAD_SHARE: f64 = 1.0 / 100.0;
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
    /// Fixes in the mean, 1 while moving, and the time of the first.
    count: u8,
    since: Millis,
    /// Fixes in a row at which the filter was elsewhere.
    moves: u8,
    /// The last two fixes, newest first.
    last: [Unit; 2],
    /// Steps in the mean error.
    steps: u8,
    /// Mean square of the error, as the steps show it.
    error_m2: f32,
    /// The last stay.
    stay: Option<Stay>,
    /// Mean square of the distance from the middle of long stays.
    spread_m2: f32,
    /// Fixes in it, at most [`PROOF_FIXES`].
    proof: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Stay {
    middle: Unit,
    since: Millis,
    fixes: u16,
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

    pub(super) fn take(&mut self, seen: &Seen, taken: Millis) -> Estimate {
        let Some(held) = &mut self.0 else {
            let last = [seen.unit; 2];
            let held = Held {
                at: seen.unit,
                count: 1,
                since: taken,
                moves: 0,
                last,
                steps: 0,
                error_m2: 0.0,
                stay: None,
                spread_m2: 0.0,
                proof: 0,
            };
            self.0 = Some(held);
            return held.estimate(seen.accuracy_m, taken);
        };
        held.learn_error(seen.unit);
        let shown_m = RADIUS_PER_ERROR * f64::from(held.error_m2.max(held.spread_m2)).sqrt();
        let accuracy_m = seen.accuracy_m.max(shown_m);
        if seen.filtered.chord_m(held.at) > (ELSEWHERE_ACCURACIES * accuracy_m).max(ELSEWHERE_M) {
            (held.at, held.count, held.since) = (seen.filtered, 1, taken);
            held.moves = held.moves.saturating_add(1);
            held.settle(seen.unit, accuracy_m, taken);
            return held.estimate(accuracy_m, taken);
        }
        held.moves = 0;
        let distance_m = seen.unit.chord_m(held.at);
        let allowed_m = 2.0 * accuracy_m;
        held.count = (held.count + 1).min(COUNT_MOST);
        if distance_m > 0.0 {
            let share = (allowed_m / distance_m).min(1.0) / f64::from(held.count);
            held.at = held.at.towards(seen.unit, share);
        }
        held.settle(seen.unit, accuracy_m, taken);
        held.estimate(accuracy_m, taken)
    }

    pub(super) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.0, |w, held| {
            held.at.save(w);
            w.u8(held.count);
            w.time(held.since);
            w.u8(held.moves);
            held.last.iter().for_each(|unit| unit.save(w));
            w.u8(held.steps);
            w.f32(held.error_m2);
            w.option(held.stay, |w, stay| {
                stay.middle.save(w);
                w.time(stay.since);
                w.uint(stay.fixes.into());
            });
            w.f32(held.spread_m2);
            w.u8(held.proof);
        });
    }

    pub(super) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let held = r.option("anchor", |r| {
            let (at, count, since, moves) = (Unit::load(r)?, r.u8()?, r.time("anchor")?, r.u8()?);
            let last = [Unit::load(r)?, Unit::load(r)?];
            let (steps, error_m2) = (r.u8()?, r.f32("anchor")?);
            let stay = r.option("anchor", |r| {
                let (middle, since) = (Unit::load(r)?, r.time("anchor")?);
                Ok(Stay { middle, since, fixes: r.count("anchor", u16::MAX.into())?.max(1) as u16 })
            })?;
            let (spread_m2, proof) = (r.f32("anchor")?, r.u8()?);
            let known = (1..=COUNT_MOST).contains(&count)
                && steps <= STEPS_MOST
                && proof <= PROOF_FIXES
                && (0.0..1e6).contains(&error_m2)
                && (0.0..1e6).contains(&spread_m2);
            let held = Held { at, count, since, moves, last, steps, error_m2, stay, spread_m2, proof };
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

    /// Where the stay is, and in a long one how far its fixes lie apart.
    fn settle(&mut self, unit: Unit, accuracy_m: f64, taken: Millis) {
        let Some(mut stay) = self.near_stay(accuracy_m) else {
            if self.count >= STAY_FIXES {
                self.stay = Some(Stay { middle: self.at, since: taken, fixes: self.count.into() });
            }
            return;
        };
        let (distance_m, most_m) = (unit.chord_m(stay.middle), 3.0 * accuracy_m);
        if taken.since_ms(stay.since) < MIDDLE_MS {
            stay.fixes = stay.fixes.saturating_add(1);
        }
        if distance_m > 0.0 {
            stay.middle = stay.middle.towards(unit, (most_m / distance_m).min(1.0) / f64::from(stay.fixes));
        }
        self.stay = Some(stay);
        if stay.is_long(taken) {
            self.proof = (self.proof + 1).min(PROOF_FIXES);
            let distance_m2 = distance_m.min(most_m).powi(2);
            self.spread_m2 += (SPREAD_SHARE * (distance_m2 - f64::from(self.spread_m2))) as f32;
        }
    }

    /// The stay, if it is not left.
    fn near_stay(&self, accuracy_m: f64) -> Option<Stay> {
        let away_m = (AWAY_ACCURACIES * accuracy_m).max(AWAY_M);
        self.stay.filter(|stay| stay.middle.chord_m(self.at) <= away_m)
    }

    fn estimate(&self, accuracy_m: f64, taken: Millis) -> Estimate {
        let stay = self.near_stay(accuracy_m);
        let (at, count, since) = match stay.filter(|stay| stay.is_long(taken)) {
            Some(stay) => (stay.middle, stay.fixes, stay.since),
            None => (self.at, self.count.into(), self.since),
        };
        let proven_m = if self.proof < PROOF_FIXES { accuracy_m.max(UNPROVEN_M) } else { accuracy_m };
        // Fixes of a phone that stands err together: their mean is as good as the time between them promises, not their number.
        let apart = 1.0 + taken.since_ms(since).clamp(0, MIDDLE_MS) as f64 / APART_MS;
        let within_m = proven_m / f64::from(count).min(apart).sqrt();
        let moving = self.moves >= MOVES_LEAST && self.steps >= STEPS_LEAST && stay.is_none();
        Estimate { at, within_m, accuracy_m, moving, young: count < 4 }
    }
}

impl Stay {
    fn is_long(&self, taken: Millis) -> bool {
        taken.since_ms(self.since) >= LONG_MS
    }
}
