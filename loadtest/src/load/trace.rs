//! How a measurement went over time: a sample twice a second.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use super::counts::Live;
use super::process::Usage;
use super::report::mib;
use super::worker::Window;
use crate::clock::Clock;

/// Between two samples.
const EVERY: Duration = Duration::from_millis(500);

/// Half a second of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Its end, seconds since counting began.
    pub at_s: f64,
    /// Fixes sent per second.
    pub fixes_per_s: f64,
    /// Deliveries per second.
    pub deliveries_per_s: f64,
    /// Bytes of deliveries per second.
    pub bytes_per_s: f64,
    /// Half of the deliveries were faster, ms; absent where there was none.
    pub p50_ms: Option<f64>,
    /// 99 of 100 were faster, ms.
    pub p99_ms: Option<f64>,
    /// CPU time of the server in cores.
    pub server_cores: Option<f64>,
    /// Its resident memory, MiB.
    pub rss_mib: Option<f64>,
}

/// Takes samples from the beginning of the window to its end.
pub(super) fn record(live: Arc<Live>, window: Window, clock: Clock, pid: Option<u32>) -> JoinHandle<Vec<Sample>> {
    tokio::spawn(async move {
        tokio::time::sleep_until(clock.instant(window.from_ms).into()).await;
        drop(live.take_recent());
        let usage = || pid.and_then(|pid| Usage::of(pid).ok());
        let (mut before_us, mut before, mut samples) = (clock.now_us(), usage(), Vec::new());
        while clock.now_ms() < window.to_ms {
            tokio::time::sleep(EVERY).await;
            let (now_us, now, recent) = (clock.now_us(), usage(), live.take_recent());
            let seconds = (now_us - before_us).max(1) as f64 / 1e6;
            let at = |share| recent.latency_us.value_at_quantile(share) as f64 / 1000.0;
            let any = !recent.latency_us.is_empty();
            samples.push(Sample {
                at_s: (now_us - window.from_ms * 1000) as f64 / 1e6,
                fixes_per_s: recent.sent as f64 / seconds,
                deliveries_per_s: recent.delivered as f64 / seconds,
                bytes_per_s: recent.bytes as f64 / seconds,
                p50_ms: any.then(|| at(0.5)),
                p99_ms: any.then(|| at(0.99)),
                server_cores: now
                    .zip(before)
                    .map(|(now, before)| now.cpu_us.saturating_sub(before.cpu_us) as f64 / 1e6 / seconds),
                rss_mib: now.map(|now| mib(now.rss_bytes)),
            });
            (before_us, before) = (now_us, now);
        }
        samples
    })
}
