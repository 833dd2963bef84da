//! Matches against a reference's ways, point by point.

use std::collections::HashMap;
use std::fmt::Write as _;

use wayfare_engine::Position;
use wayfare_engine::roads::{MatchRoom, Matcher, Network, Sight, StreetId};

use crate::csv::{InvalidTable, Table};
use crate::report::Report;
use crate::trips::Trace;

/// OpenStreetMap way by trace and index of the point, where the reference matched it.
pub type ReferenceWays = HashMap<(String, usize), i64>;

/// Reads `trace,i,type,way_id`; rows of another type, or without a way, say nothing.
///
/// # Errors
/// The first cell that does not read.
pub fn read_reference_ways(text: &str) -> Result<ReferenceWays, InvalidTable> {
    let mut ways = ReferenceWays::new();
    for row in Table::read(text).rows() {
        if row.text("type")? == "matched" && !row.text("way_id")?.is_empty() {
            ways.insert((row.text("trace")?.to_owned(), row.number("i")?), row.number("way_id")?);
        }
    }
    if ways.is_empty() { Err(InvalidTable::Empty) } else { Ok(ways) }
}

/// What was believed of one point, when it was the newest and two points later.
#[derive(Debug, Clone, Copy, Default)]
struct Believed {
    newest: Option<(StreetId, f32)>,
    later: Option<(StreetId, f32)>,
}

/// The table, and the predictions as `trace,t,lag0_way,lag2_way,lat,lon`.
#[must_use]
pub fn evaluate_match(network: &Network, traces: &[Trace], reference: &ReferenceWays) -> (Report, String) {
    let mut predictions = String::from("trace,t,lag0_way,lag2_way,lat,lon\n");
    let (mut points, mut newest, mut later, mut unmatched) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut room = MatchRoom::default();
    for trace in traces {
        let believed = believe(network, trace, &mut room);
        for (index, (point, believed)) in trace.points.iter().zip(&believed).enumerate() {
            let way = |spot: Option<(StreetId, f32)>| spot.and_then(|(id, _)| Some(network.street(id)?.way));
            let (lag0, lag2) = (way(believed.newest), way(believed.later));
            unmatched += u64::from(lag0.is_none());
            if let Some(real) = reference.get(&(trace.id.clone(), index)) {
                points += 1;
                newest += u64::from(lag0 == Some(*real));
                later += u64::from(lag2 == Some(*real));
            }
            let place: Position =
                believed.later.or(believed.newest).map_or(point.place, |(id, at)| network.place(id, at));
            let show = |way: Option<i64>| way.map_or(String::new(), |way| way.to_string());
            let (lat, lon) = (place.lat_deg(), place.lon_deg());
            let _ = writeln!(predictions, "{},{},{},{},{lat:.6},{lon:.6}", trace.id, point.t_s, show(lag0), show(lag2));
        }
    }
    let mut report = Report::new("Matched ways against the reference", &["points", "agreement", "unmatched"]);
    let share = |hits: u64| hits as f64 / points.max(1) as f64;
    report.row("newest fix", &[points as f64, share(newest), unmatched as f64]);
    report.row("two fixes later", &[points as f64, share(later), f64::NAN]);
    (report, predictions)
}

/// Runs the matcher over a trace as the points come in.
fn believe(network: &Network, trace: &Trace, room: &mut MatchRoom) -> Vec<Believed> {
    let mut matcher = Matcher::default();
    let mut believed = vec![Believed::default(); trace.points.len()];
    for (index, point) in trace.points.iter().enumerate() {
        let sight = Sight { place: point.place, accuracy_m: None, heading_deg: None, taken: point.taken() };
        let (matched, _) = matcher.step(network, &sight, room);
        believed[index].newest = matched.map(|matched| (matched.street, matched.offset_m));
        believed[index].later = believed[index].newest;
        // What the way to the newest belief says of the points before. A point that a later one has replaced keeps its belief.
        for lag in 1..=2 {
            let Some((street, offset_m, taken)) = matcher.belief(lag) else { break };
            let from = index.saturating_sub(8);
            let same = trace.points[from..index].iter().position(|earlier| earlier.taken() == taken);
            if let Some(same) = same.map(|at| from + at).filter(|at| index - at <= 2) {
                believed[same].later = Some((street, offset_m));
            }
        }
    }
    believed
}
