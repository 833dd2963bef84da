//! Every message of both protocols, field by field. `PROTOCOL.md` describes exactly these files and carries their hash.

pub mod area;
pub mod drive;
pub mod error;
pub mod watch;

use serde::{Deserialize, Serialize};

/// Last message before a close frame with the same code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// The close code.
    pub code: u16,
    /// Its word.
    pub reason: String,
    /// Come back after this many milliseconds; absent where coming back is of no use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
}
