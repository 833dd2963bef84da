//! What a measurement showed.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::LoadOptions;
use super::counts::Counts;
use super::process::Usage;
use super::trace::Sample;

/// Quantiles of a duration, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are faster.
    pub p50_ms: f64,
    /// 99 of 100 are faster.
    pub p99_ms: f64,
    /// 999 of 1000 are faster. Of single runs this says little.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |share| histogram.value_at_quantile(share) as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Self {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1000.0,
        })
    }
}

/// What the server's process used, over the measured window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ServerUsage {
    /// CPU time in cores: 1 is one core, all the time.
    pub cores: f64,
    /// CPU time per fix sent, the whole way, microseconds.
    pub cpu_us_per_fix: f64,
    /// CPU time per delivery, the whole way, microseconds.
    pub cpu_us_per_delivery: f64,
    /// Resident memory before any connection was made, MiB.
    pub rss_before_mib: f64,
    /// Resident memory at the end of the window, MiB.
    pub rss_mib: f64,
}

/// What a measurement showed. Counts are of the measured window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// `open loop`, `closed loop` or `fan-out`.
    pub kind: String,
    /// Drivers.
    pub drivers: usize,
    /// Watchers of each driver's trip.
    pub watchers_per_driver: usize,
    /// Length of the window, seconds.
    pub seconds: f64,
    /// Fixes sent.
    pub sent: u64,
    /// Fixes sent over 5 ms later than due. Latency counts from due all the same.
    pub sent_late: u64,
    /// Fixes acked.
    pub acked: u64,
    /// Fixes accepted.
    pub accepted: u64,
    /// Deltas delivered: a fix counts once for each of its watchers.
    pub delivered: u64,
    /// Deliveries that did not come. Those that a snapshot covered are among them.
    pub lost: u64,
    /// Deliveries that came twice, or after a newer one.
    pub duplicated: u64,
    /// Snapshots that came instead.
    pub snapshots: u64,
    /// Closed loop: fixes given up after a second.
    pub stalled: u64,
    /// Fixes sent per second.
    pub fixes_per_s: f64,
    /// Deliveries per second.
    pub deliveries_per_s: f64,
    /// Bytes on the wire per delivery, WebSocket header included, TCP excluded.
    pub bytes_per_delivery: f64,
    /// From the moment a fix was due until a watcher had it.
    pub delivery: Option<Quantiles>,
    /// From the moment a fix was due until its ack came.
    pub ack: Option<Quantiles>,
    /// The server, if its process was named.
    pub server: Option<ServerUsage>,
    /// CPU time of the generator in cores. Near its number of threads, rates are lower bounds.
    pub generator_cores: f64,
    /// Errors told by the server, in the whole run.
    pub errors: u64,
    /// Connections that the server closed, in the whole run.
    pub connections_closed: u64,
    /// The first error, in the server's words.
    pub first_error: Option<String>,
    /// All connections, those of the crowd among them.
    pub connections: usize,
    /// Newest first: fixes that were left out.
    pub skipped: u64,
    /// Newest first: how old the newest position was that a watcher had.
    pub age: Option<Quantiles>,
    /// Maps: frames per second of all of them.
    pub map_frames_per_s: f64,
    /// Maps: bytes of a frame.
    pub map_bytes_per_frame: f64,
    /// Maps: how old a marker was when it came.
    pub map: Option<Quantiles>,
    /// How it went over time.
    pub trace: Vec<Sample>,
}

/// What a report is made of.
pub(super) struct Measured<'a> {
    pub(super) kind: &'a str,
    pub(super) options: &'a LoadOptions,
    pub(super) counts: &'a Counts,
    /// The server at the beginning and at the end of the window.
    pub(super) server: Option<(Usage, Usage)>,
    pub(super) generator: (Usage, Usage),
    pub(super) rss_before: Option<u64>,
    pub(super) trace: Vec<Sample>,
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

impl LoadReport {
    pub(super) fn new(measured: &Measured<'_>) -> Self {
        let Measured { options, counts, .. } = measured;
        let seconds = options.duration.as_secs_f64();
        let per = |whole: f64, count: u64| whole / count.max(1) as f64;
        let cpu_us = |(from, to): (Usage, Usage)| to.cpu_us.saturating_sub(from.cpu_us) as f64;
        let expected = counts.sent * options.watchers as u64;
        let server = measured.server.map(|usage| ServerUsage {
            cores: cpu_us(usage) / 1e6 / seconds,
            cpu_us_per_fix: per(cpu_us(usage), counts.sent),
            cpu_us_per_delivery: per(cpu_us(usage), counts.delivered),
            rss_before_mib: mib(measured.rss_before.unwrap_or_default()),
            rss_mib: mib(usage.1.rss_bytes),
        });
        Self {
            kind: measured.kind.to_owned(),
            drivers: options.drivers,
            watchers_per_driver: options.watchers,
            seconds,
            sent: counts.sent,
            sent_late: counts.sent_late,
            acked: counts.acked,
            accepted: counts.accepted,
            delivered: counts.delivered,
            lost: expected.saturating_sub(counts.delivered),
            duplicated: counts.duplicated,
            snapshots: counts.snapshots,
            stalled: counts.stalled,
            fixes_per_s: counts.sent as f64 / seconds,
            deliveries_per_s: counts.delivered as f64 / seconds,
            bytes_per_delivery: per(counts.delta_bytes as f64, counts.delivered),
            delivery: Quantiles::of(&counts.latency_us),
            ack: Quantiles::of(&counts.ack_us),
            server,
            generator_cores: cpu_us(measured.generator) / 1e6 / seconds,
            errors: counts.errors,
            connections_closed: counts.closed,
            first_error: counts.complaint.clone(),
            connections: options.connections(),
            skipped: counts.skipped,
            age: Quantiles::of(&counts.age_us),
            map_frames_per_s: counts.map_frames as f64 / seconds,
            map_bytes_per_frame: per(counts.map_bytes as f64, counts.map_frames),
            map: Quantiles::of(&counts.map_us),
            trace: measured.trace.clone(),
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (drivers, watchers) = (self.drivers, self.watchers_per_driver);
        writeln!(out, "{}: {drivers} drivers, {watchers} watchers each, {:.0} s", self.kind, self.seconds)?;
        writeln!(out, "sent          {:>12}  {:>12.0} /s", self.sent, self.fixes_per_s)?;
        writeln!(out, "  late        {:>12}", self.sent_late)?;
        writeln!(out, "acked         {:>12}", self.acked)?;
        writeln!(out, "  accepted    {:>12}", self.accepted)?;
        writeln!(out, "delivered     {:>12}  {:>12.0} /s", self.delivered, self.deliveries_per_s)?;
        writeln!(out, "  lost        {:>12}", self.lost)?;
        writeln!(out, "  duplicated  {:>12}", self.duplicated)?;
        writeln!(out, "  snapshots   {:>12}", self.snapshots)?;
        if self.stalled > 0 {
            writeln!(out, "  stalled     {:>12}", self.stalled)?;
        }
        writeln!(out, "  bytes each  {:>12.1}", self.bytes_per_delivery)?;
        if self.skipped > 0 {
            writeln!(out, "  left out    {:>12}", self.skipped)?;
        }
        if self.map_frames_per_s > 0.0 {
            let (frames, bytes) = (self.map_frames_per_s, self.map_bytes_per_frame);
            writeln!(out, "maps          {frames:>12.0} frames/s  {bytes:>8.0} bytes each")?;
        }
        let quantiles = [("delivery", self.delivery), ("ack", self.ack), ("newest is", self.age), ("marker", self.map)];
        for (name, quantiles) in quantiles {
            let Some(q) = quantiles else { continue };
            writeln!(
                out,
                "{name:<14}p50 {:.2} ms   p99 {:.2} ms   p99.9 {:.2} ms   max {:.2} ms",
                q.p50_ms, q.p99_ms, q.p999_ms, q.max_ms
            )?;
        }
        if let Some(server) = &self.server {
            writeln!(
                out,
                "server        {:.2} cores   {:.2} us per fix   {:.2} us per delivery",
                server.cores, server.cpu_us_per_fix, server.cpu_us_per_delivery
            )?;
            writeln!(out, "  memory      {:.1} MiB, {:.1} before", server.rss_mib, server.rss_before_mib)?;
        }
        write!(out, "generator     {:.2} cores", self.generator_cores)?;
        if self.errors + self.connections_closed > 0 {
            let (errors, closed) = (self.errors, self.connections_closed);
            write!(out, "\nTROUBLE: {errors} errors, {closed} connections closed by the server")?;
        }
        if let Some(error) = &self.first_error {
            write!(out, "\n  {error}")?;
        }
        Ok(())
    }
}
