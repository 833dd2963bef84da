//! One driver's tracker: the door through which everything about a driver comes in.

use crate::driving::Driving;
use crate::duty::Duty;
use crate::evenness::Evenness;
use crate::following::{Following, RouteChange, RouteLine};
use crate::gate::Gate;
use crate::geofence::{GeofenceState, Seen};
use crate::itinerary::Itinerary;
use crate::journey::{Journey, SLOW_MPS, Sighting};
use crate::judge::Kept;
use crate::motion::Motion;
use crate::pacing;
use crate::phone::{Outage, Phone, PhoneReport};
use crate::rate::{self, Reach, Situation, Watch};
use crate::roads::Start;
use crate::seen::{Recent, Sessions};
use crate::skew::ClockReading;
use crate::trip::Stop;
use crate::{
    Batch, Effect, Fix, Limits, Marker, Millis, Phase, Plan, RawFix, Reason, StopKind, TripId, TripView, Vehicle,
    Verdict, World,
};

/// Below this measured speed the course of a phone is noise, m/s.
const HEADING_LEAST_MPS: f32 = 1.5;

/// Everything known about one driver. Bounded: about 4.5 KiB, plus 1 KiB per trip on board and 0.15 KiB per fence the driver is inside of
/// (at most 32).
///
/// Feed it a plan before the first fix: a driver without duty is not followed. `now` is the server's clock and should not go
/// back; if it does, nothing panics, and the live state follows the new clock.
#[derive(Clone, Debug)]
pub struct Tracker {
    pub(crate) vehicle: Vehicle,
    pub(crate) plan_version: u64,
    /// Highest time any of the driver's phones has shown.
    pub(crate) clock_high: Millis,
    /// When the newest accepted fix was taken.
    pub(crate) newest: Option<Millis>,
    /// When the last fix was accepted, or a trip became live.
    pub(crate) heard: Millis,
    /// When the driver will count as silent; only while a trip is live.
    pub(crate) silent_at: Option<Millis>,
    pub(crate) silent: bool,
    pub(crate) sessions: Sessions,
    pub(crate) recent: Recent,
    pub(crate) gate: Gate,
    pub(crate) duty: Duty,
    pub(crate) motion: Motion,
    /// The marker last told to watchers.
    pub(crate) told: Option<Marker>,
    pub(crate) journey: Journey,
    pub(crate) itinerary: Itinerary,
    pub(crate) driving: Driving,
    pub(crate) following: Following,
    pub(crate) geofences: GeofenceState,
    pub(crate) phone: Phone,
    pub(crate) evenness: Evenness,
}

impl Tracker {
    /// A tracker of a driver of whom nothing is known, not on duty.
    #[must_use]
    pub fn new(now: Millis, vehicle: Vehicle) -> Self {
        Self {
            vehicle,
            plan_version: 0,
            clock_high: Millis(i64::MIN),
            newest: None,
            heard: now,
            silent_at: None,
            silent: false,
            sessions: Sessions::default(),
            recent: Recent::default(),
            gate: Gate::default(),
            duty: Duty::default(),
            motion: Motion::default(),
            told: None,
            journey: Journey::default(),
            itinerary: Itinerary::default(),
            driving: Driving::default(),
            following: Following::default(),
            geofences: GeofenceState::default(),
            phone: Phone::default(),
            evenness: Evenness::default(),
        }
    }

    /// Puts a plan into effect, unless a newer one is. Trips keep the phase they have reached when the record lags behind;
    /// phases that come from the plan are not raised again as effects. Duty begins or ends now.
    pub fn apply_plan(&mut self, now: Millis, plan: Plan, world: &World<'_>, effects: &mut Vec<Effect>) {
        if plan.version < self.plan_version {
            return;
        }
        (self.plan_version, self.vehicle) = (plan.version, plan.vehicle);
        let (available, was_live) = (plan.available, self.journey.is_live());
        self.journey.apply(now, plan, effects);
        let is_live = self.journey.is_live();
        self.duty.set(now, available || is_live);
        if is_live && !was_live {
            self.heard = now;
        }
        if !is_live && std::mem::take(&mut self.silent) {
            effects.push(Effect::Back);
        }
        // Who is off duty is nobody's concern, nor is their phone.
        if !self.duty.is_on() && std::mem::take(&mut self.phone) != Phone::default() {
            effects.push(Effect::Phone);
        }
        if !self.duty.is_on() && std::mem::take(&mut self.evenness).since().is_some() {
            effects.push(Effect::Suspect);
        }
        self.arm_silence(world.limits.get(self.vehicle));
        self.itinerary.plan_changed();
        if let Some(next) = self.journey.next_stop() {
            self.itinerary.prepare(next.plan.position, self.vehicle, world);
        }
        self.tell_etas(now, true, world, effects);
    }

    /// The present duty began at `since`, earlier than its plan arrived here: fixes from then on are wanted.
    pub fn extend_duty(&mut self, since: Millis) {
        self.duty.extend_back(since);
    }

    /// Version of the plan in effect; 0 before any.
    #[must_use]
    pub const fn plan_version(&self) -> u64 {
        self.plan_version
    }

    /// Judges the fixes of one message in order and draws what follows. A message seen before is judged duplicate and does
    /// nothing else. About a microsecond per accepted fix; allocates only what `effects` must grow by.
    pub fn observe(&mut self, now: Millis, batch: Batch<'_>, world: &World<'_>, effects: &mut Vec<Effect>) {
        if batch.session != 0 && self.seen(batch.session, batch.seq) {
            let duplicate = Verdict::Rejected(Reason::Duplicate);
            let judged = |index| Effect::Judged { index, verdict: duplicate, fix: None };
            effects.extend((0..batch.fixes.len()).map(judged));
            return;
        }
        let limits = world.limits.get(self.vehicle);
        let first = effects.len();
        let offset_ms = self.enter_session(now, &batch, limits);
        // Only a server clock that was set back makes the newest fix lie beyond what is tolerated.
        if self.newest.is_some_and(|newest| newest > now + limits.future_ms) {
            (self.newest, self.gate) = (None, Gate::default());
        }
        for (index, raw) in batch.fixes.iter().enumerate() {
            match self.judge(now, raw, offset_ms, world) {
                Err(reason) => {
                    effects.push(Effect::Judged { index, verdict: Verdict::Rejected(reason), fix: None });
                }
                Ok(Kept::Late(fix)) => {
                    effects.push(Effect::Judged { index, verdict: Verdict::Late, fix: Some(fix) });
                    self.take_late(now, raw, &fix, limits);
                }
                Ok(kept @ (Kept::Accepted(fix) | Kept::Elsewhere(fix))) => {
                    effects.push(Effect::Judged { index, verdict: Verdict::Accepted, fix: Some(fix) });
                    let afresh = matches!(kept, Kept::Elsewhere(_));
                    self.take(now, raw, &fix, afresh, world, effects);
                }
            }
        }
        self.tell_marker(limits, effects);
        let phase_changed = effects[first..].iter().any(|effect| matches!(effect, Effect::Phase { .. }));
        self.tell_etas(now, phase_changed, world, effects);
    }

    /// Takes in what the driver's phone says of itself, in the numbering of `session` (0 for none). It says nothing about where the driver
    /// is, so a silence goes on. Off duty nothing is taken.
    pub fn hear_phone(&mut self, now: Millis, session: u64, report: &PhoneReport, effects: &mut Vec<Effect>) {
        if !self.duty.is_on() {
            return;
        }
        let offset_ms = self.sessions.offset_ms(session);
        // What was said ahead of our clock was said now.
        let at = report.at.map_or(now, |at| (at + offset_ms).min(now));
        if self.phone.hear(at, self.newest, report) {
            effects.push(Effect::Phone);
        }
    }

    /// Notices silence, and dwells (at stops and in fences) that silence has completed. Harmless if early.
    pub fn on_timeout(&mut self, now: Millis, world: &World<'_>, effects: &mut Vec<Effect>) {
        let first = effects.len();
        self.journey.pass_time(now, effects);
        self.conclude_phases(first, effects);
        match world.fences {
            Some(fences) if self.duty.is_on() => self.geofences.pass_time(now, fences, effects),
            Some(_) => {}
            None => self.geofences.forget_fences(),
        }
        if self.silent_at.is_some_and(|at| at <= now) {
            (self.silent, self.silent_at) = (true, None);
            effects.push(Effect::Silent { since: self.heard });
        }
        let phase_changed = effects[first..].iter().any(|effect| matches!(effect, Effect::Phase { .. }));
        if phase_changed {
            self.tell_etas(now, true, world, effects);
        }
    }

    /// When to call [`Tracker::on_timeout`]; ask again after any other call. `None`: nothing to wait for.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Millis> {
        let fences = self.geofences.deadline().filter(|_| self.duty.is_on());
        self.silent_at.into_iter().chain(self.journey.deadline()).chain(fences).min()
    }

    /// Whether a message has been observed: (session, seq) among those remembered, or below them. Always false for session 0.
    #[must_use]
    pub fn seen(&self, session: u64, seq: u64) -> bool {
        session != 0 && self.sessions.seen(session, seq)
    }

    /// The newest live position; `None` before the first accepted fix, and whenever the driver is off duty.
    #[must_use]
    pub fn marker(&self) -> Option<Marker> {
        let marker = self.motion.marker().filter(|_| self.duty.is_on())?;
        Some(Marker { road: self.driving.matched().copied(), ..marker })
    }

    /// The live trips, in the order of the plan's list.
    pub fn trips(&self) -> impl Iterator<Item = TripView<'_>> {
        self.journey.trips.iter().map(|trip| TripView {
            id: trip.id,
            assignment: trip.assignment,
            phase: trip.phase,
            phase_since: trip.since,
            eta: trip.told.as_ref().map(|(eta, _)| eta),
            newest_eta: trip.newest.as_ref(),
            stops_left: self.stops_before_dropoff(trip.id),
            ordinal: trip.ordinal,
        })
    }

    /// What is known of the driver's phone.
    #[must_use]
    pub const fn phone(&self) -> &Phone {
        &self.phone
    }

    /// Since when the driver counts as silent.
    #[must_use]
    pub fn silent_since(&self) -> Option<Millis> {
        self.silent.then_some(self.heard)
    }

    /// Why no positions come: what the phone said, and of a silent one what its battery tells.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        if self.silent { self.phone.explains(self.heard) } else { self.phone.outage }
    }

    /// Since when the feed is too even to come from a receiver: one accuracy all the time, and positions on straight lines, evenly spaced.
    #[must_use]
    pub fn too_even_since(&self) -> Option<Millis> {
        self.evenness.since()
    }

    /// Whether the driver is available or has a live trip.
    #[must_use]
    pub fn on_duty(&self) -> bool {
        self.duty.is_on()
    }

    /// What the driver moves with.
    #[must_use]
    pub const fn vehicle(&self) -> Vehicle {
        self.vehicle
    }

    /// How often the phone should send now, in ms: 1,000 to 30,000. `of_driver`: how closely somebody looks at the driver, whatever it carries;
    /// `of_trip`: at one of its trips.
    #[must_use]
    pub fn wanted_interval_ms(
        &self,
        limits: &Limits,
        reach: Reach,
        of_driver: Watch,
        of_trip: impl Fn(TripId, Phase) -> Watch,
    ) -> u32 {
        let marker = self.marker();
        let next = self.journey.next_stop().zip(marker).map(|(stop, marker)| {
            let next_m = stop.plan.position.distance_m(marker.position);
            (stop.plan.trip, next_m)
        });
        let one = |trip: TripId, phase: Phase| {
            rate::of_trip(&Situation {
                phase,
                next_m: next.filter(|(own, _)| *own == trip).map(|(_, next_m)| next_m),
                standing: marker.is_some_and(|marker| marker.standing),
                watch: of_driver.max(of_trip(trip, phase)),
            })
        };
        let of_trips = self.journey.trips.iter().map(|trip| one(trip.id, trip.phase)).min();
        let wanted_ms = of_trips.unwrap_or_else(|| rate::of_idle(of_driver));
        rate::of_phone(wanted_ms, of_trips.is_some(), self.phone.is_low(rate::LOW_PCT), reach, limits)
    }

    /// What became of the line to the next stop. Call it when somebody looks at the trip: a line costs some 100 us to draw, and is
    /// drawn only when it is another than the last one.
    pub fn route_change(&mut self, world: &World<'_>) -> RouteChange {
        let city = self.marker().and_then(|marker| world.knowledge.city(marker.position, self.vehicle));
        city.iter().for_each(|city| self.driving.settle(city));
        let next = self.journey.next_stop().filter(|stop| stop.live.inside_since().is_none());
        let matched = self.driving.matched().copied();
        let (Some(next), Some(matched), Some(city)) = (next, matched, city) else {
            return if self.following.end() { RouteChange::Gone } else { RouteChange::Same };
        };
        let stop = (next.plan.trip, next.plan.kind);
        if !self.following.is_due(stop, &city.network) {
            return RouteChange::Same;
        }
        let start = Start { street: matched.street, offset_m: matched.offset_m };
        let goal = city.goal(next.plan.position);
        let Some(route) = goal.and_then(|goal| city.network.route(&city.metric, start, &goal)) else {
            return if self.following.end() { RouteChange::Gone } else { RouteChange::Same };
        };
        self.following.follow(stop, &city.network, &route);
        let (points, _) = city.network.route_line(&route);
        RouteChange::Drawn(RouteLine { trip: stop.0, kind: stop.1, points, length_m: route.length_m })
    }

    /// Remembers the message and learns from its clock; gives the session's clock correction.
    fn enter_session(&mut self, now: Millis, batch: &Batch<'_>, limits: &Limits) -> i64 {
        let session = self.sessions.enter(batch.session);
        if batch.session != 0 {
            session.mark(batch.seq);
        }
        let newest = || batch.fixes.iter().map(|fix| fix.taken).max();
        if let Some(clock) = batch.sent.or_else(newest) {
            let repeated = clock <= self.clock_high;
            session.skew.learn(now, ClockReading { clock, is_sent: batch.sent.is_some(), repeated }, limits);
            if now.since_ms(clock).saturating_abs() <= limits.skew_max_ms {
                self.clock_high = self.clock_high.max(clock);
            }
        }
        session.skew.offset_ms()
    }

    fn take(
        &mut self,
        now: Millis,
        raw: &RawFix,
        fix: &Fix,
        afresh: bool,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let limits = world.limits.get(self.vehicle);
        let unit = fix.position().unit();
        let previous = self.newest.replace(fix.taken());
        self.gate.accept(fix, limits);
        self.recent.push(raw.taken, fix.position());
        self.motion.accept(fix, unit, afresh || previous.is_none(), limits);
        self.heard = now;
        if self.phone.positions_flow(fix.taken()) {
            effects.push(Effect::Phone);
        }
        if self.evenness.see(fix, afresh || previous.is_none()) {
            effects.push(Effect::Suspect);
        }
        self.arm_silence(limits);
        if std::mem::take(&mut self.silent) {
            effects.push(Effect::Back);
            self.arm_silence(limits);
        }
        self.match_road(fix, afresh || previous.is_none(), world, effects);
        let is_live = self.journey.is_live();
        if !is_live && world.fences.is_none() {
            return;
        }
        let sighting = self.sighting(fix, limits);
        if let Some(fences) = world.fences {
            let Sighting { unit, filtered, accuracy_m, .. } = sighting;
            let slow = sighting.speed_mps < SLOW_MPS;
            self.geofences.see(&Seen { unit, filtered, accuracy_m }, slow, fix.taken(), fences, effects);
        }
        if !is_live {
            return;
        }
        let first = effects.len();
        self.journey.see(now, &sighting, previous, effects);
        self.conclude_phases(first, effects);
    }

    fn match_road(&mut self, fix: &Fix, afresh: bool, world: &World<'_>, effects: &mut Vec<Effect>) {
        let standing = self.motion.marker().is_some_and(|marker| marker.standing);
        // A phone's course is noise below walking pace.
        let moves = fix.speed_mps().is_none_or(|mps| mps >= HEADING_LEAST_MPS);
        let heading_deg = fix.heading_deg().filter(|_| moves);
        let state = (afresh, standing, self.journey.is_at_stop());
        self.driving.accept(fix, heading_deg, state, self.vehicle, world.knowledge, world.room, effects);
        if let Some(matched) = self.driving.matched() {
            self.following.see(matched);
        }
    }

    /// What a reached stop teaches, and what became of the arrivals foreseen.
    fn conclude_phases(&mut self, first: usize, effects: &mut Vec<Effect>) {
        for index in first..effects.len() {
            let Effect::Phase { trip, phase, at, .. } = effects[index] else { continue };
            let kind = match phase {
                Phase::AtPickup => StopKind::Pickup,
                Phase::Arrived => StopKind::Dropoff,
                _ => continue,
            };
            self.itinerary.reached((trip, kind), at, self.vehicle, effects);
            if let (Phase::Arrived, Some(own)) = (phase, self.journey.trip_of(&trip)) {
                let outcome = self.journey.trips[own].outcome(at);
                effects.extend(outcome);
            }
        }
    }

    fn take_late(&mut self, now: Millis, raw: &RawFix, fix: &Fix, limits: &Limits) {
        self.recent.push(raw.taken, fix.position());
        if self.journey.is_live() {
            let sighting = self.sighting(fix, limits);
            self.journey.see_late(now, &sighting);
        }
    }

    fn sighting(&self, fix: &Fix, limits: &Limits) -> Sighting {
        let unit = fix.position().unit();
        let filtered_mps = self.motion.marker().map_or(0.0, |marker| marker.speed_mps);
        Sighting {
            unit,
            filtered: self.motion.unit().unwrap_or(unit),
            accuracy_m: f64::from(fix.accuracy_m().unwrap_or(limits.unknown_accuracy_m)),
            speed_mps: fix.speed_mps().unwrap_or(filtered_mps),
            taken: fix.taken(),
        }
    }

    fn arm_silence(&mut self, limits: &Limits) {
        let armed = self.journey.is_live() && !self.silent;
        self.silent_at = armed.then(|| self.heard + limits.silence_ms);
    }

    fn tell_marker(&mut self, limits: &Limits, effects: &mut Vec<Effect>) {
        let Some(marker) = self.marker() else { return };
        let unchanged = self.told.is_some_and(|told| told.taken == marker.taken && told.position == marker.position);
        if !unchanged && pacing::marker_worth_telling(self.told.as_ref(), &marker, limits) {
            self.told = Some(marker);
            effects.push(Effect::Moved(marker));
        }
    }

    /// Arrival times start from where the driver is; a marker that is long silent says nothing about that.
    fn tell_etas(&mut self, now: Millis, forced: bool, world: &World<'_>, effects: &mut Vec<Effect>) {
        let limits = world.limits.get(self.vehicle);
        if !self.journey.is_live() {
            return;
        }
        let fresh = |marker: &Marker| now.since_ms(marker.taken) <= limits.silence_ms;
        match self.marker().filter(fresh) {
            Some(marker) if forced || self.itinerary.is_due(now, &marker, limits) => {
                if let Some(city) = world.knowledge.city(marker.position, self.vehicle) {
                    self.driving.settle(city);
                }
                let marker = Marker { road: self.driving.matched().copied(), ..marker };
                self.itinerary.refresh(now, &marker, self.vehicle, &mut self.journey, world, effects);
            }
            None if forced => Itinerary::end_finished(&mut self.journey, effects),
            _ => {}
        }
    }

    /// Stops still to be made before the trip's drop-off; 0 when that is behind or not in the plan.
    fn stops_before_dropoff(&self, trip: TripId) -> u8 {
        let phase_of = |id| self.journey.trip_of(id).map_or(Phase::Failed, |index| self.journey.trips[index].phase);
        let mut ahead = self.journey.stops.iter().filter(|stop| !stop.is_behind(phase_of(&stop.plan.trip)));
        let own = |stop: &Stop| stop.plan.trip == trip && stop.plan.kind == StopKind::Dropoff;
        ahead.position(own).map_or(0, |before| before as u8)
    }
}

#[cfg(test)]
mod tests;
