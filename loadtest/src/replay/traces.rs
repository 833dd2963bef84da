//! Recordings: GPX tracks and trips in CSV.

use std::collections::HashMap;
use std::path::Path;

mod csv;
mod gpx;
mod iso_time;

/// A recorded place and time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Recorded time, Unix ms.
    pub t_ms: i64,
    /// Latitude, degrees.
    pub lat: f64,
    /// Longitude, degrees.
    pub lon: f64,
}

/// One ride, at least two points, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Its name in the file.
    pub name: String,
    /// Whose it is, where the file says so.
    pub taxi: Option<String>,
    /// Where it led.
    pub points: Vec<Point>,
}

/// Who drives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// One driver for each trace.
    #[default]
    Trace,
    /// One driver for each taxi; traces without one have their own.
    Taxi,
}

/// The rides of one driver, in order of time.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) traces: Vec<Trace>,
}

impl Group {
    /// When the first ride began, recorded time.
    pub(super) fn first_ms(&self) -> i64 {
        let firsts = self.traces.iter().filter_map(|trace| trace.points.first());
        firsts.map(|point| point.t_ms).min().unwrap_or_default()
    }
}

/// A file that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// It cannot be read.
    #[error("{file}: {source}")]
    Unreadable {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Its name ends neither in `.gpx` nor in `.csv`.
    #[error("{0}: only .gpx and .csv can be replayed")]
    Kind(String),
    /// It is not what its name says.
    #[error("{file}, line or byte {at}: {why}")]
    Content {
        /// Which.
        file: String,
        /// Line of a CSV, byte of a GPX.
        at: u64,
        /// What is wrong there.
        why: String,
    },
}

/// Reads all traces of a file, in order of their first point. Points are put in order of time, and repeated times left out;
/// traces of fewer than two points are left out as well.
///
/// # Errors
/// The file cannot be read, or is not what its name says.
pub fn read(file: &Path) -> Result<Vec<Trace>, BadFile> {
    let name = file.display().to_string();
    let kind = file.extension().and_then(|kind| kind.to_str());
    let parse = match kind.map(str::to_ascii_lowercase).as_deref() {
        Some("gpx") => gpx::parse,
        Some("csv") => csv::parse,
        _ => return Err(BadFile::Kind(name)),
    };
    let text = std::fs::read_to_string(file).map_err(|source| BadFile::Unreadable { file: name.clone(), source })?;
    let traces = parse(&text).map_err(|(at, why)| BadFile::Content { file: name, at, why })?;
    Ok(in_order(traces))
}

fn in_order(mut traces: Vec<Trace>) -> Vec<Trace> {
    for trace in &mut traces {
        trace.points.sort_by_key(|point| point.t_ms);
        trace.points.dedup_by_key(|point| point.t_ms);
    }
    traces.retain(|trace| trace.points.len() >= 2);
    traces.sort_by_key(|trace| trace.points[0].t_ms);
    traces
}

/// Divides the traces among drivers.
pub(super) fn group(traces: Vec<Trace>, grouping: Grouping) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_taxi: HashMap<String, usize> = HashMap::new();
    for trace in traces {
        let taxi = trace.taxi.clone().filter(|_| grouping == Grouping::Taxi);
        let known = taxi.as_ref().and_then(|taxi| by_taxi.get(taxi));
        if let Some(group) = known {
            groups[*group].traces.push(trace);
            continue;
        }
        let name = taxi.clone().unwrap_or_else(|| trace.name.clone());
        if let Some(taxi) = taxi {
            by_taxi.insert(taxi, groups.len());
        }
        let traces = vec![trace];
        groups.push(Group { name, traces });
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(name: &str, taxi: &str, times: &[i64]) -> Trace {
        let point = |t_ms: &i64| Point { t_ms: *t_ms, lat: 1.0, lon: 2.0 };
        Trace { name: name.into(), taxi: Some(taxi.into()), points: times.iter().map(point).collect() }
    }

    #[test]
    fn points_are_put_in_order_and_short_traces_left_out() {
        let read =
            in_order(vec![trace("b", "x", &[30, 20, 20]), trace("short", "x", &[5, 5]), trace("a", "x", &[10, 40])]);
        assert_eq!(read, [trace("a", "x", &[10, 40]), trace("b", "x", &[20, 30])]);
    }

    #[test]
    fn a_taxi_drives_its_traces_one_after_the_other() {
        let traces = || vec![trace("a", "x", &[1, 2]), trace("b", "y", &[1, 2]), trace("c", "x", &[5, 6])];
        let sizes = |grouping| {
            let groups = group(traces(), grouping);
            groups.iter().map(|group| group.traces.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(Grouping::Taxi), [2, 1]);
        assert_eq!(sizes(Grouping::Trace), [1, 1, 1]);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let refused = read(Path::new("/tmp/x.txt")).unwrap_err().to_string();
        assert_eq!(refused, "/tmp/x.txt: only .gpx and .csv can be replayed");
        assert!(matches!(read(Path::new("/no/such.csv")), Err(BadFile::Unreadable { .. })));
    }
}
