//! A server in a hundred lines: it accepts every fix, shows it to whoever watches, and keeps no record longer than a test.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use wayfare_wire::codec::DriveCodec;
use wayfare_wire::messages::drive::{Ack, Fixes, FromDriver, ToDriver};

/// How the fake misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Cuts a driver's line after so many messages; 0: never.
    pub cut_after: usize,
    /// Shows each position as this many ms older than the one before.
    pub backwards: bool,
    /// Says with each position that the order is on its way.
    pub on_the_way: bool,
    /// Holds its acks back until it owes this many; 0: never.
    pub acks_owed: usize,
}

#[derive(Default)]
struct Trip {
    alias: usize,
    driver: Option<String>,
    phase: &'static str,
    seq: u64,
    watchers: Vec<mpsc::UnboundedSender<String>>,
}

#[derive(Default)]
struct Records {
    count: usize,
    trips: HashMap<String, Trip>,
    requests: Vec<String>,
}

/// The server; ends with the test's runtime.
#[derive(Clone)]
pub struct Fake {
    records: Arc<Mutex<Records>>,
    faults: Faults,
    pub url: String,
}

impl Fake {
    pub async fn start(faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self { records: Arc::default(), faults, url: format!("http://{}", listener.local_addr().unwrap()) };
        let server = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        fake
    }

    /// Method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.records.lock().unwrap().requests.clone()
    }

    async fn serve(self, stream: TcpStream) {
        let mut head = [0; 1024];
        let count = stream.peek(&mut head).await.unwrap();
        let is_socket = String::from_utf8_lossy(&head[..count]).to_lowercase().contains("upgrade: websocket");
        if !is_socket {
            return self.serve_http(stream).await;
        }
        let (mut path, mut codec) = (String::new(), DriveCodec::default());
        // The shape of the callback is the library's.
        #[allow(clippy::result_large_err)]
        let accept = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            request.uri().path().clone_into(&mut path);
            let bearer = request.headers()["authorization"].to_str().unwrap();
            path.push_str(bearer.strip_prefix("Bearer").unwrap());
            let protocol = request.headers()["sec-websocket-protocol"].clone();
            codec = DriveCodec::of(protocol.to_str().unwrap()).unwrap_or_default();
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, accept).await.unwrap();
        match path.split_once(' ').unwrap() {
            ("/v1/drive", token) => self.serve_driver(socket, codec, token).await,
            ("/v1/watch", "service") => self.serve_watcher(socket).await,
            other => panic!("{other:?}"),
        }
    }

    async fn serve_http(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        loop {
            if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                if bytes.len() >= end + 4 + length {
                    assert!(head.contains("authorization: bearer service"), "{head}");
                    let mut words = head.split_whitespace();
                    let request = format!("{} {}", words.next().unwrap(), words.next().unwrap());
                    let body = serde_json::from_slice(&bytes[end + 4..]).unwrap();
                    let (status, answer) = self.answer(&request, &body);
                    let answer = answer.to_string();
                    let length = answer.len();
                    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{answer}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    bytes.clear();
                }
            }
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn answer(&self, request: &str, body: &Value) -> (u16, Value) {
        let mut records = self.records.lock().unwrap();
        records.requests.push(request.to_owned());
        records.count += 1;
        let number = records.count;
        let parts: Vec<&str> = request.split('/').skip(2).collect();
        match parts[..] {
            ["stores"] => (201, json!({"id": format!("sto_{number}")})),
            ["drivers"] => (201, json!({"id": format!("drv_{number}")})),
            ["tokens"] => (201, json!({"id": "tok_1", "token": body["sub"]})),
            ["trips"] => {
                let id = format!("trp_{number}");
                let driver = body["driver"].as_str().map(str::to_owned);
                let phase = if driver.is_some() { "assigned" } else { "unassigned" };
                let trip = Trip { alias: number, driver, phase, ..Trip::default() };
                records.trips.insert(id.clone(), trip);
                (201, json!({"id": id, "phase": phase}))
            }
            ["trips", trip, "assign"] => {
                let trip = records.trips.get_mut(trip).unwrap();
                trip.driver = body["driver"].as_str().map(str::to_owned);
                trip.phase = "assigned";
                trip.tell(json!({"phase": "assigned"}));
                (200, json!({}))
            }
            ["trips", trip, "complete" | "cancel"] => {
                if let Some(trip) = records.trips.remove(trip) {
                    let end = json!({"type": "end", "alias": trip.alias, "state": {"phase": "delivered"}});
                    trip.send(&end);
                }
                (200, json!({}))
            }
            _ => (200, json!({})),
        }
    }

    async fn serve_driver(self, mut socket: WebSocketStream<TcpStream>, codec: DriveCodec, driver: &str) {
        let welcome = ToDriver::Welcome {
            version: 1,
            driver: driver.to_owned(),
            interval_ms: 200,
            max_fixes: 100,
            max_unacked: 64,
            heartbeat_ms: 20_000,
            expires_at_ms: i64::MAX,
        };
        let (mut messages, mut oldest, mut owed) = (0, i64::MAX, Vec::new());
        while let Some(Ok(frame @ (Message::Text(_) | Message::Binary(_)))) = socket.next().await {
            let (message, _) = codec.read(&frame.into_data()).unwrap();
            let FromDriver::Fixes(Fixes { seq, fixes, .. }) = message else {
                socket.send(framed(codec, &welcome)).await.unwrap();
                continue;
            };
            messages += 1;
            if messages == self.faults.cut_after {
                return;
            }
            for fix in &fixes {
                oldest -= 1;
                let mut position = serde_json::to_value(fix).unwrap();
                if self.faults.backwards {
                    position["t_ms"] = oldest.into();
                }
                let mut records = self.records.lock().unwrap();
                let mine = |trip: &&mut Trip| trip.driver.as_deref() == Some(driver);
                for trip in records.trips.values_mut().filter(mine) {
                    trip.tell(json!({"position": position, "eta": {"at_ms": 1}}));
                    if self.faults.on_the_way {
                        trip.tell(json!({"phase": "to_dropoff"}));
                    }
                }
            }
            let verdicts = vec!["accepted".to_owned(); fixes.len()];
            owed.push(ToDriver::Ack(Ack { seq, verdicts, details: Vec::new() }));
            if owed.len() < self.faults.acks_owed {
                continue;
            }
            // As behind a slow disk: deliveries are in long before.
            if self.faults.acks_owed > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            for ack in owed.drain(..) {
                if socket.send(framed(codec, &ack)).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn serve_watcher(self, socket: WebSocketStream<TcpStream>) {
        let (mut out, mut inbound) = socket.split();
        let (frames, mut queue) = mpsc::unbounded_channel::<String>();
        let sending = tokio::spawn(async move {
            while let Some(frame) = queue.recv().await {
                if out.send(Message::text(frame)).await.is_err() {
                    return;
                }
            }
        });
        while let Some(Ok(Message::Text(text))) = inbound.next().await {
            let message: Value = serde_json::from_str(&text).unwrap();
            for topic in message["topics"].as_array().unwrap() {
                let topic = topic["topic"].as_str().unwrap();
                let mut records = self.records.lock().unwrap();
                let id = topic.strip_prefix("trip:").unwrap();
                let trip = records.trips.get_mut(id.strip_suffix(":ops").unwrap_or(id)).unwrap();
                let (alias, seq) = (trip.alias, trip.seq);
                let _ = frames
                    .send(format!(r#"{{"type":"subscribed","topic":"{topic}","alias":{alias},"cursor":"5.{seq}"}}"#));
                let _ = frames.send(format!(
                    r#"{{"type":"snapshot","alias":{alias},"cursor":"5.{seq}","state":{{"phase":"{}"}}}}"#,
                    trip.phase
                ));
                trip.watchers.push(frames.clone());
            }
        }
        sending.abort();
    }
}

/// A message to a driver as a WebSocket carries it.
fn framed(codec: DriveCodec, message: &ToDriver) -> Message {
    let mut bytes = Vec::new();
    codec.write(&mut bytes, message);
    match codec {
        DriveCodec::Json => Message::text(String::from_utf8(bytes).unwrap()),
        DriveCodec::Proto => Message::binary(bytes),
    }
}

impl Trip {
    fn tell(&mut self, patch: Value) {
        self.seq += 1;
        let (alias, seq) = (self.alias, self.seq);
        let delta = format!(r#"{{"type":"delta","alias":{alias},"seq":{seq},"patch":{patch}}}"#);
        for watcher in &self.watchers {
            let _ = watcher.send(delta.clone());
        }
    }

    fn send(&self, frame: &Value) {
        for watcher in &self.watchers {
            let _ = watcher.send(frame.to_string());
        }
    }
}
