//! What the records' room tells the doors about device keys: the keys that stand in the addresses of existing phone apps.
//!
//! The key itself is nowhere but in the phone. Whoever knows it is its driver, so it is told by its hash only.

use serde::{Deserialize, Serialize};

use crate::ids;

/// State topics, for services only, that together hold every device key: a field per hash (64 hexadecimal digits), its value a
/// [`DeviceKeyDoc`], gone when the key is revoked. There are many of them so that each stays small.
pub const DEVICE_KEY_SETS: u16 = 64;

/// Name of a set of device keys, 0 to [`DEVICE_KEY_SETS`].
pub fn device_key_set(number: u16) -> String {
    format!("device-key-set:{number:02x}")
}

/// The set that a hash belongs to.
pub fn device_key_set_of(hash: &str) -> String {
    let first = hash.get(..2).and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or(0);
    device_key_set(first % DEVICE_KEY_SETS)
}

/// Name of the state topic, for services only, that holds when the phones of a set were last heard of: a field per phone, its value a
/// [`DeviceSeenDoc`]. Phones are spread over as many as keys are.
pub fn device_seen_set_of(device: ids::Device) -> String {
    format!("device-seen-set:{:02x}", device.0 % u128::from(DEVICE_KEY_SETS))
}

/// When a phone was last heard of, told about once a minute and only since the house started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSeenDoc {
    /// Then, Unix milliseconds.
    pub at_ms: i64,
    /// How it spoke.
    pub dialect: String,
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKeyDoc {
    /// The key's record.
    pub device: ids::Device,
    /// Who sends with it.
    pub driver: ids::Driver,
    /// The app that was named when it was made: decides where what is sent leaves units open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
}
