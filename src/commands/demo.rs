//! `wayfare demo`: the house, a generated town, and couriers who work in it as real clients over loopback.

use std::sync::{Arc, OnceLock};

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use clap::Args;
use tokio::sync::watch;
use wayfare::{Config, House, Recorder};
use wayfare_atlas::{build_city, open_city, read_places};
use wayfare_engine::City;
use wayfare_engine::roads::Profile;
use wayfare_loadtest::demo::{DemoOptions, run_demo};
use wayfare_loadtest::rest::Rest;
use wayfare_loadtest::town::{MapOfTown, Town};
use wayfare_loadtest::transport::Transport;

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
    /// Work in a real town: an OpenStreetMap extract (.osm.pbf). Couriers ride on its streets, from its restaurants.
    #[arg(long)]
    map: Option<PathBuf>,
}

/// Runs until stopped. The records live in a folder of their own, so that no real one is ever filled with play.
pub async fn run(mut config: Config, options: Options) -> anyhow::Result<()> {
    config.data.dir = config.data.dir.join("demo");
    std::fs::create_dir_all(&config.data.dir).context("cannot make the folder of the demo")?;
    let town = match &options.map {
        Some(extract) => {
            let (extract, folder, seed) = (extract.clone(), config.data.dir.clone(), options.seed);
            let (town, roads) = tokio::task::spawn_blocking(move || mapped_town(&extract, &folder, seed)).await??;
            config.roads.files = vec![roads];
            town
        }
        None => Town::generate(options.seed),
    };
    let streets = config.data.dir.join("streets.geojson");
    std::fs::write(&streets, town.geojson()).context("cannot write the streets of the demo")?;
    config.pages.streets = streets.display().to_string();
    config.http.metrics_open = true;
    // Play needs no certificate that anybody has to trust; the couriers know ours by its fingerprint.
    config.tls = wayfare::config::Tls::default();
    config.quic.generated_certificate = true;
    if config.quic.listen.is_empty() {
        config.quic.listen = "127.0.0.1:0".into();
    }

    let (orders, shown) = watch::channel("[]".to_owned());
    let list = get(move || {
        let orders = shown.borrow().clone();
        async move { ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], orders) }
    });
    let desk: Arc<OnceLock<Rest>> = Arc::default();
    let at_desk = Arc::clone(&desk);
    let link = get(async move || town_link(at_desk.get()).await);
    let at_desk = Arc::clone(&desk);
    let menu = get(async move || menu_link(at_desk.get()).await);
    let extra =
        Router::new().route("/demo/orders.json", list).route("/demo/town.json", link).route("/demo/menu.json", menu);
    let (house, first_key) = House::start(&config, Recorder::install()?, extra).await?;
    let key = match first_key {
        Some(key) => key,
        None => wayfare_api::issue_service_key(&config.api()).await?,
    };
    let url = format!("http://{}", house.address());
    let _ = desk.set(Rest::new(&url, &key.0));
    println!("Orders and their pages:  {url}/");
    println!("All couriers:            {url}/  leads there, with a token");
    println!("Pictures of a menu:      {url}/  leads there too");
    println!("The API, described:      {url}/docs/");
    println!("Metrics:                 {url}/metrics");
    let mut transport = Transport::default();
    if let Some(quic) = house.quic() {
        println!("Drivers on QUIC:         {}, certificate SHA-256 {}", quic.address, quic.fingerprint);
        transport = Transport::parse("quic", Some(&quic.address.to_string()), Some(&quic.fingerprint))?;
    }
    println!("A service key:           {}", key.0);
    match &options.map {
        Some(extract) => println!("\nThe town is that of {}. Stop it with ctrl-c.", extract.display()),
        None => println!("\nThe town is generated. Stop it with ctrl-c."),
    }

    let demo = DemoOptions {
        couriers: usize::from(options.couriers),
        speedup: options.speedup,
        orders: Some(orders),
        transport,
        seed: options.seed,
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
    let Some(desk) = desk else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let token = desk.token("support", "demo").await.map_err(anyhow::Error::from);
    link(token.map(|token| format!("/town/#token={token}")))
}

/// Where the pictures of one restaurant's menu are seen and changed, with a token of its own.
async fn menu_link(desk: Option<&Rest>) -> Response {
    let Some(desk) = desk else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let token = async {
        let store = desk.newest_store().await?.context("the town has no restaurant yet")?;
        anyhow::Ok(desk.token("store", &store).await?)
    };
    link(token.await.map(|token| format!("/menu/#token={token}")))
}

fn link(url: anyhow::Result<String>) -> Response {
    match url {
        Ok(url) => {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, serde_json::json!({ "url": url }).to_string()).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "there is no token for a page of the demo");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// The town of an extract, and the file of its roads, which is built when the extract is new or has changed.
fn mapped_town(extract: &Path, folder: &Path, seed: u64) -> anyhow::Result<(Town, PathBuf)> {
    let name = || format!("--map {}", extract.display());
    let about = std::fs::metadata(extract).with_context(name)?;
    let changed_s = about.modified()?.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let stem =
        extract.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next()).unwrap_or("town");
    let roads = folder.join(format!("{stem}-{:x}-{changed_s:x}.roads", about.len()));
    const RIDDEN: [Profile; 2] = [Profile::Car, Profile::Bicycle];
    // What is not there, or is of another version, is built.
    let networks = match open_city(&roads, &RIDDEN) {
        Ok(networks) => networks,
        Err(_) => {
            println!("Building the roads of {} …", extract.display());
            let built = build_city(extract, &Profile::ALL, None, |_| ()).with_context(name)?;
            built.write(&roads).context("cannot write the roads of the demo")?;
            open_city(&roads, &RIDDEN)?
        }
    };
    let places = read_places(|| File::open(extract).map(BufReader::new)).with_context(name)?;
    let outline = |kind: &'static str, shapes: Vec<Vec<wayfare_engine::Position>>| {
        shapes.into_iter().map(move |ring| (kind, ring))
    };
    let shapes =
        outline("water", places.waters).chain(outline("park", places.greens)).chain(outline("block", places.buildings));
    let map = MapOfTown {
        name: stem.to_owned(),
        cities: networks.into_iter().map(|network| City::new(Arc::new(network))).collect(),
        eateries: places.eateries,
        streets: places.streets,
        shapes: shapes.collect(),
    };
    Ok((Town::on_map(map, seed).with_context(name)?, roads))
}
