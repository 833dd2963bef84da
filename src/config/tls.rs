//! `[tls]`: the certificate of every door.

use std::path::PathBuf;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use wayfare_net::tls::TlsFiles;

use super::key::{Key, word};

pub(super) const KEYS: &[Key] = &[
    word(
        "cert_file",
        "PEM file of the certificate, its own first. With it HTTP and WebSocket speak TLS, and QUIC uses it. Empty: none.",
    ),
    word("key_file", "PEM file of its private key. Both files may be replaced while the house is open."),
];

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

impl Tls {
    /// Certificate and key, if both are given.
    pub fn files(&self) -> anyhow::Result<Option<TlsFiles>> {
        let Self { cert_file, key_file } = self;
        match (cert_file.as_os_str().is_empty(), key_file.as_os_str().is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(TlsFiles { cert_file: cert_file.clone(), key_file: key_file.clone() })),
            (true, false) => bail!("tls.key_file is given without tls.cert_file"),
            (false, true) => bail!("tls.cert_file is given without tls.key_file"),
        }
    }
}
