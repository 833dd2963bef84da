//! Free-flow times against reference engines.

use std::fmt::Write as _;

use wayfare_engine::Position;
use wayfare_engine::roads::{Metric, Network};

use crate::csv::{InvalidTable, Table};
use crate::report::Report;
use crate::score::Pairs;

/// A pair of places and what a reference engine says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticRow {
    /// Its name.
    pub id: String,
    /// From.
    pub origin: Position,
    /// To.
    pub destination: Position,
    /// Reference length in metres.
    pub reference_m: f64,
    /// Reference time in seconds.
    pub reference_s: f64,
}

/// Reads `id,o_lat,o_lon,d_lat,d_lon,ref_dist_m,ref_time_s`; further columns are ignored.
///
/// # Errors
/// The first cell that does not read.
pub fn read_static(text: &str) -> Result<Vec<StaticRow>, InvalidTable> {
    let table = Table::read(text);
    let place = |row: &crate::csv::Row<'_, '_>, lat: &str, lon: &str| {
        let (lat_deg, lon_deg): (f64, f64) = (row.number(lat)?, row.number(lon)?);
        Position::new(lat_deg, lon_deg).map_err(|_| row.bad(lat))
    };
    let read = |row: crate::csv::Row<'_, '_>| {
        Ok(StaticRow {
            id: row.text("id")?.to_owned(),
            origin: place(&row, "o_lat", "o_lon")?,
            destination: place(&row, "d_lat", "d_lon")?,
            reference_m: row.number("ref_dist_m")?,
            reference_s: row.number("ref_time_s")?,
        })
    };
    let rows: Vec<StaticRow> = table.rows().map(read).collect::<Result<_, _>>()?;
    if rows.is_empty() { Err(InvalidTable::Empty) } else { Ok(rows) }
}

/// The table, and the predictions as `id,dist_m,time_s`.
#[must_use]
pub fn evaluate_static(network: &Network, rows: &[StaticRow]) -> (Report, String) {
    let metric = Metric::free(network);
    let (mut times, mut lengths) = (Pairs::default(), Pairs::default());
    let mut predictions = String::from("id,dist_m,time_s\n");
    for row in rows {
        let Some(goal) = network.goal(row.destination) else { continue };
        let starts = network.starts(row.origin, None);
        let ways = network.many_to_one(&metric, &starts, &goal);
        let Some((ms, way_m)) = ways.into_iter().flatten().min_by_key(|(ms, _)| *ms) else { continue };
        let seconds = f64::from(ms) / 1000.0;
        times.0.push((seconds, row.reference_s));
        lengths.0.push((way_m, row.reference_m));
        let _ = writeln!(predictions, "{},{way_m:.0},{seconds:.1}", row.id);
    }
    let columns = ["pairs", "median error", "within 10 %", "within 20 %", "MAPE", "bias"];
    let mut report =
        Report::new(format!("Free-flow {} times against the reference", network.profile().code()), &columns);
    for (name, pairs) in [("time", &times), ("length", &lengths)] {
        let values = [
            pairs.len() as f64,
            pairs.median_error(),
            pairs.within(0.1),
            pairs.within(0.2),
            pairs.mape().0,
            pairs.bias(),
        ];
        report.row(name, &values);
    }
    if times.len() < rows.len() {
        report.note(format!("{} of {} pairs have no way.", rows.len() - times.len(), rows.len()));
    }
    (report, predictions)
}
