//! The command line.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
#[cfg(target_os = "linux")]
use wayfare_driver::Trust;
#[cfg(target_os = "linux")]
use wayfare_loadtest::air::Weather;
use wayfare_loadtest::demo::{DemoOptions, run_demo};
#[cfg(target_os = "linux")]
use wayfare_loadtest::load::WeatherOptions;
use wayfare_loadtest::load::{self, Crowd, DriveOptions, IdleOptions, LoadOptions, Speaks, StormOptions};
use wayfare_loadtest::rate::{RateOptions, rate};
use wayfare_loadtest::replay::{Grouping, ReplayOptions, replay};
use wayfare_loadtest::suite::{Scenario, SuiteOptions, suite};
use wayfare_loadtest::town::Town;
use wayfare_loadtest::transport::{Transport, codec};
use wayfare_wire::codec::DriveCodec;

/// Simulated drivers and watchers for a running Wayfare server.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print the report as JSON
    #[arg(long, global = true)]
    json: bool,
    /// What to log: error, warn, info, debug, or a filter per module
    #[arg(long, global = true, env = "LOADTEST_LOG", default_value = "warn")]
    log: String,
}

impl Arguments {
    /// What is logged.
    pub fn log_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.log)
    }
}

/// Where the server is.
#[derive(Debug, Args)]
struct ServerArgs {
    /// The server
    #[arg(long, env = "WAYFARE_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A service token
    #[arg(long, env = "WAYFARE_TOKEN", hide_env_values = true)]
    token: String,
}

/// How drivers reach it.
#[derive(Debug, Args)]
struct TransportArgs {
    /// quic, ws or http
    #[arg(long, default_value = "ws")]
    transport: String,
    /// The server's QUIC door, host:port
    #[arg(long)]
    quic: Option<String>,
    /// SHA-256 of the server's certificate; without it, the system's roots are asked
    #[arg(long)]
    fingerprint: Option<String>,
    /// How messages are written on QUIC and WebSocket: proto or json
    #[arg(long, default_value = "proto", value_parser = codec)]
    codec: DriveCodec,
}

impl TransportArgs {
    fn parse(&self) -> anyhow::Result<Transport> {
        let transport = Transport::parse(&self.transport, self.quic.as_deref(), self.fingerprint.as_deref())?;
        Ok(transport.in_codec(self.codec))
    }
}

/// What all measurements have in common.
#[derive(Debug, Args)]
struct LoadArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// How long to warm up, in seconds
    #[arg(long, default_value_t = load::WARM_UP.as_secs_f64())]
    warm_up: f64,
    /// How long to count, in seconds, after that
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// Process id of the server, to measure its CPU and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// How drivers write: json or proto
    #[arg(long, default_value = "json", value_parser = codec)]
    codec: DriveCodec,
    /// What listens there: wayfare, or a relay to compare with (relay, socketio; see loadtest/peers)
    #[arg(long, value_enum, default_value_t = Speaks::Wayfare)]
    speaks: Speaks,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open loop: fixes at a fixed rate; measures latency
    Run {
        #[command(flatten)]
        load: LoadArgs,
        /// Drivers, each with one trip
        #[arg(long, default_value_t = 1000)]
        drivers: usize,
        /// Fixes per second and driver
        #[arg(long, default_value_t = 1.0)]
        rate: f64,
        /// Watchers of each trip
        #[arg(long, default_value_t = 1)]
        watchers: usize,
    },
    /// Closed loop: the next fix goes when the one before has arrived; measures cost
    Closed {
        #[command(flatten)]
        load: LoadArgs,
        /// Drivers, each with one trip
        #[arg(long, default_value_t = 200)]
        drivers: usize,
        /// Watchers of each trip
        #[arg(long, default_value_t = 1)]
        watchers: usize,
        #[command(flatten)]
        pace: PaceArgs,
    },
    /// One driver and many watchers; measures the cost of a delivery
    Fan {
        #[command(flatten)]
        load: LoadArgs,
        /// Watchers of the one trip
        #[arg(long, default_value_t = 1000)]
        watchers: usize,
        #[command(flatten)]
        pace: PaceArgs,
    },
    /// Connections that do nothing; measures memory
    Idle {
        #[command(flatten)]
        server: ServerArgs,
        /// Watchers
        #[arg(long, default_value_t = 1000)]
        watchers: usize,
        /// Topics of each; the server's fanout.topics_per_connection_max must allow so many
        #[arg(long, default_value_t = 1)]
        topics: usize,
        /// Drivers that send nothing
        #[arg(long, default_value_t = 1000)]
        drivers: usize,
        /// How long to hold them, in seconds
        #[arg(long, default_value_t = 30.0)]
        hold: f64,
        /// Process id of the server
        #[arg(long)]
        pid: u32,
    },
    /// Drivers by the driver's library on any transport, without watchers; measures what a fix and a connection cost the server
    Drive {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        transport: TransportArgs,
        /// Drivers, each with one connection
        #[arg(long, default_value_t = 200)]
        drivers: usize,
        /// Fixes in one message; 0: only hold the connections
        #[arg(long, default_value_t = 1)]
        batch: usize,
        /// How long to count, in seconds, after 2 s of warming up
        #[arg(long, default_value_t = 10.0)]
        duration: f64,
        /// Process id of the server
        #[arg(long)]
        pid: u32,
    },
    /// Two crowds of couriers at the same time, one at a fixed interval and one that obeys the server; tells the uploads saved
    Rate {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        transport: TransportArgs,
        /// Couriers of each crowd
        #[arg(long, default_value_t = 60)]
        couriers: usize,
        /// One of so many trips is watched
        #[arg(long, default_value_t = 10)]
        watched_of: usize,
        /// What the first crowd sends at, in seconds
        #[arg(long, default_value_t = 3.0)]
        fixed: f64,
        /// How long to run before counting, in seconds
        #[arg(long, default_value_t = 240.0)]
        warm_up: f64,
        /// How long to count, in seconds
        #[arg(long, default_value_t = 600.0)]
        duration: f64,
        /// Seed of town and couriers
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Cuts many drivers in the same moment; measures how soon they are back, and what others wait meanwhile
    Storm {
        #[command(flatten)]
        load: LoadArgs,
        /// Drivers who are cut
        #[arg(long, default_value_t = 10_000)]
        drivers: usize,
        /// Drivers whose connections stay, each with a watcher
        #[arg(long, default_value_t = 200)]
        others: usize,
        /// Fixes per second of each of those
        #[arg(long, default_value_t = 1.0)]
        rate: f64,
    },
    /// Every scenario against servers that it starts itself, beside relays on public libraries; writes one page with tables and plots
    Suite {
        /// The wayfare binary
        #[arg(long, default_value = "target/release/wayfare")]
        wayfare: PathBuf,
        /// Folder of the relays, after `npm install` there; without it, ours alone
        #[arg(long)]
        peers: Option<PathBuf>,
        /// Only these; all if none is named
        #[arg(long = "scenario", value_enum)]
        scenarios: Vec<Scenario>,
        /// How long each is counted, in seconds, after 2 s of warming up
        #[arg(long, default_value_t = 10.0)]
        duration: f64,
        /// All numbers of drivers and watchers are multiplied by this
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
        /// Core that the servers run on (by taskset); give the generator another one
        #[arg(long)]
        server_core: Option<u32>,
        /// Where to write the page
        #[arg(long, default_value = "loadtest.html")]
        page: PathBuf,
    },
    /// Carries bytes for `storm`
    #[command(hide = true)]
    Relay { listen: SocketAddr, server: SocketAddr },
    /// QUIC and WebSocket side by side on a bad line: how old the newest position is. Needs root; the server listens on 0.0.0.0
    #[cfg(target_os = "linux")]
    Weather {
        #[command(flatten)]
        server: ServerArgs,
        /// Port of the server's QUIC door
        #[arg(long)]
        quic_port: u16,
        /// SHA-256 of the server's certificate
        #[arg(long)]
        fingerprint: String,
        /// Drivers of each kind
        #[arg(long, default_value_t = 20)]
        drivers: usize,
        /// Between two fixes, ms
        #[arg(long, default_value_t = 1000)]
        interval: u64,
        /// There and back, ms
        #[arg(long, default_value_t = 350)]
        rtt: u64,
        /// Each packet takes up to this much longer, ms
        #[arg(long, default_value_t = 40)]
        jitter: u64,
        /// Share of packets lost, each way
        #[arg(long, default_value_t = 0.05)]
        loss: f64,
        /// Every phone has another port after this time, in seconds
        #[arg(long, default_value_t = 10.0)]
        rebind: f64,
        /// How long to count, in seconds
        #[arg(long, default_value_t = 60.0)]
        duration: f64,
    },
    /// Couriers at work in a generated town, until ctrl-c
    Demo {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        transport: TransportArgs,
        /// Couriers
        #[arg(long, default_value_t = 6)]
        couriers: usize,
        /// Couriers ride this many times as fast (0.2 to 2.5)
        #[arg(long, default_value_t = 1.0)]
        speedup: f64,
        /// Fixes per second of each courier; without it, as often as the server asks
        #[arg(long)]
        rate: Option<f64>,
        /// Seed of the town
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write the open orders to this file whenever they change
        #[arg(long)]
        orders: Option<PathBuf>,
    },
    /// Play recorded traces and check what watchers see; fails if a fix is lost or time goes back
    Replay {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        transport: TransportArgs,
        /// A .gpx, or a .csv with the columns trace,t,lat,lon and perhaps taxi
        file: PathBuf,
        /// How many times as fast as it happened (1 or more)
        #[arg(long, default_value_t = 1.0)]
        speed: f64,
        /// Who drives: one driver for each trace, or for each taxi
        #[arg(long, value_enum, default_value_t = By::Trace)]
        by: By,
        /// Drivers connected at the same time
        #[arg(long, default_value_t = 200)]
        connections: usize,
        /// Play only so many traces; 0: all
        #[arg(long, default_value_t = 0)]
        traces: usize,
    },
    /// Print a generated town as GeoJSON
    Town {
        /// Seed of the town
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

/// How a closed loop is held back.
#[derive(Debug, Args)]
struct PaceArgs {
    /// Fixes of one driver on their way at once
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
    /// Most fixes per second and driver; the server closes above 50 unless configured otherwise. 0: no limit
    #[arg(long, default_value_t = 45.0)]
    rate_max: f64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Trace,
    Taxi,
}

/// Does what was asked.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let json = arguments.json;
    match arguments.command {
        Command::Run { load, drivers, rate, watchers } => {
            anyhow::ensure!(rate > 0.0 && rate <= 1000.0, "--rate is {rate}; it must be in 0..=1000");
            let options = load.options(drivers, watchers, json);
            print(&load::run(&options, rate).await?, json)
        }
        Command::Closed { load, drivers, watchers, pace } => {
            let options = load.options(drivers, watchers, json);
            let report = load::closed(&options, pace.in_flight, pace.rate_max).await?;
            print(&report, json)
        }
        Command::Fan { load, watchers, pace } => {
            let options = load.options(1, watchers, json);
            let report = load::fan(&options, pace.in_flight, pace.rate_max).await?;
            print(&report, json)
        }
        Command::Idle { server, watchers, topics, drivers, hold, pid } => {
            let options = IdleOptions {
                base_url: server.url,
                service_token: server.token,
                watchers,
                topics,
                drivers,
                hold: seconds(hold),
                pid,
                progress: shows_progress(json),
            };
            print(&load::idle(&options).await?, json)
        }
        Command::Drive { server, transport, drivers, batch, duration, pid } => {
            let options = DriveOptions {
                transport: transport.parse()?,
                base_url: server.url,
                service_token: server.token,
                drivers,
                batch,
                duration: seconds(duration),
                pid,
            };
            print(&load::drive(&options).await?, json)
        }
        Command::Rate { server, transport, couriers, watched_of, fixed, warm_up, duration, seed } => {
            anyhow::ensure!(fixed > 0.0 && couriers > 0, "--fixed and --couriers must be above 0");
            let options = RateOptions {
                transport: transport.parse()?,
                base_url: server.url,
                service_token: server.token,
                couriers,
                watched_of,
                fixed: seconds(fixed),
                warm_up: seconds(warm_up),
                duration: seconds(duration),
                seed,
            };
            print(&rate(&options).await?, json)
        }
        Command::Storm { load, drivers, others, rate } => {
            let options = StormOptions { others: load.options(others, 1, json), rate_hz: rate, drivers };
            print(&load::storm(&options).await?, json)
        }
        Command::Suite { wayfare, peers, scenarios, duration, scale, server_core, page } => {
            anyhow::ensure!(scale > 0.0 && scale <= 100.0, "--scale is {scale}; it must be above 0 and at most 100");
            // The servers run in folders of their own.
            let absolute = |path: PathBuf| std::path::absolute(&path);
            let options = SuiteOptions {
                wayfare: absolute(wayfare)?,
                peers: peers.map(absolute).transpose()?,
                scenarios: if scenarios.is_empty() { Scenario::value_variants().to_vec() } else { scenarios },
                duration: seconds(duration),
                scale,
                server_core,
                progress: shows_progress(json),
            };
            let report = suite(&options).await?;
            std::fs::write(&page, report.page()).with_context(|| page.display().to_string())?;
            if json {
                say(&serde_json::to_string_pretty(&report)?);
            } else {
                say(&format!("the report is in {}", page.display()));
            }
            Ok(())
        }
        Command::Relay { listen, server } => load::relay(listen, server, |address| say(&address.to_string())).await,
        #[cfg(target_os = "linux")]
        Command::Weather { server, quic_port, fingerprint, drivers, interval, rtt, jitter, loss, rebind, duration } => {
            let weather = Weather {
                delay: Duration::from_millis(rtt) / 2,
                jitter: Duration::from_millis(jitter),
                loss,
                rebind: seconds(rebind),
            };
            let options = WeatherOptions {
                base_url: server.url,
                service_token: server.token,
                quic_port,
                trust: Trust::fingerprint(&fingerprint)?,
                weather,
                drivers,
                interval: Duration::from_millis(interval.max(10)),
                duration: seconds(duration),
            };
            print(&load::weather(&options).await?, json)
        }
        Command::Demo { server, transport, couriers, speedup, rate, seed, orders } => {
            let transport = transport.parse()?;
            let options =
                DemoOptions { couriers, speedup, rate_hz: rate, orders: None, orders_file: orders, seed, transport };
            let stop = async { drop(tokio::signal::ctrl_c().await) };
            run_demo(&server.url, &server.token, Town::generate(seed), options, stop).await
        }
        Command::Replay { server, transport, file, speed, by, connections, traces } => {
            let options = ReplayOptions {
                transport: transport.parse()?,
                file,
                speed,
                grouping: match by {
                    By::Trace => Grouping::Trace,
                    By::Taxi => Grouping::Taxi,
                },
                connections_max: connections,
                traces_max: traces,
                base_url: server.url,
                service_token: server.token,
            };
            let report = replay(options).await?;
            print(&report, json)?;
            if !report.is_clean() {
                // The report has said why.
                std::process::exit(1);
            }
            Ok(())
        }
        Command::Town { seed } => {
            say(&Town::generate(seed).geojson());
            Ok(())
        }
    }
}

impl LoadArgs {
    fn options(self, drivers: usize, watchers: usize, json: bool) -> LoadOptions {
        LoadOptions {
            base_url: self.server.url,
            service_token: self.server.token,
            drivers,
            watchers,
            warm_up: seconds(self.warm_up),
            duration: seconds(self.duration),
            pid: self.pid,
            threads: self.threads,
            progress: shows_progress(json),
            codec: self.codec,
            speaks: self.speaks,
            crowd: Crowd::default(),
        }
    }
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}

fn shows_progress(json: bool) -> bool {
    !json && std::io::stderr().is_terminal()
}

fn print<R: Serialize + std::fmt::Display>(report: &R, json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string_pretty(report)?);
    } else {
        say(&report.to_string());
    }
    Ok(())
}

/// A reader like `head` may have enough before the end: that is no failure.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
