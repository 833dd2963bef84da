//! Which certificate is shown where: the operator's on every door, or for a trial one of our own on QUIC alone.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::sync::watch;
use wayfare_ingest::quic::QuicConfig;
use wayfare_net::tls::{self, Certificate, TlsFiles};
use wayfare_wire::DRIVE_QUIC_V1;

use crate::Config;

/// Whom a generated certificate names.
const NAMES: &[&str] = &["localhost", "127.0.0.1", "::1"];

/// The operator's certificate, if there is one.
pub struct Shown {
    files: Option<TlsFiles>,
    certificate: Option<Arc<Certificate>>,
}

impl Shown {
    /// Reads it.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let files = config.tls_files()?;
        let now_s = SystemTime::UNIX_EPOCH.elapsed()?.as_secs() as i64;
        let certificate = files.as_ref().map(|files| files.load(now_s)).transpose()?.map(Certificate::new);
        Ok(Self { files, certificate })
    }

    /// TLS for HTTP and WebSocket, if there is a certificate.
    pub fn for_http(&self) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
        let Some(certificate) = &self.certificate else { return Ok(None) };
        let config = tls::server_config(Arc::clone(certificate), &[b"http/1.1"], rustls::DEFAULT_VERSIONS)?;
        Ok(Some(Arc::new(config)))
    }

    /// The certificate for QUIC.
    fn for_quic(&self, config: &Config) -> anyhow::Result<Arc<Certificate>> {
        match &self.certificate {
            Some(certificate) => Ok(Arc::clone(certificate)),
            None => Ok(Certificate::new(tls::generated(&config.data.dir, NAMES)?)),
        }
    }

    /// Looks after changed files until `stop`.
    pub async fn follow(self, stop: watch::Receiver<bool>) {
        if let (Some(files), Some(certificate)) = (self.files, self.certificate) {
            certificate.follow(files, stop).await;
        }
    }
}

/// What QUIC needs to open.
pub struct QuicDoor {
    pub socket: UdpSocket,
    pub tls: rustls::ServerConfig,
    pub config: QuicConfig,
    /// What a client may pin.
    pub fingerprint: String,
}

impl QuicDoor {
    /// Binds the socket, unless it was given, and takes the certificate, if QUIC is configured.
    pub fn prepare(config: &Config, shown: &Shown, given: Option<UdpSocket>) -> anyhow::Result<Option<Self>> {
        let Some(listen) = config.quic_listen()? else { return Ok(None) };
        let socket = match given {
            Some(socket) => socket,
            None => UdpSocket::bind(listen).with_context(|| format!("cannot listen on {listen} (UDP)"))?,
        };
        let certificate = shown.for_quic(config)?;
        let fingerprint = certificate.fingerprint();
        let tls = tls::server_config(certificate, &[DRIVE_QUIC_V1.as_bytes()], &[&rustls::version::TLS13])?;
        let path = config.data.dir.join("quic.key");
        let secret = tls::kept_secret(&path).with_context(|| path.display().to_string())?;
        let quic = &config.quic;
        let limits = QuicConfig {
            connections_max: quic.connections_max as usize,
            handshakes_max: quic.handshakes_max as usize,
            retry_above: quic.retry_above as usize,
            handshake_timeout: Duration::from_secs(u64::from(config.http.head_timeout_s)),
            secret,
        };
        Ok(Some(Self { socket, tls, config: limits, fingerprint }))
    }
}
