//! From the engine's effects to state topics. The writer projects: a customer's view has no position before the pick-up.

use std::rc::Rc;

use wayfare_bus::{Fence, Fields, PublishError, Publisher};
use wayfare_engine::{
    DriverId, Effect, Eta, Marker, Millis, Phase, Reach, RouteChange, Sees, Shown, Tracker, TripView, Watch, is_exact,
};
use wayfare_wire::messages::drive::ToDriver;
use wayfare_wire::state::{field, write_eta, write_i64, write_position, write_shown, write_string, write_u64};

use super::customer::{Customer, Told, tell_way};
use super::drivers::Tracked;
use super::phone;
use super::state::State;
use super::view::{View, Way};
use crate::metrics::Counters;

/// What changed, gathered over all effects of one call.
#[derive(Default)]
struct News {
    marker: Option<Marker>,
    silent: Option<Option<Millis>>,
    phone: bool,
    suspect: bool,
    phases: bool,
    etas: bool,
}

impl News {
    /// Whether operators hear of the phone: silence may tell more of it.
    fn tells_phone(&self) -> bool {
        self.phone || self.silent.is_some()
    }

    /// Whether operators hear something that customers must not.
    fn is_for_operators(&self) -> bool {
        self.tells_phone() || self.suspect
    }
}

impl State {
    /// Tells each trip's views and the driver's what changed: one publish per topic.
    pub fn tell(&mut self, driver: DriverId, effects: &[Effect]) {
        let mut news = News::default();
        for effect in effects {
            match effect {
                Effect::Moved(marker) => news.marker = Some(*marker),
                Effect::Phase { .. } => news.phases = true,
                Effect::Eta { .. } => news.etas = true,
                Effect::Silent { since } => news.silent = Some(Some(*since)),
                Effect::Back => news.silent = Some(None),
                Effect::Phone => news.phone = true,
                Effect::Suspect => news.suspect = true,
                Effect::Judged { .. }
                | Effect::Confirmed(_)
                | Effect::Lesson(_)
                | Effect::Outcome { .. }
                | Effect::Fence { .. } => {}
            }
        }
        let nothing = !(news.phone || news.suspect || news.phases || news.etas);
        if news.marker.is_none() && news.silent.is_none() && nothing {
            return;
        }
        let route = self.route_news(driver);
        self.position.clear();
        let marker = news.marker.as_ref();
        let shown = marker.map(Shown::of);
        if let Some(shown) = &shown {
            write_shown(&mut self.position, shown);
        }
        let config = &self.house.config;
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let Tracked { tracker, views, view, lease, .. } = &mut **tracked;
        let (fields, counters, position) = (&mut self.fields, &mut self.counters, &self.position[..]);
        let is_due = |view: &View, pace| {
            marker.zip(shown.as_ref()).is_some_and(|(marker, shown)| view.is_due(marker, shown, pace))
        };
        // Without a trip on board nobody waits for this driver.
        let mut closest = config.pacing.of(Phase::Assigned);
        for trip in tracker.trips() {
            let Some(views) = views.iter_mut().find(|views| views.trip == trip.id) else { continue };
            let fence = Fence::Tracker { assignment: trip.assignment, lease: lease.number };
            let phase = news.phases || effects.iter().any(|effect| told_phase(effect, &trip));
            let eta = effects.iter().rev().find_map(|effect| told_eta(effect, &trip));
            let pace = config.pacing.of(trip.phase);
            if pace.tolerance_m < closest.tolerance_m {
                closest = pace;
            }
            let customer = Customer::of(&config.visibility, tracker, &trip, views);
            // Both views are told together, so that both are told by the same bytes.
            let due = is_due(&views.operator, pace) || customer.is_exact() && is_due(&views.customer, pace);
            counters.foreseen += u64::from(marker.is_some() && !due);
            common(fields, &news, tracker, &trip, phase, eta, Sees::ALL);
            whole_phone(fields, &news, tracker);
            if due {
                fields.set(field::POSITION, |out| out.extend_from_slice(position));
            }
            // The way is another, or none any more; where nothing became of it, it is the one that was told.
            let is_way_told = route.as_ref().is_some_and(|change| {
                let own = change.as_ref().filter(|way| way.drawn.trip == trip.id);
                tell_way(fields, own.map(Rc::clone), &mut views.operator)
            });
            // What was refused nobody holds: the next position is told whatever it is.
            if publish(&views.operator.publisher, fields, fence, counters) && due {
                views.operator.tell(marker);
            }
            let way = customer.way(views.operator.way());
            let same_bytes = customer.is_like_operator()
                && !news.is_for_operators()
                && (due || views.customer.is_exact())
                && match is_way_told {
                    true => !views.operator.has_other_way(way.as_ref()),
                    false => !views.customer.has_other_way(way.as_ref()),
                };
            let mut told = Told::Nothing;
            if same_bytes {
                if due && let Some(marker) = marker {
                    told = Told::Exactly(*marker);
                }
                if is_way_told {
                    views.customer.route(way);
                }
            } else {
                common(fields, &news, tracker, &trip, phase, eta, customer.sees);
                customer.reveal(fields, &trip, eta.is_some(), phase);
                told = customer.position(fields, &views.customer, due);
                tell_way(fields, way, &mut views.customer);
            }
            if publish(&views.customer.publisher, fields, fence, counters) {
                told.note(&mut views.customer);
            }
        }
        fields.clear();
        let due = is_due(view, closest);
        if due {
            fields.set(field::POSITION, |out| out.extend_from_slice(position));
        }
        silence(fields, &news);
        whole_phone(fields, &news, tracker);
        let fence = Fence::Tracker { assignment: 0, lease: lease.number };
        if publish(&view.publisher, fields, fence, counters) && due {
            view.tell(marker);
        }
        if news.marker.is_some() {
            self.show_on_map(driver);
        }
    }

    /// What became of the way to the next stop; nothing is drawn unless somebody looks at one of the driver's trips.
    fn route_news(&mut self, driver: DriverId) -> Option<Option<Rc<Way>>> {
        let house = std::sync::Arc::clone(&self.house);
        let tracked = self.drivers.get_mut(&driver)?;
        let watched = tracked.views.iter().any(|views| views.customer.interest() || views.operator.interest());
        if !watched {
            return None;
        }
        let knowledge = house.atlas.knowledge();
        match tracked.tracker.route_change(&house.world(&self.fences, &knowledge, &self.room)) {
            RouteChange::Same => None,
            RouteChange::Drawn(line) => Some(Some(Way::new(line))),
            RouteChange::Gone => Some(None),
        }
    }

    /// Tells the whole of what a tracker knows, as after a restart: the topics were made anew.
    pub fn tell_everything(&mut self, driver: DriverId) {
        let rules = &self.house.config.visibility;
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let Tracked { tracker, views, view, lease, .. } = &mut **tracked;
        let (fields, counters) = (&mut self.fields, &mut self.counters);
        let marker = tracker.marker();
        let news = News { silent: Some(tracker.silent_since()), phone: true, suspect: true, ..News::default() };
        let whole = |fields: &mut Fields| match &marker {
            Some(marker) => drop(fields.set(field::POSITION, |out| write_position(out, marker))),
            None => drop(fields.set_null(field::POSITION)),
        };
        for trip in tracker.trips() {
            let Some(views) = views.iter_mut().find(|views| views.trip == trip.id) else { continue };
            let fence = Fence::Tracker { assignment: trip.assignment, lease: lease.number };
            common(fields, &news, tracker, &trip, true, Some(trip.eta), Sees::ALL);
            whole(fields);
            whole_phone(fields, &news, tracker);
            if publish(&views.operator.publisher, fields, fence, counters) {
                views.operator.tell(marker.as_ref());
            }
            let customer = Customer::of(rules, tracker, &trip, views);
            common(fields, &news, tracker, &trip, true, Some(trip.eta), customer.sees);
            // As if nothing had been told yet: the topic may be new.
            views.customer.tell(None);
            let mut told = customer.position(fields, &views.customer, true);
            if matches!(told, Told::Nothing) {
                fields.set_null(field::POSITION);
                told = Told::Gone;
            }
            if publish(&views.customer.publisher, fields, fence, counters) {
                told.note(&mut views.customer);
            }
        }
        fields.clear();
        whole(fields);
        silence(fields, &news);
        whole_phone(fields, &news, tracker);
        publish(&view.publisher, fields, Fence::Tracker { assignment: 0, lease: lease.number }, counters);
        view.tell(marker.as_ref());
    }

    /// Tells everything of all trackers, and the map.
    pub fn tell_anew(&mut self) {
        for driver in self.drivers.keys().copied().collect::<Vec<_>>() {
            self.tell_everything(driver);
        }
        self.show_map_anew();
    }

    /// Asks the app for another rate if another is wanted now, and tells it of another heartbeat.
    pub fn ask_rate(&mut self, driver: DriverId) {
        let Some(id) = self.drivers.get(&driver).and_then(|tracked| tracked.conn) else { return };
        let wanted_ms = self.wanted_interval_ms(driver, Reach::Pushed);
        let Some(conn) = self.conn(id).filter(|conn| conn.session.is_some()) else { return };
        let new_rate = conn.rate.settle(Millis(wayfare_bus::now_ms()), wanted_ms, Reach::Pushed);
        let interval_ms = conn.rate.asked_ms();
        let heartbeat_s = self.new_heartbeat_s(driver, id);
        if new_rate.is_some() || heartbeat_s.is_some() {
            let heartbeat_ms = heartbeat_s.map(|seconds| seconds * 1000);
            self.say(id, &ToDriver::Config { interval_ms, heartbeat_ms });
        }
    }

    /// How often this driver's app should send a fix, by what it does and who watches.
    pub fn wanted_interval_ms(&self, driver: DriverId, reach: Reach) -> u32 {
        let Some(tracked) = self.drivers.get(&driver) else { return 0 };
        let limits = self.house.config.limits.get(tracked.tracker.vehicle());
        let of_driver = if tracked.view.interest() { Watch::Closely } else { Watch::Nobody };
        tracked.tracker.wanted_interval_ms(limits, reach, of_driver, |trip, phase| {
            let views = tracked.views.iter().find(|views| views.trip == trip);
            views.map_or(Watch::Nobody, |views| match (views.operator.interest(), views.customer.interest()) {
                (true, _) => Watch::Closely,
                (false, true) if is_exact(phase) => Watch::Closely,
                (false, true) => Watch::Coarsely,
                (false, false) => Watch::Nobody,
            })
        })
    }
}

fn told_phase(effect: &Effect, trip: &TripView<'_>) -> bool {
    matches!(effect, Effect::Phase { trip: told, .. } if *told == trip.id)
}

fn told_eta<'a>(effect: &'a Effect, trip: &TripView<'_>) -> Option<Option<&'a Eta>> {
    match effect {
        Effect::Eta { trip: told, eta } if *told == trip.id => Some(eta.as_ref()),
        _ => None,
    }
}

/// What both views have in common, as far as it is seen; begins the fields anew.
fn common(
    fields: &mut Fields,
    news: &News,
    tracker: &Tracker,
    trip: &TripView<'_>,
    phase: bool,
    eta: Option<Option<&Eta>>,
    sees: Sees,
) {
    fields.clear();
    if phase {
        fields.set(field::PHASE, |out| write_string(out, trip.phase.code()));
        fields.set(field::PHASE_SINCE_MS, |out| write_i64(out, trip.phase_since.0));
    }
    if phase && sees.stops_left {
        fields.set(field::STOPS_LEFT, |out| write_u64(out, u64::from(trip.stops_left)));
    }
    match eta {
        Some(Some(_)) if !sees.eta => {}
        Some(Some(eta)) => drop(fields.set(field::ETA, |out| write_eta(out, eta))),
        Some(None) => drop(fields.set_null(field::ETA)),
        None => {}
    }
    silence(fields, news);
    if news.silent.is_some() || (news.phone && tracker.silent_since().is_some()) {
        phone::silent_reason(fields, tracker);
    }
}

/// What only operators see of the phone and its feed.
fn whole_phone(fields: &mut Fields, news: &News, tracker: &Tracker) {
    if news.tells_phone() {
        phone::whole(fields, tracker);
    }
    if news.suspect {
        phone::suspect(fields, tracker);
    }
}

fn silence(fields: &mut Fields, news: &News) {
    match news.silent {
        Some(Some(since)) => drop(fields.set(field::SILENT_SINCE_MS, |out| write_i64(out, since.0))),
        Some(None) => drop(fields.set_null(field::SILENT_SINCE_MS)),
        None => {}
    }
}

/// Publishes what there is. The embedded bus answers at once; a refusal means that something newer was told, or the trip is over.
/// False if it was refused.
pub fn publish(publisher: &Publisher, fields: &Fields, fence: Fence, counters: &mut Counters) -> bool {
    if fields.is_empty() {
        return true;
    }
    let told = publisher.publish_now(fields, fence);
    match told {
        Ok(()) => counters.published += 1,
        Err(PublishError::Fenced | PublishError::Ended | PublishError::Absent) => counters.refused += 1,
    }
    told.is_ok()
}
