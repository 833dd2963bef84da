//! Three ways to carry fixes on QUIC, over the same network: a stream per message, one long stream, datagrams resent by hand.
//!
//! `cargo bench --bench quic_ways` prints the table of `docs/adr/0001-a-stream-per-message.md`: on a bad network how old the newest position
//! is that the server holds, and on a good one what a fix costs both ends together. `SECONDS=20` sets the length of each run.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends here")]

#[path = "../tests/house/lossy.rs"]
#[allow(dead_code, reason = "the tests look at more of it")]
mod lossy;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use lossy::{Lossy, Weather};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint, TransportConfig};
use wayfare_driver::Trust;
use wayfare_net::tls::{self, Certificate};

const DRIVERS: usize = 30;
const FIX_BYTES: usize = 116;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    StreamPerMessage,
    OneStream,
    Datagrams,
}

/// What both ends note.
#[derive(Default)]
struct Notes {
    newest_ms: AtomicI64,
    received: AtomicU64,
    acked: AtomicU64,
    /// Sent and not acked, with the time of sending; datagrams only.
    pending: Mutex<BTreeMap<u64, (Instant, Bytes)>>,
    resent: AtomicU64,
}

fn now_ms() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// As the house sets it, with room for datagrams besides.
fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(32_u8.into())
        .receive_window((256 * 1024_u32).into())
        .stream_receive_window((64 * 1024_u32).into())
        .datagram_receive_buffer_size(Some(64 * 1024))
        .mtu_discovery_config(None);
    Arc::new(transport)
}

fn endpoints(dir: &std::path::Path) -> (Endpoint, Endpoint) {
    let certificate = Certificate::new(tls::generated(dir, &["localhost"]).unwrap());
    let trust = Trust::fingerprint(&certificate.fingerprint()).unwrap();
    let server = tls::server_config(certificate, &[b"x"], &[&rustls::version::TLS13]).unwrap();
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
    server.transport_config(transport());
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Endpoint::server(server, local).unwrap();
    let client = QuicClientConfig::try_from(trust.client_config(&["x"]).unwrap()).unwrap();
    let mut client_config = quinn::ClientConfig::new(Arc::new(client));
    client_config.transport_config(transport());
    let mut client = Endpoint::client(local).unwrap();
    client.set_default_client_config(client_config);
    (server, client)
}

/// A message: number, time, and as many bytes as `batch` fixes have.
fn message(number: u64, batch: usize) -> Bytes {
    let mut bytes = vec![b'x'; FIX_BYTES * batch];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..16].copy_from_slice(&now_ms().to_be_bytes());
    bytes.into()
}

fn note(notes: &Notes, bytes: &[u8]) -> u64 {
    notes.newest_ms.fetch_max(i64::from_be_bytes(bytes[8..16].try_into().unwrap()), Ordering::Relaxed);
    notes.received.fetch_add(1, Ordering::Relaxed);
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// The server's side of one connection. Each message is acked by its number.
async fn serve(connection: Connection, way: Way, batch: usize, notes: Arc<Notes>) -> Option<()> {
    let (mut acks, mut control) = connection.accept_bi().await.ok()?;
    match way {
        Way::StreamPerMessage => {
            let (told, mut heard) = tokio::sync::mpsc::channel::<u64>(64);
            tokio::spawn(async move {
                while let Some(number) = heard.recv().await {
                    if acks.write_all(&number.to_be_bytes()).await.is_err() {
                        return;
                    }
                }
            });
            while let Ok(mut stream) = connection.accept_uni().await {
                let (notes, told) = (Arc::clone(&notes), told.clone());
                tokio::spawn(async move {
                    if let Ok(bytes) = stream.read_to_end(64 * 1024).await {
                        let _ = told.send(note(&notes, &bytes)).await;
                    }
                });
            }
        }
        Way::OneStream => {
            let mut bytes = vec![0; FIX_BYTES * batch];
            // The first byte opened the stream.
            control.read_exact(&mut [0; 1]).await.ok()?;
            while control.read_exact(&mut bytes).await.is_ok() {
                acks.write_all(&note(&notes, &bytes).to_be_bytes()).await.ok()?;
            }
        }
        Way::Datagrams => {
            while let Ok(bytes) = connection.read_datagram().await {
                let number = note(&notes, &bytes);
                connection.send_datagram(Bytes::copy_from_slice(&number.to_be_bytes())).ok()?;
            }
        }
    }
    Some(())
}

/// The client's side: a message every `every`, or (at zero) as fast as acks for all but `WINDOW` of them come.
async fn drive(
    connection: Connection,
    way: Way,
    batch: usize,
    every: Duration,
    until: Instant,
    notes: Arc<Notes>,
) -> u64 {
    const WINDOW: u64 = 16;
    let (mut control, mut acks) = connection.open_bi().await.unwrap();
    control.write_all(b"!").await.unwrap();
    let heard = tokio::sync::Notify::new();
    let listening = async {
        let mut number = [0; 8];
        loop {
            if way == Way::Datagrams {
                let Ok(ack) = connection.read_datagram().await else { return };
                let number = u64::from_be_bytes(ack[..8].try_into().unwrap());
                if notes.pending.lock().unwrap().remove(&number).is_none() {
                    continue;
                }
            } else if acks.read_exact(&mut number).await.is_err() {
                return;
            }
            notes.acked.fetch_add(1, Ordering::Relaxed);
            heard.notify_one();
        }
    };
    let sending = async {
        let (mut sent, mut pace) = (0_u64, tokio::time::interval(every.max(Duration::from_millis(1))));
        while Instant::now() < until {
            if every.is_zero() {
                while sent - notes.acked.load(Ordering::Relaxed) >= WINDOW {
                    heard.notified().await;
                }
            } else {
                pace.tick().await;
            }
            sent += 1;
            let bytes = message(sent, batch);
            match way {
                Way::StreamPerMessage => {
                    let mut stream = connection.open_uni().await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                    stream.finish().unwrap();
                }
                Way::OneStream => control.write_all(&bytes).await.unwrap(),
                Way::Datagrams => {
                    // What was not acked after one and a half round trips goes again, as a hand would do it.
                    let late = connection.rtt() * 3 / 2 + Duration::from_millis(25);
                    let mut pending = notes.pending.lock().unwrap();
                    for (at, bytes) in pending.values_mut().filter(|(at, _)| at.elapsed() > late) {
                        *at = Instant::now();
                        let _ = connection.send_datagram(bytes.clone());
                        notes.resent.fetch_add(1, Ordering::Relaxed);
                    }
                    pending.insert(sent, (Instant::now(), bytes.clone()));
                    connection.send_datagram(bytes).unwrap();
                }
            }
        }
        sent
    };
    tokio::select! {
        sent = sending => sent,
        () = listening => panic!("the connection ended"),
    }
}

/// Processor time of this process, microseconds.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10_000.0
}

struct Run {
    ages_ms: Vec<i64>,
    sent: u64,
    received: u64,
    resent: u64,
    packets: u64,
    cpu_us: f64,
}

async fn run(
    dir: &std::path::Path,
    way: Way,
    batch: usize,
    drivers: usize,
    every: Duration,
    weather: Option<Weather>,
    length: Duration,
) -> Run {
    let (server, client) = endpoints(dir);
    let port = server.local_addr().unwrap().port();
    let lossy = match weather {
        Some(weather) => Some(Lossy::start(port, weather).await),
        None => None,
    };
    let to = SocketAddr::from(([127, 0, 0, 1], lossy.as_ref().map_or(port, |lossy| lossy.port)));
    let mut pairs = Vec::new();
    for _ in 0..drivers {
        let notes = Arc::new(Notes::default());
        notes.newest_ms.store(now_ms(), Ordering::Relaxed);
        let connecting = client.connect(to, "localhost").unwrap();
        let accepted = async { server.accept().await.unwrap().await };
        let (connection, accepted) = tokio::join!(connecting, accepted);
        tokio::spawn(serve(accepted.unwrap(), way, batch, Arc::clone(&notes)));
        pairs.push((connection.unwrap(), notes));
    }
    let (began, until) = (cpu_us(), Instant::now() + length);
    let driving: Vec<_> = pairs
        .iter()
        .map(|(connection, notes)| tokio::spawn(drive(connection.clone(), way, batch, every, until, Arc::clone(notes))))
        .collect();
    let mut ages_ms = Vec::new();
    // Until the first fixes have crossed there is nothing to be old.
    tokio::time::sleep(Duration::from_secs(2).min(length / 2)).await;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now_ms = now_ms();
        ages_ms.extend(pairs.iter().map(|(_, notes)| now_ms - notes.newest_ms.load(Ordering::Relaxed)));
    }
    let mut sent = 0;
    for driving in driving {
        sent += driving.await.unwrap();
    }
    let cpu_us = cpu_us() - began;
    ages_ms.sort_unstable();
    let of = |notes: &dyn Fn(&Notes) -> u64| pairs.iter().map(|(_, each)| notes(each)).sum();
    Run {
        ages_ms,
        sent,
        received: of(&|notes| notes.received.load(Ordering::Relaxed)),
        resent: of(&|notes| notes.resent.load(Ordering::Relaxed)),
        packets: pairs.iter().map(|(connection, _)| connection.stats().udp_tx.datagrams).sum(),
        cpu_us,
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let seconds = std::env::var("SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let length = Duration::from_secs(seconds);
    let dir = tempfile::tempdir().unwrap();
    let ways = [Way::StreamPerMessage, Way::OneStream, Way::Datagrams];
    let bad =
        Weather { delay: Duration::from_millis(165), jitter: Duration::from_millis(20), loss: 0.05, rebind: None };
    println!(
        "{DRIVERS} drivers, 350 ms there and back, 5 % lost each way; age of the newest position at the server, ms"
    );
    println!(
        "{:<18} {:>6} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8}",
        "way", "every", "p50", "p95", "p99", "sent", "resent", "packets"
    );
    for every_ms in [200, 1000] {
        for way in ways {
            let run =
                runtime.block_on(run(dir.path(), way, 1, DRIVERS, Duration::from_millis(every_ms), Some(bad), length));
            let at = |share: f64| run.ages_ms[((run.ages_ms.len() - 1) as f64 * share) as usize];
            let name = format!("{way:?}");
            println!(
                "{name:<18} {every_ms:>6} {:>6} {:>6} {:>6} {:>8} {:>8} {:>8}",
                at(0.5),
                at(0.95),
                at(0.99),
                run.sent,
                run.resent,
                run.packets
            );
        }
    }
    println!("\n8 connections, loopback, 16 messages on the way each; both ends together, us of processor per fix");
    println!("{:<18} {:>6} {:>8}", "way", "batch", "us/fix");
    for batch in [1, 10] {
        for way in ways {
            let run = runtime.block_on(run(
                dir.path(),
                way,
                batch,
                8,
                Duration::ZERO,
                None,
                length.min(Duration::from_secs(5)),
            ));
            let name = format!("{way:?}");
            println!("{name:<18} {batch:>6} {:>8.2}", run.cpu_us / (run.received as f64 * batch as f64));
        }
    }
}
