//! Erasing: a job that survives a fall. It goes through every place where data of a driver or a trip are, twice, because some are on their
//! way from one to the next; then the files are written anew, so that no byte is left in their unused parts.
//!
//! Every step may be done again. What the job is about stands in its row until the data are gone, and nowhere afterwards.

use std::time::Duration;

use sqlx::Row;
use tokio::sync::watch;
use wayfare_bus::{Fate, Fence, Fields, Leases};
use wayfare_net::audit;
use wayfare_wire::device_key::device_seen_set_of;
use wayfare_wire::kept;
use wayfare_wire::{Topic, ids};

use crate::db::{DatabaseError, Write};
use crate::outbox::{self, Cause};
use crate::records::arrival::Arrival;
use crate::records::erasure::{self, Erasure, Kind, State};
use crate::records::{assignment, trip};
use crate::{House, REVOKED_TOPIC};

/// Between the two rounds: by then whatever was on its way has arrived.
const SETTLES: Duration = Duration::from_secs(3);

/// After something failed, the next try comes after this time.
const RETRY: Duration = Duration::from_secs(2);

/// What was asked for at another process is found within this time.
const LOOK: Duration = Duration::from_secs(5);

/// A driver's lease is held for so long that nothing of it can still wait for the disk, milliseconds.
const LEASE_MS: i64 = 86_400_000;

/// A tracker that changed is kept again within this time.
const CHECKPOINTED: Duration = Duration::from_secs(30);

/// Records changed in one transaction.
const BATCH: i64 = 200;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Erases what was asked for until told to stop.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    loop {
        let work = async {
            // A process that does not lead looks again soon whether it does.
            if !house.leads() {
                return tokio::time::sleep(RETRY).await;
            }
            match erase_next(house).await {
                Ok(true) => {}
                Ok(false) => {
                    let _ = tokio::time::timeout(LOOK, house.erasures.notified()).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "an erasure did not come to its end; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        tokio::select! {
            () = work => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Brings the oldest erasure to its next state; false if there is none.
async fn erase_next(house: &House) -> Result<bool, Failure> {
    let Some((mut erasure, subject)) = erasure::next(&house.db).await? else { return Ok(false) };
    match (erasure.state, &subject) {
        (State::Erasing, Some(subject)) => {
            for round in 0..2 {
                if round > 0 {
                    tokio::time::sleep(SETTLES).await;
                }
                match erasure.kind {
                    Kind::Driver => erase_driver(house, &mut erasure, subject.parse()?).await?,
                    Kind::Trip => erase_trip(house, &mut erasure, subject.parse()?).await?,
                }
            }
            erasure.state = State::Scrubbing;
        }
        _ => {
            house.bus.fixes.scrub().await?;
            house.bus.logs.scrub().await?;
            house.db.scrub().await?;
            (erasure.state, erasure.done_ms) = (State::Done, Some(wayfare_bus::now_ms()));
            audit::note("house".into(), "erasure", &erasure.id, "done");
            tracing::info!(erasure = erasure.id, items = ?erasure.items, "an erasure is done");
        }
    }
    let mut write = house.db.write().await?;
    if let (State::Scrubbing, Kind::Trip, Some(trip)) = (erasure.state, erasure.kind, &subject) {
        // Until now they said whose fixes belong to the trip.
        sqlx::query("DELETE FROM assignment WHERE trip = $1").bind(trip).execute(&mut *write).await?;
    }
    erasure::update(&mut write, &erasure).await?;
    write.commit().await?;
    Ok(true)
}

/// One round through everything that may hold something of a driver. The record itself, its keys and its tokens went when it was asked for.
async fn erase_driver(house: &House, erasure: &mut Erasure, driver: ids::Driver) -> Result<(), Failure> {
    let id = driver.to_string();
    // What ingest has judged and not written yet is refused from here on; then it hears that the driver is gone.
    let bus = &house.bus;
    bus.leases.take_over(&Leases::driver_key(driver.0), "erasure", LEASE_MS).await?;
    bus.topics.erase(&Topic::Plan(driver).to_string()).await;
    bus.topics.erase(&Topic::Driver(driver).to_string()).await;
    forget_field(house, REVOKED_TOPIC, &id).await;
    forget_phones(house, erasure, &id).await?;
    forget_parts(house, erasure, &id).await?;

    let log = bus.fixes.erase(driver.0, true, |_| Fate::Goes).await?;
    erasure.count("fix_log_messages", log.entries);
    erasure.count("fix_log_checkpoints", log.checkpoints);
    erasure.count("fix_log_damaged_records", log.damaged);
    erasure.count("fix_log_files_set_aside", log.set_aside);
    let events = bus.logs.erase(&id, Some("store:")).await?;
    erasure.count("events", events.deleted);
    erasure.count("events_pseudonymised", events.redacted);
    keep_count(house, erasure).await
}

/// Phones and what came from them.
async fn forget_phones(house: &House, erasure: &mut Erasure, driver: &str) -> Result<(), Failure> {
    let mut write = house.db.write().await?;
    let devices: Vec<String> = sqlx::query_scalar("DELETE FROM device_key WHERE driver = $1 RETURNING id")
        .bind(driver)
        .fetch_all(&mut *write)
        .await?;
    erasure.count("device_keys", devices.len() as u64);
    let aside = sqlx::query("DELETE FROM quarantine WHERE driver = $1")
        .bind(driver)
        .execute(&mut *write)
        .await?
        .rows_affected();
    erasure.count("quarantine", aside);
    sqlx::query("DELETE FROM outbox WHERE entity = $1").bind(format!("plan:{driver}")).execute(&mut *write).await?;
    sqlx::query("DELETE FROM meta WHERE name = $1").bind(format!("revoked:{driver}")).execute(&mut *write).await?;
    erasure::update(&mut write, erasure).await?;
    write.commit().await?;
    for device in devices {
        if let Ok(id) = device.parse() {
            forget_field(house, &device_seen_set_of(id), &device).await;
        }
    }
    Ok(())
}

/// The driver's part in trips: tracks go, the orders stay without it.
async fn forget_parts(house: &House, erasure: &mut Erasure, driver: &str) -> Result<(), Failure> {
    let mut write = house.db.write().await?;
    let points: Vec<i64> = sqlx::query_scalar("DELETE FROM track_chunk WHERE driver = $1 RETURNING points")
        .bind(driver)
        .fetch_all(&mut *write)
        .await?;
    erasure.count("track_points", points.iter().sum::<i64>() as u64);
    erasure::update(&mut write, erasure).await?;
    write.commit().await?;
    while pseudonymise_trips(house, erasure, driver).await? {}
    let mut write = house.db.write().await?;
    pseudonymise_arrivals(&mut write, erasure, driver).await?;
    let parts = sqlx::query("DELETE FROM assignment WHERE driver = $1")
        .bind(driver)
        .execute(&mut *write)
        .await?
        .rows_affected();
    erasure.count("assignments", parts);
    erasure::update(&mut write, erasure).await?;
    Ok(write.commit().await?)
}

/// A batch of trips; true if there may be more.
async fn pseudonymise_trips(house: &House, erasure: &mut Erasure, driver: &str) -> Result<bool, Failure> {
    let mut write = house.db.write().await?;
    // Also those that were only offered to it, or that it said something about: their documents name it.
    let docs: Vec<String> = sqlx::query_scalar("SELECT doc FROM trip WHERE driver = $1 OR doc LIKE $3 LIMIT $2")
        .bind(driver)
        .bind(BATCH)
        .bind(format!("%{driver}%"))
        .fetch_all(&mut *write)
        .await?;
    for doc in &docs {
        let mut trip: trip::Trip = serde_json::from_str(doc)?;
        trip.forget(driver.parse()?);
        trip.version += 1;
        // Nobody else writes inside this transaction: the version cannot be lost.
        let _ = trip::update(&mut write, &trip).await?;
        if trip.is_live() {
            outbox::put_trip(&mut write, &trip, Cause::Updated).await?;
        }
    }
    erasure.count("trips_pseudonymised", docs.len() as u64);
    erasure::update(&mut write, erasure).await?;
    write.commit().await?;
    // The topics of those that live still name it until the relay has told them anew.
    house.news.told().await;
    Ok(docs.len() as i64 == BATCH)
}

async fn pseudonymise_arrivals(write: &mut Write, erasure: &mut Erasure, driver: &str) -> Result<(), DatabaseError> {
    let rows = sqlx::query("SELECT trip, assignment, doc FROM arrival WHERE doc LIKE $1")
        .bind(format!("%{driver}%"))
        .fetch_all(&mut **write)
        .await?;
    for row in &rows {
        let arrival: Arrival = serde_json::from_str(row.get("doc"))?;
        sqlx::query("UPDATE arrival SET doc = $3 WHERE trip = $1 AND assignment = $2")
            .bind(row.get::<String, _>("trip"))
            .bind(row.get::<i64, _>("assignment"))
            .bind(serde_json::to_string(&Arrival { driver: None, ..arrival })?)
            .execute(&mut **write)
            .await?;
    }
    erasure.count("arrivals_pseudonymised", rows.len() as u64);
    Ok(())
}

/// One round through everything that may hold something of a trip. What its drivers did then goes too, out of the fix log.
async fn erase_trip(house: &House, erasure: &mut Erasure, trip: ids::Trip) -> Result<(), Failure> {
    let (id, bus) = (trip.to_string(), &house.bus);
    for topic in [Topic::Trip(trip), Topic::TripOps(trip), Topic::Access(trip)] {
        bus.topics.erase(&topic.to_string()).await;
    }
    for (driver, part) in assignment::of_trip(&house.db, &id).await? {
        let driver: ids::Driver = driver.parse()?;
        let log = bus.fixes.erase(driver.0, false, |bytes| outside(bytes, &part)).await?;
        erasure.count("fix_log_messages", log.entries);
        erasure.count("fix_log_damaged_records", log.damaged);
        erasure.count("fix_log_files_set_aside", log.set_aside);
    }
    let events = bus.logs.erase(&id, None).await?;
    erasure.count("events", events.deleted);
    forget_in_checkpoints(house, erasure, trip).await?;
    let mut write = house.db.write().await?;
    let points: Vec<i64> = sqlx::query_scalar("DELETE FROM track_chunk WHERE trip = $1 RETURNING points")
        .bind(&id)
        .fetch_all(&mut *write)
        .await?;
    erasure.count("track_points", points.iter().sum::<i64>() as u64);
    for (class, statement) in [
        ("arrivals", "DELETE FROM arrival WHERE trip = $1"),
        ("tokens", "DELETE FROM token WHERE sub = $1"),
        ("", "DELETE FROM outbox WHERE entity = $1"),
    ] {
        let gone = sqlx::query(statement).bind(&id).execute(&mut *write).await?.rows_affected();
        if !class.is_empty() {
            erasure.count(class, gone);
        }
    }
    erasure::update(&mut write, erasure).await?;
    write.commit().await?;
    Ok(())
}

/// A tracker forgets a trip with the plan that says that it is over, and its checkpoint soon after. One that nobody writes any more goes.
async fn forget_in_checkpoints(house: &House, erasure: &mut Erasure, trip: ids::Trip) -> Result<(), Failure> {
    let (id, number) = (trip.to_string(), trip.0.to_le_bytes());
    let names = |bytes: &[u8]| {
        bytes.windows(id.len()).any(|window| window == id.as_bytes())
            || bytes.windows(16).any(|window| window == number)
    };
    for (driver, _) in assignment::of_trip(&house.db, &id).await? {
        let driver: ids::Driver = driver.parse()?;
        let began = tokio::time::Instant::now();
        while house.bus.fixes.checkpoint(driver.0).await?.is_some_and(|(_, bytes)| names(&bytes)) {
            if began.elapsed() > CHECKPOINTED {
                let log = house.bus.fixes.erase(driver.0, true, |_| Fate::Stays).await?;
                erasure.count("fix_log_checkpoints", log.checkpoints);
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(())
}

/// A message without the fixes that belong to a part of a trip.
fn outside(bytes: &bytes::Bytes, part: &assignment::Part) -> Fate {
    // What cannot be read has no fixes to be found.
    let Some(mut message) = kept::read(bytes.clone()) else { return Fate::Stays };
    let before = message.fixes.len();
    message.fixes.retain(|fix| !part.covers(fix.at.0));
    match message.fixes.len() {
        left if left == before => Fate::Stays,
        // Its number stays, so that a resend is known after a restart.
        _ => {
            let mut out = Vec::new();
            kept::write_head(&mut out, message.received, message.session, message.seq, message.sent);
            for fix in &message.fixes {
                kept::write_fix(&mut out, &fix.raw, fix.at, fix.late);
            }
            Fate::Becomes(out.into())
        }
    }
}

/// The bus forgets a field of a topic that many write to.
async fn forget_field(house: &House, topic: &str, name: &str) {
    let mut fields = Fields::new();
    fields.set_null(name.to_owned());
    let fence = Fence::Record { version: 1, assignment: 0 };
    // Where it cannot be read it may be there: then it is taken away unread.
    let kept = house.bus.topics.read(topic).await;
    if kept.map_or(true, |topic| topic.is_some_and(|topic| topic.members.get(name).is_some())) {
        // Topics of facts that have no order among them: nothing refuses it.
        let _ = house.bus.topics.publish(topic, &fields, fence).await;
    }
}

async fn keep_count(house: &House, erasure: &Erasure) -> Result<(), Failure> {
    let mut write = house.db.write().await?;
    erasure::update(&mut write, erasure).await?;
    Ok(write.commit().await?)
}
