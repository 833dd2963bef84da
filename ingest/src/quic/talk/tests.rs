//! A client of the library and a `Talk`, with a network between them that delays, swaps and loses, in a time of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{ClientConfig, DatagramEvent, Endpoint, EndpointConfig};
use wayfare_wire::frame;

use super::*;
use crate::IngestConfig;
use crate::quic::{QuicConfig, endpoint};

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2);

struct Net {
    now: Instant,
    server: Endpoint,
    talk: Option<Talk>,
    client: Endpoint,
    connection: Connection,
    /// Packets on their way: when they come, to whom, and what they are.
    wire: Vec<(Instant, SocketAddr, BytesMut)>,
    /// Where the client's packets come from.
    client_address: SocketAddr,
    /// Loses one of so many, pseudo-randomly; 0 for none.
    loses_one_of: u32,
    dice: u32,
    /// What the server's side has read.
    control: Vec<Vec<u8>>,
    messages: Vec<Result<Vec<u8>, Fault>>,
    control_end: Option<Control>,
    /// What the client's side of the control stream has read.
    answered: Vec<u8>,
}

impl Net {
    fn new(loses_one_of: u32, seed: u32) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (certified.cert.der().clone(), certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.try_into().unwrap())
            .unwrap();
        let quic = QuicConfig {
            connections_max: 1,
            handshakes_max: 1,
            retry_above: 1,
            handshake_timeout: Duration::from_secs(10),
            secret: [7; 32],
        };
        let config = endpoint::server_config(tls, &IngestConfig::default(), &quic).unwrap();
        let server = Endpoint::new(Arc::new(endpoint::config(&quic.secret)), Some(Arc::new(config)), false, None);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let trusting = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let trusting = ClientConfig::new(Arc::new(QuicClientConfig::try_from(trusting).unwrap()));
        let mut client = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
        let now = Instant::now();
        let (_, connection) = client.connect(now, trusting, SERVER, "localhost").unwrap();
        Self {
            now,
            server,
            talk: None,
            client,
            connection,
            wire: Vec::new(),
            client_address: CLIENT,
            loses_one_of,
            dice: seed | 1,
            control: Vec::new(),
            messages: Vec::new(),
            control_end: None,
            answered: Vec::new(),
        }
    }

    fn roll(&mut self) -> u32 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 17;
        self.dice ^= self.dice << 5;
        self.dice
    }

    fn post(&mut self, to: SocketAddr, transmit: &Transmit, packets: &[u8]) {
        for packet in packets[..transmit.size].chunks(transmit.segment_size.unwrap_or(transmit.size)) {
            let roll = self.roll();
            if self.loses_one_of == 0 || !roll.is_multiple_of(self.loses_one_of) {
                let due = self.now + Duration::from_millis(u64::from(20 + roll / 16 % 30));
                self.wire.push((due, to, packet.into()));
            }
        }
    }

    /// Lets everything happen that happens now.
    fn settle(&mut self) {
        let mut room = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit(self.now, 10, &mut room) {
            self.post(SERVER, &transmit, &room);
            room.clear();
        }
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(answer) = self.client.handle_event(ConnectionHandle(0), event) {
                self.connection.handle_event(answer);
            }
        }
        let Some(mut talk) = self.talk.take() else { return };
        talk.step(self.now);
        self.control_end = Some(talk.read_control(&mut |message| self.control.push(message.to_vec())));
        talk.read_messages(self.now, &mut |message| self.messages.push(message.map(<[u8]>::to_vec)));
        talk.write();
        while let Some(event) = talk.poll_endpoint() {
            if let Some(answer) = self.server.handle_event(talk.name.handle, event) {
                talk.handle(answer);
            }
        }
        while let Some(transmit) = talk.transmit(self.now, 10, &mut room) {
            // Whatever its address is by now, the client hears on it.
            self.post(CLIENT, &transmit, &room);
        }
        self.talk = Some(talk);
    }

    /// When the next thing happens, if anything will.
    fn next(&mut self) -> Option<Instant> {
        self.settle();
        let next = [
            self.wire.iter().map(|(due, ..)| *due).min(),
            self.connection.poll_timeout(),
            self.talk.as_mut().and_then(Talk::wants_turn_at),
        ];
        next.into_iter().flatten().min()
    }

    /// Lets so much time go by.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.next().is_some_and(|next| next <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Goes to the next thing that happens. False if nothing will.
    fn step(&mut self) -> bool {
        let Some(next) = self.next() else { return false };
        self.now = self.now.max(next);
        let now = self.now;
        let (here, later) = std::mem::take(&mut self.wire).into_iter().partition(|(due, ..)| *due <= now);
        self.wire = later;
        let mut room = Vec::new();
        for (_, to, packet) in here {
            let (endpoint, from) =
                if to == SERVER { (&mut self.server, self.client_address) } else { (&mut self.client, SERVER) };
            match endpoint.handle(now, from, None, None, packet, &mut room) {
                Some(DatagramEvent::ConnectionEvent(_, event)) if to == CLIENT => self.connection.handle_event(event),
                Some(DatagramEvent::ConnectionEvent(_, event)) => self.talk.as_mut().unwrap().handle(event),
                Some(DatagramEvent::NewConnection(incoming)) => {
                    let (handle, quic) = self.server.accept(incoming, now, &mut room, None).unwrap();
                    self.talk = Some(Talk::new(Name { handle, serial: 1 }, quic, now));
                }
                Some(DatagramEvent::Response(_)) | None => {}
            }
            room.clear();
        }
        if self.connection.poll_timeout().is_some_and(|at| at <= now) {
            self.connection.handle_timeout(now);
        }
        self.settle();
        true
    }

    fn until(&mut self, what: &str, mut reached: impl FnMut(&mut Self) -> bool) {
        for _ in 0..100_000 {
            if reached(self) {
                return;
            }
            assert!(self.step(), "nothing more happens: {what}");
        }
        panic!("not reached: {what}");
    }

    fn connect(&mut self) {
        self.until("the handshake", |net| net.talk.as_ref().is_some_and(Talk::is_connected));
    }

    /// Writes all of it on a stream, while time goes on.
    fn pour(&mut self, stream: StreamId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.connection.send_stream(stream).write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(_) => assert!(self.step(), "no room is made"),
            }
        }
    }

    fn open(&mut self, dir: Dir) -> StreamId {
        let mut opened = None;
        self.until("room for a stream", |net| {
            opened = net.connection.streams().open(dir);
            opened.is_some()
        });
        opened.unwrap()
    }

    /// Everything that the server has said on the control stream so far.
    fn hear(&mut self, control: StreamId) {
        let mut stream = self.connection.recv_stream(control);
        let Ok(mut chunks) = stream.read(true) else { return };
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            self.answered.extend_from_slice(&chunk.bytes);
        }
    }
}

fn message(length: usize, number: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 7 + number) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the network does: messages of fixes come whole and once, in any order; those on the control stream in theirs.
    #[test]
    fn messages_come_whole_and_once(
        lengths in prop::collection::vec(prop_oneof![0..300_usize, 0..6000_usize, Just(MESSAGE_BYTES_MAX)], 1..30),
        controls in prop::collection::vec(0..3000_usize, 0..6),
        loses_one_of in prop_oneof![Just(0_u32), Just(20_u32), Just(5_u32)],
        seed in any::<u32>(),
    ) {
        let mut net = Net::new(loses_one_of, seed);
        net.connect();
        let control = net.open(Dir::Bi);
        let mut said = Vec::new();
        for (number, length) in controls.iter().enumerate() {
            let mut framed = Vec::new();
            frame::write(&mut framed, &message(*length, number));
            net.pour(control, &framed);
            said.push(message(*length, number));
        }
        for (number, length) in lengths.iter().enumerate() {
            let stream = net.open(Dir::Uni);
            net.pour(stream, &message(*length, number));
            net.connection.send_stream(stream).finish().unwrap();
        }
        let count = lengths.len();
        net.until("every message", |net| net.messages.len() >= count && net.control.len() >= said.len());
        net.pass(Duration::from_secs(1));
        prop_assert_eq!(&net.control, &said);
        let mut expected: Vec<_> = lengths.iter().enumerate().map(|(number, length)| Ok(message(*length, number))).collect();
        let mut got = net.messages.clone();
        let order = |a: &Result<Vec<u8>, Fault>, b: &Result<Vec<u8>, Fault>| a.as_ref().ok().cmp(&b.as_ref().ok());
        expected.sort_by(order);
        got.sort_by(order);
        prop_assert_eq!(got, expected);
        // An idle connection holds nothing of what went through it.
        let talk = net.talk.as_ref().unwrap();
        prop_assert!(talk.readings.is_empty() && talk.readings.capacity() == 0 && !talk.is_waiting());
    }

    /// What the server says comes in order, however little room the client makes, and the last of it before the end.
    #[test]
    fn what_is_said_arrives_before_the_end(
        lengths in prop::collection::vec(1..40_000_usize, 1..8),
        loses_one_of in prop_oneof![Just(0_u32), Just(10_u32)],
        seed in any::<u32>(),
    ) {
        let mut net = Net::new(loses_one_of, seed);
        net.connect();
        let control = net.open(Dir::Bi);
        let mut framed = Vec::new();
        frame::write(&mut framed, b"hello");
        net.pour(control, &framed);
        net.until("hello", |net| !net.control.is_empty());
        let mut said = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            net.talk.as_mut().unwrap().say(message(*length, number));
            said.extend(message(*length, number));
        }
        net.until("all of it is taken", |net| {
            net.hear(control);
            let talk = net.talk.as_mut().unwrap();
            talk.write_last();
            talk.is_taken()
        });
        net.hear(control);
        prop_assert_eq!(&net.answered, &said);
        let now = net.now;
        net.talk.as_mut().unwrap().close(now, CloseCode::Draining);
        let mut why = None;
        net.until("the client hears why", |net| {
            while let Some(event) = net.connection.poll() {
                if let Event::ConnectionLost { reason } = event {
                    why = Some(reason);
                }
            }
            // The closing packet may be lost: then the client finds out by itself.
            why.is_some()
        });
        if let Some(ConnectionError::ApplicationClosed(close)) = why {
            prop_assert_eq!(close.error_code.into_inner(), u64::from(CloseCode::Draining.number()));
        } else {
            prop_assert_eq!(why, Some(ConnectionError::TimedOut));
            prop_assert!(loses_one_of > 0);
        }
    }
}

#[test]
fn what_is_too_big_unfinished_or_taken_back_is_told_apart() {
    let mut net = Net::new(0, 1);
    net.connect();
    let control = net.open(Dir::Bi);
    net.pour(control, &[0]);

    let stream = net.open(Dir::Uni);
    net.pour(stream, &message(10, 1));
    net.pass(Duration::from_secs(1));
    net.connection.send_stream(stream).reset(VarInt::from_u32(1)).unwrap();
    net.pass(Duration::from_secs(1));
    assert_eq!(net.messages, [], "taken back: as if it had never been");

    let stream = net.open(Dir::Uni);
    net.pour(stream, &message(MESSAGE_BYTES_MAX, 1));
    let begun = net.now;
    net.until("the fault", |net| {
        net.connection.ping();
        net.now += Duration::from_millis(500);
        !net.messages.is_empty()
    });
    assert_eq!(net.messages, [Err(Fault::Stalled)]);
    assert!(net.now - begun >= STALL && net.now - begun < STALL + Duration::from_secs(2), "{:?}", net.now - begun);

    net.messages.clear();
    let stream = net.open(Dir::Uni);
    net.pour(stream, &message(MESSAGE_BYTES_MAX, 1));
    net.pass(Duration::from_secs(1));
    net.pour(stream, &[0; 1]);
    net.until("the fault", |net| !net.messages.is_empty());
    assert_eq!(net.messages, [Err(Fault::TooBig)]);

    assert_eq!(net.control_end, Some(Control::Open));
    net.connection.send_stream(control).finish().unwrap();
    net.until("the end of the control stream", |net| net.control_end != Some(Control::Open));
    assert_eq!(net.control_end, Some(Control::Torn), "one byte of a head had come");
}

/// Every packet from another port: as a router without a memory would do, or somebody who wants others to be challenged.
#[test]
fn who_moves_all_the_time_is_told_from_who_moves_now_and_then() {
    let check = |every: Duration, moves: u16, restless: bool| {
        let mut net = Net::new(0, 1);
        net.connect();
        for port in 0..moves {
            net.client_address.set_port(1000 + port);
            let stream = net.open(Dir::Uni);
            net.pour(stream, &message(10, 1));
            net.connection.send_stream(stream).finish().unwrap();
            net.pass(every);
        }
        assert_eq!(net.messages.len(), usize::from(moves), "none is lost by moving");
        assert_eq!(net.talk.as_ref().unwrap().is_restless(), restless, "{moves} moves, one every {every:?}");
    };
    check(Duration::from_millis(200), 15, false);
    check(Duration::from_secs(2), 60, false);
    check(Duration::from_millis(200), 40, true);
}
