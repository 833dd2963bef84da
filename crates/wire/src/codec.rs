//! The seam between messages and bytes.
//!
//! Decoding is generous about one bad fix and strict about everything else: a fix that cannot be read gets the verdict
//! `invalid`, and the fixes beside it are kept (`PROTOCOL.md`, "Fixes").

mod decode;
mod drive;
mod encode;
mod proto;
mod watch_proto;

pub use decode::{Decoded, Malformed, fixes_from_json, from_driver, from_watcher};
pub use drive::{DriveCodec, write_verdicts};
pub use encode::Codec;
pub use proto::round_e7;
pub use watch_proto::{WatchReader, moves};
