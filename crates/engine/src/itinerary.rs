//! Arrival times along the plan: the drive to the next stop, the drives between stops, and the time spent at each.

use crate::bytes::{Reader, Writer};
use crate::eta::worth_telling;
use crate::journey::Journey;
use crate::{Effect, Eta, LegEstimate, Limits, Marker, Millis, Position, RestoreError, StopKind, Vehicle, World};

/// Longest time any one leg is believed to take, in seconds: a week. Keeps sums far from the ends of time.
const LEG_MOST_S: f64 = 604_800.0;

/// When and where arrival times were last computed, and the drives between stops, which change only with the stops.
#[derive(Clone, Debug, Default)]
pub(crate) struct Itinerary {
    computed: Option<(Millis, Position)>,
    legs: Vec<((Position, Position), LegEstimate)>,
}

/// Seconds from now, and metres, on the way along the plan.
#[derive(Clone, Copy, Default)]
struct Cursor {
    median_s: f64,
    low_s: f64,
    high_s: f64,
    distance_m: f64,
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
        let Journey { trips, stops } = journey;
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
                (None, None) => cursor.drive(sane(world.eta.leg(marker.position, to, vehicle, now))),
                (None, Some(from)) => cursor.drive(self.leg(from, to, vehicle, now, world)),
            }
            at_stop = Some(to);
            let ready_s = trips[trip].ready_at.filter(|_| stop.plan.kind == StopKind::Pickup).map(|at| at.since_s(now));
            if stop.plan.kind == StopKind::Dropoff {
                let pickup_at = stops[..index].iter().find_map(|other| {
                    let own = other.plan.trip == stop.plan.trip && other.plan.kind == StopKind::Pickup;
                    own.then_some(other.eta_at).flatten()
                });
                let eta = cursor.eta(now, stops_made, world, pickup_at);
                let trip = &mut trips[trip];
                let told = trip.told.filter(|(old, phase)| !worth_telling((old, *phase), (&eta, trip.phase), now));
                if told.is_none() {
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
        let Journey { trips, stops } = journey;
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
        *self = Self::default();
    }

    fn leg(&mut self, from: Position, to: Position, vehicle: Vehicle, at: Millis, world: &World<'_>) -> LegEstimate {
        if let Some((_, leg)) = self.legs.iter().find(|(ends, _)| *ends == (from, to)) {
            return *leg;
        }
        // Skipped stops make new pairs; a plan of n stops stays far below this.
        if self.legs.len() >= 2 * crate::Plan::MAX_STOPS {
            self.legs.clear();
        }
        let leg = sane(world.eta.leg(from, to, vehicle, at));
        self.legs.push(((from, to), leg));
        leg
    }

    pub(crate) fn save(&self, w: &mut Writer<'_>) {
        w.option(self.computed, |w, (at, from)| {
            w.time(at);
            w.position(from);
        });
    }

    pub(crate) fn load(r: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let computed = r.option("itinerary", |r| Ok((r.time("itinerary")?, r.position("itinerary")?)))?;
        Ok(Self { computed, legs: Vec::new() })
    }
}

impl Cursor {
    /// Interval ends are added up plainly: what slows one leg, rain or rush, slows the others too.
    fn drive(&mut self, leg: LegEstimate) {
        self.median_s += leg.drive_s;
        self.low_s += leg.low_s;
        self.high_s += leg.high_s;
        self.distance_m += leg.distance_m;
    }

    /// Waits until the order is ready, then for the hand-over, of which `spent_s` of presence may already have served.
    fn stay(&mut self, ready_s: Option<f64>, service_s: f64, spent_s: f64) {
        // Service begins when both driver and order are there.
        let waited_s = ready_s.map_or(spent_s, |ready_s| spent_s.min((-ready_s).max(0.0)));
        let left_s = (service_s - waited_s).clamp(0.0, LEG_MOST_S);
        let ready_s = ready_s.unwrap_or(0.0).min(LEG_MOST_S);
        self.median_s = self.median_s.max(ready_s) + left_s;
        self.low_s = self.low_s.max(ready_s) + left_s;
        self.high_s = self.high_s.max(ready_s) + left_s;
    }

    fn eta(&self, now: Millis, stops_left: u8, world: &World<'_>, pickup_at: Option<Millis>) -> Eta {
        let at = |seconds: f64| now.plus_ms((seconds * 1000.0) as i64);
        Eta {
            at: at(self.median_s),
            low: at(self.low_s),
            high: at(self.high_s),
            distance_m: self.distance_m as f32,
            stops_left,
            basis: world.eta.basis(),
            pickup_at,
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
    }
}
