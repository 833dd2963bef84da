//! TLS on every door: what speaks it is served as ever, what does not is cut, and certificates are replaced while the house is open.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use wayfare_driver::{Driver, DriverConfig, Event, Fix, Trust, Way};

use crate::drive::DRIVE;
use crate::harness::{House, SOON, now_ms, until, within};
use crate::ride::PICKUP;

/// Certificate and key as an operator keeps them.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write();
        files
    }

    fn cert(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }

    /// Another certificate of the same name.
    fn write(&self) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        std::fs::write(self.0.path().join("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(self.cert(), certificate.pem()).unwrap();
    }

    async fn house(&self, more: &[(&str, &str)]) -> House {
        let (cert, key) = (self.cert(), self.0.path().join("key.pem"));
        let files = [("TLS_CERT_FILE", cert.to_str().unwrap()), ("TLS_KEY_FILE", key.to_str().unwrap())];
        House::start_with(&[&files[..], more].concat()).await
    }

    fn trust(&self) -> Trust {
        Trust::Roots(self.cert())
    }

    async fn connect(&self, house: &House, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let config = self.trust().client_config(&[alpn]).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", house.port)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Asks over HTTPS, by hand.
    async fn call(&self, house: &House, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut stream = self.connect(house, "http/1.1").await.unwrap();
        let method = if body.is_some() { "POST" } else { "GET" };
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            house.key,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(SOON, "an answer", stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    /// A WebSocket over TLS.
    async fn websocket(&self, house: &House, path: &str, protocol: &str, token: Option<&str>) -> Ws {
        let stream = self.connect(house, "http/1.1").await.unwrap();
        let mut request = format!("wss://localhost:{}{path}", house.port).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Ws(tokio_tungstenite::client_async(request, stream).await.unwrap().0)
    }
}

struct Ws(WebSocketStream<TlsStream<TcpStream>>);

impl Ws {
    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message for which this holds.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        within(SOON, what, async {
            loop {
                if let Message::Text(text) = self.0.next().await.unwrap().unwrap() {
                    let message = serde_json::from_str(&text).unwrap();
                    if wanted(&message) {
                        return message;
                    }
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn drivers_and_watchers_speak_tls_on_every_transport() {
    let files = Files::new();
    let house = files.house(&[("QUIC_LISTEN", "127.0.0.1:0")]).await;
    let since_ms = now_ms() - 7_200_000;
    let body = json!({ "name": "Ana", "vehicle": "bicycle", "available": true, "available_since_ms": since_ms });
    let (status, driver) = files.call(&house, "/v1/drivers", Some(body)).await;
    assert_eq!(status, 201, "{driver}");
    let id = driver["id"].as_str().unwrap();
    let (_, issued) = files.call(&house, "/v1/tokens", Some(json!({ "role": "driver", "sub": id }))).await;
    let token = issued["token"].as_str().unwrap();
    house.note_token(token);

    let topic = format!("driver:{id}");
    let mut watcher = files.websocket(&house, "/v1/watch", "wayfare.watch.v1.json", Some(&house.key)).await;
    watcher.say(json!({ "type": "subscribe", "topics": [{ "topic": topic }] })).await;
    watcher.until("a snapshot", |message| message["type"] == "snapshot").await;
    for (number, way) in [Way::Quic, Way::WebSocket, Way::Http].into_iter().enumerate() {
        let config = DriverConfig {
            ways: vec![way],
            quic: Some(format!("localhost:{}", house.quic_port)),
            trust: files.trust(),
            ..DriverConfig::new(format!("https://localhost:{}", house.port), token)
        };
        let (driver, mut events) = Driver::connect(config).unwrap();
        let lat = PICKUP.0 + number as f64 * 1e-4;
        let t_ms = now_ms() - 60_000 + number as i64 * 15_000;
        driver.send(Fix { lat, lon: PICKUP.1, t_ms: Some(t_ms), ..Fix::default() }).unwrap();
        if within(SOON, "its ack", driver.flush()).await.is_err() {
            panic!("{way:?}: {:?}", events.try_recv());
        }
        assert!(matches!(events.recv().await, Some(Event::Connected { .. })));
        driver.close().await;
        let moved = |message: &Value| {
            let position = &message[if message["type"] == "delta" { "patch" } else { "state" }]["position"];
            position["lat"].as_f64().is_some_and(|told| (told - lat).abs() < 3e-5)
        };
        watcher.until(&format!("the position by {way:?}"), moved).await;
    }

    // The token in the first message, which is cut in two.
    let mut app = files.websocket(&house, "/v1/drive", DRIVE, None).await;
    app.say(json!({ "type": "hello", "token": token, "session": "ab" })).await;
    app.until("welcome", |message| message["type"] == "welcome").await;
    // More at once than one TLS record holds, and than the socket takes: what does not fit is conflated, not lost.
    let fixes: Vec<Value> =
        (0..100).map(|step| json!({ "lat": PICKUP.0, "lon": PICKUP.1, "t_ms": now_ms() - 9000 + step })).collect();
    for seq in 1..=20 {
        app.say(json!({ "type": "fixes", "seq": seq, "fixes": fixes })).await;
    }
    app.until("the last ack", |message| message["type"] == "ack" && message["seq"] == 20).await;
    house.assert_clean_log();
}

#[tokio::test]
async fn whoever_does_not_speak_tls_is_cut() {
    let files = Files::new();
    let house = files.house(&[("HTTP_HEAD_TIMEOUT_S", "1")]).await;
    let connect = async || TcpStream::connect(("127.0.0.1", house.port)).await.unwrap();
    // Plain HTTP gets an alert, and the end.
    let mut plain = connect().await;
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within(SOON, "the end", plain.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    // Nothing at all, and half a handshake.
    for begun in [&b""[..], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]] {
        let mut slow = connect().await;
        slow.write_all(begun).await.unwrap();
        let read = within(SOON, "the end", slow.read(&mut [0; 64])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    // Another protocol.
    let error = files.connect(&house, "h2").await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    // A client that trusts others.
    let other = Files::new();
    assert!(other.connect(&house, "http/1.1").await.is_err());
    until(SOON, "all is counted", async || {
        let counted = files.call(&house, "/healthz", None).await.0 == 200;
        counted.then_some(())
    })
    .await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_whoever_comes_next() {
    let files = Files::new();
    let house = files.house(&[]).await;
    let mut before = files.websocket(&house, "/v1/watch", "wayfare.watch.v1.json", Some(&house.key)).await;
    // One that cannot be used is told, and changes nothing.
    house.expect_log("the new certificate is not used");
    let good = std::fs::read(files.cert()).unwrap();
    std::fs::write(files.cert(), "nonsense").unwrap();
    until(SOON, "it is told", async || house.log().contains("tls.cert_file").then_some(())).await;
    std::fs::write(files.cert(), &good).unwrap();
    assert!(files.connect(&house, "http/1.1").await.is_ok());
    files.write();
    until(SOON, "the new one is shown", async || {
        // It trusts the new file only.
        files.connect(&house, "http/1.1").await.ok()
    })
    .await;
    // Who was there stays.
    before.say(json!({ "type": "subscribe", "topics": [{ "topic": "fences" }] })).await;
    before.until("an answer", |message| message["type"] == "subscribed").await;
    house.assert_clean_log();
}

#[tokio::test]
async fn a_house_without_a_usable_certificate_does_not_open() {
    let files = Files::new();
    let (cert, key) = (files.cert(), files.0.path().join("key.pem"));
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let check = async |cert: &str, key: &str, named: &str| {
        let said =
            House::refused(&[("HTTP_LISTEN", "127.0.0.1:0"), ("TLS_CERT_FILE", cert), ("TLS_KEY_FILE", key)], &[])
                .await;
        assert!(said.contains(named), "{said}");
    };
    check("/nowhere.pem", key, "tls.cert_file").await;
    check(cert, "/nowhere.pem", "tls.key_file").await;
    check(key, key, "tls.cert_file").await;
    std::fs::write(key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    check(cert, key, "tls.key_file").await;
    // A public address is fine with a certificate, and only then.
    let said = House::refused(&[("HTTP_LISTEN", "0.0.0.0:0")], &[]).await;
    assert!(said.contains("tls.cert_file"), "{said}");
}
