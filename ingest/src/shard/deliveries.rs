//! What a driver has to do and is asked to do: told on its connection, and what it says to that, kept in a log that the records follow.

use std::rc::Rc;

use serde_json::json;
use wayfare_bus::Append;
use wayfare_engine::{DriverId, Phase};
use wayfare_wire::messages::drive::{Deliveries, Delivery, ToDriver};
use wayfare_wire::topic::REPORTS_LOG;
use wayfare_wire::{ErrorBody, ErrorCode, ids};

use super::Shard;
use super::state::{ConnId, State};

/// Longest reason that is passed on, characters: what the records take.
const REASON_CHARS_MAX: usize = 200;

/// When to say again what could not be kept.
const AGAIN_MS: u32 = 1000;

/// A delivery that was told on a connection: its trip, and which offer it was.
pub type Told = Vec<(String, Option<u64>)>;

/// Something that a driver said about a trip, to be kept.
pub struct Report {
    trip: String,
    /// As it is given back.
    said: String,
    /// What there can be one of: an offer's answer, a phase of an assignment.
    entity: String,
    number: u64,
    payload: Vec<u8>,
}

impl State {
    /// Tells a connected driver what is new among its deliveries, and what is gone.
    pub fn tell_deliveries(&mut self, driver: DriverId) {
        let Some(tracked) = self.drivers.get(&driver) else { return };
        let Some(id) = tracked.conn else { return };
        let deliveries = tracked.deliveries.clone();
        let Some(conn) = self.conn(id).filter(|conn| conn.session.is_some()) else { return };
        let now: Told = deliveries.iter().map(|delivery| (delivery.trip.clone(), delivery.offer)).collect();
        let before = std::mem::replace(&mut conn.told, now);
        let gone = |(trip, _): &&(String, Option<u64>)| deliveries.iter().all(|delivery| delivery.trip != *trip);
        for (trip, offer) in before.iter().filter(gone) {
            self.say(id, &ToDriver::DeliveryWithdrawn { trip: trip.clone(), offer: *offer });
        }
        let is_new = |delivery: &&Delivery| !before.contains(&(delivery.trip.clone(), delivery.offer));
        for delivery in deliveries.iter().filter(is_new) {
            self.say(id, &ToDriver::NewDeliveryAssigned(delivery.clone()));
        }
    }

    /// What a driver has to hear of its deliveries in an answer: all of them, if they are others than its app says that it knows of. As JSON.
    pub fn deliveries_to_tell(&self, driver: DriverId, known: &str) -> Option<Vec<u8>> {
        let open = &self.drivers.get(&driver)?.deliveries;
        let tag = tag_of(open);
        // Plain members only: nothing in it can fail.
        (tag != known).then(|| serde_json::to_vec(&Deliveries { tag, open: open.clone() }).unwrap_or_default())
    }

    /// An answer to an offer that this driver knows of.
    pub fn answer(
        &self,
        driver: DriverId,
        trip: &str,
        offer: u64,
        decline: Option<Option<String>>,
    ) -> Result<Report, ErrorBody> {
        let deliveries = self.drivers.get(&driver).map_or(&[][..], |tracked| &tracked.deliveries);
        // One that became the driver's own was accepted: said again, it is noted again.
        let known = deliveries
            .iter()
            .any(|delivery| delivery.trip == trip && delivery.offer.is_none_or(|number| number == offer));
        if !known {
            return Err(unknown(trip));
        }
        let said = if decline.is_some() { "decline" } else { "accept" };
        let reason = decline.flatten().map(|reason| reason.chars().take(REASON_CHARS_MAX).collect::<String>());
        let driver = ids::Driver::from(driver).to_string();
        let payload = json!({
            "driver": driver, "trip": trip, "at_ms": wayfare_bus::now_ms(), "said": said, "offer": offer, "reason": reason,
        });
        Ok(Report {
            trip: trip.to_owned(),
            said: said.to_owned(),
            // The first answer counts.
            entity: format!("{trip}/{driver}/answer"),
            number: offer,
            payload: payload.to_string().into_bytes(),
        })
    }

    /// A phase that this driver says of a trip of its own.
    pub fn status(&self, driver: DriverId, trip: &str, word: &str, was_ms: Option<i64>) -> Result<Report, ErrorBody> {
        let known = [Phase::AtPickup, Phase::ToDropoff, Phase::Arrived, Phase::Delivered];
        let Some(phase) = Phase::from_code(word).filter(|phase| known.contains(phase)) else {
            let text = format!("{word:.40} is none of {}", known.map(Phase::code).join(", "));
            return Err(ErrorBody::new(ErrorCode::Invalid, text).field("phase"));
        };
        let own = |view: &wayfare_engine::TripView<'_>| ids::Trip::from(view.id).to_string() == trip;
        let tracked = self.drivers.get(&driver);
        let view = tracked.and_then(|tracked| tracked.tracker.trips().find(own)).ok_or_else(|| unknown(trip))?;
        let driver = ids::Driver::from(driver).to_string();
        let payload = json!({
            "driver": driver, "trip": trip, "at_ms": wayfare_bus::now_ms(), "said": "status", "phase": word, "was_ms": was_ms,
        });
        Ok(Report {
            trip: trip.to_owned(),
            said: word.to_owned(),
            // Phases only go on: what is said after a later one is no news.
            entity: format!("{trip}/{driver}/status"),
            number: view.assignment << 8 | phase as u64,
            payload: payload.to_string().into_bytes(),
        })
    }

    /// Passes a report on, or says why not.
    pub fn report(&mut self, id: ConnId, report: Result<Report, ErrorBody>) {
        match report {
            Ok(report) => {
                self.reports.push((id, report));
                self.reported.notify_one();
            }
            Err(error) => self.say(id, &ToDriver::Error(error)),
        }
    }
}

impl Shard {
    /// Keeps what drivers said; each hears of it when it is durable.
    pub fn keep_reports(self: &Rc<Self>) {
        let reports = std::mem::take(&mut self.state.borrow_mut().reports);
        for (id, report) in reports {
            let shard = Rc::clone(self);
            tokio::task::spawn_local(async move { shard.keep_report(id, report).await });
        }
    }

    async fn keep_report(&self, id: ConnId, report: Report) {
        let Report { trip, said, entity, number, payload } = report;
        let event_id = format!("{entity}/{number}");
        let event = Append { entity: &entity, number, event_id: &event_id, payload: &payload };
        let answer = match self.house.bus.logs.append(REPORTS_LOG, event).await {
            Ok(_) => ToDriver::Noted { trip, said },
            Err(error) => {
                tracing::error!(%error, "what a driver said cannot be kept");
                ToDriver::Error(
                    ErrorBody::new(ErrorCode::NotDurable, "this cannot be kept just now").after_ms(AGAIN_MS),
                )
            }
        };
        self.state.borrow_mut().say(id, &answer);
    }
}

/// Says which deliveries these are, the same on every node: nothing for none, otherwise FNV-1a of trips and offers.
fn tag_of(deliveries: &[Delivery]) -> String {
    if deliveries.is_empty() {
        return String::new();
    }
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for Delivery { trip, offer, .. } in deliveries {
        let offer = offer.map_or(0, |number| number.wrapping_add(1)).to_le_bytes();
        for byte in trip.bytes().chain(offer) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

fn unknown(trip: &str) -> ErrorBody {
    ErrorBody::new(ErrorCode::NotFound, format!("{trip:.40} is no delivery of yours, or not any more")).field("trip")
}
