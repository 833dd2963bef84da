//! `wayfare demo`: the house, a generated town, and couriers who work in it as real clients over loopback.

use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use clap::Args;
use tokio::sync::watch;
use wayfare::{Config, House, Recorder};
use wayfare_loadtest::demo::{DemoOptions, run_demo};
use wayfare_loadtest::rest::Rest;
use wayfare_loadtest::town::Town;

use super::serve::until_stopped;

/// How lively the town is.
#[derive(Args)]
pub struct Options {
    /// Couriers at work, 1 to 200.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=200))]
    couriers: u16,
    /// They ride this many times as fast, 0.2 to 2.5.
    #[arg(long, default_value_t = 1.0)]
    speedup: f64,
    /// The town is made from this number.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

/// Runs until stopped. The records live in a folder of their own, so that no real one is ever filled with play.
pub async fn run(mut config: Config, options: Options) -> anyhow::Result<()> {
    config.data.dir = config.data.dir.join("demo");
    std::fs::create_dir_all(&config.data.dir).context("cannot make the folder of the demo")?;
    let town = Town::generate(options.seed);
    let streets = config.data.dir.join("streets.geojson");
    std::fs::write(&streets, town.geojson()).context("cannot write the streets of the demo")?;
    config.pages.streets = streets.display().to_string();
    config.http.metrics_open = true;

    let (orders, shown) = watch::channel("[]".to_owned());
    let list = get(move || {
        let orders = shown.borrow().clone();
        async move { ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], orders) }
    });
    let desk: Arc<OnceLock<Rest>> = Arc::default();
    let at_desk = Arc::clone(&desk);
    let link = get(async move || town_link(at_desk.get()).await);
    let extra = Router::new().route("/demo/orders.json", list).route("/demo/town.json", link);
    let (house, first_key) = House::start(&config, Recorder::install()?, extra).await?;
    let key = match first_key {
        Some(key) => key,
        None => wayfare_api::issue_service_key(&config.api()).await?,
    };
    let url = format!("http://{}", house.address());
    let _ = desk.set(Rest::new(&url, &key.0));
    println!("Orders and their pages:  {url}/");
    println!("All couriers:            {url}/  leads there, with a token");
    println!("The API, described:      {url}/docs/");
    println!("Metrics:                 {url}/metrics");
    println!("A service key:           {}", key.0);
    println!("\nThe town is generated. Stop it with ctrl-c.");

    let demo = DemoOptions {
        couriers: usize::from(options.couriers),
        speedup: options.speedup,
        orders: Some(orders),
        ..DemoOptions::default()
    };
    let (stop, mut stopped) = watch::channel(false);
    let shutdown = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let couriers = tokio::spawn(async move { run_demo(&url, &key.0, town, demo, shutdown).await });
    until_stopped().await?;
    let _ = stop.send(true);
    couriers.await.context("the couriers fell over")??;
    house.drain().await;
    Ok(())
}

/// Where all couriers are seen, with a token that may look and nothing else.
async fn town_link(desk: Option<&Rest>) -> Response {
    let token = match desk {
        Some(desk) => desk.token("support", "demo").await,
        None => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    match token {
        Ok(token) => {
            let link = serde_json::json!({ "url": format!("/town/#token={token}") });
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, link.to_string()).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "there is no token for the town");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
