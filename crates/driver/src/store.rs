//! The queue on the disk: an app that is killed, or a phone that dies, goes on where it was.
//!
//! One file of records, each with its length and checksum, only ever appended to: fixes as they come, which of them make up which message,
//! which messages are settled. What is settled goes away when the file is written anew, which happens when it has doubled.
//!
//! **When the disk has it.** A record is handed to the system at once, so it survives the process. It is forced to the disk before a
//! message travels for the first time (a number must never stand for two different messages), when the file is written anew, and else
//! every few seconds while fixes come: that much a power cut may cost of what no server has seen yet.
//!
//! **What is broken.** A record cut off at the end never travelled, and is dropped. After a damaged one in the middle nobody can say which
//! messages were whole: what can be read goes out again under a new session, and the server knows by time and place what it had.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wayfare_wire::messages::drive::Fix;

const FILE: &str = "queue";
const NEW_FILE: &str = "queue.new";
const LOCK_FILE: &str = "queue.lock";

/// Length and checksum.
const HEAD: usize = 8;
/// No record is longer.
const RECORD_MAX: usize = 4096;
/// The file is not written anew before it has this many bytes.
const ANEW_FROM: u64 = 64 * 1024;
/// Fixes wait at most this long to be forced to the disk, while fixes come.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// A line of the story.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    /// First in the file.
    Begin { session: u64, next_seq: u64 },
    /// A fix, numbered within the file's whole life.
    Fix { number: u64, fix: Fix },
    /// From now on these fixes are this message.
    Message { seq: u64, first: u64, count: u64 },
    /// Acked, or refused for good.
    Settled { seq: u64 },
}

/// What was found: everything not settled.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kept {
    /// Name of the numbering.
    pub session: u64,
    /// The next message's number.
    pub next_seq: u64,
    /// Messages that may have travelled, by number.
    pub messages: Vec<(u64, Vec<Fix>)>,
    /// Fixes that have no number yet.
    pub waiting: Vec<Fix>,
    /// Damaged records that were passed over.
    pub damaged: usize,
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    file: File,
    bytes: u64,
    /// Right after it was last written anew.
    bytes_then: u64,
    bytes_max: u64,
    /// Numbers of the next fix, and of the next that belongs to no message.
    next_fix: u64,
    next_loose: u64,
    last_seq: u64,
    synced: Instant,
    dirty: bool,
    /// Something was settled since the file was written anew.
    settled: bool,
    _lock: File,
}

impl Store {
    /// Opens the queue in `dir`, or begins one. It takes at most `bytes_max` on the disk, and as much again for a moment while it is
    /// written anew. `session` is used where a new numbering begins.
    ///
    /// # Errors
    /// The folder cannot be used, or another process has this queue open.
    pub fn open(dir: &Path, bytes_max: u64, session: u64) -> io::Result<(Self, Kept)> {
        fs::create_dir_all(dir)?;
        let lock = File::options().create(true).append(true).open(dir.join(LOCK_FILE))?;
        lock.try_lock().map_err(|error| io::Error::other(format!("{}: {error}", dir.display())))?;
        let mut bytes = Vec::new();
        match File::open(dir.join(FILE)) {
            Ok(mut file) => drop(file.read_to_end(&mut bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let kept = read(&bytes, session);
        // Written anew at once: the cut-off end, the damage and what is settled are gone, and appending begins on clean ground.
        let (file, length) = write_anew(dir, &kept)?;
        let fixes: usize = kept.messages.iter().map(|(_, fixes)| fixes.len()).sum();
        let store = Self {
            dir: dir.to_owned(),
            file,
            bytes: length,
            bytes_then: length,
            bytes_max,
            next_fix: (fixes + kept.waiting.len()) as u64,
            next_loose: fixes as u64,
            last_seq: kept.next_seq - 1,
            synced: Instant::now(),
            dirty: false,
            settled: false,
            _lock: lock,
        };
        Ok((store, kept))
    }

    /// Keeps a fix.
    ///
    /// # Errors
    /// The bound is reached (`StorageFull`), or the disk takes nothing: the fix is not kept.
    pub fn push(&mut self, fix: &Fix) -> io::Result<()> {
        let number = self.next_fix;
        // A number that JSON cannot say is replaced by one that the server finds just as impossible.
        let sayable = |deg: f64| if deg.is_finite() { deg } else { 999.0 };
        let fix = Fix { lat: sayable(fix.lat), lon: sayable(fix.lon), ..*fix };
        let record = encode(&Record::Fix { number, fix })?;
        if self.bytes + record.len() as u64 > self.bytes_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.append(&record)?;
        self.next_fix += 1;
        if self.synced.elapsed() >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// Keeps that the next `count` loose fixes are message `seq`. A message that goes again is known. [`Self::sync`] before it travels.
    ///
    /// # Errors
    /// The disk takes nothing: the message must not travel.
    pub fn number(&mut self, seq: u64, count: usize) -> io::Result<()> {
        if seq <= self.last_seq {
            return Ok(());
        }
        let count = count as u64;
        self.append(&encode(&Record::Message { seq, first: self.next_loose, count })?)?;
        self.next_loose += count;
        self.last_seq = seq;
        Ok(())
    }

    /// Keeps that a message is settled.
    ///
    /// # Errors
    /// The disk takes nothing: after a restart the message goes again, and is recognised.
    pub fn settle(&mut self, seq: u64) -> io::Result<()> {
        self.settled = true;
        self.append(&encode(&Record::Settled { seq })?)
    }

    /// Forces what was handed to the system to the disk.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.dirty {
            self.file.sync_data()?;
            self.dirty = false;
        }
        self.synced = Instant::now();
        Ok(())
    }

    /// Whether enough is settled that [`Self::write_anew`] is worth it, or a push needs the room.
    #[must_use]
    pub fn is_long(&self) -> bool {
        let full = self.bytes + RECORD_MAX as u64 > self.bytes_max;
        self.settled && (full || self.bytes > ANEW_FROM.max(2 * self.bytes_then))
    }

    /// Writes the file anew with what is held now. `kept` is everything that was pushed and not settled.
    ///
    /// # Errors
    /// The disk takes nothing; the old file stays.
    pub fn write_anew(&mut self, kept: &Kept) -> io::Result<()> {
        let (file, length) = write_anew(&self.dir, kept)?;
        let fixes: usize = kept.messages.iter().map(|(_, fixes)| fixes.len()).sum();
        (self.file, self.bytes, self.bytes_then) = (file, length, length);
        (self.dirty, self.settled) = (false, false);
        (self.next_loose, self.next_fix) = (fixes as u64, (fixes + kept.waiting.len()) as u64);
        Ok(())
    }

    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(record) {
            // Half a record would hide those after it.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += record.len() as u64;
        self.dirty = true;
        Ok(())
    }
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEAD];
    serde_json::to_writer(&mut bytes, record)?;
    let (length, sum) = ((bytes.len() - HEAD) as u32, crc32fast::hash(&bytes[HEAD..]));
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..HEAD].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// The first record and its size; `None` if there is none that is whole.
fn decode(bytes: &[u8]) -> Option<(Record, usize)> {
    let (record, size) = frame(bytes)?;
    let sum = u32::from_le_bytes(bytes[4..HEAD].try_into().ok()?);
    let record = (crc32fast::hash(record) == sum).then(|| serde_json::from_slice(record).ok()).flatten()?;
    Some((record, size))
}

fn frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
    let record = (length <= RECORD_MAX).then(|| bytes.get(HEAD..HEAD + length)).flatten()?;
    Some((record, HEAD + length))
}

/// What the records tell.
fn read(mut bytes: &[u8], new_session: u64) -> Kept {
    let (mut session, mut next_seq, mut damaged) = (None, 1, 0);
    let mut fixes: BTreeMap<u64, Fix> = BTreeMap::new();
    let mut messages: BTreeMap<u64, Vec<(u64, Fix)>> = BTreeMap::new();
    while !bytes.is_empty() {
        let Some((record, size)) = decode(bytes) else {
            // Is there anything behind it that can be read? Then this is damage, and not the end.
            let Some(skip) = (1..bytes.len()).find(|skip| decode(&bytes[*skip..]).is_some()) else { break };
            damaged += 1;
            bytes = &bytes[skip..];
            continue;
        };
        bytes = &bytes[size..];
        match record {
            Record::Begin { session: name, next_seq: next } => (session, next_seq) = (Some(name), next),
            Record::Fix { number, fix } => drop(fixes.insert(number, fix)),
            Record::Message { seq, first, count } => {
                let range = first..first.saturating_add(count);
                let numbers: Vec<u64> = fixes.range(range).map(|(number, _)| *number).collect();
                let whole = numbers.into_iter().filter_map(|number| fixes.remove_entry(&number)).collect();
                messages.insert(seq, whole);
                next_seq = next_seq.max(seq + 1);
            }
            Record::Settled { seq } => drop(messages.remove(&seq)),
        }
    }
    if let Some(session) = session.filter(|_| damaged == 0) {
        let of = |fixes: Vec<(u64, Fix)>| fixes.into_iter().map(|(_, fix)| fix).collect();
        let messages = messages.into_iter().map(|(seq, fixes)| (seq, of(fixes))).collect();
        return Kept { session, next_seq, messages, waiting: fixes.into_values().collect(), damaged };
    }
    fixes.extend(messages.into_values().flatten());
    Kept { session: new_session, next_seq: 1, messages: Vec::new(), waiting: fixes.into_values().collect(), damaged }
}

/// Writes a whole file, on the disk before it takes the old one's place.
fn write_anew(dir: &Path, kept: &Kept) -> io::Result<(File, u64)> {
    let mut bytes = encode(&Record::Begin { session: kept.session, next_seq: kept.next_seq })?;
    let mut number = 0;
    let loose = kept.waiting.iter().map(|fix| (None, std::slice::from_ref(fix)));
    for (seq, fixes) in kept.messages.iter().map(|(seq, fixes)| (Some(*seq), &fixes[..])).chain(loose) {
        let first = number;
        for fix in fixes {
            bytes.extend(encode(&Record::Fix { number, fix: *fix })?);
            number += 1;
        }
        if let Some(seq) = seq {
            bytes.extend(encode(&Record::Message { seq, first, count: number - first })?);
        }
    }
    let path = dir.join(NEW_FILE);
    fs::write(&path, &bytes)?;
    let file = File::options().append(true).open(&path)?;
    file.sync_all()?;
    fs::rename(&path, dir.join(FILE))?;
    // The name, too.
    File::open(dir)?.sync_all()?;
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
mod tests;
