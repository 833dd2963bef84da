//! What the driver tells its app.

use std::time::Duration;

use wayfare_wire::ErrorBody;
use wayfare_wire::messages::drive::{Delivery, Detail, Fix};

use crate::core::ladder::Way;

/// Something the app may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A delivery was given to this driver, or is offered: see [`crate::Driver::accept`]. All that are open come again on each connection;
    /// over HTTP, with the answer to the first fixes.
    Delivery(Delivery),
    /// A delivery that was told is not this driver's any more.
    Withdrawn {
        /// The trip.
        trip: String,
        /// The number of the offer, if it was one.
        offer: Option<u64>,
    },
    /// What was said about a trip is durable.
    Noted {
        /// The trip.
        trip: String,
        /// `accept`, `decline`, or a phase.
        said: String,
    },
    /// The server took the hello; what was not acked is being sent again.
    Connected {
        /// Whom the token names; empty over HTTP, where nobody says it.
        driver: String,
        /// How.
        way: Way,
    },
    /// The server keeps these fixes, or has judged them; they are forgotten here. Once per message.
    Acked(Acked),
    /// The server will never take this message: it is set aside, as sending it again would block those behind it.
    Refused {
        /// Number of the message.
        seq: u64,
        /// What was in it.
        fixes: Vec<Fix>,
        /// Why.
        error: ErrorBody,
    },
    /// The server answered with an error that blames no message; sending goes on, after a pause if it asked for one.
    Error(ErrorBody),
    /// The connection is gone, or none could be made.
    Disconnected {
        /// Close code, where there was one.
        code: Option<u16>,
        /// What happened, for a person.
        reason: String,
        /// The next attempt begins after this time.
        retry_after: Duration,
    },
    /// The server said that coming back is of no use, or took no token. Nothing follows.
    Stopped {
        /// Close code; `None` when the handshake was refused.
        code: Option<u16>,
        /// Why, for a person.
        reason: String,
    },
}

/// An acked message.
#[derive(Debug, Clone, PartialEq)]
pub struct Acked {
    /// Its number.
    pub seq: u64,
    /// What was in it.
    pub fixes: Vec<Fix>,
    /// One word per fix: `accepted`, `late`, `duplicate`, or why it was rejected.
    pub verdicts: Vec<String>,
    /// A sentence for each rejected fix.
    pub details: Vec<Detail>,
}
