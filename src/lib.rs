//! The assembled house: all rooms in one process.
//!
//! [`House::start`] opens the corridor, lets the records and the trackers come back, and opens the door last;
//! [`House::drain`] goes the other way. The binary adds a command line, tests and benches use this directly.

pub mod config;
mod cross_origin;
pub mod handover;
mod health;
mod keyring;
mod pages;
mod refusals;
mod roles;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use wayfare_api::{Api, FirstKey};
use wayfare_atlas::Atlas;
use wayfare_bus::Bus;
use wayfare_fanout::Fanout;
use wayfare_ingest::Ingest;
use wayfare_net::cores::Cores;
use wayfare_net::gate::{self, Gate};
use wayfare_net::origin::AllowedOrigins;
use wayfare_net::serve::{ServeLimits, serve};
use wayfare_net::tokens::Verifier;

use handover::{Before, Inherited};
use tls::QuicDoor;

pub use config::Config;
pub use health::Recorder;
pub use roles::Roles;

/// Each part of the drain may take this long.
const DRAIN: Duration = Duration::from_secs(8);

/// A running house.
pub struct House {
    address: SocketAddr,
    secure: bool,
    quic: Option<QuicAddress>,
    /// Of TCP and of UDP, for the process that takes the place of this one.
    sockets: (std::net::TcpListener, Option<std::net::UdpSocket>),
    late: Mutex<Option<(Before, Option<QuicDoor>)>>,
    bus: Bus,
    atlas: Arc<Atlas>,
    api: Option<Api>,
    ingest: Option<Arc<Ingest>>,
    fanout: Option<Arc<Fanout>>,
    cores: Cores,
    audit: wayfare_net::audit::Writer,
    stop: watch::Sender<bool>,
    /// The listener, the relay, the sweeper.
    tasks: Vec<JoinHandle<()>>,
}

/// Where drivers come in by QUIC, and what shows them that they are right.
#[derive(Debug, Clone)]
pub struct QuicAddress {
    /// UDP.
    pub address: SocketAddr,
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
}

impl House {
    /// Starts all roles. Returns the first service key if this is the first start with this data folder.
    ///
    /// # Errors
    /// What cannot be opened, by name.
    pub async fn start(config: &Config, recorder: Recorder, extra: Router) -> anyhow::Result<(Self, Option<FirstKey>)> {
        Self::start_as(Roles::All, config, recorder, extra, Inherited::default()).await
    }

    /// The same with some of the roles, and perhaps in the place of another process, which goes as soon as this one is open.
    ///
    /// # Errors
    /// As [`Self::start`]; or a role alone has no Redis to meet the others on.
    pub async fn start_as(
        roles: Roles,
        config: &Config,
        recorder: Recorder,
        extra: Router,
        inherited: Inherited,
    ) -> anyhow::Result<(Self, Option<FirstKey>)> {
        roles.check(config)?;
        let listen = config.listen()?;
        let listener = match inherited.http {
            Some(listener) => listener,
            None => std::net::TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?,
        };
        listener.set_nonblocking(true)?;
        let (address, socket) = (listener.local_addr()?, listener.try_clone()?);
        let listener = TcpListener::from_std(listener)?;
        let shown = tls::Shown::read(config)?;
        let gate = Gate::new(config.gate()?);
        let bus = match config.redis() {
            Some(redis) => Bus::redis(&redis).await.context("bus.url")?,
            // Databases are opened on the runtime's threads: their own threads stand back behind the cores as those do.
            None => tokio::spawn(Bus::embedded(config.bus())).await??,
        };
        let audit = wayfare_net::audit::start(&config.audit_folder()).context("the audit trail cannot be opened")?;
        let verifier = Arc::new(Verifier::new());
        let origins = AllowedOrigins::new(config.http.origins.iter().cloned())?;
        let (stop, stopped) = watch::channel(false);
        let (heard, keys_heard) = oneshot::channel();
        let keys = keyring::follow(bus.clone(), Arc::clone(&verifier), heard, stopped.clone());
        let mut tasks = vec![tokio::spawn(keys)];

        let maps = config.atlas()?;
        let atlas = tokio::task::spawn_blocking(move || Atlas::open(maps)).await?.context("roads.files")?;

        let files = roles.files(config)?;
        // Records first, then trackers, and the door last: whoever comes in finds everything in its place.
        let (api, first_key) = if roles.api() {
            let (verifier, atlas) = (Arc::clone(&verifier), Arc::clone(&atlas));
            let (bus, origins, files) = (bus.clone(), origins.clone(), files.clone());
            let open = Api::open(config.api(), bus, verifier, origins, atlas, files);
            let (api, first_key) = tokio::spawn(open).await??;
            (Some(api), first_key)
        } else {
            (None, None)
        };
        roles.wait_for_records(&bus).await;
        // Otherwise good tokens would be refused for ever, and revoked ones let in.
        let _ = keys_heard.await;
        let cores = Cores::start(config.cores.threads as usize).context("cannot start the threads")?;
        let ingest = if roles.ingest() {
            let start = Ingest::start(
                config.ingest()?,
                bus.clone(),
                Arc::clone(&verifier),
                origins.clone(),
                Arc::clone(&atlas),
                Arc::clone(&gate),
                &cores,
            );
            Some(start.await)
        } else {
            None
        };
        let fanout = roles.fanout().then(|| {
            Fanout::start(
                config.fanout(),
                bus.clone(),
                Arc::clone(&verifier),
                origins.clone(),
                Arc::clone(&gate),
                &cores,
            )
        });

        let door = if roles.ingest() { QuicDoor::prepare(config, &shown, inherited.quic)? } else { None };
        let quic = match &door {
            Some(door) => {
                Some(QuicAddress { address: door.socket.local_addr()?, fingerprint: door.fingerprint.clone() })
            }
            None => None,
        };
        let sockets = (socket, door.as_ref().map(|door| door.socket.try_clone()).transpose()?);
        // What only one process can have waits until the one before this is gone: packets of a UDP socket, and trackers.
        let late = match inherited.before {
            Some(before) => Some((before, door)),
            None => {
                take_drivers(ingest.as_ref(), door, &cores).await?;
                None
            }
        };
        let tls = shown.for_http()?;
        let secure = tls.is_some();
        tasks.push(tokio::spawn(shown.follow(stopped.clone())));

        let refusals = axum::middleware::from_fn_with_state(Arc::clone(&verifier), refusals::note);
        let health = health::routes(health::Health {
            api: api.clone(),
            bus: bus.clone(),
            verifier,
            recorder,
            metrics_open: config.http.metrics_open,
            stopped: stopped.clone(),
        });
        let policy = pages::policy(config.files.origin().as_deref());
        let app = Router::new()
            .merge(api.as_ref().map(Api::routes).unwrap_or_default())
            .merge(ingest.as_ref().map(Ingest::routes).unwrap_or_default())
            .merge(fanout.as_ref().map(Fanout::routes).unwrap_or_default())
            .merge(health)
            .merge(extra)
            .fallback(move |method, uri| pages::page(policy.clone(), method, uri))
            .layer(refusals)
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&gate), gate::pass))
            .layer(axum::middleware::from_fn_with_state(origins, cross_origin::answer))
            .layer(axum::middleware::map_response(pages::harden));
        let limits = ServeLimits {
            connections_max: config.http.connections_max as usize,
            head_timeout: Duration::from_secs(u64::from(config.http.head_timeout_s)),
            ..ServeLimits::default()
        };
        tasks.push(tokio::spawn(serve(listener, app, limits, gate, tls, stopped.clone())));
        if let Some(relay) = api.clone() {
            let relay_stop = stopped.clone();
            // All that goes on behind the records is one large future: on the heap once, not moved about.
            tasks.push(tokio::spawn(async move { Box::pin(relay.run(relay_stop)).await }));
        }
        if let Some(files) = files.filter(|_| roles.media()) {
            tasks.push(tokio::spawn(wayfare_media_worker::run_workers(
                config.media()?,
                bus.clone(),
                files,
                stopped.clone(),
            )));
        }
        tasks.push(tokio::spawn(sweep(bus.clone(), recorder, stopped)));
        tracing::info!(%address, threads = cores.count(), process = std::process::id(), "the house is open");
        let late = Mutex::new(late);
        let house =
            Self { address, secure, quic, sockets, late, bus, atlas, api, ingest, fanout, cores, audit, stop, tasks };
        Ok((house, first_key))
    }

    /// Tells the process before this one, if there is one, that it may go; when it has, takes what only one can have.
    ///
    /// # Errors
    /// The QUIC socket or the fix log cannot be used.
    pub async fn settle_in(&self) -> anyhow::Result<()> {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((before, door)) = late else { return Ok(()) };
        before.gone().await;
        tracing::info!("the process before this one is gone");
        take_drivers(self.ingest.as_ref(), door, &self.cores).await
    }

    /// Its listening sockets, for the process that takes its place.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn sockets(&self) -> std::io::Result<(std::net::TcpListener, Option<std::net::UdpSocket>)> {
        let (http, quic) = &self.sockets;
        Ok((http.try_clone()?, quic.as_ref().map(std::net::UdpSocket::try_clone).transpose()?))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}/", self.address)
    }

    /// Where it takes drivers on QUIC, if it does.
    pub fn quic(&self) -> Option<&QuicAddress> {
        self.quic.as_ref()
    }

    /// Closes the house: no more connections, what was read is judged, kept and acked, drivers and then watchers are told when to come back.
    pub async fn drain(self) {
        tracing::info!("the house is closing");
        let _ = self.stop.send(true);
        if let Some(ingest) = &self.ingest {
            ingest.drain(DRAIN).await;
        }
        if let Some(fanout) = &self.fanout {
            fanout.drain(DRAIN).await;
        }
        for task in self.tasks {
            if tokio::time::timeout(DRAIN, task).await.is_err() {
                tracing::info!("a part of the house did not close in time");
            }
        }
        let atlas = self.atlas;
        let _ = tokio::task::spawn_blocking(move || atlas.close()).await;
        if let Some(api) = &self.api {
            api.close().await;
        }
        self.bus.close().await;
        drop((self.ingest, self.fanout));
        let _ = tokio::task::spawn_blocking(move || drop(self.audit)).await;
        // The threads end when their shards have; waiting for them must not block this one.
        let _ = tokio::task::spawn_blocking(move || drop(self.cores)).await;
        tracing::info!("the house is closed");
    }
}

/// Brings the trackers back, and opens the door of QUIC.
async fn take_drivers(ingest: Option<&Arc<Ingest>>, door: Option<QuicDoor>, cores: &Cores) -> anyhow::Result<()> {
    let Some(ingest) = ingest else { return Ok(()) };
    ingest.bring_back().await?;
    if let Some(QuicDoor { socket, tls, config, fingerprint }) = door {
        let address = socket.local_addr()?;
        ingest.listen_on_quic(socket, tls, config, cores).await.context("quic.listen")?;
        tracing::info!(%address, fingerprint, "drivers are taken on QUIC");
    }
    Ok(())
}

/// Lets what is past its time go.
async fn sweep(bus: Bus, recorder: Recorder, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        bus.sweep().await;
        recorder.upkeep();
    }
}
