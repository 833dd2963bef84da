//! Whether the house lives, whether it is ready, and what it counts.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;
use wayfare_api::Api;
use wayfare_bus::Bus;
use wayfare_net::reply::Refusal;
use wayfare_net::tokens::Verifier;
use wayfare_wire::ErrorCode;

/// The process's metrics. There is one recorder per process, however many houses it holds.
#[derive(Clone, Copy)]
pub struct Recorder(&'static PrometheusHandle);

impl Recorder {
    /// Installs the recorder, once.
    ///
    /// # Errors
    /// Another recorder stands there already.
    pub fn install() -> anyhow::Result<Self> {
        static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
        if let Some(handle) = HANDLE.get() {
            return Ok(Self(handle));
        }
        // Flushes take between a tenth of a millisecond and, on a bad day, seconds.
        let seconds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)?
            .install_recorder()?;
        Ok(Self(HANDLE.get_or_init(|| handle)))
    }

    /// Histograms pile up samples until someone takes them down.
    pub fn upkeep(self) {
        self.0.run_upkeep();
    }
}

/// What the answers are made from.
#[derive(Clone)]
pub struct Health {
    pub api: Option<Api>,
    pub bus: Bus,
    pub verifier: Arc<Verifier>,
    pub recorder: Recorder,
    pub metrics_open: bool,
    pub stopped: watch::Receiver<bool>,
}

pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// 200 while a balancer should send connections here.
async fn ready(State(health): State<Health>) -> Response {
    let answer = |text: &'static str| (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    if *health.stopped.borrow() {
        return answer("closing\n");
    }
    if !health.bus.topics.is_ready(wayfare_fanout::TOPIC_OWNERS) {
        return answer("waking up\n");
    }
    if let Some(api) = &health.api
        && !api.is_ready().await
    {
        return answer("the database does not answer\n");
    }
    "ready\n".into_response()
}

/// Prometheus text.
async fn metrics(State(health): State<Health>, headers: HeaderMap) -> Result<String, Refusal> {
    if !health.metrics_open {
        let claims = health
            .verifier
            .verify_headers(&headers, wayfare_bus::now_ms() / 1000)
            .map_err(|error| Refusal::new(ErrorCode::Unauthorized, error.to_string()))?;
        if !claims.role.sees_everything() {
            let text = format!("the role {} may not read metrics", claims.role.name());
            return Err(Refusal::new(ErrorCode::Forbidden, text));
        }
    }
    Ok(health.recorder.0.render())
}
