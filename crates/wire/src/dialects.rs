//! What phone apps that already exist send, read into values of one meaning.
//!
//! Each sender is a dialect of its own, because units and sentinels differ between them: knots or metres per second, a percentage or a share,
//! -1 or 0 for what is not known. What leaves here has one meaning: m/s, metres, degrees, Unix milliseconds, a battery from 0 to 1, and `None`
//! for unknown. Which dialect it is, [`read`] finds out from what was sent ([`recognize`]), never from the path.
//!
//! Nothing here refuses a request. Apps send a refused record for ever and hold back what is behind it, so an unreadable item is a
//! [`What::Fault`] among the others, with the rule it broke and the value seen.

mod overland;
mod owntracks;
mod query;
mod recognize;
mod traccar_json;
mod transistorsoft;
mod values;

pub use recognize::read;

use wayfare_engine::{Millis, OutageReason, PhoneReport, Said};

use crate::messages::drive::Fix;

/// Most items of one request that are looked at: a day of one fix a second is 86,400. What is beyond is one fault.
pub const ITEMS_MAX: usize = 100_000;

/// Longest text that is kept of a value seen, characters.
const VALUE_CHARS_MAX: usize = 80;

/// Who speaks like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The OsmAnd app's online tracking: a query, speed in m/s, accuracy in a parameter named `hdop`.
    Osmand,
    /// Traccar Client: a query, a form, or flat JSON objects; speed in knots.
    TraccarClient,
    /// Traccar Client 9: one JSON object with `device_id` and `location`.
    TraccarJson,
    /// OwnTracks over HTTP: JSON objects with `_type`.
    OwnTracks,
    /// Apps built on Transistor Software's background-geolocation, and templates of it in the wild.
    Transistorsoft,
    /// Overland: GeoJSON features.
    Overland,
    /// None of these.
    Unknown,
}

impl Dialect {
    /// All that can be recognised.
    pub const ALL: [Self; 6] =
        [Self::Osmand, Self::TraccarClient, Self::TraccarJson, Self::OwnTracks, Self::Transistorsoft, Self::Overland];

    /// Its word, in records and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Osmand => "osmand",
            Self::TraccarClient => "traccar_client",
            Self::TraccarJson => "traccar_json",
            Self::OwnTracks => "owntracks",
            Self::Transistorsoft => "transistorsoft",
            Self::Overland => "overland",
            Self::Unknown => "unknown",
        }
    }

    /// The dialect of that word; [`Dialect::Unknown`] has none.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.code() == code)
    }
}

/// A request of an app, as far as its meaning depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// What stands behind the question mark, still encoded.
    pub query: &'a str,
    /// `Content-Type`; empty if there is none.
    pub content_type: &'a str,
    /// It has one of the headers by which OwnTracks names user and device (`X-Limit-U`, `X-Limit-D`).
    pub is_owntracks: bool,
    /// The body.
    pub body: &'a [u8],
    /// What the operator has said this phone sends, where queries leave it open.
    pub told: Option<Dialect>,
}

/// What a request says.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<'a> {
    /// Who speaks like this.
    pub dialect: Dialect,
    /// Its items, in the order sent.
    pub items: Vec<Item<'a>>,
    /// What the phone says of itself, by its newest item.
    pub phone: Phone,
    /// Why nothing more may come, where the app says it: at most one per item.
    pub outages: Vec<Outage>,
}

/// One item of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Item<'a> {
    /// Its own bytes, as sent.
    pub raw: &'a [u8],
    /// What it is.
    pub what: What,
}

/// See [`Item`].
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A position.
    Fix(AppFix),
    /// The app lives, and has no new position to tell.
    Alive,
    /// Well formed, and of no use here: an interim fix, a message of another kind.
    Ignored,
    /// It cannot be read as what it should be.
    Fault(Fault),
}

/// A position, and what tells it from others.
#[derive(Debug, Clone, PartialEq)]
pub struct AppFix {
    /// In the units of our own protocol.
    pub fix: Fix,
    /// The app's own id of the record; the same when it is sent again.
    pub id: Option<String>,
    /// It was sent ahead of a queue, in which it will come again.
    pub ahead: bool,
}

/// Which rule an unreadable item breaks, and the value seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The rule.
    pub rule: Rule,
    /// The value, cut to some characters.
    pub value: String,
}

/// What an item must fulfil to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It must be JSON, a query or a form of a known shape.
    Shape,
    /// Latitude and longitude must be there, and be numbers.
    Position,
    /// It must say when it was taken: it may have waited in a queue.
    Time,
    /// The phone itself must hold it for valid.
    Valid,
    /// It must not be encrypted.
    Encrypted,
    /// There must not be more than [`ITEMS_MAX`].
    Count,
}

impl Rule {
    /// Its word, in records.
    pub fn code(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::Position => "position",
            Self::Time => "time",
            Self::Valid => "valid",
            Self::Encrypted => "encrypted",
            Self::Count => "count",
        }
    }
}

impl Fault {
    /// A fault whose value is cut to what a person reads.
    pub fn new(rule: Rule, value: impl AsRef<str>) -> Self {
        Self { rule, value: value.as_ref().chars().take(VALUE_CHARS_MAX).collect() }
    }
}

/// What a phone says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Phone {
    /// When it was said, Unix milliseconds by the phone's clock.
    pub at_ms: Option<i64>,
    /// Charge of the battery, 0 to 1.
    pub battery: Option<f32>,
    /// It is being charged, or full on the cable.
    pub charging: Option<bool>,
    /// The phone says that it moves.
    pub moving: Option<bool>,
    /// What it believes to be carried by: the app's own word.
    pub activity: Option<String>,
    /// When the driver's own navigation expects to be there, Unix milliseconds.
    pub arrives_ms: Option<i64>,
}

impl Phone {
    /// Takes over what an item says, if it is the newest so far.
    fn hear(&mut self, newer: Self) {
        if newer.at_ms >= self.at_ms {
            *self = Self {
                at_ms: newer.at_ms,
                battery: newer.battery.or(self.battery),
                charging: newer.charging.or(self.charging),
                moving: newer.moving.or(self.moving),
                activity: newer.activity.or_else(|| self.activity.take()),
                arrives_ms: newer.arrives_ms.or(self.arrives_ms),
            };
        }
    }
}

/// The app says why positions will not come, or are worse than they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Why.
    pub cause: OutageReason,
    /// Since when, Unix milliseconds by the phone's clock.
    pub at_ms: Option<i64>,
}

impl<'a> Reading<'a> {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, items: Vec::new(), phone: Phone::default(), outages: Vec::new() }
    }

    fn add(&mut self, raw: &'a [u8], what: What) {
        match self.items.len() {
            ..ITEMS_MAX => self.items.push(Item { raw, what }),
            ITEMS_MAX => {
                let fault = Fault::new(Rule::Count, format!("more than {ITEMS_MAX} items in one request"));
                self.items.push(Item { raw: &[], what: What::Fault(fault) });
            }
            _ => {}
        }
    }

    fn fault(&mut self, raw: &'a [u8], rule: Rule, value: impl AsRef<str>) {
        self.add(raw, What::Fault(Fault::new(rule, value)));
    }

    /// The positions, in the order sent.
    pub fn fixes(&self) -> impl Iterator<Item = &AppFix> {
        self.items.iter().filter_map(|item| match &item.what {
            What::Fix(fix) => Some(fix),
            _ => None,
        })
    }

    /// What it says of the phone, for the engine: its battery, and the newest reason why nothing more may come.
    pub fn report(&self) -> PhoneReport {
        let outage = self.outages.iter().max_by_key(|outage| outage.at_ms);
        PhoneReport {
            at: outage.and_then(|outage| outage.at_ms).map(Millis),
            battery: self.phone.battery,
            charging: self.phone.charging,
            said: outage.map_or(Said::Nothing, |outage| Said::Outage(outage.cause)),
        }
    }

    /// The faults, in the order sent.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.items.iter().filter_map(|item| match &item.what {
            What::Fault(fault) => Some(fault),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
