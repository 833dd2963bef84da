//! From the engine's effects to state topics. The writer projects: a customer's view has no position before the pick-up.

use std::rc::Rc;

use wayfare_bus::{Fence, Fields, PublishError, Publisher};
use wayfare_engine::{
    DriverId, Effect, Eta, Line, Marker, Millis, Phase, Reach, RouteChange, RouteLine, Shown, Tracker, TripView, Watch,
};
use wayfare_wire::messages::drive::ToDriver;
use wayfare_wire::state::{
    field, write_eta, write_i64, write_position, write_route, write_shown, write_string, write_u64,
};

use super::drivers::Tracked;
use super::phone;
use super::state::State;
use super::view::View;
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
        let house = std::sync::Arc::clone(&self.house);
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let Tracked { tracker, views, view, lease, .. } = &mut **tracked;
        let (fields, counters, position) = (&mut self.fields, &mut self.counters, &self.position[..]);
        let is_due = |view: &View, pace| {
            marker.zip(shown.as_ref()).is_some_and(|(marker, shown)| view.is_due(marker, shown, pace))
        };
        // Without a trip on board nobody waits for this driver.
        let mut closest = house.config.pacing.of(Phase::Assigned);
        for trip in tracker.trips() {
            let Some(views) = views.iter_mut().find(|views| views.trip == trip.id) else { continue };
            let fence = Fence::Tracker { assignment: trip.assignment, lease: lease.number };
            let phase = news.phases || effects.iter().any(|effect| told_phase(effect, &trip));
            let eta = effects.iter().rev().find_map(|effect| told_eta(effect, &trip));
            let visible = is_visible(trip.phase);
            let pace = house.config.pacing.of(trip.phase);
            if pace.tolerance_m < closest.tolerance_m {
                closest = pace;
            }
            // Both views are told together, so that both are told by the same bytes.
            let due = is_due(&views.operator, pace) || visible && is_due(&views.customer, pace);
            counters.foreseen += u64::from(marker.is_some() && !due);
            common(fields, &news, tracker, &trip, phase, eta);
            whole_phone(fields, &news, tracker);
            if due {
                fields.set(field::POSITION, |out| out.extend_from_slice(position));
            }
            let line = route.as_ref().map(|line| line.as_ref().filter(|(line, _)| line.trip == trip.id));
            tell_route(fields, line, &mut views.operator);
            // What was refused nobody holds: the next position is told whatever it is.
            if publish(&views.operator.publisher, fields, fence, counters) && due {
                views.operator.tell(marker);
            }
            let mut seen = due.then_some(marker).flatten().copied();
            if !visible || news.is_for_operators() || (!due && !views.customer.is_shown()) {
                common(fields, &news, tracker, &trip, phase, eta);
                // The phase in which the courier comes into view brings the position along, wherever it was told first.
                let marker = tracker.marker().filter(|_| visible);
                match &marker {
                    Some(marker) if due || !views.customer.is_shown() => {
                        fields.set(field::POSITION, |out| write_position(out, marker));
                    }
                    None if views.customer.is_shown() => {
                        fields.set_null(field::POSITION);
                        views.customer.tell(None);
                    }
                    _ => {}
                }
                seen = marker.filter(|_| due || !views.customer.is_shown());
                // Whoever may not see the courier may not see where it is going.
                tell_route(fields, line.map(|line| line.filter(|_| visible)), &mut views.customer);
            } else if let Some(line) = line {
                views.customer.route(line.map(|(_, line)| Rc::clone(line)));
            }
            if publish(&views.customer.publisher, fields, fence, counters) && seen.is_some() {
                views.customer.tell(seen.as_ref());
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
    fn route_news(&mut self, driver: DriverId) -> Option<Option<(RouteLine, Rc<Line>)>> {
        let house = std::sync::Arc::clone(&self.house);
        let tracked = self.drivers.get_mut(&driver)?;
        let watched = tracked.views.iter().any(|views| views.customer.interest() || views.operator.interest());
        if !watched {
            return None;
        }
        let knowledge = house.atlas.knowledge();
        match tracked.tracker.route_change(&house.world(&self.fences, &knowledge, &self.room)) {
            RouteChange::Same => None,
            RouteChange::Drawn(line) => {
                let published = Rc::new(Line::of(&line.points));
                Some(Some((line, published)))
            }
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
            for (view, is_operator) in [(&mut views.operator, true), (&mut views.customer, false)] {
                common(fields, &news, tracker, &trip, true, Some(trip.eta));
                position(fields, is_operator || visible);
                if is_operator {
                    whole_phone(fields, &news, tracker);
                }
                if publish(&view.publisher, fields, fence, counters) {
                    view.tell(marker.as_ref().filter(|_| is_operator || visible));
                }
            }
        }
        fields.clear();
        position(fields, true);
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
fn tell_route(fields: &mut Fields, line: Option<Option<&(RouteLine, Rc<Line>)>>, view: &mut View) {
    match line {
        Some(Some((line, _))) => drop(fields.set(field::ROUTE, |out| write_route(out, line))),
        Some(None) if view.is_routed() => drop(fields.set_null(field::ROUTE)),
        _ => return,
    }
    view.route(line.flatten().map(|(_, line)| Rc::clone(line)));
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
