//! A line on standard error while a measurement runs.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::counts::Live;
use super::worker::Window;
use crate::clock::Clock;

const WIDTH: usize = 30;

/// Shows how far it is, four times a second.
pub(super) fn show(live: Arc<Live>, window: Window, clock: Clock) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut before = live.read();
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let now = live.read();
            let done_ms = (clock.now_ms() - window.start_ms).max(0) as f64;
            let share = (done_ms / (window.end_ms - window.start_ms) as f64).min(1.0);
            let filled = (share * WIDTH as f64) as usize;
            let bar = format!("{}{}", "#".repeat(filled), ".".repeat(WIDTH - filled));
            let (sent, delivered) = (4 * (now.0 - before.0), 4 * (now.1 - before.1));
            line(&format!("[{bar}] {sent:>7} fixes/s {delivered:>8} deliveries/s"));
            before = now;
        }
    })
}

/// Counts something up to `all`.
pub(super) fn step(what: &str, done: usize, all: usize) {
    line(&format!("{what}: {done} of {all}"));
}

/// Makes room for what comes.
pub(super) fn clear() {
    line("");
}

fn line(text: &str) {
    let mut out = std::io::stderr().lock();
    // Progress that cannot be shown is no failure.
    let _ = write!(out, "\r\x1b[K{text}");
    let _ = out.flush();
}
