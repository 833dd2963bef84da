//! Arrival times along the plan: the drive to the next stop, the drives between stops, and the time spent at each.

use crate::bytes::{Reader, Writer};
use crate::drive::{KeptLabel, Way, hold_label, leg_from};
use crate::eta::worth_telling;
use crate::journey::Journey;
use crate::learn::{Arrival, Estimate, Lesson};
use crate::roads::{Profile, Start};
use crate::{
    Effect, Eta, EtaBasis, EtaCause, LegEstimate, Limits, Marker, Millis, Position, RestoreError, StopKind, TripId,
    Vehicle, World,
};

/// Longest time any one leg is believed to take, in seconds: a week. Keeps sums far from the ends of time.
const LEG_MOST_S: f64 = 604_800.0;

/// Times between stops are computed again after this long, ms: traffic changes.
const LEG_KEEP_MS: i64 = 120_000;
/// Below this confidence the driver may be going the other way along its street.
const ONE_WAY_CONFIDENCE: f32 = 0.75;
/// An arrival that moved by more than this, or by a fifth of what is left, wants a reason, ms.
const REASON_MS: i64 = 120_000;
/// A way longer by this than it was is a detour, metres.
const DETOUR_M: f32 = 250.0;

/// When and where arrival times were last computed, and the drives between stops, which change only with the stops and the traffic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Itinerary {
    computed: Option<(Millis, Position)>,
    legs: Vec<(Millis, (Position, Position), LegEstimate)>,
    label: Option<KeptLabel>,
    watch: Watch,
}

/// What was believed of the drive to the next stop, for when it is reached.
#[derive(Clone, Debug, Default, PartialEq)]
struct Watch {
    stop: Option<(TripId, StopKind)>,
    /// Where the driver was when it became the next.
    from: Option<Position>,
    /// Oldest first. On the heap: most drivers who are connected drive nowhere, and a drive's first belief is no per-fix matter.
    beliefs: Vec<Belief>,
}

/// Beliefs kept of one drive: one whenever a fifth of the last is behind.
const BELIEFS: usize = 10;
const NEXT_BELIEF: f32 = 0.8;
/// Drives shorter than this teach nothing, seconds.
const BELIEF_LEAST_S: f32 = 20.0;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Belief {
    at: Millis,
    model_s: f32,
    told: Estimate,
    on_roads: bool,
}

/// Seconds from now, and metres, on the way along the plan.
#[derive(Clone, Copy, Default)]
struct Cursor {
    median_s: f64,
    low_s: f64,
    high_s: f64,
    distance_m: f64,
    /// The worst of the legs.
    basis: Option<EtaBasis>,
    /// The kitchen decides, not the road.
    waits: bool,
}

impl Itinerary {
    /// Whether it is time to compute again.
    pub(crate) fn is_due(&self, now: Millis, marker: &Marker, limits: &Limits) -> bool {
        self.computed.is_none_or(|(at, from)| {
            let waited_ms = now.since_ms(at);
            let moved_m = || from.distance_m(marker.position);
            !(0..limits.eta_step_ms).contains(&waited_ms) || moved_m() >= f64::from(limits.eta_step_m)
        })
    }

    /// Computes the arrivals of all trips from `marker` at `now` and tells those worth telling.
    pub(crate) fn refresh(
        &mut self,
        now: Millis,
        marker: &Marker,
        vehicle: Vehicle,
        journey: &mut Journey,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        self.computed = Some((now, marker.position));
        let Journey { trips, stops, .. } = journey;
        let mut cursor = Cursor::default();
        let (mut at_stop, mut stops_made) = (None, 0_u8);
        for index in 0..stops.len() {
            let stop = &stops[index];
            let Some(trip) = trips.iter().position(|trip| trip.id == stop.plan.trip) else {
                continue;
            };
            if stop.is_behind(trips[trip].phase) {
                stops[index].eta_at = None;
                continue;
            }
            let entered = stop.live.inside_since().filter(|_| at_stop.is_none());
            let to = stop.plan.position;
            match (entered, at_stop) {
                (Some(_), _) => {}
                (None, None) => {
                    let next = (stop.plan.trip, stop.plan.kind);
                    let leg = sane(self.leg_to_next(marker, next, to, vehicle, now, world));
                    self.watch.believe(now, &leg, marker.standing);
                    cursor.drive(leg);
                }
                (None, Some(from)) => cursor.drive(self.leg(from, to, vehicle, now, world)),
            }
            at_stop = Some(to);
            let ready_s = trips[trip].ready_at.filter(|_| stop.plan.kind == StopKind::Pickup).map(|at| at.since_s(now));
            if stop.plan.kind == StopKind::Dropoff {
                let pickup_at = stops[..index].iter().find_map(|other| {
                    let own = other.plan.trip == stop.plan.trip && other.plan.kind == StopKind::Pickup;
                    own.then_some(other.eta_at).flatten()
                });
                let mut eta = cursor.eta(now, stops_made, pickup_at);
                let trip = &mut trips[trip];
                trip.foresee(now, &eta);
                let told = trip.told.filter(|(old, phase)| !worth_telling((old, *phase), (&eta, trip.phase), now));
                if told.is_none() {
                    let waits = marker.standing || cursor.waits;
                    eta.cause = trip.told.and_then(|(old, _)| cause(&old, &eta, waits, now));
                    trip.told = Some((eta, trip.phase));
                    effects.push(Effect::Eta { trip: trip.id, eta: Some(eta) });
                }
            }
            let arrived = now.plus_ms((cursor.median_s * 1000.0) as i64);
            stops[index].eta_at = Some(arrived);
            let service_s = stops[index].plan.service_ms.max(0) as f64 / 1000.0;
            let spent_s = entered.map_or(0.0, |entered| now.since_s(entered).max(0.0));
            cursor.stay(ready_s, service_s, spent_s);
            stops_made = stops_made.saturating_add(1);
        }
        Self::end_finished(journey, effects);
    }

    /// Trips whose drop-off has been reached, or was taken out of the plan, have no arrival to wait for.
    pub(crate) fn end_finished(journey: &mut Journey, effects: &mut Vec<Effect>) {
        let Journey { trips, stops, .. } = journey;
        for trip in trips.iter_mut().filter(|trip| trip.told.is_some()) {
            let ahead = stops.iter().any(|stop| {
                stop.plan.trip == trip.id && stop.plan.kind == StopKind::Dropoff && !stop.is_behind(trip.phase)
            });
            if !ahead {
                trip.told = None;
                effects.push(Effect::Eta { trip: trip.id, eta: None });
            }
        }
    }

    /// Forgets the drives between stops and asks for a new computation.
    pub(crate) fn plan_changed(&mut self) {
        self.computed = None;
        self.legs.clear();
    }

    /// Makes ready for the drive to the next stop, so that no fix has to wait for it.
    pub(crate) fn prepare(&mut self, next: Position, vehicle: Vehicle, world: &World<'_>) {
        if let Some(city) = world.knowledge.city(next, vehicle) {
            hold_label(city, &mut self.label, next);
        }
    }

    /// The stop `(trip, kind)` was reached at `at`: what had been believed on the way is a lesson.
    pub(crate) fn reached(
        &mut self,
        stop: (TripId, StopKind),
        at: Millis,
        vehicle: Vehicle,
        effects: &mut Vec<Effect>,
    ) {
        let watch = std::mem::take(&mut self.watch);
        if watch.stop != Some(stop) {
            return;
        }
        for belief in watch.beliefs.iter().filter(|belief| belief.at < at) {
            let real_s = at.since_s(belief.at) as f32;
            let arrival = Arrival { at, model_s: belief.model_s, told: belief.told, real_s, on_roads: belief.on_roads };
            effects.push(Effect::Lesson(Lesson::Arrival(Profile::of(vehicle), arrival)));
        }
    }

    /// The drive from where the driver is: on the road it is matched to, or on a straight line.
    fn leg_to_next(
        &mut self,
        marker: &Marker,
        stop: (TripId, StopKind),
        to: Position,
        vehicle: Vehicle,
        at: Millis,
        world: &World<'_>,
    ) -> LegEstimate {
        let knowledge = world.knowledge;
        let on_roads = marker.road.and_then(|road| {
            let city = knowledge.city(marker.position, vehicle)?;
            let length_m = city.network.street(road.street)?.length_m;
            let start = Start { street: road.street, offset_m: road.offset_m };
            let ahead = leg_from(city, &mut self.label, start, to, world.room);
            let back =
                city.network.reverse(road.street).filter(|_| road.confidence < ONE_WAY_CONFIDENCE).and_then(|street| {
                    let start = Start { street, offset_m: length_m - road.offset_m };
                    leg_from(city, &mut self.label, start, to, world.room)
                });
            ahead.into_iter().chain(back).min_by_key(|way| way.ms)
        });
        match on_roads {
            Some(way) => {
                let setting_out = self.watch.setting_out(stop, marker.position);
                knowledge.on_roads(&Way { setting_out, ..way }, vehicle, at)
            }
            None => {
                let setting_out = self.watch.setting_out(stop, marker.position);
                knowledge.straight(marker.position, to, vehicle, setting_out, at)
            }
        }
    }

    fn leg(&mut self, from: Position, to: Position, vehicle: Vehicle, at: Millis, world: &World<'_>) -> LegEstimate {
        let fresh = |made: Millis| (0..LEG_KEEP_MS).contains(&at.since_ms(made));
        self.legs.retain(|(made, ..)| fresh(*made));
        if let Some((.., leg)) = self.legs.iter().find(|(_, ends, _)| *ends == (from, to)) {
            return *leg;
        }
        // Skipped stops make new pairs; a plan of n stops stays far below this.
        if self.legs.len() >= 2 * crate::Plan::MAX_STOPS {
            self.legs.clear();
        }
        let leg = sane(world.knowledge.leg(from, to, vehicle, at, world.room));
        self.legs.push((at, (from, to), leg));
        leg
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.computed, |w, (at, from)| {
            w.time(at);
            w.position(from);
        });
        self.watch.save(w);
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let computed = r.option("itinerary", |r| Ok((r.time("itinerary")?, r.position("itinerary")?)))?;
        Ok(Self { computed, watch: Watch::load(r)?, ..Self::default() })
    }
}

/// Whoever is this far from where it began has got away, metres.
const AWAY_M: f64 = 300.0;

impl Watch {
    /// How much of getting away is still to come on the drive to a stop; begins the watch if it is another stop than before.
    fn setting_out(&mut self, stop: (TripId, StopKind), place: Position) -> f32 {
        if self.stop != Some(stop) {
            *self = Self { stop: Some(stop), from: Some(place), ..Self::default() };
        }
        let away_m = self.from.map_or(AWAY_M, |from| from.unit().chord_m(place.unit()));
        (1.0 - away_m / AWAY_M).max(0.0) as f32
    }

    /// Notes what is believed of the drive to the stop watched. A driver who has not set out teaches nothing about driving.
    fn believe(&mut self, at: Millis, leg: &LegEstimate, standing: bool) {
        if standing && self.beliefs.is_empty() {
            return;
        }
        let model_s = leg.model_s as f32;
        let due = self.beliefs.last().is_none_or(|last| model_s <= last.model_s * NEXT_BELIEF);
        if due && model_s >= BELIEF_LEAST_S && self.beliefs.len() < BELIEFS {
            let told = Estimate { median_s: leg.drive_s as f32, low_s: leg.low_s as f32, high_s: leg.high_s as f32 };
            let on_roads = leg.basis >= EtaBasis::Roads;
            self.beliefs.push(Belief { at, model_s, told, on_roads });
        }
    }

    fn save(&self, w: &mut Writer<'_>) {
        w.option(self.stop, |w, (trip, kind)| {
            w.raw(trip.0.to_le_bytes());
            w.u8(kind as u8);
        });
        w.option(self.from, Writer::position);
        w.u8(self.beliefs.len() as u8);
        for belief in &self.beliefs {
            w.time(belief.at);
            let Estimate { median_s, low_s, high_s } = belief.told;
            [belief.model_s, median_s, low_s, high_s].into_iter().for_each(|number| w.f32(number));
            w.bool(belief.on_roads);
        }
    }

    fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let stop = r.option("watch", |r| {
            let trip = TripId(u128::from_le_bytes(r.raw()?));
            Ok((trip, if r.bool("watch")? { StopKind::Dropoff } else { StopKind::Pickup }))
        })?;
        let from = r.option("watch", |r| r.position("watch"))?;
        let mut beliefs = Vec::new();
        for _ in 0..r.count("watch", BELIEFS)? {
            let (at, model_s) = (r.time("watch")?, r.f32("watch")?);
            let told = Estimate { median_s: r.f32("watch")?, low_s: r.f32("watch")?, high_s: r.f32("watch")? };
            beliefs.push(Belief { at, model_s, told, on_roads: r.bool("watch")? });
        }
        Ok(Self { stop, from, beliefs })
    }
}

/// Why an arrival is another than was told; `None` if it moved by little.
fn cause(old: &Eta, new: &Eta, waits: bool, now: Millis) -> Option<EtaCause> {
    let (moved_ms, left_ms) = (new.at.since_ms(old.at), new.at.since_ms(now));
    if moved_ms.abs() <= REASON_MS.max(left_ms / 5) {
        return None;
    }
    if moved_ms > 0 && waits {
        return Some(EtaCause::Waiting);
    }
    let detour = moved_ms > 0 && new.distance_m > old.distance_m + DETOUR_M;
    Some(if detour { EtaCause::Detour } else { EtaCause::Traffic })
}

impl Cursor {
    /// Interval ends are added up plainly: what slows one leg, rain or rush, slows the others too.
    fn drive(&mut self, leg: LegEstimate) {
        self.median_s += leg.drive_s;
        self.low_s += leg.low_s;
        self.high_s += leg.high_s;
        self.distance_m += leg.distance_m;
        self.basis = Some(self.basis.map_or(leg.basis, |basis| basis.min(leg.basis)));
    }

    /// Waits until the order is ready, then for the hand-over, of which `spent_s` of presence may already have served.
    fn stay(&mut self, ready_s: Option<f64>, service_s: f64, spent_s: f64) {
        // Service begins when both driver and order are there.
        let waited_s = ready_s.map_or(spent_s, |ready_s| spent_s.min((-ready_s).max(0.0)));
        let left_s = (service_s - waited_s).clamp(0.0, LEG_MOST_S);
        let ready_s = ready_s.unwrap_or(0.0).min(LEG_MOST_S);
        self.waits |= ready_s > self.median_s;
        self.median_s = self.median_s.max(ready_s) + left_s;
        self.low_s = self.low_s.max(ready_s) + left_s;
        self.high_s = self.high_s.max(ready_s) + left_s;
    }

    fn eta(&self, now: Millis, stops_left: u8, pickup_at: Option<Millis>) -> Eta {
        let at = |seconds: f64| now.plus_ms((seconds * 1000.0) as i64);
        Eta {
            at: at(self.median_s),
            low: at(self.low_s),
            high: at(self.high_s),
            distance_m: self.distance_m as f32,
            stops_left,
            basis: self.basis.unwrap_or(EtaBasis::StraightLine),
            pickup_at,
            cause: None,
        }
    }
}

/// A model's answer with nonsense removed: finite, not negative, low <= median <= high.
fn sane(leg: LegEstimate) -> LegEstimate {
    let within = |value: f64, most: f64| {
        if value.is_finite() { value.clamp(0.0, most) } else { 0.0 }
    };
    let drive_s = within(leg.drive_s, LEG_MOST_S);
    LegEstimate {
        distance_m: within(leg.distance_m, 1e9),
        drive_s,
        low_s: within(leg.low_s, LEG_MOST_S).min(drive_s),
        high_s: within(leg.high_s, LEG_MOST_S).max(drive_s),
        model_s: within(leg.model_s, LEG_MOST_S),
        basis: leg.basis,
    }
}
