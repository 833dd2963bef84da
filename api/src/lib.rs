//! People and records: tokens, drivers, stores, trips. This room alone touches the database.
//!
//! A change that others must hear of is written together with its event ([`outbox`]); the relay ([`relay`]) tells the bus, at least
//! once and in order per entity. What the engine finds out about a trip comes back through the bus and is folded in ([`fold`]).

mod bearer;
mod db;
mod erasure;
mod export;
mod fold;
mod follow;
mod history;
mod ids;
mod input;
mod issue;
mod lead;
mod nearby;
mod openapi;
mod outbox;
mod permissions;
mod project;
mod quarantine;
mod records;
mod relay;
mod reports;
mod retention;
mod route_json;
mod routes;
mod signing;
mod uploads;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;
use wayfare_atlas::Atlas;
use wayfare_bus::Bus;
use wayfare_net::bucket::{Buckets, Rate};
use wayfare_net::origin::AllowedOrigins;
use wayfare_net::tokens::Verifier;

use relay::News;
use wayfare_blobs::Blobs;

pub use db::{DatabaseError, DatabasePlace};
pub use issue::{FirstKey, issue_service_key};
pub use openapi::document as openapi_document;
pub use permissions::{TABLE as PERMISSIONS, allowed};
pub use route_json::route_geojson;
pub use signing::{KeyError, SigningKey, list_keys, make_key, withdraw_key};
pub use uploads::UploadLimits;

/// Bus topic with the public keys of tokens: a field per key id, its value the key in base64url.
pub const KEYS_TOPIC: &str = "keys";

/// Bus topic with revocations: a field per token id or subject, its value the Unix second up to which it is revoked.
pub const REVOKED_TOPIC: &str = "revoked";

/// Where records are kept and what is told about them.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where the records are.
    pub database: DatabasePlace,
    /// Streets as GeoJSON, served to pages; a page without has no background.
    pub streets: Option<PathBuf>,
    /// Name of this process among those on one bus.
    pub node: String,
    /// Style URL of a basemap that pages use in place of the streets.
    pub basemap_style_url: Option<String>,
    /// How long it is remembered how well arrivals were foreseen, milliseconds.
    pub arrivals_keep_ms: i64,
    /// How long tracks of trips are kept, milliseconds.
    pub tracks_keep_ms: i64,
    /// How long records of trips are kept after their end, milliseconds.
    pub records_keep_ms: i64,
    /// How many seconds drivers have to answer when they are given a trip; 0: they are not asked.
    pub answer_within_s: u32,
    /// How long late watchers of an ended trip still get its final status, milliseconds.
    pub ended_keep_ms: i64,
    /// Bounds of uploads.
    pub uploads: UploadLimits,
}

/// What all handlers share.
pub(crate) struct House {
    pub config: ApiConfig,
    pub db: db::Database,
    pub bus: Bus,
    pub verifier: Arc<Verifier>,
    pub signing: signing::Signing,
    pub origins: AllowedOrigins,
    /// Between those who write and the relay.
    pub news: News,
    /// Roads, and how fast they are now.
    pub atlas: Arc<Atlas>,
    /// Where all drivers are.
    pub town: nearby::Town,
    /// Whether this process does what one of them has to.
    pub lead: lead::Lead,
    /// Pictures; nothing where this process has no place for them.
    pub files: Option<Blobs>,
    /// Whole files in memory at once.
    pub assembling: tokio::sync::Semaphore,
    /// Requests that bring bytes of uploads.
    pub receiving: uploads::turns::Turns,
    /// Something is to be erased.
    pub erasures: tokio::sync::Notify,
    /// Tries at what is not there, per bearer.
    pub misses: std::sync::Mutex<Buckets>,
}

/// A hundred misses at once, then one every two seconds.
const MISSES: Rate = Rate { per_second: 0.5, burst: 100.0 };

/// Uploads whose files are put together at once: each holds a whole file in memory.
const ASSEMBLING_MAX: usize = 4;

/// Bearers remembered for misses.
const SUBJECTS_MAX: usize = 100_000;

/// The role.
#[derive(Clone)]
pub struct Api {
    house: Arc<House>,
}

impl Api {
    /// Opens the database, makes the signing key and the first service key if there are none, and tells the bus all
    /// that lives. Returns the first service key when it was made now: it is shown once.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open(
        config: ApiConfig,
        bus: Bus,
        verifier: Arc<Verifier>,
        origins: AllowedOrigins,
        atlas: Arc<Atlas>,
        files: Option<Blobs>,
    ) -> Result<(Self, Option<FirstKey>), DatabaseError> {
        let db = db::Database::open(&config.database).await?;
        records::assignment::catch_up(&db).await?;
        let signing = signing::Signing::open(&db).await?;
        let believed = signing.believed();
        verifier.set_keys(believed.iter().map(|(id, public_key)| (&**id, &**public_key)));
        let misses = std::sync::Mutex::new(Buckets::new(MISSES, SUBJECTS_MAX));
        let (news, town) = (News::default(), nearby::Town::default());
        let erasures = tokio::sync::Notify::new();
        let lead = lead::Lead::default();
        let assembling = tokio::sync::Semaphore::new(ASSEMBLING_MAX);
        let house = House {
            config,
            db,
            bus,
            verifier,
            signing,
            origins,
            news,
            atlas,
            town,
            lead,
            files,
            assembling,
            receiving: uploads::turns::Turns::default(),
            erasures,
            misses,
        };
        let house = Arc::new(house);
        let first = issue::first_key(&house).await?;
        relay::send_left_over(&house).await?;
        relay::rebuild(&house).await?;
        house.bus.topics.set_ready("api").await;
        Ok((Self { house }, first))
    }

    /// Relays the outbox, folds in phases and fixes, and follows the drivers until `stop` says true.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let House { bus, town, .. } = &*self.house;
        let following = nearby::run(bus, town, stop.clone());
        let leading = lead::run(&self.house, stop.clone());
        let aside = follow::run::<quarantine::SetAside>(&self.house, stop.clone());
        let remembering = history::run(&self.house, stop.clone());
        let forgetting = retention::run(&self.house, stop.clone());
        let erasing = erasure::run(&self.house, stop.clone());
        let hearing = follow::run::<reports::Reports>(&self.house, stop.clone());
        let asking = reports::expire(&self.house, stop.clone());
        let again = relay::rebuild_after_losses(&self.house, stop.clone());
        let telling = relay::run(&self.house, stop.clone());
        let (ending, sweeping) =
            (uploads::ends::run(&self.house, stop.clone()), uploads::sweep::run(&self.house, stop.clone()));
        let uploading = Box::pin(async { tokio::join!(ending, sweeping) });
        let folding = follow::run::<fold::Phases>(&self.house, stop);
        let (telling, folding) =
            (async { tokio::join!(leading, telling, again) }, async { tokio::join!(folding, hearing, aside) });
        tokio::join!(telling, folding, following, remembering, erasing, forgetting, asking, uploading);
    }

    /// `/v1/…`, `/openapi.json`, `/.well-known/jwks.json`.
    pub fn routes(&self) -> Router {
        routes::routes(Arc::clone(&self.house))
    }

    /// Whether the database answers.
    pub async fn is_ready(&self) -> bool {
        self.house.db.answers().await
    }

    /// Closes the database.
    pub async fn close(&self) {
        self.house.db.close().await;
    }
}
