//! Names of topics, and which of the two kinds each is.

use std::fmt;
use std::str::FromStr;

use wayfare_engine::{InvalidMapCell, MapCell};

use crate::ids::{Driver, Fence, InvalidId, Store, Trip, Upload};

/// Log, for services only, of the phases that trackers found: from ingest to whoever keeps records.
pub const PHASES_LOG: &str = "phases";

/// Log of what drivers say about trips: answers to offers, and phases by hand. For services only.
pub const REPORTS_LOG: &str = "reports";

/// State topics, for services only, that together hold every fence: a field per fence, its value a [`crate::fence::FenceDoc`]. There are
/// many of them so that each stays small.
pub const FENCE_SETS: u16 = 256;

/// Name of a set of fences, 0 to [`FENCE_SETS`].
pub fn fence_set(number: u16) -> String {
    format!("fence-set:{number:02x}")
}

/// The set that a fence belongs to.
pub fn fence_set_of(fence: Fence) -> String {
    fence_set((fence.0 % u128::from(FENCE_SETS)) as u16)
}

/// State topic, for services only: a field for each fine cell in which a driver has been since the start. Who wants to follow all
/// drivers finds the `area:` topics by it.
pub const AREAS_TOPIC: &str = "areas";

/// Everything live in the system, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `trip:{id}`, a state topic: the customer's view of a trip.
    Trip(Trip),
    /// `trip:{id}:ops`, a state topic: the store's and the operator's view of a trip.
    TripOps(Trip),
    /// `driver:{id}`, a state topic: the operator's view of a driver.
    Driver(Driver),
    /// `store:{id}`, a log topic: what happened to the trips of a store.
    Store(Store),
    /// `fences`, a log topic: drivers who enter, leave and stay in the operator's fences.
    Fences,
    /// `area:{cell}`, a state topic: the drivers on duty in a fine cell, or their numbers in the parts of a coarse one.
    Area(MapCell),
    /// `upload:{id}`, a state topic: how far a picture is on its way into a menu.
    Upload(Upload),
    /// `plan:{driver}`, a state topic for services only.
    Plan(Driver),
    /// `access:{trip}`, a state topic for services only: who may watch a trip.
    Access(Trip),
}

/// How a topic is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The latest value of a few named fields; a slow reader skips to a snapshot.
    State,
    /// An ordered list of events; a slow reader reads on from its cursor.
    Log,
}

/// The text names no topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// The part before the first colon is not a kind of topic, or there is none. Wildcards end here too.
    #[error("there is no kind of topic named {0:?}")]
    Family(String),
    /// The id after it is malformed.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The cell after it is none of the map.
    #[error(transparent)]
    Cell(#[from] InvalidMapCell),
}

impl Topic {
    /// State or log.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Store(_) | Self::Fences => Kind::Log,
            _ => Kind::State,
        }
    }

    /// Plans and access lists never leave the house, whoever asks.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Plan(_) | Self::Access(_))
    }

    /// Cells need not be made: where nobody is, the state is empty.
    pub fn always_exists(&self) -> bool {
        matches!(self, Self::Area(_))
    }

    /// The trip that this topic is a view of.
    pub fn trip(&self) -> Option<Trip> {
        match self {
            Self::Trip(trip) | Self::TripOps(trip) | Self::Access(trip) => Some(*trip),
            _ => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trip(id) => write!(out, "trip:{id}"),
            Self::TripOps(id) => write!(out, "trip:{id}:ops"),
            Self::Driver(id) => write!(out, "driver:{id}"),
            Self::Store(id) => write!(out, "store:{id}"),
            Self::Fences => out.write_str("fences"),
            Self::Area(cell) => write!(out, "area:{cell}"),
            Self::Upload(id) => write!(out, "upload:{id}"),
            Self::Plan(id) => write!(out, "plan:{id}"),
            Self::Access(id) => write!(out, "access:{id}"),
        }
    }
}

impl FromStr for Topic {
    type Err = InvalidTopic;

    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        let family = || InvalidTopic::Family(text.chars().take(32).collect());
        if text == "fences" {
            return Ok(Self::Fences);
        }
        let (name, id) = text.split_once(':').ok_or_else(family)?;
        Ok(match name {
            "trip" => match id.strip_suffix(":ops") {
                Some(id) => Self::TripOps(id.parse()?),
                None => Self::Trip(id.parse()?),
            },
            "driver" => Self::Driver(id.parse()?),
            "store" => Self::Store(id.parse()?),
            "area" => Self::Area(id.parse()?),
            "upload" => Self::Upload(id.parse()?),
            "plan" => Self::Plan(id.parse()?),
            "access" => Self::Access(id.parse()?),
            _ => return Err(family()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_undoes_display() {
        for topic in [
            Topic::Trip(Trip(1)),
            Topic::TripOps(Trip(2)),
            Topic::Driver(Driver(3)),
            Topic::Store(Store(4)),
            Topic::Fences,
            Topic::Plan(Driver(5)),
            Topic::Upload(Upload(6)),
            Topic::Access(Trip(u128::MAX)),
            Topic::Area("872830828ffffff".parse().expect("a cell")),
        ] {
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
    }

    #[test]
    fn wildcards_and_strangers_are_refused() {
        for text in [
            "",
            "trip",
            "trip:",
            "trip:*",
            "*",
            "trip:trp_*",
            "area:8928308280fffff",
            "fences:",
            "fence-set:00",
            "trip:drv_00000000000000000000000001",
        ] {
            assert!(text.parse::<Topic>().is_err(), "{text}");
        }
    }
}
