//! The maps of a house: extracts are read, road files opened, and live speeds poured into them while fixes go on being judged.
//!
//! The engine knows what roads are and how to judge by them; this room has the files, the thread and the clock that it must not have.

mod order;
mod pbf;

pub use order::nested_dissection;
pub use pbf::{InvalidExtract, SourceInfo, read_extract};
