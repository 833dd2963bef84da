//! How good the judgement is: reference times, real trips and reference matches, replayed through the engine's public interface.
//!
//! Nothing here is fitted to what it measures, and a trip is predicted only from what had happened before.

mod arrivals;
mod csv;
mod matches;
mod report;
mod score;
mod statics;
mod trips;
mod watched;

pub use arrivals::evaluate_arrivals;
pub use csv::InvalidTable;
pub use matches::{ReferenceWays, evaluate_match, read_reference_ways};
pub use report::Report;
pub use statics::{StaticRow, evaluate_static, read_static};
pub use trips::{Point, Trace, read_trips};
pub use watched::evaluate_watched;
