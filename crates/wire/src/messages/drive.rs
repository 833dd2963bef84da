//! Messages between a driver app and ingest (`wayfare.drive.v1`).

use serde::{Deserialize, Serialize};
use wayfare_engine::{Millis, OutageReason, PhoneReport, Said};

use super::error::ErrorBody;

/// From the driver app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromDriver {
    /// First message.
    Hello {
        /// Access token, where it did not come in the `Authorization` header.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// Name of the numbering of `seq`: 1 to 16 hexadecimal digits, not zero. The app keeps it for as long as it
        /// keeps its queue, and draws a new one when it starts counting anew.
        session: String,
    },
    /// Renews the token in place.
    Auth {
        /// An access token of the same driver.
        token: String,
    },
    /// Positions.
    Fixes(Fixes),
    /// How the phone is, and why no positions will come.
    Phone(Phone),
    /// Takes a delivery that was offered. Answered by `noted` when it is durable.
    Accept {
        /// The trip, `trp_…`.
        trip: String,
        /// The number of the offer.
        offer: u64,
    },
    /// Leaves a delivery that was offered to somebody else. Answered by `noted` when it is durable.
    Decline {
        /// The trip, `trp_…`.
        trip: String,
        /// The number of the offer.
        offer: u64,
        /// For people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Says by hand how far a trip has come, where GPS does not. Answered by `noted` when it is durable.
    Status {
        /// The trip, `trp_…`.
        trip: String,
        /// `at_pickup`, `to_dropoff` (picked up), `arrived` or `delivered`.
        phase: String,
        /// When it was so, Unix milliseconds by the phone's clock; absent: now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_ms: Option<i64>,
    },
    /// Answered by `pong`.
    Ping,
}

/// A message full of fixes; also the body of `POST /v1/fixes`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Fixes {
    /// Only over HTTP, where there is no `hello`: see [`FromDriver::Hello`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Number of this message in its session: grows by one with each new message, stays the same when it is resent.
    /// Over HTTP it may be absent together with `session`; resends are then recognised by time and position.
    #[serde(default)]
    pub seq: u64,
    /// The phone's clock when it sends, Unix milliseconds; tells a wrong clock from a late fix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_ms: Option<i64>,
    /// In the order taken; at most `max_fixes`.
    pub fixes: Vec<Fix>,
    /// Only over HTTP: the tag of the deliveries that the app knows of, empty if it knows of none. Absent: it does not want to hear of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<String>,
}

/// One position as the phone measured it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Fix {
    /// Latitude, degrees, WGS 84.
    pub lat: f64,
    /// Longitude, degrees, WGS 84.
    pub lon: f64,
    /// When it was taken, Unix milliseconds by the phone's clock; absent: the time of receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t_ms: Option<i64>,
    /// Radius of 68 % confidence, metres; absent, zero or negative: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_m: Option<f32>,
    /// Speed over ground, metres per second; negative: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mps: Option<f32>,
    /// Course over ground, degrees clockwise from north; negative: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heading_deg: Option<f32>,
    /// Height above the ellipsoid, metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altitude_m: Option<f32>,
    /// The phone says that the position comes from a mock provider.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mock: bool,
}

/// How the phone is now: it replaces what was said of it before. Also the body of `POST /v1/phone`. Not acked: the app says it when it
/// changes, and again after each `hello`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Phone {
    /// When it was so, Unix milliseconds by the phone's clock; absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<i64>,
    /// Charge of the battery, 0 to 1; absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery: Option<f32>,
    /// It is being charged; absent: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charging: Option<bool>,
    /// Why positions do not come, or will not: a word of `PROTOCOL.md`, "Outages". Absent: they will come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<String>,
}

impl Phone {
    /// The engine's form.
    pub fn report(&self) -> PhoneReport {
        let reason = self.outage.as_deref().map(OutageReason::from_code);
        PhoneReport {
            at: self.at_ms.map(Millis),
            battery: self.battery,
            charging: self.charging,
            said: reason.map_or(Said::Well, Said::Outage),
        }
    }
}

/// To the driver app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToDriver {
    /// The hello was taken.
    Welcome {
        /// Version of the protocol: 1.
        version: u32,
        /// Whom the token names.
        driver: String,
        /// Send a fix this often, milliseconds.
        interval_ms: u32,
        /// Most fixes in one message.
        max_fixes: u32,
        /// Most messages sent and not yet acked.
        max_unacked: u32,
        /// The server sends something at least this often.
        heartbeat_ms: u32,
        /// The connection ends then unless the token is renewed, Unix milliseconds.
        expires_at_ms: i64,
    },
    /// These fixes are kept: forget them.
    Ack(Ack),
    /// The wanted rate changed, or how often the server keeps the line warm.
    Config {
        /// Send a fix this often, milliseconds.
        interval_ms: u32,
        /// From now on the server sends something at least this often; absent: as before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heartbeat_ms: Option<u32>,
    },
    /// A delivery was given to this driver, or is offered. All that are open are told again after each `welcome`.
    NewDeliveryAssigned(Delivery),
    /// A delivery that was told is not this driver's any more.
    DeliveryWithdrawn {
        /// The trip, `trp_…`.
        trip: String,
        /// The number of the offer, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<u64>,
    },
    /// What was said about a trip is durable.
    Noted {
        /// The trip, `trp_…`.
        trip: String,
        /// `accept`, `decline`, or the phase of a `status`.
        said: String,
    },
    /// Something was refused; the connection lives on.
    Error(ErrorBody),
    /// Sent when nothing else was for `heartbeat_ms`.
    Heartbeat,
    /// Answer to `ping`.
    Pong,
    /// The server is about to close.
    Bye(super::Bye),
}

/// A delivery, as its driver hears of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Delivery {
    /// The trip, `trp_…`.
    pub trip: String,
    /// The number of the offer, to be given back with the answer; absent: it is this driver's already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<u64>,
    /// An offer is over after this, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_by_ms: Option<i64>,
    /// When the kitchen is ready, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at_ms: Option<i64>,
    /// What is still to be done for it, in order.
    pub stops: Vec<DeliveryStop>,
}

/// One stop of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeliveryStop {
    /// Pick-up, or else drop-off.
    pub pickup: bool,
    /// Degrees.
    pub lat: f64,
    /// Degrees.
    pub lon: f64,
    /// As the operator has named it.
    pub name: String,
}

/// Verdicts on one message, sent when what it holds is durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ack {
    /// The message's own number.
    pub seq: u64,
    /// One code per fix, in order: `accepted`, `late`, or why it was rejected.
    pub verdicts: Vec<String>,
    /// A sentence for each rejected fix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

/// Why one fix was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Place in the message, from 0.
    pub index: u32,
    /// Names the value seen and the limit.
    pub message: String,
}

/// Answer to `POST /v1/fixes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FixesReply {
    /// The verdicts.
    #[serde(flatten)]
    pub ack: Ack,
    /// Send a fix this often, milliseconds.
    pub interval_ms: u32,
    /// All that are open, if they are others than the app said that it knows of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Deliveries>,
}

/// The deliveries of a driver, as an answer over HTTP tells them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Deliveries {
    /// To be given back in the next message.
    pub tag: String,
    /// Those that are the driver's or are offered to it. One that was told before and is missing here is withdrawn.
    pub open: Vec<Delivery>,
}
