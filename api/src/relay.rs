//! From the outbox to the bus, and from the records to the bus at start.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use wayfare_bus::{Append, Fence, Fields, PublishError};
use wayfare_net::audit;
use wayfare_wire::device_key::{DeviceKeyDoc, device_key_set_of};
use wayfare_wire::fence::FenceDoc;
use wayfare_wire::topic::fence_set_of;
use wayfare_wire::{Topic, ids};

use crate::db::{DatabaseError, Turn};
use crate::outbox::{self, Cause, Event, Row};
use crate::project::{self, View};
use crate::records::device_key;
use crate::records::fence::Fence as FenceRecord;
use crate::records::trip::live_or_ended_after;
use crate::records::upload::Upload;
use crate::records::{Driver, Trip, table};
use crate::{House, KEYS_TOPIC, REVOKED_TOPIC, signing, uploads};

/// Rows sent at once.
const BATCH: i64 = 200;

/// A caller waits at most this long to hear that its change was told; it is told in any case.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// Wakes the relay, and lets a caller wait until its change is on the bus: whoever has made a trip can watch it at once.
pub struct News {
    written: AtomicU64,
    wake: Notify,
    told: watch::Sender<u64>,
}

impl Default for News {
    fn default() -> Self {
        Self { written: AtomicU64::new(0), wake: Notify::new(), told: watch::Sender::new(0) }
    }
}

impl News {
    /// There is something in the outbox.
    pub fn hurry(&self) -> u64 {
        let mine = self.written.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake.notify_one();
        mine
    }

    /// There is something in the outbox: returns when the bus has it. Callers that come together wait for one round of the relay.
    pub async fn told(&self) {
        let mine = self.hurry();
        let mut told = self.told.subscribe();
        if tokio::time::timeout(TOLD_WITHIN, told.wait_for(|told| *told >= mine)).await.is_err() {
            tracing::warn!("a change is stored, but the bus has not taken it yet");
        }
    }
}

/// Sends the outbox until told to stop; what is left is sent after the next start.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    loop {
        let written = house.news.written.load(Ordering::SeqCst);
        match send_batch(house, written).await {
            Ok(count) if count == BATCH as usize => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the outbox could not be sent; trying again"),
        }
        tokio::select! {
            () = house.news.wake.notified() => {}
            // Also finds what a crashed relay left, and what the command line wrote.
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        // Another process may have made a key, which will sign here too.
        if let Err(error) = house.signing.reload(&house.db).await {
            tracing::warn!(%error, "the signing keys could not be read again; trying again");
        }
    }
    if let Err(error) = send_batch(house, u64::MAX).await {
        tracing::warn!(%error, "the last rows of the outbox stay for the next start");
    }
}

/// Sends what a fall has left in the outbox. At start, before the records are told whole: later it would tell old news again.
pub async fn send_left_over(house: &House) -> Result<(), DatabaseError> {
    while send_batch(house, 0).await? == BATCH as usize {}
    Ok(())
}

/// Sends the oldest rows, then says that everything `written` before is told, if it is.
async fn send_batch(house: &House, written: u64) -> Result<usize, DatabaseError> {
    // A look first: most rounds find nothing, and need no turn for it.
    if outbox::oldest(&house.db, 1).await?.is_empty() {
        house.news.told.send_replace(written);
        return Ok(0);
    }
    let _turn = house.db.turn().await?;
    let rows = outbox::oldest(&house.db, BATCH).await?;
    let mut done = 0;
    for row in &rows {
        if let Err(error) = send(house, row).await {
            tracing::warn!(%error, entity = row.entity, "the bus did not take an event; trying again");
            break;
        }
        done += 1;
    }
    if done == rows.len() && rows.len() < BATCH as usize {
        house.news.told.send_replace(written);
    }
    if done > 0 {
        outbox::delete(&house.db, &rows[..done]).await?;
    }
    Ok(done)
}

async fn send(house: &House, row: &Row) -> Result<(), wayfare_bus::LogError> {
    match &row.event {
        Event::Trip { trip, driver, cause } => {
            tell_trip(house, trip, driver.as_deref(), *cause).await;
            if let (Some(store), true) = (trip.store, *cause != Cause::Access) {
                let (event_id, payload) = project::store_event(trip);
                let entity = trip.id.to_string();
                let event = Append { entity: &entity, number: trip.version, event_id: &event_id, payload: &payload };
                house.bus.logs.append(&Topic::Store(store).to_string(), event).await?;
            }
        }
        Event::Plan { driver, plan } => tell_plan(house, driver, plan).await,
        Event::Fence { id, fence } => tell_fence(house, *id, fence.as_deref()).await,
        Event::DeviceKey { hash, doc } => tell_device_key(house, hash, doc.as_ref()).await,
        Event::Key { id, what, by } => {
            if let Err(error) = tell_keys(house).await {
                // Told again with the next: what is told is always all.
                tracing::error!(%error, "the signing keys cannot be read");
            }
            if let Some(by) = by {
                audit::note(by.clone(), what, id, "done");
            }
        }
        Event::Revoked { name, before_s } => tell_revoked(house, name, *before_s).await,
        Event::Upload { upload, received, at_ms } => {
            let upload = Upload { received: *received, due_ms: *at_ms, ..(**upload).clone() };
            uploads::tell::ended(house, &upload).await;
            let (event_id, payload) = uploads::tell::store_event(&upload);
            let entity = upload.id.to_string();
            let event = Append { entity: &entity, number: upload.version, event_id: &event_id, payload: &payload };
            house.bus.logs.append(&Topic::Store(upload.store).to_string(), event).await?;
        }
    }
    Ok(())
}

/// Tells the bus, as if for the first time, all that lives and what has ended lately. Before this, absent topics prove nothing.
pub async fn rebuild(house: &House) -> Result<(), DatabaseError> {
    // Nobody relays meanwhile: what is read here may be older than what the relay tells.
    let mut turn = house.db.turn().await?;
    tell_keys(house).await?;
    for (name, before_s) in revocations(house).await? {
        tell_revoked(house, &name, before_s).await;
    }
    tell_fences(house, &mut turn).await?;
    tell_device_keys(house, &mut turn).await?;
    let keep_ms = house.config.ended_keep_ms;
    let trips = live_or_ended_after(&house.db, wayfare_bus::now_ms() - keep_ms).await?;
    let mut of_driver: std::collections::HashMap<ids::Driver, (Vec<Trip>, Vec<Trip>)> = Default::default();
    for (place, trip) in trips.iter().enumerate() {
        if place % 500 == 0 {
            turn.renew().await?;
        }
        let driver = match trip.driver {
            Some(id) => table::by_id::<Driver>(&house.db, &id.to_string()).await?,
            None => None,
        };
        let cause = if trip.is_live() { Cause::Created } else { Cause::Ended };
        tell_trip(house, trip, driver.as_ref(), cause).await;
        if let (Some(driver), true) = (trip.driver, trip.is_live()) {
            of_driver.entry(driver).or_default().0.push(trip.clone());
        }
        if let Some(offer) = trip.open_offer() {
            of_driver.entry(offer.driver).or_default().1.push(trip.clone());
        }
    }
    let (mut after_ms, mut after_id) = (i64::MIN, String::new());
    loop {
        let drivers: Vec<Driver> = table::page(&house.db, (after_ms, &after_id), 500).await?;
        let Some(last) = drivers.last() else { break };
        (after_ms, after_id) = (last.created_ms, last.id.to_string());
        turn.renew().await?;
        for driver in &drivers {
            let (mut trips, mut offered) = of_driver.remove(&driver.id).unwrap_or_default();
            offered.sort_by_key(|trip| (trip.open_offer().map(|offer| offer.answer_by_ms), trip.id));
            trips.sort_by_key(|trip| (trip.assigned_ms, trip.created_ms, trip.id));
            tell_plan(house, driver, &outbox::plan(driver, &trips, &offered)).await;
        }
    }
    uploads::ends::rebuild(house).await?;
    tracing::info!(trips = trips.len(), "records told to the bus");
    Ok(())
}

/// Tells everything again whenever the bus may have lost it.
pub async fn rebuild_after_losses(house: &House, mut stop: watch::Receiver<bool>) {
    let mut losses = house.bus.topics.losses();
    loop {
        tokio::select! {
            changed = losses.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        while let Err(error) = rebuild(house).await {
            tracing::error!(%error, "the records cannot be told to the bus again; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        house.bus.topics.set_ready("api").await;
    }
}

/// All fences, page by page.
async fn tell_fences(house: &House, turn: &mut Turn<'_>) -> Result<(), DatabaseError> {
    let (mut after_ms, mut after_id) = (i64::MIN, String::new());
    loop {
        let fences: Vec<FenceRecord> = table::page(&house.db, (after_ms, &after_id), 500).await?;
        let Some(last) = fences.last() else { return Ok(()) };
        (after_ms, after_id) = (last.created_ms, last.id.to_string());
        turn.renew().await?;
        for fence in &fences {
            tell_fence(house, fence.id, Some(&fence.doc)).await;
        }
    }
}

/// A fence is a field of its set.
async fn tell_fence(house: &House, id: ids::Fence, fence: Option<&FenceDoc>) {
    let mut fields = Fields::new();
    match fence {
        Some(fence) => fields.set(id.to_string(), |out| {
            serde_json::to_writer(out, fence).expect("a fence has string keys and finite numbers");
        }),
        None => fields.set_null(id.to_string()),
    };
    // Fences have no order among them, and the outbox keeps the order of each.
    publish(house, &fence_set_of(id), &fields, 1).await;
}

/// All device keys that open something, page by page.
async fn tell_device_keys(house: &House, turn: &mut Turn<'_>) -> Result<(), DatabaseError> {
    let mut after = String::new();
    loop {
        let keys = device_key::live_page(&house.db, &after, 500).await?;
        let Some(last) = keys.last() else { return Ok(()) };
        after.clone_from(&last.hash);
        turn.renew().await?;
        for key in &keys {
            tell_device_key(house, &key.hash, Some(&key.doc)).await;
        }
    }
}

/// A device key is a field of its set.
async fn tell_device_key(house: &House, hash: &str, doc: Option<&DeviceKeyDoc>) {
    let mut fields = Fields::new();
    match doc {
        Some(doc) => fields.set(hash.to_owned(), |out| {
            serde_json::to_writer(out, doc).expect("a key's record has string keys");
        }),
        None => fields.set_null(hash.to_owned()),
    };
    // Keys have no order among them, and the outbox keeps the order of each.
    publish(house, &device_key_set_of(hash), &fields, 1).await;
}

/// All signing keys, as they are now: others may have made or withdrawn some.
async fn tell_keys(house: &House) -> Result<(), DatabaseError> {
    house.signing.reload(&house.db).await?;
    let (believed, mut fields) = (house.signing.believed(), Fields::new());
    for key in signing::list(&house.db).await? {
        match believed.iter().find(|(id, _)| *id == key.id) {
            Some((id, public_key)) => fields.set(id.clone(), |out| wayfare_wire::state::write_string(out, public_key)),
            None => fields.set_null(key.id),
        };
    }
    publish(house, KEYS_TOPIC, &fields, 1).await;
    Ok(())
}

async fn revocations(house: &House) -> Result<Vec<(String, i64)>, DatabaseError> {
    let now_s = wayfare_bus::now_ms() / 1000;
    let tokens: Vec<(String, i64)> =
        sqlx::query_as("SELECT id, revoked_s FROM token WHERE revoked_s IS NOT NULL AND expires_s > $1")
            .bind(now_s)
            .fetch_all(house.db.read())
            .await?;
    let bearers: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, CAST(value AS BIGINT) FROM meta WHERE name LIKE 'revoked:%'")
            .fetch_all(house.db.read())
            .await?;
    let strip = |(name, before_s): (String, i64)| (name.trim_start_matches("revoked:").to_owned(), before_s);
    Ok(tokens.into_iter().chain(bearers.into_iter().map(strip)).collect())
}

async fn tell_trip(house: &House, trip: &Trip, driver: Option<&Driver>, cause: Cause) {
    let topics = [(Topic::Trip(trip.id), View::Customer), (Topic::TripOps(trip.id), View::Operator)];
    let access = Topic::Access(trip.id).to_string();
    if !trip.is_live() {
        let keep_ms = trip.ended_ms.unwrap_or(0) + house.config.ended_keep_ms - wayfare_bus::now_ms();
        for (topic, view) in topics {
            let fields = project::ended(trip, view);
            heed(house.bus.topics.end(&topic.to_string(), &fields, trip.version, keep_ms).await, &topic.to_string());
        }
        // Who could watch may still learn how it ended; share links are gone with the trip, so the list is kept as it was.
        let fields = project::access(trip);
        heed(house.bus.topics.end(&access, &fields, trip.version, keep_ms).await, &access);
        return;
    }
    if cause != Cause::Phase {
        publish(house, &access, &project::access(trip), trip.version).await;
    }
    for (topic, view) in topics {
        let fields = project::trip(trip, driver, cause, view);
        if !fields.is_empty() {
            publish_for(house, &topic.to_string(), &fields, trip.version, trip.assignment).await;
        }
    }
}

async fn tell_plan(house: &House, driver: &Driver, plan: &wayfare_wire::plan::PlanDoc) {
    let mut fields = Fields::new();
    fields.set(wayfare_wire::state::field::PLAN, |out| {
        serde_json::to_writer(out, plan).expect("a plan has string keys and finite numbers");
    });
    publish(house, &Topic::Plan(driver.id).to_string(), &fields, plan.version).await;
    let fields = project::driver(driver, &plan.trips);
    publish(house, &Topic::Driver(driver.id).to_string(), &fields, plan.version).await;
}

async fn tell_revoked(house: &House, name: &str, before_s: i64) {
    let mut fields = Fields::new();
    fields.set(name.to_owned(), |out| wayfare_wire::state::write_i64(out, before_s));
    // Each name is a fact of its own: they have no order among them.
    publish(house, REVOKED_TOPIC, &fields, 1).await;
}

async fn publish(house: &House, topic: &str, fields: &Fields, version: u64) {
    publish_for(house, topic, fields, version, 0).await;
}

/// The same for a trip, whose earlier drivers are refused from then on.
async fn publish_for(house: &House, topic: &str, fields: &Fields, version: u64, assignment: u64) {
    let fence = Fence::Record { version, assignment };
    heed(house.bus.topics.publish(topic, fields, fence).await.map(|_| ()), topic);
}

/// A refusal by fence or tombstone means that something newer was told already: that is what fences are for.
fn heed(told: Result<(), PublishError>, topic: &str) {
    if let Err(error) = told {
        tracing::debug!(%error, topic, "older news were not told");
        metrics::counter!("wayfare_outbox_outdated_total").increment(1);
    }
}
