//! Files in a folder of this machine.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{BlobError, Key, Piece, Put};

/// Half-written files are here; no key begins like this.
const UNFINISHED: &str = ".unfinished";

/// Nobody writes one file for so long.
const LEFT_AFTER: Duration = Duration::from_secs(3600);

/// A folder.
pub struct Folder {
    path: PathBuf,
    /// Names of half-written files begin with this: other processes have others.
    name: String,
    number: AtomicU64,
}

impl Folder {
    /// Makes the folder if absent. What others have left half-written long ago is deleted; several processes may use one folder.
    pub fn open(path: PathBuf) -> Result<Self, BlobError> {
        let unfinished = path.join(UNFINISHED);
        fs::create_dir_all(&unfinished)?;
        for entry in fs::read_dir(unfinished)? {
            let entry = entry?;
            let is_old = entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > LEFT_AFTER);
            if is_old {
                found(fs::remove_file(entry.path()))?;
            }
        }
        let born = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        Ok(Self { path, name: format!("{}-{born:x}", std::process::id()), number: AtomicU64::new(0) })
    }

    fn place(&self, key: &Key) -> PathBuf {
        self.path.join(key.as_str())
    }

    pub(crate) async fn put(&self, key: &Key, bytes: Bytes, _content_type: &str) -> Result<Put, BlobError> {
        let place = self.place(key);
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.path.join(UNFINISHED).join(format!("{}-{number}", self.name));
        let top = self.path.clone();
        blocking(move || put(&top, &unfinished, &place, &bytes)).await
    }

    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        let place = self.place(key);
        blocking(move || found(fs::read(place)).map(|bytes| bytes.map(Bytes::from))).await
    }

    pub(crate) async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Piece>, BlobError> {
        let place = self.place(key);
        blocking(move || {
            let Some(mut file) = found(fs::File::open(place))? else { return Ok(None) };
            let bytes_total = file.metadata()?.len();
            let (start, end) = (range.start.min(bytes_total), range.end.min(bytes_total));
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.take(end.saturating_sub(start)).read_to_end(&mut bytes)?;
            Ok(Some(Piece { bytes: bytes.into(), bytes_total }))
        })
        .await
    }

    pub(crate) async fn size(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        let place = self.place(key);
        blocking(move || Ok(found(fs::metadata(place))?.filter(fs::Metadata::is_file).map(|file| file.len()))).await
    }

    pub(crate) async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        let (place, top) = (self.place(key), self.path.clone());
        blocking(move || {
            found(fs::remove_file(&place))?;
            // Folders that are empty now go as well; one that somebody fills meanwhile stays.
            let mut folder = place.parent();
            while let Some(parent) = folder.filter(|parent| *parent != top && fs::remove_dir(parent).is_ok()) {
                folder = parent.parent();
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, BlobError> {
        let (top, prefix, after) = (self.path.clone(), prefix.to_owned(), after.cloned());
        blocking(move || {
            // The deepest folder that the prefix names whole.
            let start = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut keys = Vec::new();
            walk(&top, &top.join(start), &mut keys)?;
            keys.retain(|key| key.as_str().starts_with(&prefix) && after.as_ref().is_none_or(|after| key > after));
            keys.sort_unstable();
            keys.truncate(limit);
            Ok(keys)
        })
        .await
    }

    pub(crate) async fn check(&self) -> Result<(), BlobError> {
        let path = self.path.join(UNFINISHED);
        blocking(move || fs::metadata(path).map(|_| ())).await
    }
}

/// Written beside, made durable, then named in one step that fails if the name is taken.
fn put(top: &Path, unfinished: &Path, place: &Path, bytes: &[u8]) -> io::Result<Put> {
    if place.exists() {
        return Ok(Put::Known);
    }
    let written = (|| {
        let mut file = fs::File::create_new(unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let folder = place.parent().unwrap_or(top);
        loop {
            fs::create_dir_all(folder)?;
            match fs::hard_link(unfinished, place) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Put::Known),
                // Somebody deleted the last file of the folder, and the folder with it.
                Err(error) if error.kind() == ErrorKind::NotFound && unfinished.exists() => {}
                Err(error) => return Err(error),
            }
        }
        // The name is durable when its folder is, up to the one that was there before.
        let mut folder = Some(folder);
        while let Some(path) = folder {
            fs::File::open(path)?.sync_all()?;
            folder = path.parent().filter(|_| path != top);
        }
        Ok(Put::New)
    })();
    let _ = fs::remove_file(unfinished);
    written
}

fn walk(top: &Path, folder: &Path, keys: &mut Vec<Key>) -> io::Result<()> {
    let Some(entries) = found(fs::read_dir(folder))? else { return Ok(()) };
    for entry in entries {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        if entry?.is_dir() {
            if path.file_name().is_some_and(|name| name != UNFINISHED) {
                walk(top, &path, keys)?;
            }
            continue;
        }
        // What is no key is none of ours.
        let name = path.strip_prefix(top).ok().and_then(Path::to_str);
        keys.extend(name.and_then(|name| Key::new(name).ok()));
    }
    Ok(())
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory) =>
        {
            Ok(None)
        }
        result => result.map(Some),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))?)
}
