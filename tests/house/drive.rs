//! A driver app: numbers its messages, keeps what is not acked, sends it again.

use std::collections::{BTreeMap, VecDeque};

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::harness::{House, SOON, within};
use crate::rest::{Driver, texts};
use crate::watch::{next_json, open_port};

pub const DRIVE: &str = "wayfare.drive.v1.json";

/// What an app keeps over crashes of the line.
#[derive(Clone)]
pub struct Outbox {
    pub session: String,
    pub seq: u64,
    pub unacked: VecDeque<(u64, Vec<Value>, String)>,
    /// Fixes of acked messages with their verdicts, by number.
    pub acked: BTreeMap<u64, (Vec<Value>, Vec<String>)>,
}

impl Outbox {
    pub fn new(session: &str) -> Self {
        Self { session: session.to_owned(), seq: 0, unacked: VecDeque::new(), acked: BTreeMap::new() }
    }
}

/// A connected app.
pub struct App {
    ws: WebSocketStream<TcpStream>,
    pub outbox: Outbox,
    pub said: Vec<Value>,
    pub closed: Option<u16>,
}

impl App {
    pub async fn open(house: &House, driver: &Driver) -> Self {
        Self::resume(house, driver, Outbox::new("9f3a61c0")).await.unwrap()
    }

    /// Comes back: says hello, then sends again what was not acked, in order.
    pub async fn resume(house: &House, driver: &Driver, outbox: Outbox) -> Result<Self, tungstenite::Error> {
        Self::reach(house.port, driver, outbox).await
    }

    /// The same for an app that outlives the house.
    pub async fn reach(port: u16, driver: &Driver, outbox: Outbox) -> Result<Self, tungstenite::Error> {
        let mut ws = open_port(port, "/v1/drive", DRIVE, None, None).await?;
        let hello = json!({ "type": "hello", "token": driver.token, "session": outbox.session });
        ws.send(Message::text(hello.to_string())).await?;
        let welcome = match within(SOON, "welcome", next_json(&mut ws)).await {
            Ok(message) => message,
            Err(code) => {
                assert!(!(4100..4300).contains(&code), "the driver was refused with {code}");
                return Err(tungstenite::Error::ConnectionClosed);
            }
        };
        if welcome["type"] != "welcome" {
            return Err(tungstenite::Error::ConnectionClosed);
        }
        assert_eq!((&welcome["version"], &welcome["driver"]), (&json!(1), &json!(driver.id)));
        let rules = ["interval_ms", "max_fixes", "max_unacked", "heartbeat_ms", "expires_at_ms"];
        assert!(rules.iter().all(|name| welcome[name].is_i64()), "{welcome}");
        let mut app = Self { ws, outbox, said: Vec::new(), closed: None };
        for (_, _, text) in app.outbox.unacked.clone() {
            app.raw(&text).await;
        }
        Ok(app)
    }

    /// Sends a new message of fixes and returns its number.
    pub async fn send(&mut self, fixes: Vec<Value>) -> u64 {
        self.outbox.seq += 1;
        let seq = self.outbox.seq;
        let text =
            json!({ "type": "fixes", "seq": seq, "sent_ms": crate::harness::now_ms(), "fixes": fixes }).to_string();
        self.outbox.unacked.push_back((seq, fixes, text.clone()));
        self.raw(&text).await;
        seq
    }

    /// Sends it and waits for its ack.
    pub async fn deliver(&mut self, fixes: Vec<Value>) -> Vec<String> {
        let seq = self.send(fixes).await;
        self.settle().await;
        self.outbox.acked[&seq].1.clone()
    }

    /// Sends any text.
    pub async fn raw(&mut self, text: &str) {
        let _ = self.ws.send(Message::text(text.to_owned())).await;
    }

    /// Takes the next message; `None` when the connection is over.
    pub async fn step(&mut self) -> Option<Value> {
        let message = match next_json(&mut self.ws).await {
            Ok(message) => message,
            Err(code) => {
                self.closed.get_or_insert(code);
                return None;
            }
        };
        if message["type"] == "ack" {
            let seq = message["seq"].as_u64().unwrap();
            let place = self.outbox.unacked.iter().position(|(unacked, ..)| *unacked == seq);
            if let Some((seq, fixes, _)) = place.and_then(|place| self.outbox.unacked.remove(place)) {
                let verdicts = texts(&message["verdicts"]);
                assert_eq!(verdicts.len(), fixes.len(), "{message}");
                self.outbox.acked.insert(seq, (fixes, verdicts));
            }
        } else {
            self.said.push(message.clone());
        }
        Some(message)
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
                    return self.said.remove(place);
                }
                assert!(self.step().await.is_some(), "closed with {:?} before: {kind}", self.closed);
            }
        })
        .await
    }

    /// Reads until the connection is over, and returns the close code.
    pub async fn closed(&mut self) -> u16 {
        within(SOON, "the connection ends", async { while self.step().await.is_some() {} }).await;
        self.closed.unwrap()
    }
}
