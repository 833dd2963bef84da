//! Real trips in time order: what was foreseen at their quarters, and what came.
//!
//! Every trip is a driver of its own with one stop. All fixes of all trips go through the engine in the order in which they were taken, and
//! lessons into one learner, whose knowledge trackers are given anew every half minute; so a trip is predicted only from what had
//! happened by then.

use std::fmt::Write as _;
use std::sync::Arc;

use wayfare_engine::learn::Learner;
use wayfare_engine::roads::{Metric, Network};
use wayfare_engine::{
    Batch, City, Effect, Fence, Knowledge, LimitsTable, Millis, Phase, Plan, PlanStop, PlanTrip, RawFix, Room,
    StopKind, Tracker, TripId, Vehicle, World,
};

use crate::report::Report;
use crate::score::{Pairs, median};
use crate::trips::{Point, Trace};

/// Knowledge is renewed this often, s.
const RENEW_S: i64 = 30;
/// Standing within this distance at either end is no part of a trip, metres.
const END_M: f64 = 30.0;
const LEAST_S: i64 = 120;
const LEAST_M: f64 = 300.0;
const STEP_MOST_M: f64 = 600.0;
const DETOUR_MOST: f64 = 4.0;
/// Quarters of the trip, by points.
const FRACTIONS: [f64; 4] = [0.0, 0.25, 0.5, 0.75];
/// A checkpoint with fewer points left does not count.
const POINTS_LEFT: usize = 3;

/// A prediction at one checkpoint of one trip.
#[derive(Debug, Clone, Copy)]
struct Prediction {
    fraction: f64,
    at_s: i64,
    remaining_s: f64,
    low_s: f64,
    high_s: f64,
    real_s: f64,
    /// In the order of the trips' starts.
    trip: usize,
}

/// A trip that counts: indices of its first and last point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    first: usize,
    last: usize,
}

pub(crate) struct Ride<'a> {
    trace: &'a Trace,
    counted: Option<Counted>,
    pub(crate) tracker: Tracker,
    next: usize,
    told: u64,
}

/// The table, and the predictions as `trace,fraction,at_t,remaining_s,low_s,high_s`. Without a network, on straight lines.
#[must_use]
pub fn evaluate_arrivals(network: Option<Arc<Network>>, traces: &[Trace]) -> (Report, String) {
    let mut sorted: Vec<&Trace> = traces.iter().filter(|trace| trace.points.len() >= 2).collect();
    sorted.sort_by(|a, b| (a.points[0].t_s, &a.id).cmp(&(b.points[0].t_s, &b.id)));
    let limits = LimitsTable::default();
    let (room, mut school) = (Room::default(), School::new(network));
    let mut rides: Vec<Ride<'_>> = sorted.iter().map(|trace| Ride::new(trace)).collect();
    let mut predictions: Vec<Prediction> = Vec::new();
    let mut order: Vec<(i64, usize, usize)> = Vec::new();
    for (ride, trace) in sorted.iter().enumerate() {
        order.extend(trace.points.iter().enumerate().map(|(index, point)| (point.t_s, ride, index)));
    }
    order.sort_unstable();
    let (mut effects, mut minutes, mut messages) = (Vec::new(), 0.0, 0_u64);
    for (t_s, number, index) in order {
        school.renew(t_s);
        let ride = &mut rides[number];
        let world = World::new(&limits, &school.knowledge, &room);
        effects.clear();
        ride.drive(index, &world, &mut effects);
        for effect in &effects {
            match effect {
                Effect::Lesson(lesson) => school.learner.learn(lesson),
                Effect::Eta { eta: Some(_), .. } => ride.told += 1,
                _ => {}
            }
        }
        let Some(counted) = ride.counted else { continue };
        predictions.extend(ride.predict(counted, index, number));
        if index == counted.last {
            messages += ride.told;
            minutes += (t_s - ride.trace.points[counted.first].t_s) as f64 / 60.0;
        }
    }
    let counted = rides.iter().filter(|ride| ride.counted.is_some()).count();
    let mut text = String::from("trace,fraction,at_t,remaining_s,low_s,high_s\n");
    for one in &predictions {
        let Prediction { fraction, at_s, remaining_s, low_s, high_s, .. } = one;
        let id = &rides[one.trip].trace.id;
        let _ = writeln!(text, "{id},{fraction},{at_s},{remaining_s:.1},{low_s:.1},{high_s:.1}");
    }
    let half = half_of(&rides);
    (report(&predictions, half, counted, messages as f64 / minutes, &school), text)
}

/// The number of the trip with which the second half of the trips that count begins.
fn half_of(rides: &[Ride<'_>]) -> usize {
    let counted: Vec<usize> = (0..rides.len()).filter(|ride| rides[*ride].counted.is_some()).collect();
    counted.get(counted.len() / 2).copied().unwrap_or(0)
}

fn report(predictions: &[Prediction], half: usize, counted: usize, per_minute: f64, school: &School) -> Report {
    let columns = [
        "trips",
        "MAPE",
        "standard error",
        "median error",
        "bias",
        "within 20 %",
        "within 2 min",
        "coverage of 80 %",
        "width / ETA",
    ];
    let basis = if school.city.is_some() { "on roads" } else { "on straight lines" };
    let mut report = Report::new(format!("Arrivals of real trips, {basis}"), &columns);
    for (name, from) in [("all", 0), ("second half", half)] {
        for fraction in FRACTIONS {
            let chosen: Vec<&Prediction> =
                predictions.iter().filter(|one| one.fraction == fraction && one.trip >= from).collect();
            let pairs = Pairs(chosen.iter().map(|one| (one.remaining_s, one.real_s)).collect());
            let inside = chosen.iter().filter(|one| (one.low_s..=one.high_s).contains(&one.real_s)).count();
            let width = median(chosen.iter().map(|one| (one.high_s - one.low_s) / one.remaining_s).collect());
            let (mape, error) = pairs.mape();
            let coverage = inside as f64 / chosen.len().max(1) as f64;
            let values = [
                chosen.len() as f64,
                mape,
                error,
                pairs.median_error(),
                pairs.bias(),
                pairs.within(0.2),
                pairs.within_s(120.0),
                coverage,
                width,
            ];
            report.row(format!("{name}, at {:.0} %", fraction * 100.0), &values);
        }
    }
    report.note(format!("{counted} trips count; {per_minute:.2} messages about the arrival per minute of driving."));
    report
}

/// Knowledge as it grows.
struct School {
    learner: Learner,
    knowledge: Knowledge,
    city: Option<Arc<Network>>,
    renewed_s: i64,
    number: u64,
}

impl School {
    fn new(city: Option<Arc<Network>>) -> Self {
        let cities = city.iter().map(|network| City::new(Arc::clone(network))).collect();
        let knowledge = Knowledge::new(cities, Arc::default());
        Self { learner: Learner::default(), knowledge, city, renewed_s: 0, number: 0 }
    }

    fn renew(&mut self, t_s: i64) {
        if t_s < self.renewed_s + RENEW_S {
            return;
        }
        (self.renewed_s, self.number) = (t_s, self.number + 1);
        let (at, learner) = (Millis(t_s * 1000), Arc::new(self.learner.clone()));
        let city = |network: &Arc<Network>| {
            let mut metric = Metric::default();
            let speeds = &learner.of(network.profile()).speeds;
            metric.reweight_live(network, self.number, speeds, at);
            City::with_metric(Arc::clone(network), Arc::new(metric))
        };
        self.knowledge = Knowledge::new(self.city.iter().map(city).collect(), learner);
    }
}

impl<'a> Ride<'a> {
    pub(crate) fn new(trace: &'a Trace) -> Self {
        let counted = count(&trace.points);
        let start = trace.points[0].taken();
        Self { trace, counted, tracker: Tracker::new(start, Vehicle::Car), next: 0, told: 0 }
    }

    /// One stop, reached as soon as a fix is within [`END_M`] of it, as the trips are trimmed.
    fn plan(&self) -> Plan {
        let last = self.counted.map_or(self.trace.points.len() - 1, |counted| counted.last);
        let stop = PlanStop {
            trip: TripId(1),
            kind: StopKind::Dropoff,
            position: self.trace.points[last].place,
            fence: Fence { radius_m: END_M as f32, dwell_ms: 0, arriving_m: 300.0 },
            service_ms: 0,
        };
        Plan {
            version: 1,
            available: true,
            vehicle: Vehicle::Car,
            trips: vec![PlanTrip {
                id: TripId(1),
                assignment: 1,
                phase: Phase::ToDropoff,
                since: None,
                ready_at: None,
            }],
            stops: vec![stop],
        }
    }

    pub(crate) fn drive(&mut self, index: usize, world: &World<'_>, effects: &mut Vec<Effect>) {
        let point = &self.trace.points[index];
        if self.next == 0 {
            self.tracker.apply_plan(point.taken(), self.plan(), world, effects);
        }
        self.next = index + 1;
        let fix = RawFix {
            lat_deg: point.place.lat_deg(),
            lon_deg: point.place.lon_deg(),
            taken: point.taken(),
            accuracy_m: None,
            speed_mps: None,
            heading_deg: None,
            altitude_m: None,
            mock: false,
        };
        let batch =
            Batch { session: 1, seq: self.next as u64, sent: Some(point.taken()), fixes: std::slice::from_ref(&fix) };
        self.tracker.observe(point.taken(), batch, world, effects);
    }

    fn predict(&self, counted: Counted, index: usize, trip: usize) -> Vec<Prediction> {
        let Counted { first, last } = counted;
        let at_s = self.trace.points[index].t_s;
        let real_s = (self.trace.points[last].t_s - at_s) as f64;
        let here = |fraction: &f64| {
            index == first + ((last - first) as f64 * fraction) as usize && last - index >= POINTS_LEFT
        };
        let eta = self.tracker.trips().next().and_then(|trip| trip.newest_eta.copied());
        let predict = |fraction: f64| {
            let eta = eta?;
            let since = |at: Millis| at.since_s(Millis(at_s * 1000)).max(1.0);
            let (remaining_s, low_s, high_s) = (since(eta.at), since(eta.low), since(eta.high));
            Some(Prediction { fraction, at_s, remaining_s, low_s, high_s, real_s, trip })
        };
        FRACTIONS.into_iter().filter(here).filter_map(predict).collect()
    }
}

/// Whether a trip counts, and between which points: the rules stand beside the data.
fn count(points: &[Point]) -> Option<Counted> {
    let (begin, end) = (points.first()?.place, points.last()?.place);
    let first = points.iter().rposition(|point| point.place.distance_m(begin) <= END_M).and_then(|_| {
        points.iter().position(|point| point.place.distance_m(begin) > END_M).map(|left| left.saturating_sub(1))
    })?;
    let last = points.iter().rposition(|point| point.place.distance_m(end) > END_M).map(|before| before + 1)?;
    if last <= first {
        return None;
    }
    let kept = &points[first..=last];
    let straight_m = kept[0].place.distance_m(kept[kept.len() - 1].place);
    let steps: Vec<f64> = kept.windows(2).map(|pair| pair[0].place.distance_m(pair[1].place)).collect();
    let lasts_s = kept[kept.len() - 1].t_s - kept[0].t_s;
    let counts = lasts_s >= LEAST_S
        && straight_m >= LEAST_M
        && steps.iter().all(|step| *step <= STEP_MOST_M)
        && steps.iter().sum::<f64>() <= DETOUR_MOST * straight_m;
    counts.then_some(Counted { first, last })
}
