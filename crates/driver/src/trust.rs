//! By what a server is recognised.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// By what a server is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// The roots that the system trusts.
    #[default]
    System,
    /// The roots in a PEM file.
    Roots(PathBuf),
    /// This very certificate, by its SHA-256; its name and its dates are not looked at.
    Fingerprint([u8; 32]),
}

/// There is nothing to recognise a server by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no server can be recognised: {0}")]
pub struct BadTrust(pub String);

impl Trust {
    /// A fingerprint as the server prints it: 64 hexadecimal digits.
    ///
    /// # Errors
    /// Anything else.
    pub fn fingerprint(text: &str) -> Result<Self, BadTrust> {
        let wrong = || BadTrust(format!("{text:?} is not a fingerprint of 64 hexadecimal digits"));
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self::Fingerprint(bytes))
    }

    /// A client's side of TLS, offering these protocols (ALPN).
    ///
    /// # Errors
    /// The roots cannot be read.
    pub fn client_config(&self, alpn: &[&str]) -> Result<ClientConfig, BadTrust> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| BadTrust(error.to_string()))?;
        let mut config = match self {
            Self::Fingerprint(wanted) => {
                let pinned = Arc::new(Pinned { wanted: *wanted, algorithms });
                builder.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth()
            }
            Self::System | Self::Roots(_) => builder.with_root_certificates(self.roots()?).with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, BadTrust> {
        let mut store = RootCertStore::empty();
        let found: Vec<CertificateDer<'static>> = match self {
            Self::Roots(path) => CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| BadTrust(format!("{}: {error}", path.display())))?,
            // Single broken ones are passed over; without any, no server is recognised, which is told then.
            _ => rustls_native_certs::load_native_certs().certs,
        };
        let (added, _) = store.add_parsable_certificates(found);
        match (self, added) {
            (Self::Roots(path), 0) => Err(BadTrust(format!("{} holds no certificate", path.display()))),
            _ => Ok(store),
        }
    }
}

/// Takes one certificate and no other. Whether the server holds its key is checked as always.
#[derive(Debug)]
struct Pinned {
    wanted: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let hash = ::ring::digest::digest(&::ring::digest::SHA256, own);
        if hash.as_ref() == self.wanted {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_64_hexadecimal_digits() {
        assert_eq!(Trust::fingerprint(&"0f".repeat(32)).unwrap(), Trust::Fingerprint([15; 32]));
        for wrong in ["", "0f", &"0g".repeat(32), &"ü".repeat(32), &"0f".repeat(33), &"+f".repeat(32)] {
            assert!(Trust::fingerprint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn roots_that_are_not_there_are_told() {
        let error = Trust::Roots("/nowhere.pem".into()).client_config(&[]).unwrap_err();
        assert!(error.to_string().contains("/nowhere.pem"), "{error}");
    }
}
