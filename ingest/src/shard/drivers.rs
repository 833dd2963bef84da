//! Drivers of a shard: taken over, given plans, brought back after a restart, let go.

use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::Notify;
use wayfare_bus::{Checkpoint, Event, EventKind, Lease, LeaseError, Leases, Members};
use wayfare_engine::{Batch, DriverId, Effect, Millis, RawFix, Sees, Tracker, TripId, Vehicle};
use wayfare_net::bucket::Bucket;
use wayfare_wire::messages::drive::Delivery;
use wayfare_wire::plan::PlanDoc;
use wayfare_wire::state::field;
use wayfare_wire::{CloseCode, Topic, ids};

use super::apps::Phones;
use super::events::{fence_event, phase_event, read_events, write_events};
use super::map::{OnMap, Shift};
use super::recall::Recall;
use super::state::{ConnId, State, Want};
use super::view::View;
use super::{LEASE_MS, Shard};
use crate::flush::{FenceEvent, PhaseEvent};
use wayfare_wire::kept::KeptMessage;

/// A driver in memory.
pub struct Tracked {
    pub tracker: Tracker,
    pub lease: Lease,
    pub conn: Option<ConnId>,
    /// Views of each trip on board.
    pub views: Vec<Views>,
    /// What the driver has to do and is asked to do.
    pub deliveries: Vec<Delivery>,
    /// `driver:{id}`.
    pub view: View,
    /// What the plan says of the driver, apart from trips.
    pub shift: Shift,
    /// Where the driver stands on the map of all; `None` off duty.
    pub on_map: Option<Box<OnMap>>,
    pub tag: u64,
    /// What the driver may send over HTTP.
    pub posts: Bucket,
    /// Second of the shard in which a fix last came.
    pub heard_s: u32,
    /// Second in which the tracker was last kept; `None` if it must be kept with the next flush.
    pub kept_s: Option<u32>,
    /// The gather into which it was last put.
    pub kept_turn: Option<u64>,
    /// The tracker changed since it was kept.
    pub changed: bool,
    /// What existing phone apps of this driver have sent lately.
    pub phones: Option<Box<Phones>>,
    /// Newest phases, for the checkpoint.
    pub phases: Vec<PhaseEvent>,
    /// Newest fence events, for the checkpoint, with the second they were found in.
    pub fences: Vec<(u32, FenceEvent)>,
}

impl Tracked {
    /// Phone apps of this driver; it has some from now on.
    pub fn phones(&mut self) -> &mut Phones {
        self.phones.get_or_insert_default()
    }
}

/// Where a trip is told.
pub struct Views {
    pub trip: TripId,
    pub customer: View,
    pub operator: View,
    /// What the rules have let the customer see so far.
    pub sees: Sees,
}

/// Why a driver cannot be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The records know no such driver.
    Unknown,
    /// The log cannot be read, or the bus is not ready.
    NotReady,
}

impl Shard {
    /// Makes sure that the driver is in memory, with its lease, its plan and what was kept of it.
    pub async fn ensure(self: &Rc<Self>, driver: DriverId) -> Result<(), Refused> {
        loop {
            let waiting = {
                let mut state = self.state.borrow_mut();
                if state.drivers.contains_key(&driver) {
                    return Ok(());
                }
                match state.loading.get(&driver) {
                    Some(loading) => Rc::clone(loading),
                    None => {
                        state.loading.insert(driver, Rc::new(Notify::new()));
                        break;
                    }
                }
            };
            waiting.notified().await;
        }
        let loaded = self.load(driver).await;
        if let Some(loading) = self.state.borrow_mut().loading.remove(&driver) {
            loading.notify_waiters();
        }
        loaded
    }

    async fn load(self: &Rc<Self>, driver: DriverId) -> Result<(), Refused> {
        let bus = &self.house.bus;
        let topic = Topic::Plan(driver.into()).to_string();
        let plan = bus.topics.read(&topic).await.map_err(|_| Refused::NotReady)?;
        let Some(plan) = plan.filter(|plan| !plan.ended) else {
            return Err(if bus.topics.is_ready(&["api"]) { Refused::Unknown } else { Refused::NotReady });
        };
        let lease = bus.leases.take_over(&Leases::driver_key(driver.0), &self.house.config.node, LEASE_MS).await;
        let lease = lease.map_err(|_| Refused::NotReady)?;
        let kept = bus.fixes.checkpoint(driver.0).await.map_err(|error| {
            tracing::error!(%error, "a tracker cannot be brought back");
            Refused::NotReady
        })?;
        let mut messages = Vec::new();
        if let Some((number, _)) = &kept {
            messages = crate::restore::messages_of(bus, driver.0, *number).await.map_err(|error| {
                tracing::error!(%error, "a tracker's last messages cannot be read");
                Refused::NotReady
            })?;
        }
        self.revive(driver, lease, kept.map(|(_, bytes)| bytes), messages, &plan.members);
        Ok(())
    }

    /// The same at start, where all drivers are read at once.
    pub async fn restore(self: &Rc<Self>, driver: DriverId, checkpoint: Option<Bytes>, messages: Vec<KeptMessage>) {
        let bus = &self.house.bus;
        let topic = Topic::Plan(driver.into()).to_string();
        // A driver whose record is gone has nothing to come back to. While the bus is away, one comes back when the phone does.
        let Ok(Some(plan)) = bus.topics.read(&topic).await else { return };
        let (key, node) = (Leases::driver_key(driver.0), &self.house.config.node);
        // A driver that another node has meanwhile stays there.
        if plan.ended || bus.leases.acquire(&key, node, LEASE_MS).await.is_err() {
            return;
        }
        let Ok(lease) = bus.leases.take_over(&key, node, LEASE_MS).await else { return };
        self.revive(driver, lease, checkpoint, messages, &plan.members);
    }

    fn revive(
        self: &Rc<Self>,
        driver: DriverId,
        lease: Lease,
        checkpoint: Option<Bytes>,
        messages: Vec<KeptMessage>,
        plan: &Members,
    ) {
        let now = Millis(wayfare_bus::now_ms());
        let nothing = || (Tracker::new(now, Vehicle::default()), Vec::new(), Vec::new(), Recall::default());
        let (tracker, phases, fences, recall) = match checkpoint.map(read_checkpoint) {
            Some(Ok(read)) => read,
            Some(Err(why)) => {
                tracing::error!(driver = %ids::Driver::from(driver), why, "a checkpoint cannot be read; starting anew");
                nothing()
            }
            None => nothing(),
        };
        let mut state = self.state.borrow_mut();
        state.next_tag += 1;
        let (tag, now_s) = (state.next_tag, state.now_s());
        let view = View::new(self.house.bus.topics.publisher(&Topic::Driver(driver.into()).to_string()));
        state.plan_tags.insert(tag, driver);
        state.drivers.insert(
            driver,
            Box::new(Tracked {
                tracker,
                lease,
                conn: None,
                views: Vec::new(),
                deliveries: Vec::new(),
                view,
                shift: Shift::default(),
                on_map: None,
                tag,
                posts: Bucket::full(self.house.config.messages, std::time::Instant::now()),
                heard_s: now_s,
                kept_s: None,
                kept_turn: None,
                changed: false,
                phones: Phones::of(recall),
                phases: phases.clone(),
                fences: fences.iter().map(|event| (now_s, event.clone())).collect(),
            }),
        );
        // Phases that may not have been told: the log knows those it has.
        state.gather_phases(phases);
        state.gather_fences(fences);
        state.replay(driver, &messages);
        state.plan_changed(driver, plan, now);
        state.tell_everything(driver);
        state.wants.push(Want::Hear(Topic::Plan(driver.into()).to_string(), tag));
        self.wants.notify_one();
    }

    /// What the bus says of a plan.
    pub async fn hear_plan(&self, event: Event) {
        let mut state = self.state.borrow_mut();
        let Some(driver) = state.plan_tags.get(&event.tag).copied() else { return };
        let now = Millis(wayfare_bus::now_ms());
        match event.kind {
            EventKind::Snapshot(snapshot) => state.plan_changed(driver, &snapshot.members, now),
            EventKind::Delta { patch, .. } => {
                let mut members = Members::default();
                members.apply(&patch);
                state.plan_changed(driver, &members, now);
            }
            // The record of the driver is erased, and so is all that is known of it here.
            EventKind::End(_) => state.erase(driver),
            EventKind::Absent | EventKind::Stale => {}
        }
    }

    /// Once a second.
    pub async fn look_over(self: &Rc<Self>) {
        let (renew, idle) = {
            let mut state = self.state.borrow_mut();
            state.tick();
            state.look_over_conns();
            state.look_over_drivers();
            let State { house, lessons, .. } = &mut *state;
            house.atlas.teach(lessons);
            let renew = state.now_s().is_multiple_of(LEASE_MS as u32 / 3000);
            (if renew { state.leases() } else { Vec::new() }, state.idle_drivers())
        };
        for (driver, _) in &idle {
            self.state.borrow_mut().forget(*driver);
        }
        if !renew.is_empty() || !idle.is_empty() {
            // Beside the shard's turns: a bus beyond a network takes its time.
            let shard = Rc::clone(self);
            tokio::task::spawn_local(async move { shard.keep_leases(renew, idle).await });
        }
        if !self.state.borrow().wants.is_empty() {
            self.wants.notify_one();
        }
    }
}

impl Shard {
    async fn keep_leases(&self, renew: Vec<(DriverId, Lease)>, idle: Vec<(DriverId, Lease)>) {
        let leases = &self.house.bus.leases;
        for (driver, lease) in renew {
            match leases.renew(&Leases::driver_key(driver.0), lease, LEASE_MS).await {
                Ok(()) => {}
                Err(LeaseError::Held) => self.state.borrow_mut().lose(driver, lease),
                // What is ours stays ours: only somebody who took it over ends that. Trying the others would take as long again for each.
                Err(LeaseError::Away(_)) => break,
            }
        }
        for (driver, lease) in idle {
            leases.release(&Leases::driver_key(driver.0), lease).await;
        }
    }
}

impl State {
    /// Judges again what was kept after the checkpoint. The same calls give the same effects; phases are gathered again, the log
    /// knows those it has.
    fn replay(&mut self, driver: DriverId, messages: &[KeptMessage]) {
        let (house, fences) = (std::sync::Arc::clone(&self.house), std::sync::Arc::clone(&self.fences));
        let knowledge = house.atlas.knowledge();
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let mut effects = Vec::new();
        let mut raw: Vec<RawFix> = Vec::new();
        for message in messages {
            raw.clear();
            raw.extend(message.fixes.iter().map(|fix| fix.raw));
            // Our own protocol's messages have a session.
            if message.session == 0 {
                tracked.phones().recall_kept(&raw);
            }
            let batch = Batch { session: message.session, seq: message.seq, sent: message.sent, fixes: &raw };
            tracked.tracker.observe(
                message.received,
                batch,
                &house.world(&fences, &knowledge, &self.room),
                &mut effects,
            );
        }
        let found = effects.iter().enumerate();
        let phases: Vec<PhaseEvent> =
            found.filter_map(|(index, effect)| phase_event(effect, &effects[index + 1..])).collect();
        self.gather_phases(phases);
        let events = effects.iter().filter_map(|effect| fence_event(driver, effect, &fences)).collect();
        self.gather_fences(events);
    }

    /// Applies a plan and tells what follows.
    fn plan_changed(&mut self, driver: DriverId, members: &Members, now: Millis) {
        let Some(text) = members.get(field::PLAN) else { return };
        let doc: Result<PlanDoc, _> = serde_json::from_slice(text);
        let (plan, duty_since_ms, shift, deliveries) = match doc.map_err(|error| error.to_string()).and_then(|doc| {
            let shift = Shift { available: doc.available, capacity: doc.capacity };
            doc.plan()
                .map(|plan| (plan, doc.duty_since_ms(), shift, doc.deliveries()))
                .map_err(|error| error.to_string())
        }) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(driver = %ids::Driver::from(driver), error, "a plan cannot be read");
                return;
            }
        };
        let (house, fences) = (std::sync::Arc::clone(&self.house), std::sync::Arc::clone(&self.fences));
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let mut effects = std::mem::take(&mut self.effects);
        let was_on_duty = tracked.tracker.on_duty();
        if plan.version >= tracked.tracker.plan_version() {
            (tracked.shift, tracked.deliveries) = (shift, deliveries);
        }
        let phases =
            |tracker: &Tracker| tracker.trips().map(|trip| (trip.id, trip.phase)).collect::<SmallVec<[_; 4]>>();
        let before = phases(&tracked.tracker);
        let knowledge = house.atlas.knowledge();
        tracked.tracker.apply_plan(now, plan, &house.world(&fences, &knowledge, &self.room), &mut effects);
        if let Some(since_ms) = duty_since_ms {
            tracked.tracker.extend_duty(Millis(since_ms));
        }
        // The plan decides how fixes are judged: what is replayed must start from here.
        tracked.kept_s = None;
        tracked.changed = true;
        let aboard: Vec<TripId> = tracked.tracker.trips().map(|trip| trip.id).collect();
        tracked.views.retain(|views| aboard.contains(&views.trip));
        // Of a trip that is over or somebody else's, no phase is heeded any more.
        let names: SmallVec<[String; 2]> = aboard.iter().map(|trip| ids::Trip::from(*trip).to_string()).collect();
        tracked.phases.retain(|phase| names.contains(&phase.trip));
        let mut joined = false;
        for trip in aboard {
            if tracked.views.iter().all(|views| views.trip != trip) {
                joined = true;
                // Most drivers have one trip or none.
                tracked.views.reserve_exact(1);
                tracked.views.push(Views {
                    trip,
                    customer: View::new(house.bus.topics.publisher(&Topic::Trip(trip.into()).to_string())),
                    operator: View::new(house.bus.topics.publisher(&Topic::TripOps(trip.into()).to_string())),
                    sees: Sees::default(),
                });
            }
        }
        // Off duty there is no position to be seen, not even the last one.
        let left = was_on_duty && !tracked.tracker.on_duty();
        // A phase that somebody said: a fix may have told an older one just before.
        let led = phases(&tracked.tracker)
            .iter()
            .any(|(trip, phase)| before.iter().any(|(known, earlier)| known == trip && earlier != phase));
        self.carry_out(driver, &effects);
        effects.clear();
        self.effects = effects;
        if joined || left || led {
            self.tell_everything(driver);
        }
        self.show_on_map(driver);
        self.ask_rate(driver);
        self.tell_deliveries(driver);
    }

    /// Silence, dwelling, and trackers that should be kept again.
    fn look_over_drivers(&mut self) {
        let (now, now_s) = (Millis(wayfare_bus::now_ms()), self.now_s());
        let due = |tracked: &Tracked| tracked.tracker.next_timeout().is_some_and(|at| at <= now);
        let timeouts: Vec<DriverId> =
            self.drivers.iter().filter(|(_, tracked)| due(tracked)).map(|(driver, _)| *driver).collect();
        let (house, fences) = (std::sync::Arc::clone(&self.house), std::sync::Arc::clone(&self.fences));
        for driver in timeouts {
            let mut effects = std::mem::take(&mut self.effects);
            if let Some(tracked) = self.drivers.get_mut(&driver) {
                let knowledge = house.atlas.knowledge();
                tracked.tracker.on_timeout(now, &house.world(&fences, &knowledge, &self.room), &mut effects);
                tracked.changed = true;
                tracked.kept_s = None;
            }
            self.carry_out(driver, &effects);
            // No fix comes along to bring the checkpoint, which must not be later than what is told.
            if effects.iter().any(|effect| matches!(effect, Effect::Fence { .. })) {
                self.checkpoint(driver);
            }
            effects.clear();
            self.effects = effects;
            self.ask_rate(driver);
        }
        let connected: Vec<DriverId> =
            self.drivers.iter().filter(|(_, tracked)| tracked.conn.is_some()).map(|(driver, _)| *driver).collect();
        for driver in connected {
            self.ask_rate(driver);
        }
        // Without fixes there is no flush to go along with.
        let interval_s = self.house.config.checkpoint_interval.as_secs() as u32;
        let stale = |tracked: &Tracked| tracked.changed && now_s >= tracked.heard_s + interval_s;
        let quiet: Vec<DriverId> =
            self.drivers.iter().filter(|(_, tracked)| stale(tracked)).map(|(driver, _)| *driver).collect();
        for driver in quiet {
            self.checkpoint(driver);
        }
        self.show_what_was_left();
        self.census.tell(&house.bus.topics, &mut self.fields);
    }

    /// Drivers that nobody needs in memory, kept as they are.
    fn idle_drivers(&self) -> Vec<(DriverId, Lease)> {
        let (now_s, after_s) = (self.now_s(), self.house.config.idle_unload.as_secs() as u32);
        let idle = |tracked: &Tracked| {
            tracked.conn.is_none()
                && !tracked.changed
                && now_s >= tracked.heard_s + after_s
                && tracked.tracker.trips().next().is_none()
        };
        let drivers = self.drivers.iter().filter(|(_, tracked)| idle(tracked));
        drivers.map(|(driver, tracked)| (*driver, tracked.lease)).collect()
    }

    /// A lease is over. The driver may have come back meanwhile, with another.
    pub fn lose(&mut self, driver: DriverId, lease: Lease) {
        if self.drivers.get(&driver).is_some_and(|tracked| tracked.lease == lease) {
            tracing::info!(driver = %ids::Driver::from(driver), "another node has taken this driver over");
            self.forget(driver);
        }
    }

    fn forget(&mut self, driver: DriverId) {
        self.drop_driver(driver, CloseCode::Replaced);
    }

    /// Drops a driver whose data are erased. What of it waits for the disk is refused there: its lease was taken.
    fn erase(&mut self, driver: DriverId) {
        self.drop_driver(driver, CloseCode::Revoked);
    }

    fn drop_driver(&mut self, driver: DriverId, code: CloseCode) {
        self.leave_map(driver);
        let Some(tracked) = self.drivers.remove(&driver) else { return };
        self.plan_tags.remove(&tracked.tag);
        self.wants.push(Want::Forget(Topic::Plan(driver.into()).to_string()));
        if let Some(conn) = tracked.conn {
            self.close(conn, code, None);
        }
    }

    /// Gathers a driver's checkpoint for the next flush.
    pub fn checkpoint(&mut self, driver: DriverId) {
        let now_s = self.now_s();
        let Some(tracked) = self.drivers.get_mut(&driver) else { return };
        let checkpoint = write_checkpoint(driver, tracked, now_s);
        tracked.kept_s = Some(now_s);
        tracked.changed = false;
        let found = std::mem::take(&mut self.found_fences);
        self.house.gathers.add(self.index, |gather| {
            gather.keep(checkpoint);
            gather.fences.extend(found);
            tracked.kept_turn = Some(gather.turn);
        });
    }

    /// Gathers all checkpoints: the house is about to stop.
    pub fn checkpoint_all(&mut self) {
        let changed: Vec<DriverId> =
            self.drivers.iter().filter(|(_, tracked)| tracked.changed).map(|(driver, _)| *driver).collect();
        for driver in changed {
            self.checkpoint(driver);
        }
    }
}

/// Events that may not have been told yet, what phones have sent lately, then the tracker's own bytes.
pub fn write_checkpoint(driver: DriverId, tracked: &mut Tracked, now_s: u32) -> Checkpoint {
    let mut bytes = Vec::with_capacity(1024);
    write_events(tracked, now_s, &mut bytes);
    match &tracked.phones {
        Some(phones) => phones.recall.write(&mut bytes),
        None => Recall::default().write(&mut bytes),
    }
    tracked.tracker.checkpoint(&mut bytes);
    Checkpoint { driver: driver.0, lease: tracked.lease.number, bytes: bytes.into() }
}

fn read_checkpoint(mut bytes: Bytes) -> Result<(Tracker, Vec<PhaseEvent>, Vec<FenceEvent>, Recall), String> {
    let (phases, fences) = read_events(&mut bytes)?;
    let recall = Recall::read(&mut bytes)?;
    let tracker = Tracker::restore(&bytes).map_err(|error| error.to_string())?;
    Ok((tracker, phases, fences, recall))
}
