//! A thread per core, each with a runtime of its own that never hands a task to another.
//!
//! Services spawn their shards here. When one process runs several roles, their shards share these threads, so that a fix read by
//! ingest reaches fan-out's shard without waking another thread.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

type Start = Box<dyn FnOnce() + Send>;

/// The threads. They end when this is dropped and their tasks have ended or been given up.
pub struct Cores {
    threads: Vec<Thread>,
}

struct Thread {
    starts: Option<mpsc::UnboundedSender<Start>>,
    handle: Option<std::thread::JoinHandle<()>>,
}

impl Cores {
    /// Starts `count` threads; 0 means one per processor this process may use.
    ///
    /// # Errors
    /// The system gives no thread or no reactor.
    pub fn start(count: usize) -> io::Result<Self> {
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        (0..count).map(Thread::start).collect::<io::Result<_>>().map(|threads| Self { threads })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Runs the future made by `make` on thread `core` until it ends. Start-up only: the queue of starts has no bound.
    pub fn spawn<F, M>(&self, core: usize, make: M)
    where
        F: Future<Output = ()> + 'static,
        M: FnOnce() -> F + Send + 'static,
    {
        let start: Start = Box::new(move || {
            tokio::task::spawn_local(make());
        });
        if let Some(starts) = &self.threads[core % self.threads.len()].starts {
            // A thread lives as long as its sender does.
            let _ = starts.send(start);
        }
    }
}

impl Thread {
    fn start(core: usize) -> io::Result<Self> {
        let (sender, mut starts) = mpsc::unbounded_channel::<Start>();
        let (told, heard) = std::sync::mpsc::sync_channel(1);
        let handle = std::thread::Builder::new().name(format!("core-{core}")).spawn(move || {
            // A local runtime is made on the thread it lives on.
            let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = told.send(Err(error));
                    return;
                }
            };
            let _ = told.send(Ok(()));
            runtime.block_on(async move {
                while let Some(start) = starts.recv().await {
                    start();
                }
            });
        })?;
        heard.recv().map_err(io::Error::other)??;
        Ok(Self { starts: Some(sender), handle: Some(handle) })
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        for thread in &mut self.threads {
            thread.starts = None;
        }
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                // A panic in a shard was reported when it happened.
                let _ = handle.join();
            }
        }
    }
}
