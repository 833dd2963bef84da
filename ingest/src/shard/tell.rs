//! From the engine's effects to state topics. The writer projects: a customer's view has no position before the pick-up.

use wayfare_bus::{Fence, Fields, PublishError, Publisher};
use wayfare_engine::{
    DriverId, Effect, Eta, Marker, Millis, Phase, Reach, RouteChange, RouteLine, Tracker, TripView, Watch,
};
use wayfare_wire::messages::drive::ToDriver;
use wayfare_wire::state::{field, write_eta, write_i64, write_position, write_route, write_string, write_u64};

use super::drivers::Tracked;
use super::phone;
use super::state::State;
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
        if let Some(marker) = &news.marker {
            write_position(&mut self.position, marker);
        }
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let Tracked { tracker, views, view, lease, .. } = &mut **tracked;
        let (fields, counters, position) = (&mut self.fields, &mut self.counters, &self.position[..]);
        for trip in tracker.trips() {
            let Some(views) = views.iter_mut().find(|views| views.trip == trip.id) else { continue };
            let fence = Fence::Tracker { assignment: trip.assignment, lease: lease.number };
            let phase = news.phases || effects.iter().any(|effect| told_phase(effect, &trip));
            let eta = effects.iter().rev().find_map(|effect| told_eta(effect, &trip));
            common(fields, &news, tracker, &trip, phase, eta);
            whole_phone(fields, &news, tracker);
            if news.marker.is_some() {
                fields.set(field::POSITION, |out| out.extend_from_slice(position));
            }
            let visible = is_visible(trip.phase);
            let line = route.as_ref().map(|line| line.as_ref().filter(|line| line.trip == trip.id));
            tell_route(fields, line, &mut views.routed);
            publish(&views.operator, fields, fence, counters);
            if !visible || news.tells_phone() || (news.marker.is_none() && !views.shown) {
                common(fields, &news, tracker, &trip, phase, eta);
                // The phase in which the courier comes into view brings the position along, wherever it was told first.
                let marker = tracker.marker().filter(|_| visible);
                match marker {
                    Some(marker) => drop(fields.set(field::POSITION, |out| write_position(out, &marker))),
                    None if views.shown => drop(fields.set_null(field::POSITION)),
                    None => {}
                }
                views.shown = marker.is_some();
                // Whoever may not see the courier may not see where it is going.
                tell_route(fields, line.map(|line| line.filter(|_| visible)), &mut views.customer_routed);
            } else {
                views.customer_routed = line.map_or(views.customer_routed, |line| line.is_some());
                views.shown = true;
            }
            publish(&views.customer, fields, fence, counters);
        }
        fields.clear();
        if news.marker.is_some() {
            fields.set(field::POSITION, |out| out.extend_from_slice(position));
        }
        silence(fields, &news);
        whole_phone(fields, &news, tracker);
        publish(view, fields, Fence::Tracker { assignment: 0, lease: lease.number }, counters);
        if news.marker.is_some() {
            self.show_on_map(driver);
        }
    }

    /// What became of the way to the next stop; nothing is drawn unless somebody looks at one of the driver's trips.
    fn route_news(&mut self, driver: DriverId) -> Option<Option<RouteLine>> {
        let house = std::sync::Arc::clone(&self.house);
        let tracked = self.drivers.get_mut(&driver)?;
        let watched = tracked.views.iter().any(|views| views.customer.interest() || views.operator.interest());
        if !watched {
            return None;
        }
        let knowledge = house.atlas.knowledge();
        match tracked.tracker.route_change(&house.world(&self.fences, &knowledge, &self.room)) {
            RouteChange::Same => None,
            RouteChange::Drawn(line) => Some(Some(line)),
            RouteChange::Gone => Some(None),
        }
    }

    /// Tells the whole of what a tracker knows, as after a restart: the topics were made anew.
    pub fn tell_everything(&mut self, driver: DriverId) {
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let Tracked { tracker, views, view, lease, .. } = &mut **tracked;
        let (fields, counters) = (&mut self.fields, &mut self.counters);
        let marker = tracker.marker();
        let news = News { silent: Some(tracker.silent_since()), phone: true, suspect: true, ..News::default() };
        let position = |fields: &mut Fields, visible: bool| match marker.filter(|_| visible) {
            Some(marker) => drop(fields.set(field::POSITION, |out| write_position(out, &marker))),
            None => drop(fields.set_null(field::POSITION)),
        };
        for trip in tracker.trips() {
            let Some(views) = views.iter_mut().find(|views| views.trip == trip.id) else { continue };
            let fence = Fence::Tracker { assignment: trip.assignment, lease: lease.number };
            let visible = is_visible(trip.phase);
            for (publisher, is_operator) in [(&views.operator, true), (&views.customer, false)] {
                common(fields, &news, tracker, &trip, true, Some(trip.eta));
                position(fields, is_operator || visible);
                if is_operator {
                    whole_phone(fields, &news, tracker);
                }
                publish(publisher, fields, fence, counters);
            }
            views.shown = visible && marker.is_some();
        }
        fields.clear();
        position(fields, true);
        silence(fields, &news);
        whole_phone(fields, &news, tracker);
        publish(view, fields, Fence::Tracker { assignment: 0, lease: lease.number }, counters);
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
                (false, true) if is_visible(phase) => Watch::Closely,
                (false, true) => Watch::Coarsely,
                (false, false) => Watch::Nobody,
            })
        })
    }
}

/// A customer sees the courier from the pick-up on.
fn is_visible(phase: Phase) -> bool {
    matches!(phase, Phase::ToDropoff | Phase::Arriving | Phase::Arrived)
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

/// What both views have in common; begins the fields anew.
fn common(
    fields: &mut Fields,
    news: &News,
    tracker: &Tracker,
    trip: &TripView<'_>,
    phase: bool,
    eta: Option<Option<&Eta>>,
) {
    fields.clear();
    if phase {
        fields.set(field::PHASE, |out| write_string(out, trip.phase.code()));
        fields.set(field::PHASE_SINCE_MS, |out| write_i64(out, trip.phase_since.0));
        fields.set(field::STOPS_LEFT, |out| write_u64(out, u64::from(trip.stops_left)));
    }
    match eta {
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

/// Tells a new route, or takes back one that no longer leads anywhere; `None`: nothing changed.
fn tell_route(fields: &mut Fields, line: Option<Option<&RouteLine>>, routed: &mut bool) {
    match line {
        Some(Some(line)) => drop(fields.set(field::ROUTE, |out| write_route(out, line))),
        Some(None) if *routed => drop(fields.set_null(field::ROUTE)),
        _ => return,
    }
    *routed = line.flatten().is_some();
}

fn silence(fields: &mut Fields, news: &News) {
    match news.silent {
        Some(Some(since)) => drop(fields.set(field::SILENT_SINCE_MS, |out| write_i64(out, since.0))),
        Some(None) => drop(fields.set_null(field::SILENT_SINCE_MS)),
        None => {}
    }
}

/// Publishes what there is. The embedded bus answers at once; a refusal means that something newer was told, or the trip is over.
pub fn publish(publisher: &Publisher, fields: &Fields, fence: Fence, counters: &mut Counters) {
    if fields.is_empty() {
        return;
    }
    match publisher.publish_now(fields, fence) {
        Ok(_) => counters.published += 1,
        Err(PublishError::Fenced | PublishError::Ended | PublishError::Absent) => counters.refused += 1,
    }
}
