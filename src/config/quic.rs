//! `[quic]`: the door for drivers on QUIC.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::Tls;
use super::key::{Key, number, word};

pub(super) const KEYS: &[Key] = &[
    word(
        "listen",
        "Address and UDP port for drivers on QUIC, like \"0.0.0.0:4433\"; needs a certificate. Empty: no QUIC.",
    ),
    word(
        "generated_certificate",
        "True: without tls.cert_file, QUIC uses a certificate made at the first start, for trials; its fingerprint is printed.",
    ),
    number("connections_max", 1.0..=1_000_000.0, "Most open QUIC connections."),
    number("handshakes_max", 1.0..=65_536.0, "Most unfinished QUIC handshakes; further ones are refused."),
    number(
        "retry_above",
        0.0..=65_536.0,
        "With more unfinished handshakes than this, a client must first prove its address, one round trip more. 0: always.",
    ),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quic {
    pub listen: String,
    pub generated_certificate: bool,
    pub connections_max: u32,
    pub handshakes_max: u32,
    pub retry_above: u32,
}

impl Default for Quic {
    fn default() -> Self {
        Self {
            listen: String::new(),
            generated_certificate: false,
            connections_max: 100_000,
            handshakes_max: 4096,
            retry_above: 0,
        }
    }
}

impl Quic {
    /// Where to listen for QUIC, if at all.
    pub(super) fn address(&self, tls: &Tls) -> anyhow::Result<Option<SocketAddr>> {
        let text = &self.listen;
        if text.is_empty() {
            return Ok(None);
        }
        let address = text.parse().with_context(|| format!("quic.listen is {text:?}, not an address and a port"))?;
        ensure!(
            tls.files()?.is_some() || self.generated_certificate,
            "quic.listen is {text}, and there is no certificate: give tls.cert_file and tls.key_file, or for a trial set \
             quic.generated_certificate = true"
        );
        Ok(Some(address))
    }
}
