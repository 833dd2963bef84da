//! How drivers reach the server.

use wayfare_driver::{DriveCodec, DriverConfig, Trust, Way};

/// One way, and what it needs.
#[derive(Clone, Debug)]
pub struct Transport {
    /// The only way that is tried.
    pub way: Way,
    /// `host:port` of the QUIC door.
    pub quic: Option<String>,
    /// By what the server is recognised.
    pub trust: Trust,
    /// How messages are written, except over HTTP.
    pub codec: DriveCodec,
}

impl Default for Transport {
    fn default() -> Self {
        Self { way: Way::WebSocket, quic: None, trust: Trust::System, codec: DriveCodec::Proto }
    }
}

impl Transport {
    /// From the words of a command line: `quic`, `ws` or `http`; the QUIC address; the certificate's fingerprint. Messages are Protocol Buffers.
    ///
    /// # Errors
    /// An unknown word, QUIC without an address, or a fingerprint that is none.
    pub fn parse(word: &str, quic: Option<&str>, fingerprint: Option<&str>) -> anyhow::Result<Self> {
        let ways = [Way::Quic, Way::WebSocket, Way::Http];
        let way = ways.into_iter().find(|way| way.name() == word);
        let way = way.ok_or_else(|| anyhow::anyhow!("{word:?} is not quic, ws or http"))?;
        anyhow::ensure!(way != Way::Quic || quic.is_some(), "QUIC needs an address: --quic host:port");
        let trust = fingerprint.map_or(Ok(Trust::System), Trust::fingerprint)?;
        Ok(Self { way, quic: quic.map(str::to_owned), trust, ..Self::default() })
    }

    /// The same driver by this way alone.
    #[must_use]
    pub fn apply(&self, config: DriverConfig) -> DriverConfig {
        let (quic, trust) = (self.quic.clone(), self.trust.clone());
        DriverConfig { ways: vec![self.way], quic, trust, codec: self.codec, ..config }
    }

    /// The same with messages written so.
    #[must_use]
    pub fn in_codec(self, codec: DriveCodec) -> Self {
        Self { codec, ..self }
    }
}

/// A codec by its word on a command line.
///
/// # Errors
/// The word is neither `json` nor `proto`.
pub fn codec(word: &str) -> Result<DriveCodec, String> {
    match word {
        "json" => Ok(DriveCodec::Json),
        "proto" => Ok(DriveCodec::Proto),
        _ => Err(format!("{word:?} is not json or proto")),
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
        assert_eq!(quic.codec, DriveCodec::Proto);
        let config = quic.in_codec(codec("json").unwrap()).apply(DriverConfig::new("http://localhost", "t"));
        assert_eq!((config.known_ways(), config.quic.as_deref()), (vec![Way::Quic], Some("localhost:4433")));
        assert_eq!(config.codec, DriveCodec::Json);
        assert!(codec("xml").is_err());
    }
}
