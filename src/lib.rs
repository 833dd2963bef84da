//! The assembled house: all rooms in one process.
//!
//! [`House::start`] opens the corridor, lets the records and the trackers come back, and opens the door last;
//! [`House::drain`] goes the other way. The binary adds a command line, tests and benches use this directly.

pub mod config;
mod cross_origin;
mod health;
mod keyring;
mod pages;
mod refusals;
mod roles;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
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
        Self::start_as(Roles::All, config, recorder, extra).await
    }

    /// The same with some of the roles.
    ///
    /// # Errors
    /// As [`Self::start`]; or a role alone has no Redis to meet the others on.
    pub async fn start_as(
        roles: Roles,
        config: &Config,
        recorder: Recorder,
        extra: Router,
    ) -> anyhow::Result<(Self, Option<FirstKey>)> {
        roles.check(config)?;
        let listen = config.listen()?;
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let shown = tls::Shown::read(config)?;
        let gate = Gate::new(config.gate()?);
        let bus = match config.redis() {
            Some(redis) => Bus::redis(&redis).await.context("bus.url")?,
            None => Bus::embedded(config.bus()).await?,
        };
        let audit = wayfare_net::audit::start(&config.audit_folder()).context("the audit trail cannot be opened")?;
        let verifier = Arc::new(Verifier::new());
        let origins = AllowedOrigins::new(config.http.origins.iter().cloned())?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = vec![tokio::spawn(keyring::follow(bus.clone(), Arc::clone(&verifier), stopped.clone()))];

        let maps = config.atlas()?;
        let atlas = tokio::task::spawn_blocking(move || Atlas::open(maps)).await?.context("roads.files")?;

        // Records first, then trackers, and the door last: whoever comes in finds everything in its place.
        let (api, first_key) = if roles.api() {
            let (verifier, atlas) = (Arc::clone(&verifier), Arc::clone(&atlas));
            let (api, first_key) = Api::open(config.api(), bus.clone(), verifier, origins.clone(), atlas).await?;
            (Some(api), first_key)
        } else {
            (None, None)
        };
        roles.wait_for_records(&bus).await;
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
            Some(start.await?)
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

        let door = if roles.ingest() { tls::QuicDoor::prepare(config, &shown)? } else { None };
        let quic = match ingest.as_ref().zip(door) {
            Some((ingest, tls::QuicDoor { socket, tls, config, fingerprint })) => {
                let address = socket.local_addr()?;
                ingest.listen_on_quic(socket, tls, config, &cores).await.context("quic.listen")?;
                tracing::info!(%address, fingerprint, "drivers are taken on QUIC");
                Some(QuicAddress { address, fingerprint })
            }
            None => None,
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
        let app = Router::new()
            .merge(api.as_ref().map(Api::routes).unwrap_or_default())
            .merge(ingest.as_ref().map(Ingest::routes).unwrap_or_default())
            .merge(fanout.as_ref().map(Fanout::routes).unwrap_or_default())
            .merge(health)
            .merge(extra)
            .fallback(pages::page)
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
        tasks.push(tokio::spawn(sweep(bus.clone(), recorder, stopped)));
        tracing::info!(%address, threads = cores.count(), "the house is open");
        Ok((Self { address, secure, quic, bus, atlas, api, ingest, fanout, cores, audit, stop, tasks }, first_key))
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
