//! Where all drivers are, built from the `area:` topics, for the question who is nearest. This room never calls ingest.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;
use wayfare_bus::{Bus, Event, EventKind, Name, Subscriber};
use wayfare_engine::{DriverIndex, Knowledge, MapCell, Millis, Nearest, Position, Room, Vehicle};
use wayfare_wire::messages::area::AreaMarker;
use wayfare_wire::topic::AREAS_TOPIC;
use wayfare_wire::{ErrorBody, ErrorCode, Topic, ids};

/// Most drivers held; 150 MB. Further ones are not found, and counted.
const DRIVERS_MAX: usize = 1_000_000;

/// Changes waiting between the bus and us; beyond it topics are conflated.
const QUEUE: usize = 65_536;

/// Tag of the list of areas; those of areas count from 1.
const AREAS: u64 = 0;

/// The drivers on duty, as last told.
pub struct Town {
    drivers: RwLock<DriverIndex>,
    /// Everything that was told before the door opened has been read.
    ready: AtomicBool,
}

impl Default for Town {
    fn default() -> Self {
        Self { drivers: RwLock::new(DriverIndex::new(DRIVERS_MAX)), ready: AtomicBool::new(false) }
    }
}

impl Town {
    /// For looking.
    ///
    /// # Errors
    /// The drivers are not all there yet.
    pub fn drivers(&self) -> Result<RwLockReadGuard<'_, DriverIndex>, ErrorBody> {
        if !self.ready.load(Ordering::Acquire) {
            return Err(ErrorBody::new(ErrorCode::NotReady, "the drivers are not all there yet").after_ms(500));
        }
        Ok(self.drivers.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self) -> RwLockWriteGuard<'_, DriverIndex> {
        // A panic in the index would leave one driver wrong until its next marker.
        self.drivers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the index as the areas tell until told to stop.
pub async fn run(bus: &Bus, town: &Town, mut stop: watch::Receiver<bool>) {
    let mut subscriber = bus.topics.subscriber(QUEUE);
    subscriber.subscribe(AREAS_TOPIC, AREAS).await;
    let mut follower = Follower::default();
    let mut events = Vec::new();
    loop {
        tokio::select! {
            () = subscriber.recv(&mut events) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        follower.hear(&mut events, town, &mut subscriber).await;
        if !town.ready.load(Ordering::Acquire) && bus.topics.is_ready(&["ingest"]) {
            // The first answer about each area stands in the queue since it was subscribed to.
            subscriber.try_recv(&mut events);
            follower.hear(&mut events, town, &mut subscriber).await;
            town.ready.store(true, Ordering::Release);
        }
        metrics::gauge!("wayfare_nearby_drivers").set(follower.area_of.len() as f64);
    }
}

/// Which area each driver was last told in: one that goes from one to another is told here before it is gone there.
#[derive(Default)]
struct Follower {
    areas: Vec<MapCell>,
    area_of: std::collections::HashMap<ids::Driver, u64>,
}

impl Follower {
    /// Applies events, and follows areas they tell of.
    async fn hear(&mut self, events: &mut Vec<Event>, town: &Town, subscriber: &mut Subscriber) {
        let mut new = Vec::new();
        {
            let mut drivers = town.write();
            for event in events.drain(..) {
                if event.tag == AREAS {
                    self.find_areas(&event.kind, &mut new);
                } else {
                    self.apply(event, &mut drivers);
                }
            }
        }
        for (area, tag) in new {
            subscriber.subscribe(&Topic::Area(area).to_string(), tag).await;
        }
    }

    fn find_areas(&mut self, kind: &EventKind, new: &mut Vec<(MapCell, u64)>) {
        let mut find = |name: &Name| {
            let Ok(area) = name.parse::<MapCell>() else { return };
            if !self.areas.contains(&area) {
                self.areas.push(area);
                new.push((area, self.areas.len() as u64));
            }
        };
        match kind {
            EventKind::Snapshot(snapshot) | EventKind::End(snapshot) => {
                snapshot.members.iter().for_each(|(name, _)| find(name));
            }
            EventKind::Delta { patch, .. } => patch.fields().for_each(|(name, _)| find(name)),
            EventKind::Absent | EventKind::Stale => {}
        }
    }

    fn apply(&mut self, event: Event, drivers: &mut DriverIndex) {
        match event.kind {
            EventKind::Absent | EventKind::Stale => {}
            EventKind::Delta { patch, .. } => {
                for (name, value) in patch.fields() {
                    self.told(event.tag, name, &value, drivers);
                }
            }
            // The whole of an area: whoever was there and is not in it is gone.
            EventKind::Snapshot(snapshot) | EventKind::End(snapshot) => {
                let was_here = |(driver, tag): (&ids::Driver, &u64)| (*tag == event.tag).then_some(*driver);
                let here: Vec<ids::Driver> = self.area_of.iter().filter_map(was_here).collect();
                for driver in here {
                    if snapshot.members.get(&driver.to_string()).is_none() {
                        self.gone(event.tag, driver, drivers);
                    }
                }
                for (name, value) in snapshot.members.iter() {
                    self.told(event.tag, name, value, drivers);
                }
            }
        }
    }

    fn told(&mut self, tag: u64, name: &Name, value: &[u8], drivers: &mut DriverIndex) {
        let Ok(driver) = name.parse::<ids::Driver>() else { return };
        if value == b"null" {
            return self.gone(tag, driver, drivers);
        }
        let presence = serde_json::from_slice::<AreaMarker>(value).ok().and_then(|marker| marker.presence());
        let Some(presence) = presence else {
            tracing::error!(area = tag, %driver, "a marker cannot be read");
            return;
        };
        // Areas are told apart from each other: an old word of one must not undo a newer one of another.
        let elsewhere = self.area_of.get(&driver).is_some_and(|area| *area != tag);
        if elsewhere && drivers.get(driver.into()).is_some_and(|known| known.taken > presence.taken) {
            return;
        }
        match drivers.put(driver.into(), &presence) {
            Ok(()) => drop(self.area_of.insert(driver, tag)),
            Err(_) => metrics::counter!("wayfare_nearby_full_total").increment(1),
        }
    }

    fn gone(&mut self, tag: u64, driver: ids::Driver, drivers: &mut DriverIndex) {
        if self.area_of.get(&driver) == Some(&tag) {
            self.area_of.remove(&driver);
            drivers.remove(driver.into());
        }
    }
}

/// A driver who is near.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct NearDriver {
    /// `drv_…`
    #[schema(value_type = String)]
    pub driver: ids::Driver,
    /// From the given place, metres: along the great circle, or along the road.
    pub distance_m: f64,
    /// By road: how long it takes to get there, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// When the position was taken, Unix milliseconds, server's clock.
    pub t_ms: i64,
    /// `foot`, `bicycle`, `motorbike`, `car` or `van`.
    pub vehicle: String,
    /// `available`, `busy` or `finishing`.
    pub status: String,
    /// How much fits in; absent if nobody said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u16>,
}

impl From<&Nearest> for NearDriver {
    fn from(nearest: &Nearest) -> Self {
        let presence = &nearest.presence;
        Self {
            driver: nearest.driver.into(),
            distance_m: (nearest.distance_m * 10.0).round() / 10.0,
            duration_s: None,
            lat: presence.position.lat_deg(),
            lon: presence.position.lon_deg(),
            t_ms: presence.taken.0,
            vehicle: presence.vehicle.code().to_owned(),
            status: presence.availability.code().to_owned(),
            capacity: presence.capacity.map(NonZeroU16::get),
        }
    }
}

/// Ranks drivers by the time they need by road to `to`, shortest first: `duration_s` and `distance_m` are then those of the road. Drivers
/// whom no road leads there are left out.
///
/// # Errors
/// [`ErrorCode::NoRoads`]: no file of roads is loaded that holds the place.
pub fn by_road(
    knowledge: &Knowledge,
    to: Position,
    near: Vec<NearDriver>,
    now: Millis,
) -> Result<Vec<NearDriver>, ErrorBody> {
    if !Vehicle::ALL.iter().any(|vehicle| knowledge.city(to, *vehicle).is_some()) {
        let place = format!("{:.5}, {:.5}", to.lat_deg(), to.lon_deg());
        let text = format!("no file of roads is loaded that holds {place}: ask with by=air");
        return Err(ErrorBody::new(ErrorCode::NoRoads, text).field("by"));
    }
    let start = |driver: &NearDriver| {
        let place = Position::new(driver.lat, driver.lon).unwrap_or(to);
        (place, Vehicle::from_code(&driver.vehicle).unwrap_or_default())
    };
    let starts: Vec<(Position, Vehicle)> = near.iter().map(start).collect();
    let legs = knowledge.legs_to(to, &starts, now, &Room::default());
    let ranked = near.into_iter().zip(legs).filter_map(|(driver, leg)| {
        let leg = leg?;
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        Some(NearDriver { distance_m: tenths(leg.distance_m), duration_s: Some(tenths(leg.drive_s)), ..driver })
    });
    let mut ranked: Vec<NearDriver> = ranked.collect();
    ranked.sort_by(|a, b| a.duration_s.unwrap_or(f64::MAX).total_cmp(&b.duration_s.unwrap_or(f64::MAX)));
    Ok(ranked)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use wayfare_bus::{EmbeddedConfig, Fence, Fields, FixLogLimits};
    use wayfare_engine::{Filter, Found};

    const A: &str = "area:872830828ffffff";
    const B: &str = "area:87283082effffff";

    async fn bus(dir: &tempfile::TempDir) -> Bus {
        let fix_log = FixLogLimits { keep_ms: 1000, bytes_max: 1 << 16, fold_first: false };
        Bus::embedded(EmbeddedConfig { dir: dir.path().to_owned(), fix_log, log_events_max: 10, log_keep_ms: i64::MAX })
            .await
            .unwrap()
    }

    async fn tell(bus: &Bus, topic: &str, driver: u128, lat: Option<f64>, t_ms: i64) {
        let mut fields = Fields::new();
        let marker = lat.map(|lat| {
            format!(
                r#"{{"lat":{lat},"lon":-8.6,"heading_deg":null,"speed_mps":0,"accuracy_m":5,"t_ms":{t_ms},"standing":true,"vehicle":"car","status":"busy","capacity":null}}"#
            )
        });
        fields.set_json(ids::Driver(driver).to_string(), marker.as_deref().unwrap_or("null"));
        bus.topics.publish(topic, &fields, Fence::Member { lease: 1 }).await.unwrap();
        let mut fields = Fields::new();
        fields.set_json(topic.trim_start_matches("area:").to_owned(), "1");
        bus.topics.publish(AREAS_TOPIC, &fields, Fence::Record { version: 1, assignment: 0 }).await.unwrap();
    }

    /// Drivers with their latitude, once the follower has caught up.
    async fn check(town: &Town, expected: &[(u128, f64)]) {
        let mut held = Vec::new();
        for _ in 0..200 {
            if let Ok(drivers) = town.drivers() {
                let mut found = Found::default();
                drivers.nearest(Position::new(41.0, -8.6).unwrap(), 100, &Filter::default(), &mut found);
                held = found.drivers.iter().map(|near| (near.driver.0, near.presence.position.lat_deg())).collect();
                held.sort_by_key(|(driver, _)| *driver);
                if held == expected {
                    return;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{held:?} in place of {expected:?}");
    }

    #[tokio::test]
    async fn who_moves_from_area_to_area_is_neither_doubled_nor_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (bus, town, stop) = (bus(&dir).await, std::sync::Arc::new(Town::default()), watch::Sender::new(false));
        assert!(town.drivers().is_err(), "not before the trackers are back");
        tell(&bus, A, 1, Some(41.1), 10).await;
        tell(&bus, A, 2, Some(41.2), 10).await;
        bus.topics.set_ready("ingest").await;
        let (following, held, stopped) = (bus.clone(), std::sync::Arc::clone(&town), stop.subscribe());
        let task = tokio::spawn(async move { run(&following, &held, stopped).await });
        check(&town, &[(1, 41.1), (2, 41.2)]).await;
        // There before gone here, in this order; and a late word of the old area changes nothing.
        tell(&bus, B, 1, Some(41.3), 20).await;
        check(&town, &[(1, 41.3), (2, 41.2)]).await;
        tell(&bus, A, 1, Some(41.1), 10).await;
        tell(&bus, A, 1, None, 0).await;
        tell(&bus, A, 2, Some(41.25), 30).await;
        check(&town, &[(1, 41.3), (2, 41.25)]).await;
        tell(&bus, B, 1, None, 0).await;
        check(&town, &[(2, 41.25)]).await;
        stop.send_replace(true);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_conflated_area_takes_out_who_is_not_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let bus = bus(&dir).await;
        let (town, mut follower) = (Town::default(), Follower::default());
        // A queue of one: the second change of an area makes its next word a snapshot.
        let mut subscriber = bus.topics.subscriber(1);
        town.ready.store(true, Ordering::Release);
        subscriber.subscribe(A, 7).await;
        let mut events = Vec::new();
        for (driver, lat) in [(1, Some(41.1)), (2, Some(41.2)), (1, None), (3, Some(41.4))] {
            tell(&bus, A, driver, lat, 5).await;
            if driver == 2 {
                subscriber.try_recv(&mut events);
                follower.hear(&mut events, &town, &mut subscriber).await;
                check(&town, &[(1, 41.1), (2, 41.2)]).await;
            }
        }
        subscriber.try_recv(&mut events);
        follower.hear(&mut events, &town, &mut subscriber).await;
        check(&town, &[(2, 41.2), (3, 41.4)]).await;
    }
}
