//! Who did what, and who was refused: the trail for those who must answer for it.
//!
//! Every door tells it here, as it counts its metrics: without waiting, and nothing of what was sent. Deeds are written one by one; refusals of
//! the same kind within a second are one entry with a count, so that a flood fills no disk and is still counted. [`trail`] has the file.

pub mod trail;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use wayfare_wire::{Claims, Role};

use trail::{Entry, Trail};

/// Deeds that wait for the disk; beyond it they are counted together.
const DEEDS_MAX: usize = 4096;

/// Kinds of refusals told apart within a second; beyond it they are counted together.
const KINDS_MAX: usize = 64;

/// Refusals are gathered for this long.
const GATHERED: Duration = Duration::from_secs(1);

static SHARED: OnceLock<Arc<Shared>> = OnceLock::new();

struct Shared {
    folder: PathBuf,
    pending: Mutex<Pending>,
    wake: Condvar,
}

#[derive(Default)]
struct Pending {
    deeds: VecDeque<Entry>,
    /// Who, what, outcome.
    refusals: BTreeMap<(String, String, &'static str), u64>,
    hurry: bool,
    stop: bool,
}

/// The thread that writes. Dropped, it writes what is left and ends.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Opens the trail of this process in a folder and writes what is told from now on. While another process writes there, what is told waits
/// until that one has gone: each line follows from the one before.
///
/// # Errors
/// The folder or the newest file cannot be read or written.
pub fn start(folder: &Path) -> std::io::Result<Writer> {
    let desk = Desk::at(folder)?;
    let fresh = || Shared { folder: folder.to_owned(), pending: Mutex::default(), wake: Condvar::new() };
    let shared = Arc::clone(SHARED.get_or_init(|| Arc::new(fresh())));
    let for_thread = Arc::clone(&shared);
    let thread = std::thread::Builder::new().name("audit".into()).spawn(move || write(&for_thread, desk))?;
    Ok(Writer { shared, thread: Some(thread) })
}

/// Where the trail of this process is.
pub fn folder() -> Option<&'static Path> {
    SHARED.get().map(|shared| shared.folder.as_path())
}

/// Somebody did something: `what` in the words of the API, `object` the id that it was done to.
pub fn note(who: String, what: &str, object: &str, outcome: &'static str) {
    let Some(shared) = SHARED.get() else { return };
    let mut pending = lock(&shared.pending);
    if pending.deeds.len() >= DEEDS_MAX {
        *pending.refusals.entry(("many".into(), what.to_owned(), outcome)).or_default() += 1;
        return;
    }
    pending.deeds.push_back(Entry::new(who, what.to_owned(), object.to_owned(), outcome, 1));
    pending.hurry = true;
    shared.wake.notify_one();
}

/// Somebody was refused.
pub fn refused(who: String, what: &str, outcome: &'static str) {
    let Some(shared) = SHARED.get() else { return };
    let mut pending = lock(&shared.pending);
    let kind = (who, what.to_owned(), outcome);
    if pending.refusals.len() >= KINDS_MAX && !pending.refusals.contains_key(&kind) {
        *pending.refusals.entry(("many".into(), "many".into(), outcome)).or_default() += 1;
        return;
    }
    *pending.refusals.entry(kind).or_default() += 1;
}

/// How the bearer of a token is named: drivers, customers and share links by a pseudonym, which whoever knows the id can find and nobody else can read.
pub fn name_of(claims: &Claims) -> String {
    let role = claims.role.name();
    match claims.role {
        Role::Driver | Role::Customer | Role::Share => format!("{role}:{}", pseudonym(&claims.sub)),
        _ => format!("{role}:{}", claims.sub),
    }
}

/// The first 16 hexadecimal digits of the SHA-256 of an id.
pub fn pseudonym(id: &str) -> String {
    digest(&SHA256, id.as_bytes()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Where one process writes at a time.
struct Desk {
    folder: PathBuf,
    /// Locked by who writes.
    lock: std::fs::File,
    trail: Option<Trail>,
}

impl Desk {
    fn at(folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let lock = std::fs::File::create(folder.join("lock"))?;
        let mut desk = Self { folder: folder.to_owned(), lock, trail: None };
        if !desk.sit_down()? {
            tracing::info!("another process writes the audit trail; this one does when that is gone");
        }
        Ok(desk)
    }

    /// Opens the trail if nobody else has it; false if somebody has.
    fn sit_down(&mut self) -> std::io::Result<bool> {
        if self.trail.is_some() {
            return Ok(true);
        }
        match self.lock.try_lock() {
            Ok(()) => {
                self.trail = Some(Trail::open(&self.folder)?);
                Ok(true)
            }
            Err(std::fs::TryLockError::WouldBlock) => Ok(false),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Writes entries; false if somebody else writes.
    fn append(&mut self, entries: &[Entry]) -> std::io::Result<bool> {
        self.sit_down()?;
        match &mut self.trail {
            Some(trail) => trail.append(entries).map(|()| true),
            None => Ok(false),
        }
    }
}

fn write(shared: &Shared, mut desk: Desk) {
    let mut left: Vec<Entry> = Vec::new();
    loop {
        let stop = {
            let mut pending = lock(&shared.pending);
            if !pending.hurry && !pending.stop {
                pending = shared.wake.wait_timeout(pending, GATHERED).unwrap_or_else(PoisonError::into_inner).0;
            }
            pending.hurry = false;
            // What the disk did not take is bounded by not taking more.
            if left.len() < DEEDS_MAX {
                left.extend(pending.deeds.drain(..));
                let refusals = std::mem::take(&mut pending.refusals);
                left.extend(
                    refusals
                        .into_iter()
                        .map(|((who, what, outcome), count)| Entry::new(who, what, String::new(), outcome, count)),
                );
            }
            pending.stop
        };
        if !left.is_empty() {
            match desk.append(&left) {
                Ok(true) => left.clear(),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "the audit trail cannot be written; trying again"),
            }
        }
        if stop {
            if !left.is_empty() {
                tracing::error!(entries = left.len(), "the last entries of the audit trail were not written");
            }
            return;
        }
        if !left.is_empty() {
            std::thread::sleep(GATHERED);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.shared.pending).stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        lock(&self.shared.pending).stop = false;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
