//! The driver's plan under way: which stops have been made, and what that means for each trip.
//!
//! Phases only go forward. A pick-up is made by dwelling in its fence and then leaving it, a drop-off is reached by
//! dwelling in its fence. Stops may be made in any order; arrival times follow the order of the plan.
//!
//! *Late fixes* come in any order, often the newest first, and what one of them seems to say the next may put right: when the driver came,
//! when it left, whether it was at the pick-up at all. So all fixes of a trip are put onto a timeline of each stop not yet made, and nothing is
//! concluded from a queue before it has been quiet for [`SETTLE_MS`]; then everything is, in the order in which it happened. What they imply
//! happens once, at the time it happened, and never takes anything back.

use crate::bytes::{Reader, Writer};
use crate::fence::{Crossing, Place};
use crate::geo::Unit;
use crate::trip::{Stop, Trip};
use crate::{Effect, Fence, Millis, Phase, Plan, RestoreError, StopKind};

/// A speed at which a driver inside a fence is stopping there, m/s.
pub(crate) const SLOW_MPS: f32 = 3.0;

/// A fix older than this when it arrives, in ms, comes out of a queue, in which others are likely to follow.
const AGED_MS: i64 = 60_000;
/// So long after the last late fix, in ms, no more are expected. Apps that send one record per request, over slow lines, pause less.
pub(crate) const SETTLE_MS: i64 = 10_000;
/// Nothing is held back for longer than this, in ms: a second phone whose clock is wrong may tell late fixes for ever.
const HELD_MOST_MS: i64 = 900_000;
/// After a new plan was heard, perhaps because the house has just come back, a phone may need this long to go on with its queue, in ms.
const RESUME_MS: i64 = 20_000;

/// Live trips and their stops in driving order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Journey {
    pub(crate) trips: Vec<Trip>,
    pub(crate) stops: Vec<Stop>,
    /// When what late fixes have said is to be concluded, if nothing more comes.
    settle_at: Option<Millis>,
    /// A queue is being emptied, since then: until it is settled nothing at all is concluded.
    held: Option<Millis>,
}

/// A kept fix, as far as fences are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    pub(crate) unit: Unit,
    /// Where the filter has the driver: calmer than the fix, for a line that is crossed only once.
    pub(crate) filtered: Unit,
    pub(crate) accuracy_m: f64,
    pub(crate) speed_mps: f32,
    pub(crate) taken: Millis,
}

impl Journey {
    pub(crate) fn is_live(&self) -> bool {
        !self.trips.is_empty()
    }

    /// Whether the driver is inside the fence of a stop still to be made: what happens there is no traffic.
    pub(crate) fn is_at_stop(&self) -> bool {
        self.stops.iter().any(stop_is_entered)
    }

    /// Puts a plan into effect: what is known of trips and stops that stay is kept, also when the record lags behind.
    pub(crate) fn apply(&mut self, now: Millis, plan: Plan, effects: &mut Vec<Effect>) {
        let mut former_trips = std::mem::take(&mut self.trips);
        let mut former_stops = std::mem::take(&mut self.stops);
        // Exactly: a vector that grows by itself begins with room for four, and most drivers have one trip of two stops.
        self.trips.reserve_exact(plan.trips.len().min(Plan::MAX_TRIPS));
        self.stops.reserve_exact(plan.stops.len().min(Plan::MAX_STOPS));
        for planned in plan.trips.iter().filter(|trip| !trip.phase.is_terminal()) {
            if self.trips.len() == Plan::MAX_TRIPS || self.trips.iter().any(|trip| trip.id == planned.id) {
                continue;
            }
            let known = former_trips.iter().position(|trip| trip.id == planned.id);
            let known = known.map(|index| former_trips.swap_remove(index));
            let mut trip = match known {
                Some(trip) if trip.assignment == planned.assignment => trip,
                // Given away and back: a new start, but watchers still hold what they were told.
                Some(trip) => Trip { told: trip.told, ..Trip::new(now, planned) },
                None => Trip::new(now, planned),
            };
            trip.ready_at = planned.ready_at;
            if planned.phase > trip.phase {
                (trip.phase, trip.since) = (planned.phase, now.max(trip.since));
            }
            self.trips.push(trip);
        }
        for trip in former_trips.iter().filter(|trip| trip.told.is_some()) {
            effects.push(Effect::Eta { trip: trip.id, eta: None });
        }
        for mut planned in plan.stops {
            // A record with a fence out of range must not stop the trip.
            if planned.fence.validate().is_err() {
                planned.fence = Fence::for_vehicle(plan.vehicle);
            }
            if self.stops.len() == Plan::MAX_STOPS || self.trip_of(&planned.trip).is_none() {
                continue;
            }
            let known = former_stops.iter().position(|stop| {
                let known = &stop.plan;
                known.trip == planned.trip && known.kind == planned.kind && known.position == planned.position
            });
            let stop = match known.map(|index| former_stops.swap_remove(index)) {
                Some(stop) => Stop { plan: planned, ..stop },
                None => Stop::new(planned),
            };
            self.stops.push(stop);
        }
        if self.trips.is_empty() {
            (self.settle_at, self.held) = (None, None);
        } else if self.held.is_some() {
            self.settle_at = self.settle_at.max(Some(now + RESUME_MS));
        }
    }

    /// An accepted fix. `previous` is when the one before was taken.
    pub(crate) fn see(
        &mut self,
        now: Millis,
        sighting: &Sighting,
        previous: Option<Millis>,
        effects: &mut Vec<Effect>,
    ) {
        // One that follows the one before tells of a queue in order, or of a slow line: nothing comes between the two.
        if previous.is_none_or(|previous| sighting.taken.since_ms(previous) > AGED_MS) {
            self.hold_if_aged(now, sighting.taken);
        }
        for trip in &mut self.trips {
            trip.note_gap(previous.map_or(trip.since, |at| at.max(trip.since)), sighting.taken);
            trip.note_first(sighting.taken);
        }
        if self.held.is_none() {
            self.set_out(Some(sighting.taken), effects);
        }
        for index in 0..self.stops.len() {
            let Some(trip) = self.trip_of(&self.stops[index].plan.trip) else {
                continue;
            };
            let stop = &mut self.stops[index];
            if stop.is_behind(self.trips[trip].phase) {
                continue;
            }
            let crossing = watch(stop, sighting);
            note(stop, self.trips[trip].begun, sighting);
            if self.held.is_some() {
                continue;
            }
            let stop = &self.stops[index];
            if stop.plan.kind == StopKind::Dropoff {
                let near = sighting.filtered.chord_m(stop.unit) <= f64::from(stop.plan.fence.arriving_m);
                if near && self.trips[trip].phase == Phase::ToDropoff {
                    self.trips[trip].advance(Phase::Arriving, sighting.taken, effects);
                }
            }
            self.conclude(index, trip, crossing, sighting.taken, effects);
        }
    }

    /// A late fix; see the rule above.
    pub(crate) fn see_late(&mut self, now: Millis, sighting: &Sighting) {
        self.hold_if_aged(now, sighting.taken);
        self.trips.iter_mut().for_each(|trip| trip.note_first(sighting.taken));
        for index in 0..self.stops.len() {
            let Some(trip) = self.trip_of(&self.stops[index].plan.trip) else {
                continue;
            };
            let (stop, trip) = (&mut self.stops[index], &self.trips[trip]);
            let means_something = !stop.is_behind(trip.phase) && note(stop, trip.begun, sighting);
            if means_something && self.held.is_none() {
                self.settle_at = self.settle_at.max(Some(now + SETTLE_MS));
            }
        }
    }

    /// Completes dwells that silence has completed.
    pub(crate) fn pass_time(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.settle_at.is_some_and(|at| at <= now) {
            (self.settle_at, self.held) = (None, None);
            self.settle(effects);
        }
        for index in 0..self.stops.len() {
            let Some(trip) = self.trip_of(&self.stops[index].plan.trip) else {
                continue;
            };
            if self.deadline_of(index, trip).is_some_and(|deadline| deadline <= now) {
                self.stops[index].live.stay_until(now);
                self.conclude(index, trip, Crossing::None, now, effects);
            }
        }
    }

    /// When the next dwell will be completed by silence, or late fixes will have said all.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let deadlines = self
            .stops
            .iter()
            .enumerate()
            .filter_map(|(index, stop)| self.deadline_of(index, self.trip_of(&stop.plan.trip)?));
        deadlines.chain(self.settle_at).min()
    }

    /// Index of a live trip. Plans hold a handful, so a scan beats a map.
    pub(crate) fn trip_of(&self, id: &crate::TripId) -> Option<usize> {
        self.trips.iter().position(|trip| trip.id == *id)
    }

    /// The first stop of the plan still to be made.
    pub(crate) fn next_stop(&self) -> Option<&Stop> {
        self.stops
            .iter()
            .find(|stop| self.trip_of(&stop.plan.trip).is_some_and(|trip| !stop.is_behind(self.trips[trip].phase)))
    }

    /// A fix that comes so late is one of a queue.
    fn hold_if_aged(&mut self, now: Millis, taken: Millis) {
        let counts = self.trips.iter().any(|trip| taken >= trip.begun);
        if counts && now.since_ms(taken) > AGED_MS {
            let since = *self.held.get_or_insert(now);
            if now.since_ms(since) <= HELD_MOST_MS {
                self.settle_at = self.settle_at.max(Some(now + SETTLE_MS));
            }
        }
    }

    /// What the timelines say, in the order in which it happened.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        self.set_out(None, effects);
        for kind in [StopKind::Pickup, StopKind::Dropoff] {
            for index in 0..self.stops.len() {
                if self.stops[index].plan.kind != kind {
                    continue;
                }
                if let Some(trip) = self.trip_of(&self.stops[index].plan.trip) {
                    self.conclude_past(index, trip, effects);
                }
            }
        }
    }

    /// Draws what follows from the timeline of a stop.
    fn conclude_past(&mut self, index: usize, trip: usize, effects: &mut Vec<Effect>) {
        let stop = &self.stops[index];
        if stop.is_behind(self.trips[trip].phase) {
            return;
        }
        let (dwell_ms, from) = (stop.plan.fence.dwell_ms, self.counts_from(index, trip));
        let dwelt = stop.timeline.visits().find_map(|visit| visit.dwelt(dwell_ms, from));
        if stop.plan.kind == StopKind::Dropoff {
            if let Some(at) = dwelt.filter(|_| self.may_arrive(index, trip)) {
                self.trips[trip].advance(Phase::Arrived, at, effects);
            }
            return;
        }
        if let Some(at) = dwelt {
            self.trips[trip].advance(Phase::AtPickup, at, effects);
        }
        if self.trips[trip].phase != Phase::AtPickup || stop_is_entered(stop) {
            return;
        }
        let since = self.trips[trip].since;
        let stay = stop.timeline.visits().find(|visit| visit.last_inside >= since);
        if let Some(at) = stay.and_then(|stay| stay.left) {
            self.trips[trip].advance(Phase::ToDropoff, at, effects);
        }
    }

    /// The trip whose stop is next is on its way with the first accepted fix: this one, or where late ones are concluded, the first of the trip.
    fn set_out(&mut self, taken: Option<Millis>, effects: &mut Vec<Effect>) {
        let Some(next) = self.next_stop() else { return };
        let (Some(trip), kind) = (self.trip_of(&next.plan.trip), next.plan.kind) else {
            return;
        };
        if self.trips[trip].phase != Phase::Assigned {
            return;
        }
        let Some(taken) = taken.or(self.trips[trip].first) else { return };
        match kind {
            StopKind::Pickup => self.trips[trip].advance(Phase::ToPickup, taken, effects),
            StopKind::Dropoff if self.pickup_of(trip).is_none() => {
                self.trips[trip].skip_to(Phase::ToDropoff, taken, effects);
            }
            StopKind::Dropoff => {}
        }
    }

    fn pickup_of(&self, trip: usize) -> Option<&Stop> {
        let id = self.trips[trip].id;
        self.stops.iter().find(|stop| stop.plan.trip == id && stop.plan.kind == StopKind::Pickup)
    }

    /// Draws what follows from the presence at a stop.
    fn conclude(&mut self, index: usize, trip: usize, crossing: Crossing, taken: Millis, effects: &mut Vec<Effect>) {
        let (stop, phase) = (&self.stops[index], self.trips[trip].phase);
        let from = self.counts_from(index, trip);
        // Late fixes may know that this stay began earlier.
        let since =
            |since: Millis| stop.timeline.visit_at(since).map_or(since, |visit| since.min(visit.entered.max(from)));
        let dwelt = stop.live.dwelt(&stop.plan.fence, from).map(since);
        if stop.plan.kind == StopKind::Dropoff {
            if let Some(at) = dwelt.filter(|_| self.may_arrive(index, trip)) {
                self.trips[trip].advance(Phase::Arrived, at, effects);
            }
            return;
        }
        if let Some(at) = dwelt.filter(|_| phase < Phase::AtPickup) {
            self.trips[trip].advance(Phase::AtPickup, at, effects);
        }
        match crossing {
            Crossing::Left(at) if phase == Phase::AtPickup => {
                self.trips[trip].advance(Phase::ToDropoff, at, effects);
            }
            // Recorded as at the pick-up, which GPS never saw; but now the driver is elsewhere.
            Crossing::Far if phase == Phase::AtPickup => {
                self.trips[trip].advance(Phase::ToDropoff, taken, effects);
            }
            _ => {}
        }
    }

    /// Time at a drop-off counts from when the order was on board; at a pick-up all of it counts.
    fn counts_from(&self, index: usize, trip: usize) -> Millis {
        let on_board = self.stops[index].plan.kind == StopKind::Dropoff && self.trips[trip].phase.is_picked_up();
        if on_board { self.trips[trip].since } else { Millis(i64::MIN) }
    }

    /// Whether dwelling at a drop-off means arrival. Before the pick-up was seen it does only when the pick-up can have
    /// been missed, and never where the two fences touch: another trip may be bound for the same house.
    fn may_arrive(&self, index: usize, trip: usize) -> bool {
        let trip_phase = self.trips[trip].phase;
        if trip_phase.is_picked_up() {
            return true;
        }
        let Some(pickup) = self.pickup_of(trip) else {
            return true;
        };
        let dropoff = &self.stops[index];
        let reach_m = 1.3 * f64::from(pickup.plan.fence.radius_m + dropoff.plan.fence.radius_m);
        let apart = pickup.unit.chord_m(dropoff.unit) > reach_m;
        apart && (trip_phase == Phase::AtPickup || self.trips[trip].gap.is_some())
    }

    fn deadline_of(&self, index: usize, trip: usize) -> Option<Millis> {
        let (stop, phase) = (&self.stops[index], self.trips[trip].phase);
        let waiting = match stop.plan.kind {
            _ if self.held.is_some() => false,
            StopKind::Pickup => phase < Phase::AtPickup,
            StopKind::Dropoff => phase < Phase::Arrived && self.may_arrive(index, trip),
        };
        stop.live.deadline(&stop.plan.fence, self.counts_from(index, trip)).filter(|_| waiting)
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.u8(self.trips.len() as u8);
        self.trips.iter().for_each(|trip| trip.save(w));
        w.u8(self.stops.len() as u8);
        self.stops.iter().for_each(|stop| stop.save(w));
        w.option(self.settle_at, Writer::time);
        w.option(self.held, Writer::time);
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let count = r.count("trips", Plan::MAX_TRIPS)?;
        let trips = (0..count).map(|_| Trip::load(r)).collect::<Result<_, _>>()?;
        let count = r.count("stops", Plan::MAX_STOPS)?;
        let stops = (0..count).map(|_| Stop::load(r)).collect::<Result<_, _>>()?;
        Ok(Self {
            trips,
            stops,
            settle_at: r.option("late", |r| r.time("late"))?,
            held: r.option("late", |r| r.time("late"))?,
        })
    }
}

fn stop_is_entered(stop: &Stop) -> bool {
    stop.live.inside_since().is_some()
}

fn watch(stop: &mut Stop, sighting: &Sighting) -> Crossing {
    let slow = sighting.speed_mps < SLOW_MPS;
    let distance_m = sighting.unit.chord_m(stop.unit);
    stop.live.watch(&stop.plan.fence, distance_m, sighting.accuracy_m, slow, sighting.taken)
}

/// Puts a fix of a trip begun then onto the timeline of a stop. Whether it can mean that something happened there.
fn note(stop: &mut Stop, begun: Millis, sighting: &Sighting) -> bool {
    if sighting.taken < begun {
        return false;
    }
    let place = stop.plan.fence.place(sighting.unit.chord_m(stop.unit), sighting.accuracy_m);
    stop.timeline.note(place, sighting.taken);
    place == Place::Inside || stop.timeline.visits().next().is_some()
}
