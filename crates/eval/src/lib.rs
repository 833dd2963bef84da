//! How good the judgement is: reference times, real trips and reference matches, replayed through the engine's public interface.
//!
//! Nothing here is fitted to what it measures, and a trip is predicted only from what had happened before.

mod csv;
mod report;
mod score;
mod statics;

pub use csv::InvalidTable;
pub use report::Report;
pub use statics::{StaticRow, evaluate_static, read_static};
