//! Whether a driver can have come that far: teleports are refused, unless the new place proves to be real.

use crate::bytes::{Reader, Writer};
use crate::{Fix, Limits, Millis, Position, RestoreError};

/// Two fixes nearer in time than this are judged as this far apart: receivers stamp two fixes with one second.
const LEAST_DT_S: f64 = 1.0;

/// Where the driver was last, and where it perhaps is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Gate {
    last: Option<Spot>,
    rival: Option<Rival>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Spot {
    position: Position,
    taken: Millis,
    accuracy_m: f32,
}

/// A chain of refused fixes that fit each other.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rival {
    newest: Spot,
    fixes: u8,
    since: Millis,
}

impl Gate {
    /// The speed in m/s needed from the last accepted fix, when it is over the limit.
    pub(crate) fn excess_mps(&self, fix: &Fix, limits: &Limits) -> Option<f32> {
        let speed_mps = speed_mps(&self.last?, &Spot::of(fix, limits)) as f32;
        (speed_mps > limits.speed_mps).then_some(speed_mps)
    }

    /// The least speed in m/s that connects a fix with the last accepted one.
    pub(crate) fn speed_mps(&self, fix: &Fix, limits: &Limits) -> Option<f64> {
        Some(speed_mps(&self.last?, &Spot::of(fix, limits)))
    }

    /// Whether this is the last accepted fix again. A flood of late fixes may have pushed it out of the memory of recent ones.
    pub(crate) fn is_last(&self, fix: &Fix) -> bool {
        self.last.is_some_and(|last| last.taken == fix.taken() && last.position == fix.position())
    }

    /// Notes a fix over the limit. True when enough of them agree on the new place: then the driver is there, and
    /// one wrong "last good" fix has locked nobody out.
    pub(crate) fn is_believed(&mut self, fix: &Fix, limits: &Limits) -> bool {
        let newest = Spot::of(fix, limits);
        let fits = |rival: &Rival| {
            newest.taken > rival.newest.taken && speed_mps(&rival.newest, &newest) as f32 <= limits.speed_mps
        };
        let rival = match self.rival.filter(fits) {
            Some(rival) => Rival { newest, fixes: rival.fixes.saturating_add(1), ..rival },
            None => Rival { newest, fixes: 1, since: newest.taken },
        };
        self.rival = Some(rival);
        rival.fixes >= limits.jump_fixes && newest.taken.since_ms(rival.since) >= limits.jump_span_ms
    }

    pub(crate) fn accept(&mut self, fix: &Fix, limits: &Limits) {
        *self = Self { last: Some(Spot::of(fix, limits)), rival: None };
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.last, |w, spot| spot.save(w));
        w.option(self.rival, |w, rival| {
            rival.newest.save(w);
            w.u8(rival.fixes);
            w.time(rival.since);
        });
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let last = r.option("gate", Spot::load)?;
        let rival =
            r.option("gate", |r| Ok(Rival { newest: Spot::load(r)?, fixes: r.u8()?, since: r.time("gate")? }))?;
        Ok(Self { last, rival })
    }
}

impl Spot {
    fn of(fix: &Fix, limits: &Limits) -> Self {
        let accuracy_m = fix.accuracy_m().unwrap_or(limits.unknown_accuracy_m);
        Self { position: fix.position(), taken: fix.taken(), accuracy_m }
    }

    fn save(&self, w: &mut Writer<'_>) {
        w.position(self.position);
        w.time(self.taken);
        w.f32(self.accuracy_m);
    }

    fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        Ok(Self { position: r.position("gate")?, taken: r.time("gate")?, accuracy_m: r.f32("gate")? })
    }
}

/// The least speed that connects two spots, both accuracies granted.
fn speed_mps(from: &Spot, to: &Spot) -> f64 {
    let slack_m = f64::from(from.accuracy_m) + f64::from(to.accuracy_m);
    let way_m = (from.position.distance_m(to.position) - slack_m).max(0.0);
    way_m / to.taken.since_s(from.taken).abs().max(LEAST_DT_S)
}
