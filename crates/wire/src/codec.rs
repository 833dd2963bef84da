//! The seam between messages and bytes. JSON is the first codec; a binary one joins the same enum.
//!
//! Decoding is generous about one bad fix and strict about everything else: a fix that cannot be read gets the verdict
//! `invalid`, and the fixes beside it are kept (`PROTOCOL.md`, "Fixes").

mod decode;
mod encode;

pub use decode::{Decoded, Malformed, fixes_from_json, from_driver, from_watcher};
pub use encode::Codec;
