//! Watchers over the three transports. Each builds its replicas from what it is told and nothing else.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use wayfare_wire::WATCH_JSON_V1;
use wayfare_wire::codec::{Codec, WatchReader};
use wayfare_wire::messages::watch::ToWatcher;

use crate::harness::{House, SOON, within};
use crate::replica::{Cursor, Ledger, Replica};
use crate::rest::Answer;

pub const WATCH: &str = WATCH_JSON_V1;

/// What a client keeps from connection to connection.
#[derive(Clone)]
pub struct Memory {
    replicas: BTreeMap<String, Replica>,
    /// Events of logs, with the cursor behind the last.
    pub events: BTreeMap<String, Vec<Value>>,
    pub log_cursors: BTreeMap<String, String>,
    ledger: Ledger,
}

impl Memory {
    pub fn new(house: &House) -> Self {
        let ledger = house.ledger.clone();
        Self { replicas: BTreeMap::new(), events: BTreeMap::new(), log_cursors: BTreeMap::new(), ledger }
    }

    pub fn replica(&mut self, topic: &str) -> &mut Replica {
        let ledger = self.ledger.clone();
        self.replicas.entry(topic.to_owned()).or_insert_with(|| Replica::new(topic, ledger))
    }

    /// What is held of a topic; null if nothing is.
    pub fn state(&self, topic: &str) -> &Value {
        let told = self.replicas.get(topic).filter(|replica| replica.cursor.is_some() || replica.ended);
        told.map_or(&Value::Null, |replica| &replica.state)
    }

    pub fn phase(&self, topic: &str) -> &str {
        self.state(topic)["phase"].as_str().unwrap_or("")
    }

    pub fn ended(&self, topic: &str) -> bool {
        self.replicas.get(topic).is_some_and(|replica| replica.ended)
    }

    pub fn cursor(&self, topic: &str) -> Option<Cursor> {
        self.replicas.get(topic).and_then(|replica| replica.cursor)
    }

    fn cursor_text(&self, topic: &str) -> Option<String> {
        self.cursor(topic).map(|cursor| cursor.to_string()).or_else(|| self.log_cursors.get(topic).cloned())
    }

    fn cursors(&self, topics: &[String]) -> String {
        let cursors: Vec<String> =
            topics.iter().map(|topic| self.cursor_text(topic).unwrap_or_else(|| "-".into())).collect();
        cursors.join(",")
    }

    fn event(&mut self, topic: &str, cursor: &str, event: &Value) {
        let events = self.events.entry(topic.to_owned()).or_default();
        let again = events.iter().any(|known| known["id"] == event["id"]);
        assert!(!again, "{topic}: the event {} came twice", event["id"]);
        events.push(event.clone());
        self.log_cursors.insert(topic.to_owned(), cursor.to_owned());
    }

    /// Takes a frame about a topic, the same over WebSocket and SSE.
    fn take(&mut self, topic: &str, kind: &str, message: &Value) {
        let cursor = || -> Cursor { message["cursor"].as_str().unwrap().parse().unwrap() };
        match kind {
            "snapshot" => self.replica(topic).snapshot(cursor(), &message["state"]),
            "delta" => self.replica(topic).delta(message["seq"].as_u64().unwrap(), &message["patch"]),
            "end" => self.replica(topic).end(&message["state"]),
            "event" => self.event(topic, message["cursor"].as_str().unwrap(), &message["event"]),
            "subscribed" if topic.starts_with("store:") || topic == "fences" => {
                self.log_cursors
                    .entry(topic.to_owned())
                    .or_insert_with(|| message["cursor"].as_str().unwrap().to_owned());
            }
            "subscribed" => self.replica(topic).subscribed_at(cursor()),
            "reset" => drop(self.log_cursors.insert(topic.to_owned(), message["cursor"].as_str().unwrap().to_owned())),
            // What is held may be old; the next snapshot is not.
            "stale" => {}
            other => panic!("a frame of kind {other} about {topic}"),
        }
    }
}

/// Opens a WebSocket. An error is what the server answered in its place.
pub async fn open(
    house: &House,
    path: &str,
    subprotocol: &str,
    token: Option<&str>,
    receive_buffer: Option<u32>,
) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    open_port(house.port, path, subprotocol, token, receive_buffer).await
}

/// The same for a client that outlives the house.
pub async fn open_port(
    port: u16,
    path: &str,
    subprotocol: &str,
    token: Option<&str>,
    receive_buffer: Option<u32>,
) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let mut request = format!("ws://127.0.0.1:{port}{path}").into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", subprotocol.parse().unwrap());
    if let Some(token) = token {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = socket.connect(([127, 0, 0, 1], port).into()).await?;
    stream.set_nodelay(true)?;
    let (ws, response) = tokio_tungstenite::client_async(request, stream).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], subprotocol);
    Ok(ws)
}

/// The next message as JSON; pings are answered on the way. `Err` holds the close code, 1006 for none.
pub async fn next_json(ws: &mut WebSocketStream<TcpStream>) -> Result<Value, u16> {
    loop {
        match ws.next().await {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(close))) => return Err(close.map_or(1005, |close| close.code.into())),
            Some(Ok(Message::Binary(_))) => panic!("the server sent a binary message"),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(1006),
        }
    }
}

/// A watcher over WebSocket.
pub struct Watcher {
    pub ws: WebSocketStream<TcpStream>,
    codec: Codec,
    reader: WatchReader,
    /// Read, and not yet taken: a binary message holds several.
    read: VecDeque<Value>,
    /// Messages that came, and the bytes of the last one.
    pub messages: usize,
    pub message_bytes: usize,
    aliases: HashMap<u64, String>,
    pub memory: Memory,
    /// What was said that is not about a state or an event.
    pub said: Vec<Value>,
    pub closed: Option<u16>,
}

impl Watcher {
    pub async fn open(house: &House, token: &str) -> Self {
        Self::resume(house, token, Memory::new(house)).await.unwrap()
    }

    /// In a codec.
    pub async fn open_as(house: &House, token: &str, codec: Codec) -> Self {
        Self::resume_as(house, token, Memory::new(house), codec).await.unwrap()
    }

    /// With what is left of an earlier connection.
    pub async fn resume(house: &House, token: &str, memory: Memory) -> Result<Self, tungstenite::Error> {
        Self::resume_as(house, token, memory, Codec::Json).await
    }

    pub async fn resume_as(
        house: &House,
        token: &str,
        memory: Memory,
        codec: Codec,
    ) -> Result<Self, tungstenite::Error> {
        let ws = open(house, "/v1/watch", codec.subprotocol(), Some(token), None).await?;
        Ok(Self::over_as(ws, memory, codec))
    }

    pub fn over(ws: WebSocketStream<TcpStream>, memory: Memory) -> Self {
        Self::over_as(ws, memory, Codec::Json)
    }

    pub fn over_as(ws: WebSocketStream<TcpStream>, memory: Memory, codec: Codec) -> Self {
        Self {
            ws,
            codec,
            reader: WatchReader::default(),
            read: VecDeque::new(),
            messages: 0,
            message_bytes: 0,
            aliases: HashMap::new(),
            memory,
            said: Vec::new(),
            closed: None,
        }
    }

    pub async fn say(&mut self, message: Value) {
        let message = match self.codec {
            Codec::Json => Message::text(message.to_string()),
            Codec::Proto => {
                let mut bytes = Vec::new();
                Codec::Proto.write_from_watcher(&mut bytes, &serde_json::from_value(message).unwrap());
                Message::binary(bytes)
            }
        };
        // A line that is gone shows when reading.
        let _ = self.ws.send(message).await;
    }

    /// The next message as JSON, whichever codec it came in.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            if let Some(message) = self.read.pop_front() {
                return Ok(message);
            }
            let mut told = Vec::new();
            match self.ws.next().await {
                Some(Ok(Message::Text(text))) if self.codec == Codec::Json => {
                    (self.messages, self.message_bytes) = (self.messages + 1, text.len());
                    return Ok(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Binary(bytes))) if self.codec == Codec::Proto => {
                    (self.messages, self.message_bytes) = (self.messages + 1, bytes.len());
                    self.reader.read(&bytes, &mut told).unwrap();
                }
                Some(Ok(Message::Close(close))) => return Err(close.map_or(1005, |close| close.code.into())),
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => panic!("not this codec: {message:?}"),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
            for message in told {
                if let ToWatcher::Subscribed { topic, alias, .. } = &message {
                    self.reader.hold(*alias, &self.memory.state(topic)["position"]);
                }
                self.read.push_back(serde_json::to_value(&message).unwrap());
            }
        }
    }

    /// From where the memory stands.
    pub async fn subscribe(&mut self, topics: &[&str]) {
        let wanted: Vec<Value> =
            topics.iter().map(|topic| json!({ "topic": topic, "cursor": self.memory.cursor_text(topic) })).collect();
        self.say(json!({ "type": "subscribe", "topics": wanted })).await;
    }

    /// Takes the next message; `None` when the connection is over.
    pub async fn step(&mut self) -> Option<Value> {
        let message = match self.next().await {
            Ok(message) => message,
            Err(code) => {
                self.closed.get_or_insert(code);
                return None;
            }
        };
        let kind = message["type"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "subscribed" => {
                let topic = message["topic"].as_str().unwrap().to_owned();
                self.memory.take(&topic, &kind, &message);
                self.aliases.insert(message["alias"].as_u64().unwrap(), topic);
            }
            "snapshot" | "delta" | "event" | "reset" | "end" => {
                let alias = message["alias"].as_u64().unwrap();
                let topic = self.aliases.get(&alias).unwrap_or_else(|| panic!("nobody has the alias {alias}")).clone();
                self.memory.take(&topic, &kind, &message);
                if kind == "end" {
                    self.aliases.remove(&alias);
                }
            }
            "unsubscribed" => {
                self.aliases.retain(|_, topic| *topic != message["topic"]);
                self.said.push(message.clone());
            }
            _ => self.said.push(message.clone()),
        }
        Some(message)
    }

    /// Reads until what is held is as wanted.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Memory) -> bool) {
        within(SOON, what, async {
            while !wanted(&self.memory) {
                assert!(self.step().await.is_some(), "closed with {:?} before: {what}", self.closed);
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

type Pieces = Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Vec<u8>>> + Send>>;

/// A watcher over SSE.
pub struct EventSource {
    pieces: Pieces,
    text: String,
    topics: Vec<String>,
    pub memory: Memory,
    pub last_id: Option<String>,
    pub said: Vec<(String, Value)>,
    /// Names of events in order, with their ids.
    pub heard: Vec<(String, Option<String>)>,
    /// Comments, which keep the line warm.
    pub comments: usize,
}

impl EventSource {
    pub async fn open(house: &House, token: &str, topics: &[&str]) -> Self {
        Self::resume(house, token, topics, Memory::new(house), None)
            .await
            .unwrap_or_else(|answer| panic!("{}", answer.text))
    }

    /// With a least interval.
    pub async fn paced(house: &House, token: &str, topics: &[&str], interval_ms: u32) -> Self {
        let query = format!("&interval_ms={interval_ms}");
        Self::ask(house, token, topics, Memory::new(house), None, &query)
            .await
            .unwrap_or_else(|answer| panic!("{}", answer.text))
    }

    /// Goes on from the memory, by the id of the last event if there is one. A refusal comes back as it is.
    pub async fn resume(
        house: &House,
        token: &str,
        topics: &[&str],
        memory: Memory,
        last_id: Option<String>,
    ) -> Result<Self, Answer> {
        Self::ask(house, token, topics, memory, last_id, "").await
    }

    async fn ask(
        house: &House,
        token: &str,
        topics: &[&str],
        memory: Memory,
        last_id: Option<String>,
        query: &str,
    ) -> Result<Self, Answer> {
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let mut url = house.url(&format!("/v1/watch/sse?topics={}{query}", topics.join(",")));
        if last_id.is_none() && topics.iter().any(|topic| memory.cursor_text(topic).is_some()) {
            url.push_str(&format!("&cursor={}", memory.cursors(&topics)));
        }
        // A client of its own: dropping the stream closes the connection.
        let mut request = reqwest::Client::new().get(url).bearer_auth(token);
        if let Some(id) = &last_id {
            request = request.header("last-event-id", id);
        }
        let refused = |status, headers, text| Answer { status, headers, text };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(refused(0, Default::default(), error.to_string())),
        };
        if response.status() != 200 {
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            return Err(refused(status, headers, response.text().await.unwrap_or_default()));
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let pieces = Box::pin(response.bytes_stream().map(|piece| piece.map(Vec::from)));
        Ok(Self {
            pieces,
            text: String::new(),
            topics,
            memory,
            last_id,
            said: Vec::new(),
            heard: Vec::new(),
            comments: 0,
        })
    }

    /// Takes the next event; `None` when the stream is over.
    pub async fn step(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(name) = self.event(&event) {
                    return Some(name);
                }
                continue;
            }
            let piece = self.pieces.next().await?;
            // A stream that was cut ends here as one that was closed does.
            self.text.push_str(std::str::from_utf8(&piece.ok()?).expect("events are cut between characters"));
        }
    }

    fn event(&mut self, text: &str) -> Option<String> {
        let (mut name, mut id, mut data) = (None, None, Vec::new());
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => name = Some(value.to_owned()),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => data.push(value),
                Some(("retry", value)) => assert!(value.parse::<u64>().is_ok()),
                _ => {
                    assert!(line.starts_with(':'), "a line of no meaning: {line:?}");
                    self.comments += 1;
                }
            }
        }
        let name = name?;
        assert_eq!(data.len(), 1, "one line of data: {text}");
        let message: Value = serde_json::from_str(data[0]).unwrap();
        if name == "error" || name == "bye" {
            assert_eq!(id, None, "{text}");
            self.said.push((name.clone(), message));
            self.heard.push((name.clone(), None));
            return Some(name);
        }
        let topic = self.topics[message["alias"].as_u64().unwrap() as usize].clone();
        self.memory.take(&topic, &name, &message);
        if let Some(id) = &id {
            let count = id.split(',').count();
            assert_eq!(count, self.topics.len(), "{text}");
            for (topic, cursor) in self.topics.iter().zip(id.split(',')) {
                let held = self.memory.cursor_text(topic);
                let over = self.memory.ended(topic);
                assert!(
                    cursor == "-" || over || held.as_deref() == Some(cursor),
                    "the id {cursor} of {topic}, held is {held:?}"
                );
            }
            self.last_id = Some(id.clone());
        }
        self.heard.push((name.clone(), id));
        Some(name)
    }

    /// Reads until what is held is as wanted.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Memory) -> bool) {
        within(SOON, what, async {
            while !wanted(&self.memory) {
                assert!(self.step().await.is_some(), "the stream ended before: {what}");
            }
        })
        .await;
    }

    /// Reads to the end of the stream.
    pub async fn ended(&mut self) {
        within(SOON, "the stream ends", async { while self.step().await.is_some() {} }).await;
    }
}

/// A watcher that polls.
pub struct Poller {
    token: String,
    topics: Vec<String>,
    tag: Option<String>,
    pub memory: Memory,
    /// The house said 410.
    pub gone: bool,
    /// Seconds that the house may wait for news; 0: none.
    pub wait_s: u32,
    pub unchanged: usize,
}

impl Poller {
    pub fn new(house: &House, token: &str, topics: &[&str]) -> Self {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Self {
            token: token.to_owned(),
            topics,
            tag: None,
            memory: Memory::new(house),
            gone: false,
            wait_s: 0,
            unchanged: 0,
        }
    }

    /// From where the memory stands.
    pub fn resume(house: &House, token: &str, topics: &[&str], memory: Memory) -> Self {
        let mut poller = Self { memory, ..Self::new(house, token, topics) };
        if poller.topics.iter().any(|topic| poller.memory.cursor_text(topic).is_some()) {
            poller.tag = Some(format!("\"{}\"", poller.memory.cursors(&poller.topics)));
        }
        poller
    }

    /// Asks once. A house that is away is no answer.
    pub async fn poll(&mut self, house: &House) -> Option<Answer> {
        let wait = if self.wait_s > 0 { format!("&wait={}", self.wait_s) } else { String::new() };
        let url = house.url(&format!("/v1/watch/poll?topics={}{wait}", self.topics.join(",")));
        let mut request = house.http.get(url).bearer_auth(&self.token).timeout(SOON);
        if let Some(tag) = &self.tag {
            request = request.header("if-none-match", tag);
        }
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer = Answer { status, headers, text: response.text().await.ok()? };
        match status {
            200 => self.take(&answer),
            304 => {
                self.unchanged += 1;
                assert_eq!(Some(answer.header("etag")), self.tag.as_deref());
            }
            410 => {
                if !self.gone {
                    let topic = self.topics[0].clone();
                    self.memory.replica(&topic).end(&answer.json()["state"]);
                }
                self.gone = true;
            }
            _ => {}
        }
        Some(answer)
    }

    fn take(&mut self, answer: &Answer) {
        let body = answer.json();
        assert!(body["retry_after_ms"].is_u64());
        let tag = answer.header("etag");
        assert_eq!(tag, format!("\"{}\"", body["cursor"].as_str().unwrap()));
        self.tag = Some(tag.to_owned());
        for (topic, part) in self.topics.iter().zip(body["topics"].as_array().unwrap()) {
            assert_eq!(part["topic"], **topic);
            if let Some(cursor) = part["cursor"].as_str().filter(|_| part["events"].is_array()) {
                self.memory.log_cursors.insert(topic.clone(), cursor.to_owned());
            }
            if part["ended"] == true {
                if !self.memory.ended(topic) {
                    self.memory.replica(topic).end(&part["state"]);
                }
            } else if part["events"].is_array() {
                for event in part["events"].as_array().unwrap() {
                    self.memory.event(topic, event["cursor"].as_str().unwrap(), &event["event"]);
                }
            } else if part["state"].is_object() {
                let cursor = part["cursor"].as_str().unwrap().parse().unwrap();
                self.memory.replica(topic).snapshot(cursor, &part["state"]);
            }
        }
    }

    /// Polls until what is held is as wanted.
    pub async fn until(&mut self, house: &House, what: &str, wanted: impl Fn(&Memory) -> bool) {
        within(SOON, what, async {
            while !wanted(&self.memory) {
                self.poll(house).await;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}
