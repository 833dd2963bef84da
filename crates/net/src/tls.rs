//! Certificates: read from files and read again when the files change, or made here for a trial.
//!
//! All listeners of a process share one [`Certificate`]; a handshake takes whatever it holds at that moment. A new file that cannot be
//! used is told in the log, and the certificate that was there stays. One crypto backend: ring.

mod validity;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

pub use validity::Validity;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A certificate made here is valid for this long, and made anew when less than a day is left.
const GENERATED_DAYS: i64 = 365;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of certificates cannot be read.
    #[error("tls.cert_file: {path} cannot be read as PEM certificates: {why}")]
    Certificates {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file of the key cannot be read.
    #[error("tls.key_file: {path} cannot be read as a PEM private key: {why}")]
    Key {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The key is another certificate's.
    #[error("tls.key_file: {key} is not the key of the certificate in tls.cert_file: {why}")]
    Mismatch {
        /// Which key.
        key: String,
        /// What the check said.
        why: String,
    },
    /// Its time is over, or has not come.
    #[error("tls.cert_file: {path} is valid from {from_s} to {to_s} (Unix seconds), and now is {now_s}")]
    NotValidNow {
        /// Which file.
        path: String,
        /// Not before.
        from_s: i64,
        /// Not after.
        to_s: i64,
        /// The clock.
        now_s: i64,
    },
    /// No certificate could be made, or kept.
    #[error("a certificate could not be generated: {0}")]
    Generate(String),
    /// The parts do not make a configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's own certificate first, then those between it and the root.
    pub cert_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
}

/// What all listeners show.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

impl TlsFiles {
    /// Reads both files and checks that they belong together and are valid at `now_s`.
    ///
    /// # Errors
    /// The configuration key, the file and what is wrong with it.
    pub fn load(&self, now_s: i64) -> Result<CertifiedKey, TlsError> {
        let (path, key_path) = (self.cert_file.display().to_string(), self.key_file.display().to_string());
        let unreadable = |why: String| TlsError::Certificates { path: path.clone(), why };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&self.cert_file)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable(error.to_string()))?;
        let own = chain.first().ok_or_else(|| unreadable("it holds none".into()))?;
        let validity = Validity::of(own).ok_or_else(|| unreadable("the first is not X.509".into()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key_file)
            .map_err(|error| TlsError::Key { path: key_path.clone(), why: error.to_string() })?;
        if !validity.holds(now_s) {
            let Validity { from_s, to_s } = validity;
            return Err(TlsError::NotValidNow { path, from_s, to_s, now_s });
        }
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| TlsError::Mismatch { key: key_path, why: error.to_string() })
    }

    /// When they were last written; `None` while one of them is missing.
    fn written(&self) -> Option<(SystemTime, SystemTime)> {
        let written = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
        written(&self.cert_file).zip(written(&self.key_file))
    }
}

impl Certificate {
    /// Holds this one, until another is set.
    pub fn new(key: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(key)))
    }

    /// Shows another one from the next handshake on.
    pub fn set(&self, key: CertifiedKey) {
        self.0.store(Arc::new(key));
    }

    /// SHA-256 of the server's own certificate, as lower-case hexadecimal digits: what a client may pin.
    pub fn fingerprint(&self) -> String {
        let own = self.0.load().cert.first().cloned();
        own.map(|own| fingerprint(&own)).unwrap_or_default()
    }

    /// Looks at the files now and then until `stop`, and takes what was changed.
    pub async fn follow(self: Arc<Self>, files: TlsFiles, mut stop: watch::Receiver<bool>) {
        let mut known = files.written();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let now = files.written();
            // A missing file is one that is being replaced; what cannot be used is told once, not every few seconds.
            if now.is_none() || now == known {
                continue;
            }
            known = now;
            self.reload(&files);
        }
    }

    fn reload(&self, files: &TlsFiles) {
        match files.load(now_s()) {
            Ok(key) => {
                self.set(key);
                tracing::info!(fingerprint = self.fingerprint(), "another certificate is shown from now on");
            }
            Err(error) => tracing::error!(%error, "the new certificate is not used, the old one stays"),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// A server's configuration for one kind of listener. `versions` are the TLS versions offered; clients resume by tickets that only
/// this process can read.
///
/// # Errors
/// The backend gives no random numbers, or knows none of the versions.
pub fn server_config(
    certificate: Arc<Certificate>,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<rustls::ServerConfig, TlsError> {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

/// Reads the certificate that an earlier start made in `dir`, or makes one for these names and keeps it there, the key readable by
/// its owner only. For trials: no client knows it, unless it was told the fingerprint.
///
/// # Errors
/// The folder cannot be written.
pub fn generated(dir: &Path, names: &[&str]) -> Result<CertifiedKey, TlsError> {
    let files = TlsFiles { cert_file: dir.join("generated-cert.pem"), key_file: dir.join("generated-key.pem") };
    let now_s = now_s();
    // One that runs out within a day is as good as one that has.
    if let Ok(kept) = files.load(now_s + 86_400) {
        return Ok(kept);
    }
    let failed = |error: &dyn std::fmt::Display| TlsError::Generate(error.to_string());
    let mut params = rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        .map_err(|error| failed(&error))?;
    let date = |at_s: i64| {
        let (year, month, day) = validity::date_of(at_s);
        rcgen::date_time_ymd(year, month, day)
    };
    params.not_before = date(now_s - 86_400);
    params.not_after = date(now_s + GENERATED_DAYS * 86_400);
    let key = rcgen::KeyPair::generate().map_err(|error| failed(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
    std::fs::create_dir_all(dir).map_err(|error| failed(&error))?;
    write_private(&files.key_file, key.serialize_pem().as_bytes()).map_err(|error| failed(&error))?;
    std::fs::write(&files.cert_file, certificate.pem()).map_err(|error| failed(&error))?;
    files.load(now_s)
}

/// Reads 32 random bytes that an earlier start kept at `path`, or makes them and keeps them there, readable by their owner only.
///
/// # Errors
/// The file cannot be read or written, or has another length.
pub fn kept_secret(path: &Path) -> std::io::Result<[u8; 32]> {
    match std::fs::read(path) {
        Ok(bytes) => return bytes.try_into().map_err(|_| std::io::Error::other("it does not have 32 bytes")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut secret = [0; 32];
    let random = ::ring::rand::SystemRandom::new();
    ::ring::rand::SecureRandom::fill(&random, &mut secret)
        .map_err(|_| std::io::Error::other("the system gives no random numbers"))?;
    write_private(path, &secret)?;
    Ok(secret)
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let _ = std::fs::remove_file(path);
    std::fs::File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// SHA-256 as lower-case hexadecimal digits.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let hash = ::ring::digest::digest(&::ring::digest::SHA256, certificate);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now_s() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests;
