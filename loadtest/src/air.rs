//! The air between phones and a server: packets are delayed, reordered and lost, and now and then a phone has another port.
//!
//! A network device of our own stands between the sockets of both sides, so that TCP and UDP are the system's real ones. The phones
//! connect to [`Air::SERVER`]; what they send goes out by the device, waits here, and comes back in as if from there. Translating
//! addresses is what a phone network does as well: when it forgets a phone, the phone goes on under another port, which a QUIC connection
//! survives and a TCP connection does not. Needs the right to make a network device.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tun_rs::{AsyncDevice, DeviceBuilder};

/// Our end of the device, where a server has to listen.
const HERE: Ipv4Addr = Ipv4Addr::new(10, 213, 7, 1);
/// What phone networks carry.
const MTU: u16 = 1400;
/// Ports under which phones appear.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What the air does.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// One way.
    pub delay: Duration,
    /// Up to this much more, each packet on its own: that is what reorders them.
    pub jitter: Duration,
    /// Share of packets lost, each way.
    pub loss: f64,
    /// Every phone has another port after this long.
    pub rebind: Duration,
}

/// The device. Dropped, it is gone.
pub struct Air {
    task: JoinHandle<()>,
}

impl Air {
    /// Where the server is for whoever is in the air.
    pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 213, 7, 2);

    /// Makes the device. The server must listen on these ports, of every address.
    ///
    /// # Errors
    /// The system does not let us.
    pub fn open(weather: Weather, http_port: u16, quic_port: u16) -> anyhow::Result<Self> {
        let device = DeviceBuilder::new().ipv4(HERE, 24, None).mtu(MTU).build_async();
        let device = Arc::new(device.context("a network device cannot be made; that needs CAP_NET_ADMIN")?);
        let nat = Nat { ports: [http_port, quic_port], ..Nat::default() };
        Ok(Self { task: tokio::spawn(carry(device, weather, nat)) })
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(device: Arc<AsyncDevice>, weather: Weather, mut nat: Nat) {
    let mut buffer = vec![0; usize::from(MTU) + 64];
    let mut next = Instant::now() + weather.rebind;
    loop {
        let Ok(length) = device.recv(&mut buffer).await else { return };
        if Instant::now() >= next {
            next += weather.rebind;
            nat.forget();
        }
        let packet = &mut buffer[..length];
        if !nat.turn_round(packet) || fastrand::f64() < weather.loss {
            continue;
        }
        let (device, packet) = (Arc::clone(&device), packet.to_vec());
        let delay = weather.delay + weather.jitter.mul_f64(fastrand::f64());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // Full is as good as lost.
            let _ = device.send(&packet).await;
        });
    }
}

/// Which port of a phone appears as which.
#[derive(Default)]
struct Nat {
    /// The server's, of TCP and of UDP.
    ports: [u16; 2],
    out: HashMap<(u8, u16), u16>,
    back: HashMap<(u8, u16), u16>,
    count: u16,
}

impl Nat {
    /// Every phone is a stranger from now on.
    fn forget(&mut self) {
        self.out.clear();
        self.back.clear();
    }

    /// Makes a packet that was sent to the other end one that comes from there. False: it goes nowhere.
    fn turn_round(&mut self, packet: &mut [u8]) -> bool {
        let Some((protocol, head)) = transport(packet) else { return false };
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let (from, to) = (port(head), port(head + 2));
        let (at, old, new) = if self.ports.contains(&to) {
            (head, from, self.outside(protocol, from))
        } else {
            // To a port that the network has forgotten.
            let Some(inside) = self.back.get(&(protocol, to)) else { return false };
            (head + 2, to, *inside)
        };
        // Both addresses change places, which no checksum notices.
        let (source, destination) = (12..16, 16..20);
        let (here, there): ([u8; 4], [u8; 4]) = (HERE.octets(), Air::SERVER.octets());
        if packet[source.clone()] != here || packet[destination.clone()] != there {
            return false;
        }
        packet[source].copy_from_slice(&there);
        packet[destination].copy_from_slice(&here);
        packet[at..at + 2].copy_from_slice(&new.to_be_bytes());
        let checksum = head + if protocol == TCP { 16 } else { 6 };
        correct(packet, checksum, old, new, protocol == UDP);
        true
    }

    fn outside(&mut self, protocol: u8, inside: u16) -> u16 {
        if let Some(outside) = self.out.get(&(protocol, inside)) {
            return *outside;
        }
        // Never one that was somebody's a moment ago.
        let outside = PORTS.start + self.count % PORTS.len() as u16;
        self.count = self.count.wrapping_add(1);
        if let Some(forgotten) = self.back.insert((protocol, outside), inside) {
            self.out.remove(&(protocol, forgotten));
        }
        self.out.insert((protocol, inside), outside);
        outside
    }
}

/// Protocol, and where its header begins, of an IPv4 packet that is whole.
fn transport(packet: &[u8]) -> Option<(u8, usize)> {
    let (first, protocol) = (*packet.first()?, *packet.get(9)?);
    let head = usize::from(first & 0x0F) * 4;
    let least = match protocol {
        TCP => 20,
        UDP => 8,
        _ => return None,
    };
    (first >> 4 == 4 && head >= 20 && packet.len() >= head + least).then_some((protocol, head))
}

/// RFC 1624: the checksum after a word has changed. In UDP zero means that there is none.
fn correct(packet: &mut [u8], at: usize, old: u16, new: u16, udp: bool) {
    let before = u16::from_be_bytes([packet[at], packet[at + 1]]);
    if udp && before == 0 {
        return;
    }
    let mut sum = u32::from(!before) + u32::from(!old) + u32::from(new);
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    let after = match !(sum as u16) {
        0 if udp => 0xFFFF,
        after => after,
    };
    packet[at..at + 2].copy_from_slice(&after.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum over a UDP packet with its pseudo header, which is all ones when the checksum is right.
    fn sum(packet: &[u8]) -> u16 {
        let length = (packet.len() - 20) as u16;
        let mut words =
            packet[12..].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u32>();
        words += u32::from(UDP) + u32::from(length);
        while words > 0xFFFF {
            words = (words & 0xFFFF) + (words >> 16);
        }
        words as u16
    }

    fn udp(from: u16, to: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, UDP, 0, 0];
        packet.extend(HERE.octets());
        packet.extend(Air::SERVER.octets());
        packet.extend([from.to_be_bytes(), to.to_be_bytes(), 12_u16.to_be_bytes(), [0, 0], *b"ab", *b"cd"].concat());
        let rest = !sum(&packet);
        packet[26..28].copy_from_slice(&rest.to_be_bytes());
        packet
    }

    #[test]
    fn packets_come_back_under_a_port_that_changes_and_their_checksums_hold() {
        let mut nat = Nat { ports: [8080, 4433], ..Nat::default() };
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut there = udp(5555, 4433);
            assert_eq!(sum(&there), 0xFFFF);
            assert!(nat.turn_round(&mut there));
            assert_eq!((&there[12..16], &there[16..20]), (&Air::SERVER.octets()[..], &HERE.octets()[..]));
            assert_eq!(sum(&there), 0xFFFF, "the way there");
            let outside = u16::from_be_bytes([there[20], there[21]]);
            let mut back = udp(4433, outside);
            assert!(nat.turn_round(&mut back));
            assert_eq!(u16::from_be_bytes([back[22], back[23]]), 5555);
            assert_eq!(sum(&back), 0xFFFF, "the way back");
            seen.push(outside);
            nat.forget();
            assert!(!nat.turn_round(&mut udp(4433, outside)), "forgotten");
        }
        assert_ne!(seen[0], seen[1]);
        for broken in [&[][..], &[0x45; 19], &[0x60; 60]] {
            assert!(!nat.turn_round(&mut broken.to_vec()));
        }
    }
}
