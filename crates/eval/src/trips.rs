//! Recorded trips: points of vehicles in order of time.

use wayfare_engine::{Millis, Position};

use crate::csv::{InvalidTable, Table};

/// A point of a trip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Unix seconds.
    pub t_s: i64,
    /// Where.
    pub place: Position,
}

impl Point {
    /// When, as the engine counts.
    #[must_use]
    pub const fn taken(&self) -> Millis {
        Millis(self.t_s * 1000)
    }
}

/// A recorded trip.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Its name.
    pub id: String,
    /// Its points, oldest first.
    pub points: Vec<Point>,
}

/// Reads `trace,t,lat,lon`; further columns are ignored. Points of a trace stand together.
///
/// # Errors
/// The first cell that does not read.
pub fn read_trips(text: &str) -> Result<Vec<Trace>, InvalidTable> {
    let mut traces: Vec<Trace> = Vec::new();
    for row in Table::read(text).rows() {
        let id = row.text("trace")?;
        let place = Position::new(row.number("lat")?, row.number("lon")?).map_err(|_| row.bad("lat"))?;
        let point = Point { t_s: row.number("t")?, place };
        match traces.last_mut().filter(|last| last.id == id) {
            Some(last) => last.points.push(point),
            None => traces.push(Trace { id: id.to_owned(), points: vec![point] }),
        }
    }
    if traces.is_empty() { Err(InvalidTable::Empty) } else { Ok(traces) }
}
