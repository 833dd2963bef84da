//! The maps of a house: extracts are read, road files opened, and live speeds poured into them while fixes go on being judged.
//!
//! The engine knows what roads are and how to judge by them; this room has the files, the thread and the clock that it must not have.

mod build;
mod live;
mod metrics;
mod order;
mod pbf;
mod places;

pub use build::{BuildFailure, BuiltCity, Step, build_city, open_city};
pub use live::{Atlas, AtlasConfig, OpenError};
pub use order::nested_dissection;
pub use pbf::{InvalidExtract, SourceInfo, read_extract};
pub use places::{Places, read_places};
