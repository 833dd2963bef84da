//! The node's one UDP socket, and the switch behind it: which shard a packet's connection lives on.
//!
//! One task on the first core receives. It reads no further than a packet's name and hands it to the shard that owns the connection;
//! everything else, from the handshake to the last packet sent, is done there. The table of names is under a lock that is taken once
//! per batch of packets received, and by shards only when a connection begins, moves or ends.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{
    Connection, ConnectionEvent, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, EndpointEvent, Incoming,
    ServerConfig, Transmit,
};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::sync::mpsc;

use super::admit::{Answer, Door};
use super::talk::Name;
use super::{Arrival, Greeted};
use crate::metrics;

/// Packets on their way to one shard. Beyond it they are lost, as in a network: QUIC sends again what mattered.
pub const PARCELS_MAX: usize = 4096;

/// After an error of the socket itself, a pause before it is asked again.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Longest datagram that is taken.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// What a shard is given.
#[expect(clippy::large_enum_variant, reason = "nearly all are packets")]
pub enum Parcel {
    /// A packet of a connection, or an answer to it.
    Event(Name, ConnectionEvent),
    /// A client that was let in and is to be handshaken here.
    Arrival(Box<Arrival>),
    /// A client whose driver belongs here, from another shard.
    Greeted(Box<Greeted>),
    /// Every connection ends.
    Close,
}

/// See the module.
pub struct Switch {
    table: Mutex<Table>,
    socket: tokio::net::UdpSocket,
    udp: UdpSocketState,
    shards: Vec<mpsc::Sender<Parcel>>,
}

struct Table {
    endpoint: Endpoint,
    /// By handle.
    places: Vec<Place>,
    serials: u32,
}

#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    serial: u32,
}

impl Switch {
    /// On the thread that will receive.
    ///
    /// # Errors
    /// The system refuses an option that QUIC needs, or the reactor the socket.
    pub fn open(
        socket: UdpSocket,
        endpoint: EndpointConfig,
        server: ServerConfig,
        shards: Vec<mpsc::Sender<Parcel>>,
    ) -> io::Result<Self> {
        let udp = UdpSocketState::new((&socket).into())?;
        let endpoint = Endpoint::new(Arc::new(endpoint), Some(Arc::new(server)), !udp.may_fragment(), None);
        let table = Mutex::new(Table { endpoint, places: Vec::new(), serials: 0 });
        Ok(Self { table, socket: tokio::net::UdpSocket::from_std(socket)?, udp, shards })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives for ever.
    pub async fn receive(&self, mut door: Door) {
        // A call gives up to a batch of buffers, each with as many packets of one sender as the system has joined.
        let each = DATAGRAM_BYTES_MAX.max(self.udp.gro_segments() * 1500);
        let mut room = vec![0; each * BATCH_SIZE];
        let (mut metas, mut failing) = ([RecvMeta::default(); BATCH_SIZE], false);
        loop {
            let mut pieces = room.chunks_mut(each).map(IoSliceMut::new);
            let mut pieces: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| pieces.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let receiving = self
                .socket
                .async_io(Interest::READABLE, || self.udp.recv((&self.socket).into(), &mut pieces, &mut metas));
            match receiving.await {
                Ok(count) => {
                    failing = false;
                    let datagrams = metas.iter().zip(&pieces).take(count);
                    self.distribute(datagrams.map(|(meta, piece)| (meta, &piece[..meta.len])), &mut door);
                }
                // Somebody's port is closed: nothing of ours.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "nothing can be received on QUIC's socket; it is tried again and again");
                    }
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
            // The shard of this core takes what was brought before more is.
            tokio::task::yield_now().await;
        }
    }

    fn distribute<'a>(&self, pieces: impl Iterator<Item = (&'a RecvMeta, &'a [u8])>, door: &mut Door) {
        let now = Instant::now();
        let mut table = self.table();
        let mut answer = Vec::new();
        for (meta, piece) in pieces {
            let mut joined = BytesMut::from(piece);
            while !joined.is_empty() {
                let datagram = joined.split_to(meta.stride.min(joined.len()));
                let ecn = meta.ecn.and_then(|ecn| quinn_proto::EcnCodepoint::from_bits(ecn as u8));
                answer.clear();
                match table.endpoint.handle(now, meta.addr, meta.dst_ip, ecn, datagram, &mut answer) {
                    Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                        let Some(place) = table.places.get(handle.0).copied() else { continue };
                        self.deliver(place, handle, event);
                    }
                    Some(DatagramEvent::NewConnection(incoming)) => {
                        self.meet(&mut table.endpoint, incoming, &mut answer, door);
                    }
                    Some(DatagramEvent::Response(transmit)) => self.answer(&transmit, &answer),
                    None => {}
                }
            }
        }
    }

    fn deliver(&self, place: Place, handle: ConnectionHandle, event: ConnectionEvent) {
        let parcel = Parcel::Event(Name { handle, serial: place.serial }, event);
        if self.shards[place.shard].try_send(parcel).is_err() {
            metrics::quic_packet_dropped();
        }
    }

    fn meet(&self, endpoint: &mut Endpoint, incoming: Incoming, room: &mut Vec<u8>, door: &mut Door) {
        let incoming = match door.answer(&incoming) {
            Answer::Retry => {
                metrics::arrival("retry");
                match endpoint.retry(incoming, room) {
                    Ok(transmit) => return self.answer(&transmit, room),
                    // It was asked before whether it may.
                    Err(error) => error.into_incoming(),
                }
            }
            Answer::Accept(admitted) => {
                let arrival = Box::new(Arrival { incoming, admitted });
                match self.shards[door.turn(self.shards.len())].try_send(Parcel::Arrival(arrival)) {
                    Ok(()) => return,
                    Err(full) => match full.into_inner() {
                        Parcel::Arrival(arrival) => arrival.incoming,
                        _ => return,
                    },
                }
            }
            Answer::Refuse => incoming,
        };
        metrics::arrival("refused");
        let transmit = endpoint.refuse(incoming, room);
        self.answer(&transmit, room);
    }

    /// Begins the handshake; from now on the connection's packets go to this shard. `None` if nothing comes of it.
    pub fn accept(&self, incoming: Incoming, shard: usize) -> Option<(Name, Connection)> {
        let (mut table, mut answer) = (self.table(), Vec::new());
        match table.endpoint.accept(incoming, Instant::now(), &mut answer, None) {
            Ok((handle, quic)) => Some((table.put(handle, shard), quic)),
            Err(error) => {
                drop(table);
                if let Some(transmit) = error.response {
                    self.answer(&transmit, &answer);
                }
                None
            }
        }
    }

    /// Says no to a client that was let in.
    pub fn refuse(&self, incoming: Incoming) {
        metrics::arrival("refused");
        let mut answer = Vec::new();
        let transmit = self.table().endpoint.refuse(incoming, &mut answer);
        self.answer(&transmit, &answer);
    }

    /// Tells the endpoint what a connection has for it, which may have an answer.
    pub fn tell(&self, name: Name, event: EndpointEvent) -> Option<ConnectionEvent> {
        self.table().endpoint.handle_event(name.handle, event)
    }

    /// Gives a connection to another shard, and its packets from now on. Whatever has reached the shard it comes from since is handed
    /// on by [`Self::forward`].
    ///
    /// # Errors
    /// The other shard is full or gone: everything is as before.
    pub fn hand_over(&self, greeted: Box<Greeted>, from: usize, to: usize) -> Result<(), Box<Greeted>> {
        let handle = greeted.talk.name.handle;
        // Under the lock, so that no packet can come before the connection does.
        let mut table = self.table();
        table.places[handle.0].shard = to;
        self.shards[to].try_send(Parcel::Greeted(greeted)).map_err(|full| match full.into_inner() {
            Parcel::Greeted(greeted) => {
                table.places[handle.0].shard = from;
                greeted
            }
            _ => unreachable!("it is what was sent"),
        })
    }

    /// A packet for a connection that a shard does not have any more.
    pub fn forward(&self, name: Name, event: ConnectionEvent, from: usize) {
        let place = self.table().places.get(name.handle.0).copied();
        if let Some(place) = place.filter(|place| place.serial == name.serial && place.shard != from) {
            self.deliver(place, name.handle, event);
        }
    }

    /// Most packets that one call may send.
    pub fn segments_max(&self) -> usize {
        self.udp.max_gso_segments()
    }

    /// Sends packets now.
    ///
    /// # Errors
    /// The socket has no room. Anything else is as if the packets were lost on their way.
    pub fn send(&self, transmit: &Transmit, packets: &[u8]) -> io::Result<()> {
        self.udp.send((&self.socket).into(), &datagrams(transmit, packets))
    }

    /// Sends packets once there is room. May be given up at any time.
    pub async fn send_later(&self, transmit: &Transmit, packets: &[u8]) {
        let _ = self.socket.async_io(Interest::WRITABLE, || self.send(transmit, packets)).await;
    }

    /// An answer that keeps nothing: who misses it asks again.
    fn answer(&self, transmit: &Transmit, packets: &[u8]) {
        let _ = self.send(transmit, packets);
    }

    /// Nobody new is let in.
    pub fn close_door(&self) {
        self.table().endpoint.set_server_config(None);
    }

    /// Ends all connections, and gives them until `timeout` to have it heard.
    pub async fn close(&self, timeout: Duration) {
        for shard in &self.shards {
            let _ = shard.send(Parcel::Close).await;
        }
        let quiet = async {
            while self.table().endpoint.open_connections() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(timeout, quiet).await;
    }
}

impl Table {
    fn put(&mut self, handle: ConnectionHandle, shard: usize) -> Name {
        self.serials = self.serials.wrapping_add(1);
        let place = Place { shard, serial: self.serials };
        // Handles lie close together: one that is free is used before a new one.
        self.places.resize(self.places.len().max(handle.0 + 1), place);
        self.places[handle.0] = place;
        Name { handle, serial: place.serial }
    }
}

fn datagrams<'a>(transmit: &Transmit, packets: &'a [u8]) -> quinn_udp::Transmit<'a> {
    quinn_udp::Transmit {
        destination: transmit.destination,
        ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
        contents: &packets[..transmit.size],
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}
