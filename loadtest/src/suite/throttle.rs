//! A server that gets only a part of its core: stopped and let go on, again and again. So ten times its load can be made on the machine that it
//! runs on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Of each period it runs for this part.
const RUNS: Duration = Duration::from_millis(4);
const RESTS: Duration = Duration::from_millis(36);

/// While this lives the process runs a tenth of the time.
pub(super) struct Throttle {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Throttle {
    pub(super) fn on(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                signal(pid, Signal::STOP);
                std::thread::sleep(RESTS);
                signal(pid, Signal::CONT);
                std::thread::sleep(RUNS);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing that could panic.
            let _ = thread.join();
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // A process that has ended shows itself elsewhere.
        let _ = kill_process(pid, signal);
    }
}
