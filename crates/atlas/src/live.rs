//! What the house knows of driving, and the thread that renews it.
//!
//! Whoever judges fixes borrows the newest [`Knowledge`], which costs nothing and waits for nobody, and hands in lessons once a second. The
//! thread takes them in, pours the new speeds into metrics of their own, and swaps the whole in. Fixes never wait for it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use wayfare_engine::learn::{Learner, Lesson};
use wayfare_engine::roads::{InvalidRoads, Metric, Network, Profile};
use wayfare_engine::{City, Knowledge, Millis};

use crate::build::open_city;
use crate::metrics;

/// Which maps, and where what is learned is kept.
#[derive(Debug, Clone)]
pub struct AtlasConfig {
    /// Roads files; none: everything works on straight lines.
    pub files: Vec<PathBuf>,
    /// Profiles to open; empty: all that the files have.
    pub profiles: Vec<Profile>,
    /// File for what was learned; `None`: it is forgotten at the end.
    pub learned: Option<PathBuf>,
    /// How often speeds are renewed.
    pub renew: Duration,
}

impl Default for AtlasConfig {
    fn default() -> Self {
        Self { files: Vec::new(), profiles: Vec::new(), learned: None, renew: Duration::from_secs(30) }
    }
}

/// A roads file that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", file.display())]
pub struct OpenError {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why a roads file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The system refused.
    #[error("it cannot be read: {0}")]
    Io(std::io::Error),
    /// It is no good.
    #[error(transparent)]
    Invalid(#[from] InvalidRoads),
}

/// Lessons that wait for the thread; beyond it they are dropped and counted.
const LESSONS_MOST: usize = 200_000;
/// What was learned is kept on disk this often.
const KEEP: Duration = Duration::from_secs(60);

/// See the module.
pub struct Atlas {
    knowledge: ArcSwap<Knowledge>,
    lessons: Mutex<Vec<Lesson>>,
    config: AtlasConfig,
    stop: AtomicBool,
    wake: Condvar,
    asleep: Mutex<()>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl std::fmt::Debug for Atlas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Atlas").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Atlas {
    /// Opens the files, takes in what was learned before, and starts the thread that renews speeds.
    ///
    /// # Errors
    /// The first roads file that cannot be opened. Learned speeds that cannot be read are told and forgotten.
    pub fn open(config: AtlasConfig) -> Result<Arc<Self>, OpenError> {
        metrics::describe();
        let mut networks = Vec::new();
        for file in &config.files {
            let started = Instant::now();
            for network in open_city(file, &config.profiles)? {
                tracing::info!(
                    file = %file.display(), profile = network.profile().code(), junctions = network.junction_count(),
                    streets = network.streets().len(), ms = started.elapsed().as_millis() as u64, "a road network is open"
                );
                networks.push(Arc::new(network));
            }
        }
        let learner = config.learned.as_deref().and_then(read_learned).unwrap_or_default();
        let mut renewal = Renewal { networks, learner, number: 0, former: Vec::new() };
        let first = renewal.knowledge(now());
        let atlas = Arc::new(Self {
            knowledge: ArcSwap::from_pointee(first),
            lessons: Mutex::default(),
            config,
            stop: AtomicBool::new(false),
            wake: Condvar::new(),
            asleep: Mutex::default(),
            thread: Mutex::default(),
        });
        let own = Arc::clone(&atlas);
        let spawned = std::thread::Builder::new().name("atlas".into()).spawn(move || own.run(renewal));
        match spawned {
            Ok(thread) => *lock(&atlas.thread) = Some(thread),
            Err(error) => tracing::error!(%error, "no thread can be started: speeds are not learned"),
        }
        Ok(atlas)
    }

    /// What is known now. Costs some nanoseconds; keep it for one message, not for long.
    pub fn knowledge(&self) -> Guard<Arc<Knowledge>> {
        self.knowledge.load()
    }

    /// Hands lessons in and empties the list. More than the thread can hold are dropped and counted: what one driver saw others see too.
    pub fn teach(&self, lessons: &mut Vec<Lesson>) {
        let mut waiting = lock(&self.lessons);
        let room = LESSONS_MOST.saturating_sub(waiting.len());
        let dropped = lessons.len().saturating_sub(room);
        waiting.extend(lessons.drain(..).take(room));
        drop(waiting);
        if dropped > 0 {
            metrics::dropped(dropped);
        }
    }

    /// Renews once more, keeps what was learned, and ends the thread.
    pub fn close(&self) {
        self.stop.store(true, Ordering::Release);
        {
            let _asleep = lock(&self.asleep);
            self.wake.notify_all();
        }
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }

    fn run(&self, mut renewal: Renewal) {
        let mut kept = Instant::now();
        loop {
            let stopping = {
                let asleep = lock(&self.asleep);
                let rest = |_: &mut ()| !self.stop.load(Ordering::Acquire);
                drop(self.wake.wait_timeout_while(asleep, self.config.renew, rest));
                self.stop.load(Ordering::Acquire)
            };
            let lessons = std::mem::take(&mut *lock(&self.lessons));
            let started = Instant::now();
            lessons.iter().for_each(|lesson| renewal.learner.learn(lesson));
            renewal.learner.tidy(now());
            self.knowledge.store(Arc::new(renewal.knowledge(now())));
            metrics::renewed(&renewal.learner, now(), lessons.len(), started.elapsed());
            if stopping || kept.elapsed() >= KEEP {
                kept = Instant::now();
                self.keep(&renewal.learner);
            }
            if stopping {
                return;
            }
        }
    }

    fn keep(&self, learner: &Learner) {
        let Some(file) = &self.config.learned else { return };
        let mut bytes = Vec::new();
        learner.save(&mut bytes);
        if let Err(error) = write_whole(file, &bytes) {
            tracing::warn!(file = %file.display(), %error, "learned speeds cannot be kept; a restart would be cold");
        }
    }
}

/// What the thread owns.
struct Renewal {
    networks: Vec<Arc<Network>>,
    learner: Learner,
    number: u64,
    /// Metrics of the time before last: once nobody holds them, their room is used again.
    former: Vec<Arc<Metric>>,
}

impl Renewal {
    fn knowledge(&mut self, at: Millis) -> Knowledge {
        self.number += 1;
        let mut fresh = Vec::with_capacity(self.networks.len());
        let mut room = std::mem::take(&mut self.former).into_iter();
        for network in &self.networks {
            let mut metric = room.next().and_then(|former| Arc::try_unwrap(former).ok()).unwrap_or_default();
            let speeds = &self.learner.of(network.profile()).speeds;
            metric.reweight_live(network, self.number, speeds, at);
            fresh.push(Arc::new(metric));
        }
        let cities = self.networks.iter().zip(&fresh);
        let cities =
            cities.map(|(network, metric)| City::with_metric(Arc::clone(network), Arc::clone(metric))).collect();
        self.former = fresh;
        Knowledge::new(cities, Arc::new(self.learner.clone()))
    }
}

fn read_learned(file: &Path) -> Option<Learner> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "learned speeds cannot be read; starting cold");
            return None;
        }
    };
    match Learner::load(&bytes) {
        Ok(learner) => Some(learner),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "learned speeds make no sense; starting cold");
            None
        }
    }
}

/// Under another name first, so that a crash leaves the old or the new, whole.
fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    std::fs::write(&beside, bytes)?;
    std::fs::rename(&beside, file)
}

fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Nothing is left half done under these locks, so one that a panic left behind is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wayfare_engine::learn::{Pace, RoadKind};

    fn config(folder: &Path) -> AtlasConfig {
        AtlasConfig {
            learned: Some(folder.join("learned.bin")),
            renew: Duration::from_millis(20),
            ..AtlasConfig::default()
        }
    }

    fn jam() -> Vec<Lesson> {
        let pace = Pace { at: now(), kind: RoadKind::Air, cell: 0x0883_9234_603f_ffff, log_ratio: 0.8, weight_s: 30.0 };
        vec![Lesson::Pace(Profile::Car, pace); 100]
    }

    fn factor(atlas: &Atlas) -> f32 {
        atlas.knowledge().learner.of(Profile::Car).speeds.city_factor(now())
    }

    #[test]
    fn what_is_taught_is_known_soon_and_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let atlas = Atlas::open(config(folder.path())).unwrap();
        assert!((factor(&atlas) - 1.0).abs() < 1e-6);
        atlas.teach(&mut jam());
        let started = Instant::now();
        while factor(&atlas) < 1.5 && started.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(factor(&atlas) > 1.5, "{}", factor(&atlas));
        atlas.close();
        let again = Atlas::open(config(folder.path())).unwrap();
        assert!(factor(&again) > 1.5, "a restart is warm");
        again.close();
    }

    #[test]
    fn damaged_learning_is_forgotten_and_a_foreign_roads_file_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("learned.bin"), b"\x01\xff\xff\xff\xff").unwrap();
        let atlas = Atlas::open(config(folder.path())).unwrap();
        assert!((factor(&atlas) - 1.0).abs() < 1e-6);
        atlas.close();
        let foreign = folder.path().join("town.roads");
        std::fs::write(&foreign, b"PK\x03\x04 not a map").unwrap();
        let error = Atlas::open(AtlasConfig { files: vec![foreign], ..config(folder.path()) }).unwrap_err().to_string();
        assert!(error.contains("town.roads: this is not a roads file"), "{error}");
    }
}
