//! The workers of a process: each claims one picture after the other, as long as there are any.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use wayfare_blobs::Blobs;
use wayfare_bus::{Again, Bus, Claim, ClaimError, Jobs};
use wayfare_wire::upload::PICTURES_QUEUE;

use crate::encode::{Quality, VariantFormat};
use crate::limits::Limits;
use crate::work::{self, Done, Undone};
use crate::workbench::{ChildCommand, Workbench};

/// Between two looks when nothing woke a worker: by then a lost job or a next try may be due.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A picture that is being made when the process is told to stop may become ready within this; otherwise it goes back.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// Between the tries of a picture that failed, by how often it has: a second, then some.
const AGAIN_MS: [i64; 3] = [1_000, 5_000, 20_000];

/// The longest pause of a worker whose store or queue is away.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// What the workers of a process need to know.
#[derive(Debug, Clone)]
pub struct MediaConfig {
    /// Name of this process among those on one bus.
    pub node: String,
    /// Pictures made at once, each in a child of its own.
    pub workers: usize,
    /// How a child is started.
    pub child: ChildCommand,
    /// What a picture may be.
    pub limits: Limits,
    /// A picture that takes longer has failed.
    pub deadline: Duration,
    /// A worker that is not heard of for this long has lost its picture.
    pub lease: Duration,
    /// How well variants are encoded.
    pub quality: Quality,
    /// Widths that are made, pixels.
    pub widths: Vec<u32>,
    /// What is written, each in every width.
    pub formats: Vec<VariantFormat>,
}

/// Runs the workers until `stop` says true, and ends when the last of them has put down what it was doing.
pub async fn run(config: MediaConfig, bus: Bus, blobs: Blobs, stop: watch::Receiver<bool>) {
    let config = Arc::new(config);
    let mut workers = JoinSet::new();
    for number in 0..config.workers.max(1) {
        let worker = Worker {
            name: format!("{}/{number}", config.node),
            bench: Workbench::new(config.child.clone(), config.limits, config.deadline),
            config: Arc::clone(&config),
            bus: bus.clone(),
            blobs: blobs.clone(),
            away: 0,
        };
        workers.spawn(worker.run(stop.clone()));
    }
    tracing::info!(workers = config.workers, "pictures are made");
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a worker of pictures ended");
        }
    }
}

struct Worker {
    name: String,
    config: Arc<MediaConfig>,
    bench: Workbench,
    bus: Bus,
    blobs: Blobs,
    /// How often in a row something was away.
    away: u32,
}

impl Worker {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut tail = self.bus.jobs.tail(PICTURES_QUEUE).await;
        let lease_ms = self.config.lease.as_millis() as i64;
        while !*stop.borrow() {
            tail.mark_unchanged();
            let pause = match self.bus.jobs.claim(PICTURES_QUEUE, &self.name, lease_ms).await {
                Ok(Some(claim)) => {
                    let mut stopping = stop.clone();
                    // On the heap once: it holds the whole way of a picture.
                    Box::pin(self.take(&claim, &mut stopping)).await;
                    if self.away == 0 {
                        continue;
                    }
                    self.pause()
                }
                Ok(None) => {
                    self.away = 0;
                    jittered(LOOK_EVERY)
                }
                Err(error) => {
                    tracing::debug!(%error, worker = self.name, "no picture can be claimed just now");
                    self.away += 1;
                    self.pause()
                }
            };
            let woken = async {
                // Who waits for something that is away does not look sooner because there is more to do.
                if self.away > 0 || tail.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = woken => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    fn pause(&self) -> Duration {
        jittered(Duration::from_millis(500 << self.away.min(6)).min(AWAY_MAX))
    }

    /// Works on one picture, and keeps the claim meanwhile. A claim that is lost ends the work at once.
    async fn take(&mut self, claim: &Claim, stop: &mut watch::Receiver<bool>) {
        let (jobs, config) = (self.bus.jobs.clone(), Arc::clone(&self.config));
        let stopping = async {
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(FINISH_WITHIN).await;
        };
        let working = work::make(&mut self.bench, &self.bus, &self.blobs, &config, claim);
        let done = tokio::select! {
            done = working => done,
            () = keep(&jobs, claim, config.lease) => Err(Undone::Lost),
            () = stopping => Err(Undone::Stopping),
        };
        let told = match done {
            Ok(Done { outcome, label }) => {
                self.away = 0;
                count(label);
                let result = serde_json::to_vec(&outcome).expect("an outcome has string keys");
                tell(&jobs, claim, End::Finish(&result)).await
            }
            Err(Undone::Lost) => {
                tracing::debug!(
                    job = claim.id,
                    worker = self.name,
                    "a picture went to another worker, or nobody wants it any more"
                );
                count("lost");
                return;
            }
            Err(Undone::Stopping) => {
                count("given_back");
                tell(&jobs, claim, End::Fail("the worker was stopped", Again::NoFault(0))).await
            }
            Err(Undone::Away(why)) => {
                self.away += 1;
                tracing::warn!(job = claim.id, why, "a picture has to wait");
                count("away");
                tell(&jobs, claim, End::Fail(&why, Again::NoFault(self.pause().as_millis() as i64))).await
            }
            Err(Undone::Failed(why)) => {
                self.away = 0;
                let after_ms = AGAIN_MS[(claim.failures as usize).min(AGAIN_MS.len() - 1)];
                tracing::warn!(job = claim.id, tries = claim.failures + 1, why, "a picture could not be made");
                count("failed");
                tell(&jobs, claim, End::Fail(&why, Again::After(after_ms))).await
            }
            Err(Undone::Hopeless(why)) => {
                self.away = 0;
                tracing::error!(job = claim.id, why, "a picture can never be made");
                count("failed");
                tell(&jobs, claim, End::Fail(&why, Again::Never)).await
            }
        };
        if told.is_err() {
            tracing::debug!(job = claim.id, worker = self.name, "the end of a picture was not ours to tell");
        }
    }
}

/// Returns when the claim is lost.
async fn keep(jobs: &Jobs, claim: &Claim, lease: Duration) {
    loop {
        tokio::time::sleep(lease / 3).await;
        match jobs.renew(PICTURES_QUEUE, claim, lease.as_millis() as i64).await {
            Err(ClaimError::Lost) => return,
            // If it cannot be asked for longer than the lease, the end will be refused: nothing is lost but time.
            Err(ClaimError::Unavailable(error)) => tracing::debug!(%error, "a claim could not be renewed just now"),
            Ok(()) => {}
        }
    }
}

/// How the work on a picture ended.
enum End<'a> {
    Finish(&'a [u8]),
    Fail(&'a str, Again),
}

/// Tells the end, or finds that it is somebody else's to tell. A queue that is away for longer gives the picture to another worker.
async fn tell(jobs: &Jobs, claim: &Claim, end: End<'_>) -> Result<(), ClaimError> {
    let mut tries = 10;
    loop {
        let told = match end {
            End::Finish(result) => jobs.finish(PICTURES_QUEUE, claim, result).await,
            End::Fail(why, again) => jobs.fail(PICTURES_QUEUE, claim, why, again).await.map(|_| ()),
        };
        tries -= 1;
        match told {
            Err(ClaimError::Unavailable(_)) if tries > 0 => {
                tokio::time::sleep(jittered(Duration::from_millis(500))).await;
            }
            told => return told,
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("wayfare_media_pictures_total", "outcome" => outcome).increment(1);
}

/// Between three quarters and five quarters, so that workers do not all come at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0; 1];
    // Without random bytes they all come at once, and it still works.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut byte);
    pause * (192 + u32::from(byte[0]) / 2) / 256
}
