//! A driver app on QUIC, written from `PROTOCOL.md` alone: it shares nothing with the library but the check of the certificate.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use serde_json::{Value, json};
use wayfare_driver::Trust;

use crate::drive::{DRIVE, Outbox};
use crate::harness::{House, SOON, now_ms, within};
use crate::rest::{Driver, texts};

/// Settings of a house with QUIC.
pub const QUIC: [(&str, &str); 2] = [("QUIC_LISTEN", "127.0.0.1:0"), ("QUIC_GENERATED_CERTIFICATE", "true")];

/// A UDP socket that trusts this house, offering this protocol.
pub fn endpoint(fingerprint: &str, alpn: &str) -> Endpoint {
    let tls = Trust::fingerprint(fingerprint).unwrap().client_config(&[alpn]).unwrap();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(Some(std::time::Duration::from_secs(50).try_into().unwrap()));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

/// A message with its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

/// A connected app.
pub struct QuicApp {
    pub endpoint: Endpoint,
    pub connection: Connection,
    pub send: SendStream,
    recv: RecvStream,
    heard: Vec<u8>,
    pub outbox: Outbox,
    pub said: VecDeque<Value>,
    pub closed: Option<u64>,
}

impl QuicApp {
    pub async fn open(house: &House, driver: &Driver) -> Self {
        Self::resume(house, driver, Outbox::new("9f3a61c0")).await.unwrap()
    }

    pub async fn resume(house: &House, driver: &Driver, outbox: Outbox) -> Result<Self, u64> {
        Self::reach(house.quic_port, &house.fingerprint, driver, outbox).await
    }

    /// The same for an app that outlives the house, or goes another way. Refused: the close code, or 0 if nobody answered.
    pub async fn reach(port: u16, fingerprint: &str, driver: &Driver, outbox: Outbox) -> Result<Self, u64> {
        let mut app = Self::silent(port, fingerprint, outbox).await?;
        app.control(DRIVE.as_bytes()).await;
        app.control(
            json!({ "type": "hello", "token": driver.token, "session": app.outbox.session }).to_string().as_bytes(),
        )
        .await;
        let Some(welcome) = within(SOON, "welcome", app.step()).await else { return Err(app.closed.unwrap()) };
        app.said.clear();
        if welcome["type"] != "welcome" {
            return Err(welcome["code"].as_u64().unwrap_or(0));
        }
        assert_eq!((&welcome["version"], &welcome["driver"]), (&json!(1), &json!(driver.id)));
        for (_, _, text) in app.outbox.unacked.clone() {
            app.message(text.as_bytes()).await;
        }
        Ok(app)
    }

    /// A connection on which nothing was said yet.
    pub async fn silent(port: u16, fingerprint: &str, outbox: Outbox) -> Result<Self, u64> {
        let endpoint = endpoint(fingerprint, "wayfare/1");
        let connecting = endpoint.connect(SocketAddr::from(([127, 0, 0, 1], port)), "localhost").unwrap();
        let connection = connecting.await.map_err(|error| code_of(&error))?;
        let (send, recv) = connection.open_bi().await.map_err(|error| code_of(&error))?;
        let (heard, said) = (Vec::new(), VecDeque::new());
        Ok(Self { endpoint, connection, send, recv, heard, outbox, said, closed: None })
    }

    /// Writes a message to the control stream.
    pub async fn control(&mut self, message: &[u8]) {
        let _ = self.send.write_all(&framed(message)).await;
    }

    /// Writes a message as a stream of its own.
    pub async fn message(&mut self, bytes: &[u8]) {
        if let Ok(mut stream) = self.connection.open_uni().await {
            let _ = stream.write_all(bytes).await;
            let _ = stream.finish();
        }
    }

    /// Sends a new message of fixes and returns its number.
    pub async fn send(&mut self, fixes: Vec<Value>) -> u64 {
        self.outbox.seq += 1;
        let seq = self.outbox.seq;
        let text = json!({ "type": "fixes", "seq": seq, "sent_ms": now_ms(), "fixes": fixes }).to_string();
        self.outbox.unacked.push_back((seq, fixes, text.clone()));
        self.message(text.as_bytes()).await;
        seq
    }

    /// Sends it and waits for its ack.
    pub async fn deliver(&mut self, fixes: Vec<Value>) -> Vec<String> {
        let seq = self.send(fixes).await;
        self.settle().await;
        self.outbox.acked[&seq].1.clone()
    }

    /// Takes the next message; `None` when the connection is over. May be given up and called again.
    pub async fn step(&mut self) -> Option<Value> {
        loop {
            if let Some((head, rest)) = self.heard.split_first_chunk::<4>()
                && let Some(message) = rest.get(..u32::from_be_bytes(*head) as usize)
            {
                let (length, message) = (4 + message.len(), serde_json::from_slice(message).unwrap());
                self.heard.drain(..length);
                self.note(&message);
                return Some(message);
            }
            match self.recv.read_chunk(4096, true).await {
                Ok(Some(piece)) => self.heard.extend_from_slice(&piece.bytes),
                _ => {
                    let reason = self.connection.closed().await;
                    self.closed.get_or_insert(code_of(&reason));
                    return None;
                }
            }
        }
    }

    fn note(&mut self, message: &Value) {
        if message["type"] != "ack" {
            return self.said.push_back(message.clone());
        }
        let seq = message["seq"].as_u64().unwrap();
        let place = self.outbox.unacked.iter().position(|(unacked, ..)| *unacked == seq);
        if let Some((seq, fixes, _)) = place.and_then(|place| self.outbox.unacked.remove(place)) {
            let verdicts = texts(&message["verdicts"]);
            assert_eq!(verdicts.len(), fixes.len(), "{message}");
            self.outbox.acked.insert(seq, (fixes, verdicts));
        }
    }

    /// Reads until everything is acked.
    pub async fn settle(&mut self) {
        within(SOON, "all acks", async {
            while !self.outbox.unacked.is_empty() {
                assert!(self.step().await.is_some(), "closed with {:?} before all acks", self.closed);
            }
        })
        .await;
    }

    /// Reads until a message of this kind was said, and takes it.
    pub async fn said(&mut self, kind: &str) -> Value {
        within(SOON, kind, async {
            loop {
                if let Some(place) = self.said.iter().position(|said| said["type"] == kind) {
                    return self.said.remove(place).unwrap();
                }
                assert!(self.step().await.is_some(), "closed with {:?} before: {kind}", self.closed);
            }
        })
        .await
    }

    /// Reads until the connection is over, and returns the close code.
    pub async fn closed(&mut self) -> u64 {
        within(2 * SOON, "the connection ends", async { while self.step().await.is_some() {} }).await;
        self.closed.unwrap()
    }
}

/// The code with which the house closed; 0 if it did not.
pub fn code_of(error: &ConnectionError) -> u64 {
    match error {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        _ => 0,
    }
}
