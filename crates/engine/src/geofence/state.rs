//! One driver and the fences: inside of which it is, since when, and how far it may go before anything can change.
//!
//! - **In**: a driver on the way enters with the second fix inside, or the first that is deep enough for its accuracy; one that stays, or
//!   of whom little is known, must be inside by one and a half times the uncertainty of where it is ([`Anchor`]).
//! - **Out** takes three fixes, or two that are [`LEAVE_SPAN_MS`] apart, beyond the border by a multiple of the phone's accuracy. The time is
//!   that of the first fix that was outside at all.
//! - **Between** the two nothing happens, so a phone on the line does not flap.
//! - Late fixes are older than what is known here and change nothing.
//!
//! After each look the distance is known within which none of this can change; until the driver has left that neighbourhood, a fix costs one
//! distance. Whether a look is taken or saved makes no difference to what is found: a restored tracker, which looks anew, goes on alike.

use std::cell::OnceCell;

use super::anchor::{Anchor, Estimate, Seen};
use super::index::REACH_MAX_M;
use super::{FenceKind, Geofence, Geofences, Spot};
use crate::bytes::{Reader, Writer};
use crate::geo::Unit;
use crate::{Effect, GeofenceId, Millis, RestoreError};

/// Most fences a driver is inside of (or about to be) at once; further ones are not entered until one is left.
pub(crate) const PRESENT_MAX: usize = 32;

/// Uncertainties by which a driver must be inside to enter.
const ENTER_UNCERTAINTIES: f64 = 1.5;
/// Accuracies beyond the border, and least metres, at which a driver on the way is outside; and one who may be parked, whose
/// phone may be worse than it has shown yet.
const LEAVE_MOVING: (f64, f64) = (1.0, 5.0);
const LEAVE: (f64, f64) = (2.5, 20.0);
/// Fixes outside in a row before a driver has left,
const LEAVE_FIXES: u8 = 3;
/// but phones that speak seldom need only two, this far apart in ms.
const LEAVE_SPAN_MS: i64 = 20_000;

/// How far around the driver fences are looked for, in metres: farther only where there are none.
const REACHES_M: [f64; 3] = [60.0, 600.0, REACH_MAX_M];
/// Flat lengths are wrong by less than this within the reach.
const SURELY: f64 = 0.94;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct GeofenceState {
    anchor: Anchor,
    /// Newest change of any fence at the last look; fences changed after it are new to this driver. `None`: nothing was ever looked at.
    known: Option<Millis>,
    /// Number of the newest event.
    number: u64,
    /// At most [`PRESENT_MAX`].
    present: Vec<Presence>,
    /// The last fix was slow: silence after it means staying, not a tunnel.
    slow: bool,
    /// Not kept: after a restart the first fix looks.
    quiet: Option<Box<Quiet>>,
}

/// The neighbourhood of the last look.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    generation: u64,
    centre: Unit,
    radius_m: f64,
    /// Where fences were last searched for, and how far from there no other can be found: while one of the list is not settled, every fix
    /// counts for it, and only for it.
    searched: (Unit, f64),
    /// When the first dwell of all fences will be over.
    dwell_at: Option<Millis>,
}

/// A fence the driver is inside of, or may be.
#[derive(Clone, Debug, PartialEq)]
struct Presence {
    fence: GeofenceId,
    /// When the fence was changed last: another time is another shape.
    changed: Millis,
    /// Place in the index, and metres inside at this look; not kept.
    slot: u32,
    depth_m: f64,
    /// `None`: not credibly inside yet.
    entered: Option<Millis>,
    /// The driver was inside when first seen, or when the fence was made.
    fresh: bool,
    /// It was inside the fence before that was replaced, and has been told so.
    owed: bool,
    /// Fixes inside in a row, while not entered.
    hits: u8,
    /// When the dwell will be over; `None` if there is none, or it was told.
    dwell_at: Option<Millis>,
    /// First fix outside since the last one inside.
    out_since: Option<Millis>,
    /// Fixes in a row that are outside for certain, and the first of them.
    outside: u8,
    outside_since: Millis,
}

/// A fix of one look.
struct Look<'a> {
    fences: &'a Geofences,
    spot: Spot,
    raw: Unit,
    /// The same, made when the first fence asks for it.
    raw_spot: OnceCell<Spot>,
    estimate: Estimate,
    taken: Millis,
}

impl GeofenceState {
    /// Takes in an accepted fix, no older than the last. `slow`: the driver hardly moves.
    pub(crate) fn see(
        &mut self,
        seen: &Seen,
        slow: bool,
        taken: Millis,
        fences: &Geofences,
        effects: &mut Vec<Effect>,
    ) {
        let estimate = self.anchor.take(seen, taken);
        self.slow = slow;
        let is_quiet = |quiet: &Quiet| {
            quiet.generation == fences.generation()
                && quiet.centre.chord_m(estimate.at) < quiet.radius_m
                && quiet.dwell_at.is_none_or(|at| taken < at)
        };
        if self.quiet.as_deref().is_some_and(is_quiet) {
            return;
        }
        let spot = Spot::new(estimate.at.position(), estimate.at);
        self.look(&Look { fences, spot, raw: seen.unit, raw_spot: OnceCell::new(), estimate, taken }, effects);
    }

    /// Completes dwells that silence has completed.
    pub(crate) fn pass_time(&mut self, now: Millis, fences: &Geofences, effects: &mut Vec<Effect>) {
        let Some(at) = self.anchor.at().filter(|_| self.deadline().is_some_and(|deadline| deadline <= now)) else {
            return;
        };
        for index in 0..self.present.len() {
            let presence = &mut self.present[index];
            let due = presence.dwell_at.filter(|due| *due <= now && presence.out_since.is_none());
            if let Some(due) = due {
                presence.dwell_at = None;
                let (id, changed) = (presence.fence, presence.changed);
                // Of a fence that was replaced meanwhile the next fix will tell.
                let fence = fences.get(id).filter(|fence| fence.changed() == changed);
                self.raise(id, fence, FenceKind::Dwell, due, at, effects);
            }
        }
        let dwell_at = self.first_dwell();
        if let Some(quiet) = &mut self.quiet {
            quiet.dwell_at = dwell_at;
        }
    }

    /// There are no fences any more.
    pub(crate) fn forget_fences(&mut self) {
        self.present.clear();
        self.quiet = None;
    }

    /// When the next dwell will be completed by silence.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let settled = self.present.iter().filter(|presence| self.slow && presence.out_since.is_none());
        settled.filter_map(|presence| presence.dwell_at).min()
    }

    fn look(&mut self, look: &Look<'_>, effects: &mut Vec<Effect>) {
        let at = look.estimate.at;
        let same = self.quiet.as_ref().is_some_and(|quiet| quiet.generation == look.fences.generation());
        if !same {
            self.find_again(look.fences);
        }
        let listed = self.present.len();
        let mut radius_m = SURELY * self.look_at_present(look, effects);
        // Of what was taken off the list nobody knows how near it is.
        let whole = same && self.present.len() == listed;
        let left = |(centre, free_m): (Unit, f64)| (free_m - centre.chord_m(at), (centre, free_m));
        let searched = match self.quiet.as_ref().filter(|_| whole).map(|quiet| left(quiet.searched)) {
            Some((left_m, searched)) if left_m > 0.0 => {
                radius_m = radius_m.min(left_m);
                searched
            }
            _ => {
                let (around_m, free_m) = self.look_around(look, effects);
                radius_m = radius_m.min(SURELY * around_m);
                (at, SURELY * free_m)
            }
        };
        self.known = self.known.max(look.fences.newest());
        let (generation, dwell_at) = (look.fences.generation(), self.first_dwell());
        let quiet = Quiet { generation, centre: at, radius_m, searched, dwell_at };
        // In the same place every time: near fences this is done for most fixes.
        match &mut self.quiet {
            Some(known) => **known = quiet,
            None => self.quiet = Some(Box::new(quiet)),
        }
    }

    /// Another index: fences have other slots, other shapes, or are gone. Of one that is gone nothing more is told.
    fn find_again(&mut self, fences: &Geofences) {
        self.present.retain_mut(|presence| {
            let Some(slot) = fences.slot(presence.fence) else { return false };
            presence.slot = slot;
            let changed = fences.fence(slot).changed();
            if changed != presence.changed {
                let owed = presence.owed || presence.entered.is_some();
                *presence = Presence { owed, ..Presence::new(presence.fence, changed, slot, true) };
            }
            true
        });
    }

    /// Judges the fences in the list. Gives the distance within which none of them can change.
    fn look_at_present(&mut self, look: &Look<'_>, effects: &mut Vec<Effect>) -> f64 {
        let (mut radius_m, mut index) = (f64::INFINITY, 0);
        while index < self.present.len() {
            let fence = look.fences.fence(self.present[index].slot);
            let depth_m = -fence.probe(&look.spot);
            radius_m = radius_m.min(depth_m.abs());
            if self.judge(index, fence, depth_m, look, effects) == Stay::Gone {
                self.present.remove(index);
                continue;
            }
            // Until it is settled, every fix counts.
            let presence = &self.present[index];
            if presence.entered.is_none() || presence.out_since.is_some() {
                radius_m = 0.0;
            }
            index += 1;
        }
        radius_m
    }

    /// Finds fences that are not in the list. Gives the distances within which nothing can change, and no other can be found.
    fn look_around(&mut self, look: &Look<'_>, effects: &mut Vec<Effect>) -> (f64, f64) {
        let known = self.present.len();
        let (mut radius_m, mut full) = (0.0, false);
        let may_be_fresh = look.estimate.young && self.known != look.fences.newest();
        let vague_m = if may_be_fresh { look.estimate.accuracy_m } else { 0.0 };
        for reach_m in REACHES_M {
            radius_m = reach_m;
            let mut any = false;
            look.fences.around(&look.spot, reach_m, |slot, least_m| {
                if self.present.iter().any(|presence| presence.slot == slot) {
                    return;
                }
                any = true;
                if least_m > vague_m {
                    radius_m = radius_m.min(least_m);
                    return;
                }
                let fence = look.fences.fence(slot);
                let distance_m = fence.probe(&look.spot);
                let fresh = self.known.is_none_or(|known| fence.changed() > known);
                // Where little is known of a driver, a fence nearby may turn out to hold it.
                let maybe = fresh && look.estimate.young && distance_m < look.estimate.accuracy_m;
                if distance_m > 0.0 && !maybe {
                    radius_m = radius_m.min(distance_m);
                } else {
                    let depth_m = -distance_m;
                    let found = Presence { depth_m, ..Presence::new(fence.id(), fence.changed(), slot, fresh) };
                    full |= !self.list(found, known);
                }
            });
            if any {
                break;
            }
        }
        // The order of the index is nobody's business: the same fences must give the same events from any index.
        self.present[known..].sort_unstable_by_key(|presence| presence.fence);
        if full {
            radius_m = 0.0;
        }
        let mut free_m = radius_m;
        let mut index = known;
        while index < self.present.len() {
            let fence = look.fences.fence(self.present[index].slot);
            let depth_m = self.present[index].depth_m;
            if self.judge(index, fence, depth_m, look, effects) == Stay::Gone {
                self.present.remove(index);
                radius_m = radius_m.min(depth_m.abs());
                free_m = free_m.min(depth_m.abs());
                continue;
            }
            radius_m = if self.present[index].entered.is_some() { radius_m.min(depth_m) } else { 0.0 };
            index += 1;
        }
        (radius_m, free_m)
    }

    /// Adds a found fence behind the `known` ones; false if one of the found has no room: then the lowest ids have it.
    fn list(&mut self, found: Presence, known: usize) -> bool {
        if self.present.len() < PRESENT_MAX {
            self.present.push(found);
            return true;
        }
        let last = self.present[known..].iter_mut().max_by_key(|presence| presence.fence);
        if let Some(last) = last.filter(|last| found.fence < last.fence) {
            *last = found;
        }
        false
    }

    /// What the fix says about one fence of the list.
    fn judge(
        &mut self,
        index: usize,
        fence: &Geofence,
        depth_m: f64,
        look: &Look<'_>,
        effects: &mut Vec<Effect>,
    ) -> Stay {
        let (estimate, taken) = (&look.estimate, look.taken);
        let presence = &mut self.present[index];
        let owed = presence.owed && presence.entered.is_none();
        if depth_m >= 0.0 {
            (presence.out_since, presence.outside) = (None, 0);
            if presence.entered.is_none() {
                presence.hits = presence.hits.saturating_add(1);
                let deep = depth_m >= ENTER_UNCERTAINTIES * estimate.within_m;
                if !(deep || estimate.moving && presence.hits >= 2) {
                    return Stay::In;
                }
                let kind = if presence.fresh { FenceKind::Inside } else { FenceKind::Enter };
                (presence.entered, presence.owed) = (Some(taken), false);
                presence.dwell_at = fence.rules().dwell_ms.map(|dwell_ms| taken + dwell_ms);
                self.raise(fence.id(), Some(fence), kind, taken, estimate.at, effects);
            }
            let presence = &mut self.present[index];
            if let Some(due) = presence.dwell_at.filter(|due| *due <= taken) {
                presence.dwell_at = None;
                self.raise(fence.id(), Some(fence), FenceKind::Dwell, due, estimate.at, effects);
            }
            return Stay::In;
        }
        presence.hits = 0;
        if presence.entered.is_none() && !owed {
            let maybe = presence.fresh && estimate.young && -depth_m < estimate.accuracy_m;
            return if maybe { Stay::In } else { Stay::Gone };
        }
        let out_since = *presence.out_since.get_or_insert(taken);
        let (accuracies, least_m) = if estimate.moving { LEAVE_MOVING } else { LEAVE };
        let margin_m = (accuracies * estimate.accuracy_m).max(least_m);
        let raw = || look.raw_spot.get_or_init(|| Spot::new(look.raw.position(), look.raw));
        if -depth_m <= margin_m || fence.probe(raw()) <= margin_m {
            presence.outside = 0;
            return Stay::In;
        }
        if presence.outside == 0 {
            presence.outside_since = taken;
        }
        presence.outside = presence.outside.saturating_add(1);
        let spanned = presence.outside >= 2 && taken.since_ms(presence.outside_since) >= LEAVE_SPAN_MS;
        if presence.outside < LEAVE_FIXES && !spanned {
            return Stay::In;
        }
        self.raise(fence.id(), Some(fence), FenceKind::Exit, out_since, estimate.at, effects);
        Stay::Gone
    }

    /// Numbers grow with time, so that they go on growing also where the state was lost; the same fixes give the same numbers.
    fn raise(
        &mut self,
        id: GeofenceId,
        fence: Option<&Geofence>,
        kind: FenceKind,
        at: Millis,
        place: Unit,
        effects: &mut Vec<Effect>,
    ) {
        if fence.is_some_and(|fence| fence.rules().kinds.contains(kind)) {
            self.number = (self.number + 1).max(u64::try_from(at.0).unwrap_or(0));
            effects.push(Effect::Fence { fence: id, kind, at, position: place.position(), number: self.number });
        }
    }

    fn first_dwell(&self) -> Option<Millis> {
        self.present.iter().filter_map(|presence| presence.dwell_at).min()
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        self.anchor.save(w);
        w.option(self.known, Writer::time);
        w.uint(self.number);
        w.bool(self.slow);
        w.u8(self.present.len() as u8);
        self.present.iter().for_each(|presence| presence.save(w));
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let anchor = Anchor::load(r)?;
        let known = r.option("fences", |r| r.time("fences"))?;
        let (number, slow) = (r.uint("fences")?, r.bool("fences")?);
        let count = r.count("fences", PRESENT_MAX)?;
        let present = (0..count).map(|_| Presence::load(r)).collect::<Result<_, _>>()?;
        // Room for the numbers of a lifetime.
        if number > u64::MAX / 2 {
            return Err(RestoreError::Invalid { field: "fences" });
        }
        Ok(Self { anchor, known, number, present, slow, quiet: None })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    In,
    Gone,
}

impl Presence {
    fn new(fence: GeofenceId, changed: Millis, slot: u32, fresh: bool) -> Self {
        Self {
            fence,
            changed,
            slot,
            depth_m: 0.0,
            entered: None,
            fresh,
            owed: false,
            hits: 0,
            dwell_at: None,
            out_since: None,
            outside: 0,
            outside_since: Millis::default(),
        }
    }

    fn save(&self, w: &mut Writer<'_>) {
        w.raw(self.fence.0.to_le_bytes());
        w.time(self.changed);
        w.option(self.entered, Writer::time);
        w.bool(self.fresh);
        w.bool(self.owed);
        w.u8(self.hits);
        w.option(self.dwell_at, Writer::time);
        w.option(self.out_since, Writer::time);
        w.u8(self.outside);
        w.time(self.outside_since);
    }

    fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let fence = GeofenceId(u128::from_le_bytes(r.raw()?));
        let changed = r.time("fences")?;
        Ok(Self {
            entered: r.option("fences", |r| r.time("fences"))?,
            fresh: r.bool("fences")?,
            owed: r.bool("fences")?,
            hits: r.u8()?,
            dwell_at: r.option("fences", |r| r.time("fences"))?,
            out_since: r.option("fences", |r| r.time("fences"))?,
            outside: r.u8()?,
            outside_since: r.time("fences")?,
            ..Self::new(fence, changed, 0, false)
        })
    }
}
