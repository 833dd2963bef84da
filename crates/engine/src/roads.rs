//! Roads: what an OpenStreetMap extract says of them, as a network that fixes are snapped to and routes run on.
//!
//! Built once from an [`Extract`] ([`Network::build`]), kept as bytes ([`Network::encode`], [`Network::decode`]), and then only
//! looked at. Travel times live apart in a [`Metric`], so that live speeds re-weight a whole city while fixes go on being judged by
//! the metric before. Nothing here reads a file: whoever calls brings the bytes.

mod build;
mod class;
mod components;
mod file;
mod geometry;
mod hierarchy;
mod junction;
mod label;
mod matcher;
mod metric;
mod network;
mod osm;
mod path;
mod profile;
mod restrictions;
mod segments;
mod snap;
mod tags;
mod wave;

#[cfg(test)]
pub(crate) mod tests;

pub use build::{BuildError, BuildStats};
pub use class::RoadClass;
pub use file::{InvalidRoads, ROADS_VERSION};
pub use geometry::Bounds;
pub use label::{Climb, Cost, Goal, Label, Start};
pub use matcher::{Confirmed, Driven, MatchRoom, Matched, Matcher, Sight};
pub use metric::Metric;
pub use network::{Network, Street, StreetId};
pub use osm::{Extract, ExtractStats, OsmNode, OsmRelation, OsmWay, RelationMember};
pub use path::Route;
pub use profile::Profile;
pub use segments::Candidate;
