//! The trail in files: a line of JSON for each entry, which holds the hash of the line before and ends with its own.
//!
//! A file is named by the number of its first entry. When one is large or a month old, a new one goes on with the chain; the oldest go after
//! [`KEPT`], and the chain is whole from the oldest that is there.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A file is followed by another when it has so many bytes,
const FILE_BYTES: u64 = 8 << 20;

/// or is so old.
const FILE_AGE: Duration = Duration::from_secs(30 * 86_400);

/// Files are kept for this long after their last entry: a year and a month.
pub const KEPT: Duration = Duration::from_secs(396 * 86_400);

/// What stands before the first entry.
const BEGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An entry that is to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    at: SystemTime,
    who: String,
    what: String,
    object: String,
    outcome: &'static str,
    count: u64,
}

/// An entry of the audit trail.
// As it is written, and as the API gives it out: whoever follows the chain elsewhere needs the very line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub struct Line {
    /// Counts from 1, without a gap.
    pub n: u64,
    /// When, UTC, RFC 3339.
    pub at: String,
    /// Role and id of the bearer (of drivers and customers the first 16 digits of its SHA-256), or the network that a request came from.
    pub who: String,
    /// Method and route, or the door.
    pub what: String,
    /// The id that it was about; empty if there is none.
    pub object: String,
    /// Status or word.
    pub outcome: String,
    /// How many alike within a second.
    pub count: u64,
    /// Hash of the entry before.
    pub prev: String,
}

/// The chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {why}")]
pub struct Broken {
    /// Name of the file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// What does not fit.
    pub why: String,
}

/// Why a trail could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not as it was written.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It cannot be read.
    #[error("the audit trail cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Number of the oldest entry that is kept; 0 if there is none.
    pub first: u64,
    /// Number of the newest.
    pub last: u64,
    /// Hash of the newest: kept elsewhere, it shows later that nothing was cut off.
    pub hash: String,
}

/// The newest file, open for writing.
pub struct Trail {
    folder: PathBuf,
    file: File,
    bytes: u64,
    begun: SystemTime,
    next: u64,
    hash: String,
}

impl Entry {
    /// One that happens now.
    pub fn new(who: String, what: String, object: String, outcome: &'static str, count: u64) -> Self {
        Self { at: SystemTime::now(), who, what, object, outcome, count }
    }
}

impl Trail {
    /// Opens the trail in a folder. A line that was being written when the house fell is cut off, and that is noted.
    ///
    /// # Errors
    /// The folder cannot be made, or the newest file not be read or written.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let files = files(folder)?;
        let Some((_, newest)) = files.last() else {
            return Self::begin(folder, 1, BEGIN.into());
        };
        let text = std::fs::read(newest)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let file = OpenOptions::new().append(true).open(newest)?;
        file.set_len(whole as u64)?;
        let last = text[..whole].split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
        let read = last.and_then(|line| split(std::str::from_utf8(line).ok()?));
        let known =
            read.and_then(|(content, hash)| Some((serde_json::from_str::<Line>(&content).ok()?.n, hash.to_owned())));
        let (next, hash) = match known {
            Some((n, hash)) => (n + 1, hash),
            // An empty file goes on where its name says; what cannot be read is told by whoever verifies.
            None => match before(&files)? {
                Some((n, hash)) => (n + 1, hash),
                None => (1, BEGIN.into()),
            },
        };
        let begun = begun(&file);
        let mut trail = Self { folder: folder.to_owned(), file, bytes: whole as u64, begun, next, hash };
        if whole < text.len() {
            let what = "a line was being written when the house fell; it was cut off".to_owned();
            trail.append(&[Entry::new("house".into(), what, String::new(), "noted", 1)])?;
        }
        Ok(trail)
    }

    fn begin(folder: &Path, next: u64, hash: String) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(folder.join(format!("{next:016}.log")))?;
        Ok(Self { folder: folder.to_owned(), bytes: file.metadata()?.len(), begun: begun(&file), file, next, hash })
    }

    /// Writes entries; when this returns they are on the disk. If it fails, nothing of them is.
    ///
    /// # Errors
    /// What the system said.
    pub fn append(&mut self, entries: &[Entry]) -> std::io::Result<()> {
        let old = self.bytes > 0 && self.begun.elapsed().is_ok_and(|age| age > FILE_AGE);
        if self.bytes >= FILE_BYTES || old {
            *self = Self::begin(&self.folder, self.next, self.hash.clone())?;
            forget(&self.folder, KEPT)?;
        }
        let (mut out, mut next, mut hash) = (String::new(), self.next, self.hash.clone());
        for entry in entries {
            let line = Line {
                n: next,
                at: utc(entry.at),
                who: entry.who.clone(),
                what: entry.what.clone(),
                object: entry.object.clone(),
                outcome: entry.outcome.to_owned(),
                count: entry.count,
                prev: hash,
            };
            let content = serde_json::to_string(&line)?;
            hash = hash_of(&content);
            out.push_str(content.strip_suffix('}').unwrap_or(&content));
            out.push_str(",\"hash\":\"");
            out.push_str(&hash);
            out.push_str("\"}\n");
            next += 1;
        }
        let written = self.file.write_all(out.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += out.len() as u64;
        (self.next, self.hash) = (next, hash);
        Ok(())
    }
}

/// Follows the chain from the oldest file to the newest. A line that is being written just now does not count.
///
/// # Errors
/// [`VerifyError::Broken`] names the first place that does not fit.
pub fn verify(folder: &Path) -> Result<Verified, VerifyError> {
    let mut verified = Verified { first: 0, last: 0, hash: BEGIN.into() };
    let all = files(folder)?;
    for (number, path) in &all {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut reader = BufReader::new(File::open(path)?);
        let (mut bytes, mut place) = (Vec::new(), 0);
        while reader.read_until(b'\n', &mut bytes)? > 0 {
            place += 1;
            let broken = |why: String| Broken { file: name.clone(), line: place, why };
            if bytes.last() != Some(&b'\n') {
                if all.last().is_some_and(|(newest, _)| newest == number) {
                    break;
                }
                return Err(broken("the line does not end".into()).into());
            }
            let text = std::str::from_utf8(&bytes[..bytes.len() - 1]).map_err(|_| broken("it is no text".into()))?;
            let (content, hash) = split(text).ok_or_else(|| broken("it has no hash".into()))?;
            if hash_of(&content) != hash {
                return Err(broken("it is not what was written: its hash is another".into()).into());
            }
            let line: Line = serde_json::from_str(&content).map_err(|error| broken(error.to_string()))?;
            let expected = if verified.first == 0 { *number } else { verified.last + 1 };
            if line.n != expected {
                return Err(broken(format!("it is entry {}, after which {expected} was expected", line.n)).into());
            }
            if (verified.first > 0 || line.n == 1) && line.prev != verified.hash {
                return Err(broken("it does not follow the line before: the hash of that one is another".into()).into());
            }
            verified.first = if verified.first == 0 { line.n } else { verified.first };
            (verified.last, verified.hash) = (line.n, hash.to_owned());
            bytes.clear();
        }
    }
    Ok(verified)
}

/// At most `limit` entries after number `after`.
///
/// # Errors
/// The files cannot be read.
pub fn read(folder: &Path, after: u64, limit: usize) -> std::io::Result<Vec<Line>> {
    let files = files(folder)?;
    // The last file that begins before what is wanted holds it, or ends before it.
    let from = files.partition_point(|(first, _)| *first <= after + 1).saturating_sub(1);
    let mut lines = Vec::new();
    for (_, path) in files.iter().skip(from) {
        for text in BufReader::new(File::open(path)?).lines() {
            let text = text?;
            let line = split(&text).and_then(|(content, _)| serde_json::from_str::<Line>(&content).ok());
            lines.extend(line.filter(|line| line.n > after));
            if lines.len() == limit {
                return Ok(lines);
            }
        }
    }
    Ok(lines)
}

/// Number of the first entry and path of each file, oldest first.
fn files(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log")?.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    Ok(files)
}

/// The last entry of the file before the newest.
fn before(files: &[(u64, PathBuf)]) -> std::io::Result<Option<(u64, String)>> {
    let Some((_, path)) = files.len().checked_sub(2).and_then(|place| files.get(place)) else { return Ok(None) };
    let text = std::fs::read_to_string(path)?;
    let last = text.lines().next_back().and_then(split);
    Ok(last.and_then(|(content, hash)| Some((serde_json::from_str::<Line>(&content).ok()?.n, hash.to_owned()))))
}

/// Deletes files whose last entry is older than this, but never the newest.
fn forget(folder: &Path, kept: Duration) -> std::io::Result<()> {
    let files = files(folder)?;
    for (_, path) in files.iter().take(files.len().saturating_sub(1)) {
        let age = std::fs::metadata(path)?.modified()?.elapsed().unwrap_or_default();
        if age > kept {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// When a file was made, where the system knows it.
fn begun(file: &File) -> SystemTime {
    file.metadata().and_then(|about| about.created()).unwrap_or_else(|_| SystemTime::now())
}

/// A line without its hash, and the hash.
fn split(line: &str) -> Option<(String, &str)> {
    let (content, hash) = line.strip_suffix("\"}")?.rsplit_once(",\"hash\":\"")?;
    (hash.len() == 64).then(|| (format!("{content}}}"), hash))
}

fn hash_of(content: &str) -> String {
    digest(&SHA256, content.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn utc(at: SystemTime) -> String {
    let ms = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let (days, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Days since 1970 to a date, by Howard Hinnant's way of counting years from March.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        Entry::new("admin:ada".into(), format!("POST /v1/{number}"), "tok_1".into(), "201", number)
    }

    #[test]
    fn one_byte_changed_anywhere_is_found_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut trail = Trail::open(folder.path()).unwrap();
        for number in 1..=20 {
            trail.append(&[entry(number)]).unwrap();
        }
        drop(trail);
        // A second file goes on with the chain.
        let mut trail = Trail::open(folder.path()).unwrap();
        trail.bytes = FILE_BYTES;
        trail.append(&[entry(21), entry(22)]).unwrap();
        drop(trail);
        let verified = verify(folder.path()).unwrap();
        assert_eq!((verified.first, verified.last), (1, 22));
        let all = files(folder.path()).unwrap();
        assert_eq!(all.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 21]);
        for (_, path) in &all {
            let whole = std::fs::read(path).unwrap();
            for place in (0..whole.len()).step_by(7) {
                let mut bytes = whole.clone();
                bytes[place] ^= 1;
                std::fs::write(path, &bytes).unwrap();
                let Err(VerifyError::Broken(broken)) = verify(folder.path()) else { panic!("byte {place}") };
                let line = 1 + whole[..place].iter().filter(|byte| **byte == b'\n').count();
                let name = path.file_name().unwrap().to_str().unwrap();
                assert!(broken.file == name && (line..=line + 1).contains(&broken.line), "byte {place}: {broken}");
            }
            // A line taken out, and two that changed places.
            let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
            std::fs::write(path, [&lines[..0], &lines[1..]].concat().concat()).unwrap();
            assert!(verify(folder.path()).is_err());
            let mut turned = lines.clone();
            turned.swap(0, 1);
            std::fs::write(path, turned.concat()).unwrap();
            assert!(verify(folder.path()).is_err());
            std::fs::write(path, &whole).unwrap();
        }
        verify(folder.path()).unwrap();
        // The oldest goes in its time, and the rest is whole.
        forget(folder.path(), Duration::ZERO).unwrap();
        let verified = verify(folder.path()).unwrap();
        assert_eq!((verified.first, verified.last), (21, 22));
    }

    #[test]
    fn a_line_cut_off_by_a_fall_is_noted_and_the_chain_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        Trail::open(folder.path()).unwrap().append(&[entry(1), entry(2)]).unwrap();
        let path = &files(folder.path()).unwrap()[0].1;
        let mut bytes = std::fs::read(path).unwrap();
        bytes.truncate(bytes.len() - 9);
        std::fs::write(path, &bytes).unwrap();
        Trail::open(folder.path()).unwrap().append(&[entry(3)]).unwrap();
        let verified = verify(folder.path()).unwrap();
        assert_eq!((verified.first, verified.last), (1, 3));
        let what: Vec<String> = read(folder.path(), 0, 10).unwrap().into_iter().map(|line| line.what).collect();
        assert_eq!(what.len(), 3);
        assert!(what[1].contains("cut off"), "{what:?}");
        assert_eq!(read(folder.path(), 2, 10).unwrap().len(), 1);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |s: u64, text: &str| assert_eq!(utc(SystemTime::UNIX_EPOCH + Duration::from_secs(s)), text);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399, "2000-02-28T23:59:59.000Z");
        check(951_782_400, "2000-02-29T00:00:00.000Z");
        check(1_767_225_600, "2026-01-01T00:00:00.000Z");
    }
}
