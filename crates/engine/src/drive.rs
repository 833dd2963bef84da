//! How long a drive takes: on roads where there are any, on a straight line elsewhere; both with what was learned.

use std::cell::RefCell;
use std::sync::Arc;

use crate::learn::{Estimate, Learner, RoadKind, SpeedField, cell_for_speeds};
use crate::roads::{Bounds, Climb, Goal, Label, MatchRoom, Metric, Network, Profile, Start};
use crate::{EtaBasis, LegEstimate, Millis, Position, StraightLine, Vehicle};

/// The roads of one profile of one city, with the times that hold now.
#[derive(Clone, Debug)]
pub struct City {
    /// The roads.
    pub network: Arc<Network>,
    /// Their times.
    pub metric: Arc<Metric>,
    /// Where they are, with a margin.
    reach: Bounds,
}

/// A fix so far outside of all roads belongs to no city, metres.
const MARGIN_M: f64 = 500.0;

impl City {
    /// A city on free roads.
    #[must_use]
    pub fn new(network: Arc<Network>) -> Self {
        let metric = Arc::new(Metric::free(&network));
        Self::with_metric(network, metric)
    }

    /// A city with times of its own.
    #[must_use]
    pub fn with_metric(network: Arc<Network>, metric: Arc<Metric>) -> Self {
        let reach = network.bounds().widened(MARGIN_M);
        Self { network, metric, reach }
    }

    /// A place as a goal, if it lies in the city: what lies beyond is no walk from its last street.
    pub(crate) fn goal(&self, place: Position) -> Option<Goal> {
        if self.reach.contains(place) { self.network.goal(place) } else { None }
    }
}

/// What is known of driving: a value that is replaced as a whole, twice a minute, while trackers go on with the one before.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    cities: Vec<City>,
    /// What was learned.
    pub learner: Arc<Learner>,
    /// The estimate without roads.
    pub straight: StraightLine,
}

/// Evidence in seconds of driving from which on estimates count as live.
const LIVE_S: f32 = 300.0;
/// From the street to the door, by vehicle in the order of [`Vehicle::ALL`]: bicycles are ridden, cars are parked and left; m/s.
const ACCESS_MPS: [f32; 5] = [3.0, 3.0, 2.5, 2.0, 1.3];
/// Times on roads by vehicle, against the profile's own: motorbikes pass where cars queue, vans are slower.
const VEHICLE_TIME: [f32; 5] = [1.0, 0.92, 1.0, 1.08, 1.0];
/// Stopping and finding the door, seconds, in proportion on drives shorter than [`SHORT_S`].
const STOP_S: f32 = 20.0;
/// Getting away: doors, manoeuvres, the first corner; seconds. Less and less until the driver has left.
const START_S: f32 = 40.0;
const SHORT_S: f32 = 60.0;

/// Room for looking things up, used again and again by one thread.
#[derive(Debug, Default)]
pub struct Room(RefCell<(MatchRoom, Climb)>);

impl Room {
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&mut MatchRoom, &mut Climb) -> T) -> T {
        let mut room = self.0.borrow_mut();
        let (matching, climb) = &mut *room;
        use_it(matching, climb)
    }
}

impl Knowledge {
    /// Knowledge of these cities. Where two overlap, the first counts.
    #[must_use]
    pub fn new(cities: Vec<City>, learner: Arc<Learner>) -> Self {
        Self { cities, learner, straight: StraightLine::default() }
    }

    /// All cities, one for each profile of each roads file.
    #[must_use]
    pub fn cities(&self) -> &[City] {
        &self.cities
    }

    /// The roads for a vehicle at a place; `None` outside of all cities.
    #[must_use]
    pub fn city(&self, place: Position, vehicle: Vehicle) -> Option<&City> {
        let profile = Profile::of(vehicle);
        self.cities.iter().find(|city| city.network.profile() == profile && city.reach.contains(place))
    }

    /// The drive between two places, starting at `at`, wherever one may look. A road leg costs about 40 us: keep it.
    #[must_use]
    pub fn leg(&self, from: Position, to: Position, vehicle: Vehicle, at: Millis, room: &Room) -> LegEstimate {
        let on_roads = self.city(from, vehicle).and_then(|city| {
            let goal = city.goal(to)?;
            let label = Label::new(&city.network, &city.metric, goal);
            self.leg_over(city, &label, from, vehicle, at, room)
        });
        on_roads.unwrap_or_else(|| self.straight(from, to, vehicle, 1.0, at))
    }

    /// The estimate of a way on roads that takes `ms` by a city's metric, begun at `at` from standing.
    #[must_use]
    pub fn estimate(&self, ms: u32, length_m: f64, access_m: f32, vehicle: Vehicle, at: Millis) -> LegEstimate {
        self.on_roads(&Way { ms, length_m, access_m, setting_out: 1.0 }, vehicle, at)
    }

    /// Drives of many to one place, by road only; `None` where there is no way. A label for each profile and some 15 us a driver.
    #[must_use]
    pub fn legs_to(
        &self,
        to: Position,
        starts: &[(Position, Vehicle)],
        at: Millis,
        room: &Room,
    ) -> Vec<Option<LegEstimate>> {
        let mut labels: [Option<Option<Label>>; 3] = Default::default();
        let one = |(from, vehicle): &(Position, Vehicle)| {
            let city = self.city(*from, *vehicle).filter(|city| city.reach.contains(to))?;
            let label = labels[Profile::of(*vehicle) as usize].get_or_insert_with(|| {
                let goal = city.network.goal(to)?;
                Some(Label::new(&city.network, &city.metric, goal))
            });
            self.leg_over(city, label.as_ref()?, *from, *vehicle, at, room)
        };
        starts.iter().map(one).collect()
    }

    /// The drive to a label's goal from the street nearest to a place, in whichever direction is quicker.
    fn leg_over(
        &self,
        city: &City,
        label: &Label,
        from: Position,
        vehicle: Vehicle,
        at: Millis,
        room: &Room,
    ) -> Option<LegEstimate> {
        let starts = city.network.starts(from, None);
        let costs = starts.iter().map(|start| {
            let end = room.with(|_, climb| label.from_end_of(&city.network, &city.metric, start.street, climb));
            label.from(&city.network, &city.metric, *start, end)
        });
        let best = costs.filter(|cost| !cost.is_far()).min_by_key(|cost| cost.ms)?;
        let way =
            Way { ms: best.ms, length_m: f64::from(best.dm) / 10.0, access_m: label.goal.access_m, setting_out: 1.0 };
        Some(self.on_roads(&way, vehicle, at))
    }

    pub(crate) fn on_roads(&self, way: &Way, vehicle: Vehicle, at: Millis) -> LegEstimate {
        let Way { ms, length_m, access_m, setting_out } = *way;
        let profile = Profile::of(vehicle);
        let road_s = ms as f32 / 1000.0 * VEHICLE_TIME[vehicle as usize];
        let model_s = road_s
            + access_m / ACCESS_MPS[vehicle as usize]
            + (STOP_S + START_S * setting_out) * (road_s / SHORT_S).min(1.0);
        let estimate = self.learner.of(profile).calibration[1].estimate(at, model_s);
        self.told(length_m + f64::from(access_m), model_s, estimate, true, profile, at)
    }

    /// Straight line times detour at the vehicle's speed, with the factors of the cells on the line.
    pub(crate) fn straight(
        &self,
        from: Position,
        to: Position,
        vehicle: Vehicle,
        setting_out: f32,
        at: Millis,
    ) -> LegEstimate {
        let plain = self.straight.leg(from, to, vehicle);
        let profile = Profile::of(vehicle);
        let learned = self.learner.of(profile);
        let evidence = learned.speeds.evidence_s(at) > 0.0;
        let factor = if evidence { SpeedField::factor(self.log_on_line(from, to, profile, at)) } else { 1.0 };
        // Of what the plain estimate has for starting and stopping, the start is behind whoever has got away.
        let start_stop_s = plain.drive_s as f32 - self.straight.moving_s(from.distance_m(to), vehicle) as f32;
        let behind_s = start_stop_s * START_S / (START_S + STOP_S) * (1.0 - setting_out);
        let model_s = (plain.drive_s as f32 - behind_s) * factor;
        let calibration = &learned.calibration[0];
        let mut estimate = calibration.estimate(at, model_s);
        if calibration.arrivals() == 0 {
            // Nothing learned yet: the spread that unlearned estimates have on real trips.
            (estimate.low_s, estimate.high_s) = (plain.low_s as f32 * factor, plain.high_s as f32 * factor);
        }
        self.told(plain.distance_m, model_s, estimate, false, profile, at)
    }

    fn log_on_line(&self, from: Position, to: Position, profile: Profile, at: Millis) -> f32 {
        /// Places looked at on the line, ends included.
        const PLACES: u8 = 4;
        let speeds = &self.learner.of(profile).speeds;
        let plane = crate::LocalPlane::at(from);
        let (east_m, north_m) = plane.flat(to);
        let cells = (0..PLACES).map(|index| {
            let share = f64::from(index) / f64::from(PLACES - 1);
            speeds.log_cell(at, cell_for_speeds(plane.position(east_m * share, north_m * share)))
        });
        speeds.log_kind(at, RoadKind::Air) + cells.sum::<f32>() / f32::from(PLACES)
    }

    fn told(
        &self,
        distance_m: f64,
        model_s: f32,
        estimate: Estimate,
        on_roads: bool,
        profile: Profile,
        at: Millis,
    ) -> LegEstimate {
        let live = self.learner.of(profile).speeds.evidence_s(at) >= LIVE_S;
        let basis = match (on_roads, live) {
            (true, true) => EtaBasis::RoadsLive,
            (true, false) => EtaBasis::Roads,
            (false, true) => EtaBasis::StraightLineLive,
            (false, false) => EtaBasis::StraightLine,
        };
        LegEstimate {
            distance_m,
            model_s: f64::from(model_s),
            drive_s: f64::from(estimate.median_s),
            low_s: f64::from(estimate.low_s),
            high_s: f64::from(estimate.high_s),
            basis,
        }
    }
}

/// A way on roads, and how much of getting away is still to come: 1 at the start, 0 under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) ms: u32,
    pub(crate) length_m: f64,
    pub(crate) access_m: f32,
    pub(crate) setting_out: f32,
}

/// A label kept for the drive to one stop.
#[derive(Clone, Debug)]
pub(crate) struct KeptLabel {
    network: u64,
    label: Label,
    /// The street the driver was on last, and the cost from its end.
    end: Option<(crate::roads::StreetId, crate::roads::Cost)>,
}

/// The drive from a matched place to a stop: 10 us when stop or metric changed, 7 us on a new street, next to nothing on the same.
/// `None`: there is no way on roads.
pub(crate) fn leg_from(
    city: &City,
    kept: &mut Option<KeptLabel>,
    start: Start,
    to: Position,
    room: &Room,
) -> Option<Way> {
    let (network, metric) = (&city.network, &city.metric);
    let known = hold_label(city, kept, to)?;
    let end = match known.end {
        Some((street, cost)) if street == start.street => cost,
        _ => {
            let cost = room.with(|_, climb| known.label.from_end_of(network, metric, start.street, climb));
            known.end = Some((start.street, cost));
            cost
        }
    };
    let cost = known.label.from(network, metric, start, end);
    let access_m = known.label.goal.access_m;
    (!cost.is_far()).then(|| Way { ms: cost.ms, length_m: f64::from(cost.dm) / 10.0, access_m, setting_out: 0.0 })
}

/// Makes sure that the label kept is the one of a stop under the metric of now; `None`: there is no road at the stop. A plan does this
/// before the first fix needs it.
pub(crate) fn hold_label<'a>(city: &City, kept: &'a mut Option<KeptLabel>, to: Position) -> Option<&'a mut KeptLabel> {
    let (network, metric) = (&city.network, &city.metric);
    let fits = |kept: &&mut KeptLabel| {
        kept.network == network.content_hash() && kept.label.metric == metric.number() && kept.label.goal.place == to
    };
    if kept.as_mut().filter(fits).is_none() {
        // The stop's place on the road stays when only the times changed.
        let former = kept.take().filter(|kept| kept.network == network.content_hash() && kept.label.goal.place == to);
        let goal: Goal = match former {
            Some(former) => former.label.goal,
            None => city.goal(to)?,
        };
        let label = Label::new(network, metric, goal);
        *kept = Some(KeptLabel { network: network.content_hash(), label, end: None });
    }
    kept.as_mut()
}

/// What a vehicle's own pace adds to the profile's, as a logarithm: taken out of what it teaches.
pub(crate) fn vehicle_log(vehicle: Vehicle) -> f32 {
    VEHICLE_TIME[vehicle as usize].ln()
}
