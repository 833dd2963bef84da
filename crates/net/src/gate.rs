//! The gate: who an address is, how much it may ask, and how many may come in at once.
//!
//! Limits by bearer do not help against someone without a token, and one bearer with many addresses is met elsewhere. Here one address
//! (of IPv6 a /64, which is what one customer of a network is given) has a share of requests and of open connections, and the network
//! around it (/24, /48) a larger one: telephone networks put thousands of phones behind one address, so the shares are wide.
//!
//! When everybody comes back at once, only so many long-lived connections a second are taken. Each of the others is given a time of its
//! own to come again, one behind the other, so that they return as fast as they can be served and not faster. Only who has shown a token
//! is counted, and each bearer for little: a stranger, or one who comes again and again, delays nobody else.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ipnet::IpNet;
use wayfare_wire::{Claims, ErrorBody, ErrorCode, Role};

use crate::bucket::{Bucket, Buckets, Rate};
use crate::network::{address_key, network_key};
use crate::reply::Refusal;

/// Addresses and networks remembered, each; beyond it those that asked for little are forgotten first.
const KEYS_MAX: usize = 100_000;

/// Nobody is told to stay away for longer than this by one who only has much to do.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Connections that one bearer may begin: a phone that flaps between networks, a link passed around a family.
const BEARER: Rate = Rate { per_second: 10.0, burst: 50.0 };

/// How wide the gate is.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// Requests of one address.
    pub address: Rate,
    /// Requests of one network.
    pub network: Rate,
    /// Open connections of one address.
    pub address_connections: u32,
    /// Open connections of one network.
    pub network_connections: u32,
    /// New long-lived connections of everybody together: WebSockets, event streams, QUIC.
    pub arrivals: Rate,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// See the module. Shared by all listeners of a process; costs two lookups under a lock per request, and nothing per message.
pub struct Gate {
    config: GateConfig,
    shares: Mutex<Shares>,
    arrivals: Mutex<Arrivals>,
}

struct Shares {
    addresses: Buckets<u64>,
    networks: Buckets<u64>,
    /// Open connections by address and by network.
    open: AHashMap<Key, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(u64),
    Network(u64),
}

struct Arrivals {
    bucket: Bucket,
    bearers: Buckets,
    /// The first time that nobody was told to come at.
    free: Instant,
}

/// An open connection of an address, counted until dropped.
pub struct Place {
    gate: Arc<Gate>,
    from: IpAddr,
}

impl Gate {
    /// Open for everybody.
    pub fn new(config: GateConfig) -> Arc<Self> {
        let now = Instant::now();
        let (addresses, networks) = (Buckets::new(config.address, KEYS_MAX), Buckets::new(config.network, KEYS_MAX));
        let arrivals =
            Arrivals { bucket: Bucket::full(config.arrivals, now), bearers: Buckets::new(BEARER, KEYS_MAX), free: now };
        Arc::new(Self {
            config,
            shares: Mutex::new(Shares { addresses, networks, open: AHashMap::new() }),
            arrivals: Mutex::new(arrivals),
        })
    }

    /// The client behind a connection: its peer, or, where that is a proxy of ours, the last address before our proxies that
    /// `X-Forwarded-For` names. What stands further left is whatever the client wrote there.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let named = headers.get_all("x-forwarded-for").iter().flat_map(|value| value.to_str().unwrap_or("").split(','));
        for name in named.collect::<Vec<_>>().into_iter().rev() {
            if !self.is_proxy(client) {
                break;
            }
            match address(name) {
                Some(before) => client = before,
                None => break,
            }
        }
        client
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.config.trusted_proxies.iter().any(|network| network.contains(&address))
    }

    /// A request came from there.
    ///
    /// # Errors
    /// Its share is used up, and when there is something left of it again.
    pub fn ask(&self, from: IpAddr, now: Instant) -> Result<(), Duration> {
        let shares = &mut *lock(&self.shares);
        let (address, network) = (address_key(from), network_key(from));
        // Whoever is refused for its own sake takes nothing from its neighbours.
        shares.addresses.take_or_wait(&address, now)?;
        shares.networks.take_or_wait(&network, now)
    }

    /// Counts a connection in; `None` when the address or its network has its share. A proxy of ours may open any number.
    pub fn open(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let from = peer.to_canonical();
        if !self.is_proxy(from) {
            let shares = &mut *lock(&self.shares);
            let most = [
                (Key::Address(address_key(from)), self.config.address_connections),
                (Key::Network(network_key(from)), self.config.network_connections),
            ];
            let full = |(key, most): &(Key, u32)| shares.open.get(key).is_some_and(|open| open >= most);
            if most.iter().any(full) {
                metrics::counter!("wayfare_gate_refused_total", "limit" => "connections").increment(1);
                return None;
            }
            for (key, _) in most {
                *shares.open.entry(key).or_insert(0) += 1;
            }
        }
        Some(Place { gate: Arc::clone(self), from })
    }

    /// A long-lived connection of a bearer whose token was verified wants to be taken in.
    ///
    /// # Errors
    /// Too many do, or this bearer too often: when to come again. Each is given another time.
    pub fn arrive(&self, bearer: &Claims, now: Instant) -> Result<(), Duration> {
        let rate = self.config.arrivals;
        let arrivals = &mut *lock(&self.arrivals);
        // A shop's server or a support desk may hold any number of maps open.
        let own = matches!(bearer.role, Role::Support | Role::Admin | Role::Service);
        if !own && let Err(wait) = arrivals.bearers.take_or_wait(&bearer.sub, now) {
            metrics::counter!("wayfare_gate_refused_total", "limit" => "bearer").increment(1);
            return Err(wait);
        }
        if arrivals.bucket.take(rate, now) {
            return Ok(());
        }
        metrics::counter!("wayfare_gate_refused_total", "limit" => "arrivals").increment(1);
        // A second of grace: clients that are told a time in whole seconds round it up together.
        arrivals.free =
            arrivals.free.max(now + Duration::from_secs(1)) + Duration::from_secs_f32(1.0 / rate.per_second);
        let wait = arrivals.free - now;
        if wait > WAIT_MAX {
            // More than can be taken within the longest wait: from the beginning again, still one behind the other.
            arrivals.free = now + Duration::from_secs(1);
        }
        Err(wait.min(WAIT_MAX))
    }

    /// [`Self::arrive`] as a handler answers it.
    ///
    /// # Errors
    /// 503 with the time to come again.
    pub fn admit(&self, bearer: &Claims) -> Result<(), Refusal> {
        self.arrive(bearer, Instant::now()).map_err(|wait| {
            let error = ErrorBody::new(ErrorCode::Overloaded, "too many come in at once; this one's turn is later");
            Refusal::from(error.after_ms(whole_ms(wait)))
        })
    }
}

/// A wait as it is told: never zero.
#[must_use]
pub fn whole_ms(wait: Duration) -> u32 {
    wait.as_millis().clamp(1, u32::MAX.into()) as u32
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.gate.is_proxy(self.from) {
            return;
        }
        let open = &mut lock(&self.gate.shares).open;
        for key in [Key::Address(address_key(self.from)), Key::Network(network_key(self.from))] {
            if let Some(count) = open.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&key);
                }
            }
        }
    }
}

/// In front of everything: notes who the client is (handlers find it as the peer), and lets through what is within its share.
pub async fn pass(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() else {
        return next.run(request).await;
    };
    let client = gate.client(peer.ip(), request.headers());
    if let Err(wait) = gate.ask(client, Instant::now()) {
        metrics::counter!("wayfare_gate_refused_total", "limit" => "requests").increment(1);
        let error = ErrorBody::new(ErrorCode::RateLimited, "too many requests from this address or its network");
        return Refusal::from(error.after_ms(whole_ms(wait))).into_response();
    }
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, peer.port())));
    next.run(request).await
}

/// One entry of `X-Forwarded-For`: an address, perhaps with a port, of IPv6 perhaps in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use wayfare_wire::TokenKind;

    const FEW: Rate = Rate { per_second: 1.0, burst: 2.0 };
    const MANY: Rate = Rate { per_second: 1e6, burst: 1e6 };

    fn gate(address: Rate, network: Rate, arrivals: Rate) -> Arc<Gate> {
        Gate::new(GateConfig {
            address,
            network,
            address_connections: 2,
            network_connections: 3,
            arrivals,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        })
    }

    fn bearer(role: Role, sub: &str) -> Claims {
        let name = || "wayfare".to_owned();
        let (iss, aud, sub, jti) = (name(), name(), sub.to_owned(), "tok_1".to_owned());
        Claims {
            iss,
            aud,
            sub,
            role,
            kind: TokenKind::Access,
            jti,
            parent: None,
            iat: 0,
            exp: 1,
            until: None,
            kid: "".into(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_is_whom_our_proxies_name_and_nobody_else() {
        let gate = gate(MANY, MANY, MANY);
        let check = |peer: &str, named: &[&str], client: &str| {
            let mut headers = HeaderMap::new();
            for name in named {
                headers.append("x-forwarded-for", name.parse().unwrap());
            }
            assert_eq!(gate.client(ip(peer), &headers), ip(client), "{peer} {named:?}");
        };
        check("203.0.113.9", &[], "203.0.113.9");
        // A stranger may write what it likes.
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("10.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["1.2.3.4, 198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["1.2.3.4", "198.51.100.1, 10.9.9.9"], "198.51.100.1");
        check("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1");
        check("fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1");
        check("10.0.0.1", &["unknown"], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn an_address_and_a_network_have_their_share_and_are_told_when_there_is_more() {
        let now = Instant::now();
        let gate = gate(FEW, Rate { per_second: 1.0, burst: 3.0 }, MANY);
        let ask = |from: &str| gate.ask(ip(from), now);
        assert_eq!((ask("203.0.113.1"), ask("203.0.113.1")), (Ok(()), Ok(())));
        assert_eq!(ask("203.0.113.1"), Err(Duration::from_secs(1)));
        // A neighbour has its own, but not more than the network's.
        assert_eq!(ask("203.0.113.2"), Ok(()));
        assert_eq!(ask("203.0.113.3"), Err(Duration::from_secs(1)));
        assert_eq!(ask("203.0.114.1"), Ok(()));
        // Of IPv6 a /64 is one address.
        assert_eq!((ask("2001:db8:1:2::1"), ask("2001:db8:1:2::2")), (Ok(()), Ok(())));
        assert_eq!(ask("2001:db8:1:2:ffff::3"), Err(Duration::from_secs(1)));
        assert_eq!(gate.ask(ip("203.0.113.1"), now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn connections_are_counted_by_address_and_network_until_they_end() {
        let gate = gate(MANY, MANY, MANY);
        let open = |from: &str| gate.open(ip(from));
        let (first, second) = (open("203.0.113.1"), open("::ffff:203.0.113.1"));
        assert!(first.is_some() && second.is_some());
        assert!(open("203.0.113.1").is_none());
        let neighbour = open("203.0.113.2");
        assert!(neighbour.is_some());
        assert!(open("203.0.113.3").is_none(), "the network is full");
        drop(first);
        assert!(open("203.0.113.1").is_some());
        drop((second, neighbour));
        assert!(lock(&gate.shares).open.is_empty());
        let proxied: Vec<_> = (0..9).map(|_| open("10.0.0.1")).collect();
        assert!(proxied.iter().all(Option::is_some));
    }

    #[test]
    fn a_crowd_is_given_times_one_behind_the_other() {
        let now = Instant::now();
        let gate = gate(MANY, MANY, Rate { per_second: 100.0, burst: 5.0 });
        let mut number = 0;
        let mut arrive = || {
            number += 1;
            gate.arrive(&bearer(Role::Driver, &format!("drv_{number}")), now)
        };
        assert_eq!((0..5).filter(|_| arrive().is_ok()).count(), 5);
        let waits: Vec<Duration> = (0..200).map(|_| arrive().unwrap_err()).collect();
        assert!(waits.iter().zip(&waits[1..]).all(|(one, next)| *next > *one), "each has a time of its own");
        let spread = waits[199] - waits[0];
        assert!((1.98..2.0).contains(&spread.as_secs_f64()), "200 at 100 a second within {spread:?}");
        assert!(waits[0] >= Duration::from_secs(1));
        // However many there are, nobody waits for long.
        assert!((0..10_000).all(|_| arrive().unwrap_err() <= WAIT_MAX));
    }

    #[test]
    fn one_bearer_delays_nobody_else() {
        let now = Instant::now();
        let gate = gate(MANY, MANY, Rate { per_second: 100.0, burst: 200.0 });
        let (wild, other) = (bearer(Role::Driver, "drv_1"), bearer(Role::Driver, "drv_2"));
        let taken = (0..1000).filter(|_| gate.arrive(&wild, now).is_ok()).count();
        assert_eq!(taken, BEARER.burst as usize);
        assert!(gate.arrive(&wild, now).unwrap_err() <= Duration::from_secs(1));
        assert_eq!(gate.arrive(&other, now), Ok(()));
        let later = now + Duration::from_secs(1);
        let taken = (0..1000).filter(|_| gate.arrive(&wild, later).is_ok()).count();
        assert_eq!(taken, BEARER.per_second as usize);
        // Screens of the operator's own server.
        let desk = bearer(Role::Service, "svc_1");
        assert!((0..100).all(|_| gate.arrive(&desk, later).is_ok()));
    }
}
