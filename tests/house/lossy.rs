//! A mobile network between a driver and the house: UDP datagrams are delayed, reordered and lost, and now and then the driver has
//! another port.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What the network does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// One way.
    pub delay: Duration,
    /// Up to this much more, each datagram on its own: that is what reorders them.
    pub jitter: Duration,
    /// Share of datagrams lost, each way.
    pub loss: f64,
    /// The driver's port changes this often.
    pub rebind: Option<Duration>,
}

/// The network. Dropped, it carries nothing any more.
pub struct Lossy {
    pub port: u16,
    pub rebound: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Lossy {
    pub async fn start(server_port: u16, weather: Weather) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let port = front.local_addr().unwrap().port();
        let rebound = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(carry(front, server_port, weather, Arc::clone(&rebound)));
        Self { port, rebound, task }
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A driver's way to the server.
struct Way {
    socket: Arc<UdpSocket>,
    since: Instant,
    back: JoinHandle<()>,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.back.abort();
    }
}

async fn carry(front: Arc<UdpSocket>, server_port: u16, weather: Weather, rebound: Arc<AtomicU64>) {
    let dice = Arc::new(Mutex::new(0x9E37_79B9_7F4A_7C15_u64));
    let mut ways: HashMap<SocketAddr, Way> = HashMap::new();
    let mut buffer = vec![0; 2048];
    loop {
        let Ok((count, client)) = front.recv_from(&mut buffer).await else { continue };
        let old = ways.get(&client).is_some_and(|way| weather.rebind.is_some_and(|every| way.since.elapsed() >= every));
        if old {
            rebound.fetch_add(1, Ordering::Relaxed);
            ways.remove(&client);
        }
        if let Entry::Vacant(entry) = ways.entry(client) {
            let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            socket.connect(("127.0.0.1", server_port)).await.unwrap();
            let back = tokio::spawn(back(Arc::clone(&socket), Arc::clone(&front), client, weather, Arc::clone(&dice)));
            entry.insert(Way { socket, since: Instant::now(), back });
        }
        let socket = Arc::clone(&ways[&client].socket);
        let bytes = buffer[..count].to_vec();
        later(weather, &dice, async move { drop(socket.send(&bytes).await) });
    }
}

async fn back(
    socket: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    weather: Weather,
    dice: Arc<Mutex<u64>>,
) {
    let mut buffer = vec![0; 2048];
    loop {
        // An error is the house being away.
        let Ok(count) = socket.recv(&mut buffer).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let (front, bytes) = (Arc::clone(&front), buffer[..count].to_vec());
        later(weather, &dice, async move { drop(front.send_to(&bytes, client).await) });
    }
}

fn later(weather: Weather, dice: &Mutex<u64>, send: impl Future<Output = ()> + Send + 'static) {
    let (lost, extra) = {
        let mut dice = dice.lock().unwrap();
        (draw(&mut dice) < weather.loss, draw(&mut dice))
    };
    if lost {
        return;
    }
    let delay = weather.delay + weather.jitter.mul_f64(extra);
    tokio::spawn(async move {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        send.await;
    });
}

/// 0 to 1, the same in every run (xorshift).
fn draw(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}
