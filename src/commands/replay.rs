//! `wayfare replay FILE`.

use std::path::PathBuf;

use clap::Args;
use wayfare_loadtest::replay::{Grouping, ReplayOptions, replay};
use wayfare_loadtest::transport::{Transport, codec};
use wayfare_wire::codec::DriveCodec;

/// What is replayed, and where.
#[derive(Args)]
pub struct Options {
    /// A GPX file with times, or a CSV with the columns `trace,t,lat,lon` and perhaps `taxi` (t in Unix seconds).
    file: PathBuf,
    /// How many times as fast as it happened, at least 1.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// One driver for each `trace`, or for each `taxi`.
    #[arg(long, default_value = "trace", value_parser = ["trace", "taxi"])]
    by: String,
    /// Drivers connected at the same time.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Only the first so many traces; 0: all.
    #[arg(long, default_value_t = 0)]
    traces: usize,
    /// How drivers reach the house: quic, ws or http.
    #[arg(long, default_value = "ws")]
    transport: String,
    /// The house's QUIC door, host:port.
    #[arg(long)]
    quic: Option<String>,
    /// SHA-256 of its certificate; without it, the system's roots are asked.
    #[arg(long)]
    fingerprint: Option<String>,
    /// How messages are written on QUIC and WebSocket: proto or json.
    #[arg(long, default_value = "proto", value_parser = codec)]
    codec: DriveCodec,
    /// The running house.
    #[arg(long, env = "WAYFARE_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A service key.
    #[arg(long, env = "WAYFARE_TOKEN", hide_env_values = true)]
    token: String,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Plays the traces through real connections, watches them, and fails if anything was lost or went backwards.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let json = options.json;
    let transport = Transport::parse(&options.transport, options.quic.as_deref(), options.fingerprint.as_deref())?;
    let report = replay(ReplayOptions {
        transport: transport.in_codec(options.codec),
        file: options.file,
        speed: options.speed,
        grouping: if options.by == "taxi" { Grouping::Taxi } else { Grouping::Trace },
        connections_max: options.connections,
        traces_max: options.traces,
        base_url: options.url,
        service_token: options.token,
    })
    .await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    anyhow::ensure!(report.is_clean(), "something was lost or went backwards");
    Ok(())
}
