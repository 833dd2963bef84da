//! The driver's plan under way: which stops have been made, and what that means for each trip.
//!
//! Phases only go forward. A pick-up is made by dwelling in its fence and then leaving it, a drop-off is reached by
//! dwelling in its fence. Stops may be made in any order; arrival times follow the order of the plan.
//!
//! *Late fixes* tell of a time before the live fences' last fix, so they have a presence of their own at each stop not yet made.
//! It takes them in order of time (one older than what it has seen is ignored) and only from the trip's present phase
//! on. So what they imply happens once, at the time it happened, and never takes anything back.

use crate::bytes::{Reader, Writer};
use crate::fence::{Crossing, Presence};
use crate::geo::Unit;
use crate::trip::{Stop, Trip};
use crate::{Effect, Fence, Millis, Phase, Plan, RestoreError, StopKind};

/// A speed at which a driver inside a fence is stopping there, m/s.
pub(crate) const SLOW_MPS: f32 = 3.0;

/// Live trips and their stops in driving order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Journey {
    pub(crate) trips: Vec<Trip>,
    pub(crate) stops: Vec<Stop>,
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
    }

    /// An accepted fix. `previous` is when the one before was taken.
    pub(crate) fn see(&mut self, sighting: &Sighting, previous: Option<Millis>, effects: &mut Vec<Effect>) {
        for trip in &mut self.trips {
            trip.note_gap(previous.map_or(trip.since, |at| at.max(trip.since)), sighting.taken);
        }
        self.set_out(sighting.taken, effects);
        for index in 0..self.stops.len() {
            let Some(trip) = self.trip_of(&self.stops[index].plan.trip) else {
                continue;
            };
            let stop = &mut self.stops[index];
            if stop.is_behind(self.trips[trip].phase) {
                continue;
            }
            let crossing = watch(&mut stop.live, stop.unit, &stop.plan.fence, sighting);
            if stop.plan.kind == StopKind::Dropoff {
                let near = sighting.filtered.chord_m(stop.unit) <= f64::from(stop.plan.fence.arriving_m);
                if near && self.trips[trip].phase == Phase::ToDropoff {
                    self.trips[trip].advance(Phase::Arriving, sighting.taken, effects);
                }
            }
            self.conclude(index, trip, crossing, Lane::Live, sighting.taken, effects);
        }
    }

    /// A late fix; see the rule above.
    pub(crate) fn see_late(&mut self, sighting: &Sighting, effects: &mut Vec<Effect>) {
        for index in 0..self.stops.len() {
            let Some(trip) = self.trip_of(&self.stops[index].plan.trip) else {
                continue;
            };
            let (stop, since) = (&mut self.stops[index], self.trips[trip].since);
            let old = sighting.taken < stop.backlog_until.max(since);
            if old || stop.is_behind(self.trips[trip].phase) {
                continue;
            }
            stop.backlog_until = sighting.taken;
            let crossing = watch(&mut stop.backlog, stop.unit, &stop.plan.fence, sighting);
            self.conclude(index, trip, crossing, Lane::Backlog, sighting.taken, effects);
        }
    }

    /// Completes dwells that silence has completed.
    pub(crate) fn pass_time(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        for index in 0..self.stops.len() {
            let Some(trip) = self.trip_of(&self.stops[index].plan.trip) else {
                continue;
            };
            if self.deadline_of(index, trip).is_some_and(|deadline| deadline <= now) {
                self.stops[index].live.stay_until(now);
                self.conclude(index, trip, Crossing::None, Lane::Live, now, effects);
            }
        }
    }

    /// When the next dwell will be completed by silence.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let deadlines = self
            .stops
            .iter()
            .enumerate()
            .filter_map(|(index, stop)| self.deadline_of(index, self.trip_of(&stop.plan.trip)?));
        deadlines.min()
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

    /// The trip whose stop is next is on its way with the first accepted fix.
    fn set_out(&mut self, taken: Millis, effects: &mut Vec<Effect>) {
        let Some(next) = self.next_stop() else { return };
        let (Some(trip), kind) = (self.trip_of(&next.plan.trip), next.plan.kind) else {
            return;
        };
        if self.trips[trip].phase != Phase::Assigned {
            return;
        }
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
    fn conclude(
        &mut self,
        index: usize,
        trip: usize,
        crossing: Crossing,
        lane: Lane,
        taken: Millis,
        effects: &mut Vec<Effect>,
    ) {
        let (stop, phase) = (&self.stops[index], self.trips[trip].phase);
        let dwelt = lane.of(stop).dwelt(&stop.plan.fence, self.counts_from(index, trip));
        if stop.plan.kind == StopKind::Dropoff {
            if let Some(at) = dwelt.filter(|_| self.may_arrive(index, trip)) {
                self.trips[trip].advance(Phase::Arrived, at, effects);
            }
            return;
        }
        if let Some(at) = dwelt.filter(|_| phase < Phase::AtPickup) {
            self.trips[trip].advance(Phase::AtPickup, at, effects);
        }
        // A backlog that left earlier does not contradict being there now.
        let still_there = lane == Lane::Backlog && stop_is_entered(&self.stops[index]);
        match crossing {
            Crossing::Left(at) if phase == Phase::AtPickup && !still_there => {
                self.trips[trip].advance(Phase::ToDropoff, at, effects);
            }
            // Recorded as at the pick-up, which GPS never saw; but now the driver is elsewhere.
            Crossing::Far if phase == Phase::AtPickup && lane == Lane::Live => {
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
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let count = r.count("trips", Plan::MAX_TRIPS)?;
        let trips = (0..count).map(|_| Trip::load(r)).collect::<Result<_, _>>()?;
        let count = r.count("stops", Plan::MAX_STOPS)?;
        let stops = (0..count).map(|_| Stop::load(r)).collect::<Result<_, _>>()?;
        Ok(Self { trips, stops })
    }
}

/// Which of a stop's two presences.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Live,
    Backlog,
}

impl Lane {
    fn of(self, stop: &Stop) -> &Presence {
        match self {
            Self::Live => &stop.live,
            Self::Backlog => &stop.backlog,
        }
    }
}

fn stop_is_entered(stop: &Stop) -> bool {
    stop.live.inside_since().is_some()
}

fn watch(presence: &mut Presence, centre: Unit, fence: &Fence, sighting: &Sighting) -> Crossing {
    let slow = sighting.speed_mps < SLOW_MPS;
    presence.watch(fence, sighting.unit.chord_m(centre), sighting.accuracy_m, slow, sighting.taken)
}
