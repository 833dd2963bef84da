//! `[http]`: the door for people, programs and browsers.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, ensure};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wayfare_net::origin::AllowedOrigins;

use super::Tls;
use super::key::{Key, number, word};

pub(super) const KEYS: &[Key] = &[
    word(
        "listen",
        "Address and port. A public address is refused without a certificate (tls.cert_file) or a proxy with TLS in front (next key).",
    ),
    word(
        "behind_tls_proxy",
        "True: a proxy that speaks TLS stands in front, so that tokens never travel in the clear.",
    ),
    word("origins", "Web pages of other hosts that may talk to us: exact origins, like \"https://track.example.com\"."),
    word(
        "trusted_proxies",
        "Proxies of ours, as addresses or networks (\"10.0.0.0/8\"): the client is whom their X-Forwarded-For names. Nobody else's is believed.",
    ),
    number("connections_max", 1.0..=1_000_000.0, "Most open connections, drivers and watchers together."),
    number("head_timeout_s", 1.0..=120.0, "A request head must be complete after this long, seconds."),
    word("metrics_open", "True: /metrics needs no token. Otherwise one of the roles support, admin or service."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    pub listen: String,
    pub behind_tls_proxy: bool,
    pub origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub connections_max: u32,
    pub head_timeout_s: u32,
    pub metrics_open: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            behind_tls_proxy: false,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            connections_max: 100_000,
            head_timeout_s: 10,
            metrics_open: false,
        }
    }
}

impl Http {
    pub(super) fn check(&self, tls: &Tls) -> anyhow::Result<()> {
        self.address(tls)?;
        self.proxies()?;
        AllowedOrigins::new(self.origins.iter().cloned()).context("http.origins")?;
        Ok(())
    }

    /// Where to listen.
    pub(super) fn address(&self, tls: &Tls) -> anyhow::Result<SocketAddr> {
        let text = &self.listen;
        let address: SocketAddr =
            text.parse().with_context(|| format!("http.listen is {text:?}, not an address and a port"))?;
        ensure!(
            address.ip().is_loopback() || self.behind_tls_proxy || tls.files()?.is_some(),
            "http.listen is {address}, which others can reach: tokens would travel in the clear. Give a certificate (tls.cert_file \
             and tls.key_file), or put a proxy with TLS in front and set http.behind_tls_proxy = true, or listen on 127.0.0.1"
        );
        Ok(address)
    }

    /// The proxies whose word about the client is believed.
    pub(super) fn proxies(&self) -> anyhow::Result<Vec<IpNet>> {
        let read = |text: &String| {
            let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            network.with_context(|| format!("http.trusted_proxies: {text:?} is no address and no network"))
        };
        self.trusted_proxies.iter().map(read).collect()
    }
}
