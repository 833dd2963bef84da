//! Recorded traces, played through the driver library and checked from the watcher's side.
//!
//! # Time
//!
//! The first point of the recording is sent at once; the others follow at their distance from it, divided by `speed`. The
//! fixes keep their **real** spacing in `t_ms`, so that speeds stay what they were, and are shifted as a whole so that the
//! last fix of the recording is taken at the very moment it is sent. At speed 1 every fix is therefore live; above it the
//! fixes lie in the past, the less so the nearer the end, and never in the future.
//!
//! A server keeps only fixes of drivers on duty. Each driver is therefore created as available since a minute before the
//! first fix. A recording must not be longer than what the server keeps (7 days by default). Arrival times are told only
//! for live positions, so few of them are seen above speed 1.

mod check;
mod report;
mod ride;
mod traces;

pub use report::ReplayReport;
pub use traces::{BadFile, Grouping, Point, Trace, read};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::rest::Rest;
use crate::transport::Transport;
use report::Tally;

/// What to replay, and where.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// `.gpx` (tracks with times), or `.csv` with the columns `trace,t,lat,lon` and perhaps `taxi`; `t` in Unix seconds.
    pub file: PathBuf,
    /// How many times as fast as it happened, at least 1.
    pub speed: f64,
    /// One driver for each trace, or for each taxi.
    pub grouping: Grouping,
    /// Drivers connected at the same time; those beyond it begin late.
    pub connections_max: usize,
    /// Traces to play; 0: all.
    pub traces_max: usize,
    /// How the drivers reach the server.
    pub transport: Transport,
    /// The server, `http://…`.
    pub base_url: String,
    /// Creates the records and watches.
    pub service_token: String,
}

/// When a fix is sent and what time it carries, Unix ms.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    /// Recorded time of the first and the last point.
    first_ms: i64,
    last_ms: i64,
    /// When the replay began.
    start_ms: i64,
    speed: f64,
}

impl Timeline {
    fn new(first_ms: i64, last_ms: i64, start_ms: i64, speed: f64) -> Self {
        Self { first_ms, last_ms, start_ms, speed: speed.max(1.0) }
    }

    /// When to send what was recorded at `recorded_ms`.
    fn due_ms(&self, recorded_ms: i64) -> i64 {
        self.start_ms + ((recorded_ms - self.first_ms) as f64 / self.speed).round() as i64
    }

    /// The time it carries.
    fn taken_ms(&self, recorded_ms: i64) -> i64 {
        self.due_ms(self.last_ms) - (self.last_ms - recorded_ms)
    }
}

/// Plays a file to its end. The report says whether every fix was acked and every promise to the watchers kept.
///
/// # Errors
/// The file cannot be read, or has no trace of two points.
pub async fn replay(options: ReplayOptions) -> anyhow::Result<ReplayReport> {
    let mut traces = read(&options.file)?;
    if options.traces_max > 0 {
        traces.truncate(options.traces_max);
    }
    let points = || traces.iter().flat_map(|trace| &trace.points);
    let (Some(first_ms), Some(last_ms)) =
        (points().map(|point| point.t_ms).min(), points().map(|point| point.t_ms).max())
    else {
        anyhow::bail!("{} has no trace of two points", options.file.display());
    };
    let clock = Clock::start();
    let timeline = Timeline::new(first_ms, last_ms, clock.now_ms(), options.speed);
    let scene = Arc::new(ride::Scene {
        rest: Rest::new(&options.base_url, &options.service_token),
        transport: options.transport.clone(),
        timeline,
        clock,
    });
    let seats = Arc::new(Semaphore::new(options.connections_max.max(1)));
    let (notes, mut noted) = mpsc::unbounded_channel();
    let mut rides = JoinSet::new();
    let (trace_count, started) = (traces.len(), std::time::Instant::now());
    for group in traces::group(traces, options.grouping) {
        let (scene, seats, notes) = (Arc::clone(&scene), Arc::clone(&seats), notes.clone());
        rides.spawn(async move {
            scene.until(group.first_ms()).await;
            // The semaphore is never closed.
            let _seat = seats.acquire().await;
            if let Err(error) = ride::ride(&scene, &group, &notes).await {
                let fault = format!("{}: {error:#}", group.name);
                let _ = notes.send(report::Note::Fault(fault));
            }
        });
    }
    drop(notes);
    let mut tally = Tally::default();
    while let Some(note) = noted.recv().await {
        tally.take(note);
    }
    while rides.join_next().await.is_some() {}
    Ok(tally.report(trace_count, started.elapsed()))
}

/// How long the last acks, and the end of a trip, may take.
const SETTLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_normal_speed_every_fix_is_live() {
        let timeline = Timeline::new(1_000, 61_000, 5_000_000, 1.0);
        for recorded in [1_000, 31_000, 61_000] {
            assert_eq!(timeline.due_ms(recorded), timeline.taken_ms(recorded));
        }
        assert_eq!(timeline.due_ms(1_000), 5_000_000);
    }

    #[test]
    fn faster_than_life_keeps_the_spacing_and_never_sees_the_future() {
        let timeline = Timeline::new(0, 600_000, 5_000_000, 20.0);
        assert_eq!(timeline.due_ms(600_000), 5_030_000);
        assert_eq!(timeline.taken_ms(600_000), 5_030_000);
        for recorded in (0..600_000).step_by(15_000) {
            assert!(timeline.taken_ms(recorded) <= timeline.due_ms(recorded));
            let spacing = timeline.taken_ms(recorded + 15_000) - timeline.taken_ms(recorded);
            assert_eq!(spacing, 15_000);
        }
    }

    #[test]
    fn slower_than_life_would_lie_in_the_future_and_is_not_done() {
        let timeline = Timeline::new(0, 600_000, 0, 0.1);
        assert_eq!(timeline.due_ms(600_000), 600_000);
    }
}
