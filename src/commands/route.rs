//! `wayfare route A B`: the quickest way, on the command line.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use wayfare_atlas::open_city;
use wayfare_engine::Position;
use wayfare_engine::roads::{Metric, Network, Profile, Route};

/// From where to where, on which roads.
#[derive(Args)]
pub struct Options {
    /// Where it begins: latitude,longitude.
    #[arg(value_parser = place, allow_hyphen_values = true)]
    from: Position,
    /// Where it ends: latitude,longitude.
    #[arg(value_parser = place, allow_hyphen_values = true)]
    to: Position,
    /// The roads file.
    #[arg(long)]
    roads: PathBuf,
    /// Whose roads: car, bicycle, foot.
    #[arg(long, default_value = "car", value_parser = super::roads::profile)]
    profile: Profile,
    /// Print GeoJSON, a line for each street with its speed.
    #[arg(long)]
    geojson: bool,
}

fn place(text: &str) -> Result<Position, String> {
    let (lat, lon) = text.split_once(',').ok_or("a place is latitude,longitude, like 41.15,-8.61")?;
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| format!("{text:?} is no number"));
    Position::new(number(lat)?, number(lon)?).map_err(|error| error.to_string())
}

/// Prints it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let networks = open_city(&options.roads, &[options.profile])?;
    let Some(network) = networks.first() else {
        bail!("{} has no roads for {}", options.roads.display(), options.profile.code());
    };
    let metric = Metric::free(network);
    let goal = network.goal(options.to).context("there is no road within 3 km of the destination")?;
    let starts = network.starts(options.from, None);
    anyhow::ensure!(!starts.is_empty(), "there is no road within 3 km of the start");
    let routes = starts.iter().filter_map(|start| network.route(&metric, *start, &goal));
    let route = routes.min_by_key(|route| route.ms).context("no way leads there on these roads")?;
    if options.geojson {
        println!("{}", wayfare_api::route_geojson(network, &metric, &route));
        return Ok(());
    }
    print(network, &route);
    Ok(())
}

fn print(network: &Network, route: &Route) {
    let minutes = f64::from(route.ms) / 60_000.0;
    println!("{:.1} km, {minutes:.1} min on free roads, {} streets", route.length_m / 1000.0, route.streets.len());
    let (points, _) = network.route_line(route);
    println!("{}", wayfare_wire::polyline::encode(&points));
    println!("{}", network.attribution());
}
