//! A trip that is offered to a driver, who may take it or leave it until a deadline.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wayfare_net::reply::Refusal;
use wayfare_wire::{ErrorCode, ids};

use super::trip::{Trip, UNASSIGNED};
use crate::db::{Database, DatabaseError, Write};
use crate::input::check_text;

/// An answer that was given in time may be on its way for this long, milliseconds: an offer expires so much later.
pub const GRACE_MS: i64 = 2_000;

/// How an offer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OfferState {
    /// The driver has not answered.
    Open,
    /// The driver has taken the trip.
    Accepted,
    /// The driver has left it to somebody else.
    Declined,
    /// The driver did not answer in time.
    Expired,
    /// The operator has given the trip to somebody else, or ended it.
    Withdrawn,
}

/// The last offer of a trip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Offer {
    /// To whom, `drv_…`.
    #[schema(value_type = String)]
    pub driver: ids::Driver,
    /// Which offer of this trip, from 1.
    pub number: u64,
    /// When it was made, Unix milliseconds.
    pub made_ms: i64,
    /// Over after this, Unix milliseconds.
    pub answer_by_ms: i64,
    /// How it stands.
    pub state: OfferState,
    /// Since when it stands so, Unix milliseconds.
    pub since_ms: i64,
    /// Why it was declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a driver says to an offer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Takes it.
    Accept,
    /// Leaves it, for a reason perhaps.
    Decline(Option<String>),
}

impl Offer {
    /// Whether it waits for an answer.
    pub fn is_open(&self) -> bool {
        self.state == OfferState::Open
    }

    pub(super) fn close(&mut self, state: OfferState, now_ms: i64) {
        (self.state, self.since_ms) = (state, now_ms);
    }
}

impl Trip {
    /// The offer that waits for an answer.
    pub fn open_offer(&self) -> Option<&Offer> {
        self.offer.as_ref().filter(|offer| offer.is_open())
    }

    /// Offers the trip to a driver, in place of whoever has it or was offered it.
    pub fn offer_to(&mut self, driver: ids::Driver, answer_within_s: u32, now_ms: i64) -> Result<(), Refusal> {
        self.assign(None, None, now_ms)?;
        self.offer = Some(Offer {
            driver,
            number: self.offer.as_ref().map_or(0, |offer| offer.number) + 1,
            made_ms: now_ms,
            answer_by_ms: now_ms + i64::from(answer_within_s) * 1000,
            state: OfferState::Open,
            since_ms: now_ms,
            reason: None,
        });
        Ok(())
    }

    /// Takes over what the driver answered at `at_ms`; `number` is which offer it means, if it says so. False: it was answered so before. An acceptance
    /// makes the trip the driver's.
    pub fn answer(&mut self, number: Option<u64>, answer: Answer, at_ms: i64) -> Result<bool, Refusal> {
        let conflict = |message: String| Refusal::new(ErrorCode::Conflict, message);
        let Some(offer) = &mut self.offer else { return Err(conflict("the trip is not offered".into())) };
        if number.is_some_and(|number| number != offer.number) {
            return Err(conflict(format!(
                "offer {} of this trip is over, the last one is {}",
                number.unwrap_or(0),
                offer.number
            )));
        }
        match (offer.state, &answer) {
            (OfferState::Accepted, Answer::Accept) | (OfferState::Declined, Answer::Decline(_)) => return Ok(false),
            (OfferState::Open, _) if at_ms > offer.answer_by_ms => {
                let late_ms = at_ms - offer.answer_by_ms;
                return Err(conflict(format!("the offer was over {late_ms} ms before")));
            }
            (OfferState::Open, _) => {}
            (state, _) => return Err(conflict(format!("the offer is {}", word(state)))),
        }
        let driver = offer.driver;
        match answer {
            Answer::Accept => {
                offer.close(OfferState::Accepted, at_ms);
                self.assign(Some(driver), None, at_ms)?;
            }
            Answer::Decline(reason) => {
                if let Some(reason) = &reason {
                    check_text("reason", reason)?;
                }
                offer.reason = reason;
                offer.close(OfferState::Declined, at_ms);
                self.version += 1;
            }
        }
        Ok(true)
    }

    /// Ends an offer that nobody answered. False if there is none that is due.
    pub fn expire(&mut self, now_ms: i64) -> bool {
        let due = |offer: &&mut Offer| offer.is_open() && now_ms > offer.answer_by_ms + GRACE_MS;
        let Some(offer) = self.offer.as_mut().filter(due) else { return false };
        offer.close(OfferState::Expired, now_ms);
        debug_assert_eq!(self.phase, UNASSIGNED, "an offered trip is nobody's");
        self.version += 1;
        true
    }
}

/// Its word, as in JSON.
fn word(state: OfferState) -> &'static str {
    match state {
        OfferState::Open => "open",
        OfferState::Accepted => "accepted",
        OfferState::Declined => "declined",
        OfferState::Expired => "expired",
        OfferState::Withdrawn => "withdrawn",
    }
}

/// Notes whether a trip waits for an answer; with every change of a trip.
pub(super) async fn note(write: &mut Write, trip: &Trip) -> Result<(), DatabaseError> {
    let id = trip.id.to_string();
    let statement = match trip.open_offer() {
        None if trip.offer.is_none() => return Ok(()),
        None => sqlx::query("DELETE FROM offer WHERE trip = $1").bind(id),
        Some(offer) => sqlx::query(
            "INSERT INTO offer (trip, driver, answer_by_ms) VALUES ($1, $2, $3)
             ON CONFLICT (trip) DO UPDATE SET driver = excluded.driver, answer_by_ms = excluded.answer_by_ms",
        )
        .bind(id)
        .bind(offer.driver.to_string())
        .bind(offer.answer_by_ms),
    };
    statement.execute(&mut **write).await?;
    Ok(())
}

/// Trips that are offered to a driver, oldest offer first.
pub async fn of_driver(write: &mut Write, driver: &str) -> Result<Vec<Trip>, DatabaseError> {
    let docs: Vec<String> = sqlx::query_scalar(
        "SELECT trip.doc FROM offer JOIN trip ON trip.id = offer.trip WHERE offer.driver = $1 ORDER BY offer.answer_by_ms, offer.trip",
    )
    .bind(driver)
    .fetch_all(&mut **write)
    .await?;
    docs.iter().map(|doc| Ok(serde_json::from_str(doc)?)).collect()
}

/// Ids of trips whose offer ended before `ms`.
pub async fn ended_before(db: &Database, ms: i64) -> Result<Vec<String>, DatabaseError> {
    Ok(sqlx::query_scalar("SELECT trip FROM offer WHERE answer_by_ms < $1 ORDER BY answer_by_ms LIMIT 100")
        .bind(ms)
        .fetch_all(db.read())
        .await?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use crate::records::manual::Speaker;
    use wayfare_engine::Phase;

    const ANA: ids::Driver = ids::Driver(1);
    const BOB: ids::Driver = ids::Driver(2);

    fn offered() -> Trip {
        let place = serde_json::json!({ "lat": 41.0, "lon": -8.0, "name": "x" });
        let trip = serde_json::json!({
            "id": ids::Trip(7), "customer": "cus", "assignment": 0, "phase": UNASSIGNED, "phase_since_ms": 0, "pickup": place,
            "dropoff": place, "created_ms": 0, "version": 1,
        });
        let mut trip: Trip = serde_json::from_value(trip).unwrap();
        trip.offer_to(ANA, 60, 1_000).unwrap();
        trip
    }

    fn state(trip: &Trip) -> (OfferState, Option<ids::Driver>, u64) {
        (trip.offer.as_ref().unwrap().state, trip.driver, trip.version)
    }

    #[test]
    fn an_offer_that_is_taken_makes_the_trip_the_drivers_once() {
        let mut trip = offered();
        assert_eq!(state(&trip), (OfferState::Open, None, 2));
        assert!(trip.answer(Some(2), Answer::Accept, 5_000).is_err(), "another offer");
        assert!(trip.answer(Some(1), Answer::Accept, 5_000).unwrap());
        assert!(!trip.answer(None, Answer::Accept, 6_000).unwrap());
        assert_eq!((state(&trip), trip.assignment), ((OfferState::Accepted, Some(ANA), 3), 1));
        assert!(trip.answer(None, Answer::Decline(None), 6_000).is_err());
    }

    #[test]
    fn a_declined_trip_is_free_for_the_next() {
        let mut trip = offered();
        assert!(trip.answer(Some(1), Answer::Decline(Some("too far".into())), 5_000).unwrap());
        assert!(!trip.answer(Some(1), Answer::Decline(None), 5_000).unwrap());
        assert_eq!(state(&trip), (OfferState::Declined, None, 3));
        trip.offer_to(BOB, 60, 6_000).unwrap();
        assert_eq!((trip.offer.as_ref().unwrap().number, state(&trip).0), (2, OfferState::Open));
        trip.assign(Some(ANA), None, 7_000).unwrap();
        assert_eq!(state(&trip), (OfferState::Withdrawn, Some(ANA), 5));
    }

    #[test]
    fn an_answer_in_time_counts_even_if_it_is_heard_late() {
        let mut trip = offered();
        let end_ms = trip.offer.as_ref().unwrap().answer_by_ms;
        assert!(!trip.expire(end_ms + GRACE_MS));
        assert!(trip.answer(None, Answer::Accept, end_ms + 1).is_err());
        assert!(trip.clone().answer(None, Answer::Accept, end_ms).unwrap());
        assert!(trip.expire(end_ms + GRACE_MS + 1) && !trip.expire(i64::MAX));
        assert_eq!(state(&trip), (OfferState::Expired, None, 3));
        assert!(trip.answer(None, Answer::Accept, end_ms).is_err());
    }

    #[test]
    fn a_trip_that_ends_is_offered_to_nobody() {
        let mut trip = offered();
        trip.end(Phase::Cancelled, None, 5_000).unwrap();
        assert_eq!(state(&trip).0, OfferState::Withdrawn);
        assert!(trip.offer_to(BOB, 60, 6_000).is_err());
    }

    #[test]
    fn words_by_hand_lead_a_trip_on_and_never_back() {
        let mut trip = offered();
        let speaker = Speaker { role: "support", by: "sue" };
        assert!(trip.say(Phase::AtPickup, None, speaker, 2_000).is_err(), "nobody drives");
        trip.answer(None, Answer::Accept, 2_000).unwrap();
        assert!(trip.say(Phase::ToDropoff, Some(1), speaker, 9_000).unwrap());
        assert_eq!((trip.phase.as_str(), trip.phase_since_ms), ("to_dropoff", 2_000), "not before it was assigned");
        assert!(!trip.say(Phase::AtPickup, None, speaker, 9_500).unwrap());
        assert!(trip.say(Phase::Delivered, Some(i64::MAX), speaker, 10_000).unwrap());
        assert!(!trip.say(Phase::Delivered, None, speaker, 11_000).unwrap());
        assert_eq!((trip.ended_ms, trip.said().unwrap().by.as_str()), (Some(10_000), "sue"));
    }
}
