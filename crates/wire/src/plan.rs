//! A driver's plan as it travels on `plan:{driver}`, for services only.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use wayfare_engine::{Fence, Millis, Phase, Plan, PlanStop, PlanTrip, Position, StopKind, Vehicle};

use crate::ids::Trip;
use crate::messages::drive::{Delivery, DeliveryStop};

/// See [`wayfare_engine::Plan`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanDoc {
    /// Grows with each change.
    pub version: u64,
    /// On shift.
    pub available: bool,
    /// Since when, Unix milliseconds; absent while not on shift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_since_ms: Option<i64>,
    /// `foot`, `bicycle`, `motorbike`, `car` or `van`.
    pub vehicle: String,
    /// How much fits in, in the operator's own units; absent if nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<NonZeroU16>,
    /// Live trips.
    pub trips: Vec<TripDoc>,
    /// In driving order.
    pub stops: Vec<StopDoc>,
    /// Deliveries that wait for the driver's answer: no part of the plan yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offers: Vec<OfferDoc>,
}

/// A delivery that is offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfferDoc {
    /// The trip.
    pub trip: Trip,
    /// Which offer of that trip.
    pub number: u64,
    /// Over after this, Unix milliseconds.
    pub answer_by_ms: i64,
    /// When the kitchen is ready, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at_ms: Option<i64>,
    /// Pick-up and drop-off.
    pub stops: Vec<StopDoc>,
}

/// See [`wayfare_engine::PlanTrip`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TripDoc {
    /// The trip.
    pub id: Trip,
    /// Grows with each assignment.
    pub assignment: u64,
    /// As recorded.
    pub phase: String,
    /// Since when it is assigned, Unix milliseconds: the driver was on duty from then on.
    pub since_ms: i64,
    /// When the kitchen is ready, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at_ms: Option<i64>,
}

/// See [`wayfare_engine::PlanStop`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopDoc {
    /// The trip it belongs to.
    pub trip: Trip,
    /// Pick-up, or else drop-off.
    pub pickup: bool,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// Fence of the stop, metres; absent: the vehicle's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_m: Option<f32>,
    /// Time usually spent there, milliseconds.
    pub service_ms: i64,
    /// For the driver.
    #[serde(default)]
    pub name: String,
}

/// A plan that does not make sense: our own writers do not make such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan has no sensible {0}")]
pub struct InvalidPlan(pub &'static str);

impl PlanDoc {
    /// The engine's form.
    ///
    /// # Errors
    /// [`InvalidPlan`] names the part that is wrong.
    pub fn plan(&self) -> Result<Plan, InvalidPlan> {
        let vehicle = Vehicle::from_code(&self.vehicle).ok_or(InvalidPlan("vehicle"))?;
        let trip = |trip: &TripDoc| {
            Ok(PlanTrip {
                id: trip.id.into(),
                assignment: trip.assignment,
                phase: Phase::from_code(&trip.phase).ok_or(InvalidPlan("phase"))?,
                since: Some(Millis(trip.since_ms)),
                ready_at: trip.ready_at_ms.map(Millis),
            })
        };
        let stop = |stop: &StopDoc| {
            let mut fence = Fence::for_vehicle(vehicle);
            if let Some(radius_m) = stop.radius_m {
                fence.radius_m = radius_m;
            }
            Ok(PlanStop {
                trip: stop.trip.into(),
                kind: if stop.pickup { StopKind::Pickup } else { StopKind::Dropoff },
                position: Position::new(stop.lat, stop.lon).map_err(|_| InvalidPlan("position"))?,
                fence,
                service_ms: stop.service_ms,
            })
        };
        Ok(Plan {
            version: self.version,
            available: self.available,
            vehicle,
            trips: self.trips.iter().map(trip).collect::<Result<_, _>>()?,
            stops: self.stops.iter().map(stop).collect::<Result<_, _>>()?,
        })
    }

    /// What the driver hears of: the trips, then the offers.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let of = |stops: &[StopDoc], id: Trip| {
            let stop = |stop: &StopDoc| DeliveryStop {
                pickup: stop.pickup,
                lat: stop.lat,
                lon: stop.lon,
                name: stop.name.clone(),
            };
            stops.iter().filter(|stop| stop.trip == id).map(stop).collect()
        };
        let trips = self.trips.iter().map(|trip| Delivery {
            trip: trip.id.to_string(),
            offer: None,
            answer_by_ms: None,
            ready_at_ms: trip.ready_at_ms,
            stops: of(&self.stops, trip.id),
        });
        let offers = self.offers.iter().map(|offer| Delivery {
            trip: offer.trip.to_string(),
            offer: Some(offer.number),
            answer_by_ms: Some(offer.answer_by_ms),
            ready_at_ms: offer.ready_at_ms,
            stops: of(&offer.stops, offer.trip),
        });
        trips.chain(offers).collect()
    }

    /// Since when the driver is on duty, Unix milliseconds: on shift, or with the oldest live trip.
    pub fn duty_since_ms(&self) -> Option<i64> {
        self.trips.iter().map(|trip| trip.since_ms).chain(self.available_since_ms).min()
    }
}
