//! How drivers reach the server.

use wayfare_driver::{DriverConfig, Trust, Way};

/// One way, and what it needs.
#[derive(Clone, Debug)]
pub struct Transport {
    /// The only way that is tried.
    pub way: Way,
    /// `host:port` of the QUIC door.
    pub quic: Option<String>,
    /// By what the server is recognised.
    pub trust: Trust,
}

impl Default for Transport {
    fn default() -> Self {
        Self { way: Way::WebSocket, quic: None, trust: Trust::System }
    }
}

impl Transport {
    /// From the words of a command line: `quic`, `ws` or `http`; the QUIC address; the certificate's fingerprint.
    ///
    /// # Errors
    /// An unknown word, QUIC without an address, or a fingerprint that is none.
    pub fn parse(word: &str, quic: Option<&str>, fingerprint: Option<&str>) -> anyhow::Result<Self> {
        let ways = [Way::Quic, Way::WebSocket, Way::Http];
        let way = ways.into_iter().find(|way| way.name() == word);
        let way = way.ok_or_else(|| anyhow::anyhow!("{word:?} is not quic, ws or http"))?;
        anyhow::ensure!(way != Way::Quic || quic.is_some(), "QUIC needs an address: --quic host:port");
        let trust = fingerprint.map_or(Ok(Trust::System), Trust::fingerprint)?;
        Ok(Self { way, quic: quic.map(str::to_owned), trust })
    }

    /// The same driver by this way alone.
    #[must_use]
    pub fn apply(&self, config: DriverConfig) -> DriverConfig {
        DriverConfig { ways: vec![self.way], quic: self.quic.clone(), trust: self.trust.clone(), ..config }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_needs_what_it_needs() {
        assert!(Transport::parse("quic", None, None).is_err());
        assert!(Transport::parse("fax", None, None).is_err());
        assert!(Transport::parse("ws", None, Some("12")).is_err());
        let quic = Transport::parse("quic", Some("localhost:4433"), None).unwrap();
        let config = quic.apply(DriverConfig::new("http://localhost", "t"));
        assert_eq!((config.known_ways(), config.quic.as_deref()), (vec![Way::Quic], Some("localhost:4433")));
    }
}
