//! Driver and server over real sockets; the server is played by the test.

// In a test, a panic is the report.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use wayfare_driver::{DriveCodec, Driver, DriverConfig, Event, Fix, SendError, TokenSource};
use wayfare_wire::messages::drive::{Ack, Fixes, FromDriver, ToDriver};

/// A driver's socket, and the codec that it asked for.
struct Socket {
    stream: WebSocketStream<TcpStream>,
    codec: DriveCodec,
}

struct Server {
    listener: TcpListener,
    /// The only bearer that is let in.
    token: String,
    /// What it has to speak.
    codec: DriveCodec,
}

impl Server {
    async fn start(token: &str, codec: DriveCodec) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let token = token.to_owned();
        (Self { listener, token, codec }, url)
    }

    /// The next driver that is let in, after its hello was welcomed.
    async fn accept(&self) -> Socket {
        loop {
            let (stream, _) = self.listener.accept().await.unwrap();
            if let Some(mut socket) = self.shake_hands(stream).await {
                let hello = read(&mut socket).await;
                assert!(matches!(hello, Some(FromDriver::Hello { token: None, .. })));
                let welcome = ToDriver::Welcome {
                    version: 1,
                    driver: "drv_1".into(),
                    interval_ms: 3000,
                    max_fixes: 5,
                    max_unacked: 4,
                    heartbeat_ms: 20_000,
                    expires_at_ms: i64::MAX,
                };
                write(&mut socket, &welcome).await;
                return socket;
            }
        }
    }

    // The shape of the callback is the library's.
    #[allow(clippy::result_large_err)]
    async fn shake_hands(&self, stream: TcpStream) -> Option<Socket> {
        let bearer = format!("Bearer {}", self.token);
        let check = |request: &Request, mut response: Response| {
            assert_eq!(request.uri().path(), "/v1/drive");
            if request.headers()["authorization"] != bearer.as_str() {
                let mut refusal = ErrorResponse::new(None);
                *refusal.status_mut() = StatusCode::UNAUTHORIZED;
                return Err(refusal);
            }
            let protocol = request.headers()["sec-websocket-protocol"].clone();
            assert_eq!(protocol, self.codec.subprotocol());
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let stream = tokio_tungstenite::accept_hdr_async(stream, check).await.ok()?;
        Some(Socket { stream, codec: self.codec })
    }
}

async fn read(socket: &mut Socket) -> Option<FromDriver> {
    loop {
        let frame = socket.stream.next().await?.ok()?;
        if frame.is_text() || frame.is_binary() {
            assert_eq!(frame.is_binary(), socket.codec.is_binary());
            let (message, unreadable) = socket.codec.read(&frame.into_data()).unwrap();
            assert!(unreadable.is_empty());
            return Some(message);
        }
    }
}

async fn read_fixes(socket: &mut Socket) -> Option<Fixes> {
    match read(socket).await? {
        FromDriver::Fixes(fixes) => Some(fixes),
        other => panic!("{other:?}"),
    }
}

async fn write(socket: &mut Socket, message: &ToDriver) {
    let mut bytes = Vec::new();
    socket.codec.write(&mut bytes, message);
    let frame = match socket.codec {
        DriveCodec::Json => Message::text(String::from_utf8(bytes).unwrap()),
        DriveCodec::Proto => Message::binary(bytes),
    };
    socket.stream.send(frame).await.unwrap();
}

async fn ack(socket: &mut Socket, message: &Fixes) {
    let verdicts = vec!["accepted".to_owned(); message.fixes.len()];
    let seq = message.seq;
    let details = Vec::new();
    write(socket, &ToDriver::Ack(Ack { seq, verdicts, details })).await;
}

async fn close(socket: &mut Socket, code: u16) {
    let frame = CloseFrame { code: code.into(), reason: "as the test wants".into() };
    socket.stream.close(Some(frame)).await.unwrap();
}

fn fix(number: u32) -> Fix {
    Fix { lat: f64::from(number) / 1000.0, lon: 8.0, t_ms: Some(number.into()), ..Fix::default() }
}

fn config(url: impl Into<String>, token: impl Into<TokenSource>, codec: DriveCodec) -> DriverConfig {
    DriverConfig { codec, ..DriverConfig::new(url, token) }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// Every test in both codecs.
macro_rules! conversations {
    ($($test:ident),* $(,)?) => {
        mod json {
            $(#[tokio::test] async fn $test() { super::$test(wayfare_driver::DriveCodec::Json).await })*
        }
        mod proto {
            $(#[tokio::test] async fn $test() { super::$test(wayfare_driver::DriveCodec::Proto).await })*
        }
    };
}

conversations!(
    fixes_survive_lines_that_break,
    a_refused_token_is_replaced_by_the_next,
    a_replaced_driver_stays_away,
    the_wanted_interval_is_passed_on,
    closing_says_goodbye_and_gives_back_what_is_left,
    a_full_queue_is_told_at_once,
);

async fn fixes_survive_lines_that_break(codec: DriveCodec) {
    let (server, url) = Server::start("t", codec).await;
    let (driver, mut events) = Driver::connect(config(url, "t", codec)).unwrap();
    let house = tokio::spawn(async move {
        let mut seen = BTreeMap::new();
        // Two lines break: one before anything is acked, one after a single ack.
        for acks in [0, 1, usize::MAX] {
            let mut socket = server.accept().await;
            let mut acked = 0;
            while acked < acks.max(1) {
                let Some(message) = read_fixes(&mut socket).await else {
                    return seen;
                };
                let known = seen.entry(message.seq).or_insert_with(|| message.fixes.clone());
                assert_eq!(known, &message.fixes);
                if acks > 0 {
                    ack(&mut socket, &message).await;
                }
                acked += 1;
            }
        }
        seen
    });
    for number in 0..40 {
        driver.send(fix(number)).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    within(driver.flush()).await.unwrap();
    assert_eq!(driver.held(), 0);
    assert_eq!(within(driver.close()).await, []);
    let seen = within(house).await.unwrap();
    let times: Vec<_> = seen.values().flatten().filter_map(|fix| fix.t_ms).collect();
    assert_eq!(times, (0..40).collect::<Vec<i64>>());
    let (mut acked, mut connected) = (Vec::new(), 0);
    while let Some(event) = events.recv().await {
        match event {
            Event::Acked(message) => acked.push(message.seq),
            Event::Connected { .. } => connected += 1,
            _ => {}
        }
    }
    acked.sort_unstable();
    assert_eq!(acked, seen.keys().copied().collect::<Vec<_>>());
    assert_eq!(connected, 3);
}

async fn a_refused_token_is_replaced_by_the_next(codec: DriveCodec) {
    let (server, url) = Server::start("t2", codec).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let source = TokenSource::provider(move || {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(format!("t{number}")) }
    });
    let (driver, mut events) = Driver::connect(config(url, source, codec)).unwrap();
    let _socket = within(server.accept()).await;
    assert!(matches!(within(events.recv()).await, Some(Event::Disconnected { .. })));
    assert!(matches!(within(events.recv()).await, Some(Event::Connected { .. })));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    drop(driver);
}

async fn a_replaced_driver_stays_away(codec: DriveCodec) {
    let (server, url) = Server::start("t", codec).await;
    let (driver, mut events) = Driver::connect(config(url, "t", codec)).unwrap();
    driver.send(fix(1)).unwrap();
    let mut socket = within(server.accept()).await;
    read_fixes(&mut socket).await.unwrap();
    close(&mut socket, 4200).await;
    let stopped = within(async {
        loop {
            if let Some(Event::Stopped { code, .. }) = events.recv().await {
                return code;
            }
        }
    });
    assert_eq!(stopped.await, Some(4200));
    assert_eq!(within(driver.flush()).await.unwrap_err().held, 1);
    assert_eq!(driver.send(fix(2)), Err(SendError::Stopped(fix(2))));
    assert_eq!(within(driver.close()).await, [fix(1)]);
}

async fn the_wanted_interval_is_passed_on(codec: DriveCodec) {
    let (server, url) = Server::start("t", codec).await;
    let (driver, _events) = Driver::connect(config(url, "t", codec)).unwrap();
    let mut interval = driver.interval();
    let mut socket = within(server.accept()).await;
    within(interval.wait_for(|ms| *ms == 3000)).await.unwrap();
    write(&mut socket, &ToDriver::Config { interval_ms: 1000, heartbeat_ms: None }).await;
    within(interval.wait_for(|ms| *ms == 1000)).await.unwrap();
}

async fn closing_says_goodbye_and_gives_back_what_is_left(codec: DriveCodec) {
    let (server, url) = Server::start("t", codec).await;
    let (driver, _events) = Driver::connect(config(url, "t", codec)).unwrap();
    driver.send(fix(1)).unwrap();
    let mut socket = within(server.accept()).await;
    read_fixes(&mut socket).await.unwrap();
    let house = tokio::spawn(async move { socket.stream.next().await });
    assert_eq!(within(driver.close()).await, [fix(1)]);
    assert!(matches!(within(house).await.unwrap(), Some(Ok(Message::Close(_)))));
}

async fn a_full_queue_is_told_at_once(codec: DriveCodec) {
    let config = DriverConfig { queue_max: 2, ..config("http://127.0.0.1:9", "t", codec) };
    let (driver, _events) = Driver::connect(config).unwrap();
    driver.send(fix(1)).unwrap();
    driver.send(fix(2)).unwrap();
    let full = driver.send(fix(3));
    assert_eq!(full, Err(SendError::QueueFull { fix: fix(3), held: 2 }));
}
