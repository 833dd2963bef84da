//! Files that nothing names: what a process left behind that fell between two steps, or that could not be deleted because the store was away.
//!
//! Records are written before the files they name, so a file that is listed first and looked for in the records after is either named there or nobody's. Between that look and
//! the deletion the same picture may come again; so each stray is looked up once more under the lock of the records, where nobody comes to lean on it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::watch;
use wayfare_blobs::{BlobError, Blobs, Key};
use wayfare_wire::upload::UploadState;

use super::briefly;
use crate::House;
use crate::db::{DatabaseError, Write};
use crate::records::upload::{self, Upload};

/// Files of a store that are looked at together.
const PAGE: usize = 1_000;

/// Stores whose ids are read together.
const STORES: i64 = 200;

/// Between two pages: nothing waits for a sweep.
const BREATH: Duration = Duration::from_millis(100);

/// Whoever went on with an upload deletes its pieces within this, milliseconds.
const CLEARED_MS: i64 = 5_000;

/// The first sweep begins after this part of the time between two, so that a house that is often started anew sweeps too.
const FIRST: u32 = 24;

/// Sweeps again and again until told to stop.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    let Some(blobs) = house.files.clone() else { return };
    let every = Duration::from_millis(house.config.uploads.sweep_ms.unsigned_abs());
    let mut pause = every / FIRST;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        pause = every;
        if !house.leads() {
            continue;
        }
        let swept = tokio::select! {
            swept = sweep(house, &blobs) => swept,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match swept {
            Ok(0) => {}
            Ok(strays) => tracing::info!(strays, "files that nothing named were deleted"),
            Err(why) => tracing::warn!(%why, "files could not be swept; trying again at the next time"),
        }
    }
}

/// Why a sweep did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Records(#[from] DatabaseError),
    #[error(transparent)]
    Files(#[from] BlobError),
}

impl From<sqlx::Error> for Why {
    fn from(error: sqlx::Error) -> Self {
        Self::Records(error.into())
    }
}

/// Goes through the files of all stores once. Returns how many were deleted.
async fn sweep(house: &House, blobs: &Blobs) -> Result<u64, Why> {
    let (mut strays, mut after) = (0, String::new());
    loop {
        let stores = upload::stores_after(&house.db, &after, STORES).await?;
        let Some(last) = stores.last() else { return Ok(strays) };
        after.clone_from(last);
        for store in &stores {
            strays += sweep_store(house, blobs, store).await?;
        }
    }
}

async fn sweep_store(house: &House, blobs: &Blobs, store: &str) -> Result<u64, Why> {
    let (prefix, mut strays, mut after) = (format!("stores/{store}/"), 0, None::<Key>);
    loop {
        let keys = blobs.list(&prefix, after.as_ref(), PAGE).await?;
        let Some(last) = keys.last() else { return Ok(strays) };
        after = Some(last.clone());
        let named = Named::of(upload::of_store(&house.db, store).await?);
        for key in keys.iter().filter(|key| !named.has(key)) {
            strays += u64::from(delete(house, blobs, store, key).await?);
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Deletes a file unless somebody names it by now.
async fn delete(house: &House, blobs: &Blobs, store: &str, key: &Key) -> Result<bool, Why> {
    let mut write: Write = house.db.write().await?;
    if Named::of(upload::of_store_in(&mut write, store).await?).has(key) {
        return Ok(false);
    }
    briefly(blobs.delete(key)).await?;
    metrics::counter!("wayfare_uploads_strays_total").increment(1);
    Ok(true)
}

/// What the uploads of a store name.
struct Named {
    /// Uploads whose bytes come in: their pieces are theirs, also one that is just being written. And those whose pieces are just being deleted.
    receiving: HashSet<String>,
    originals: HashSet<String>,
    /// By job. Of pictures that are done the files; nothing where a worker may be at it still, or again, and every file may become one.
    pictures: HashMap<String, Option<HashSet<String>>>,
}

impl Named {
    fn of(uploads: Vec<Upload>) -> Self {
        let (mut receiving, mut originals, mut pictures) = (HashSet::new(), HashSet::new(), HashMap::new());
        for upload in uploads {
            if upload.state == UploadState::Receiving || upload.due_ms > wayfare_bus::now_ms() - CLEARED_MS {
                receiving.insert(upload.id.to_string());
            }
            originals.extend(upload.sha256);
            let Some(job) = upload.job else { continue };
            let done = upload.picture.filter(|_| upload.state == UploadState::Done);
            let files = pictures.entry(job).or_insert_with(|| Some(HashSet::new()));
            match (done, files) {
                (Some(picture), Some(files)) => files.extend(picture.files.into_iter().map(|file| file.key)),
                (_, files) => *files = None,
            }
        }
        Self { receiving, originals, pictures }
    }

    fn has(&self, key: &Key) -> bool {
        let mut words = key.as_str().split('/').skip(2);
        match (words.next(), words.next()) {
            (Some("uploads"), Some(upload)) => self.receiving.contains(upload),
            (Some("originals"), Some(sha256)) => self.originals.contains(sha256),
            (Some("pictures"), Some(job)) => match self.pictures.get(job) {
                Some(Some(files)) => files.contains(key.as_str()),
                Some(None) => true,
                None => false,
            },
            // Whatever it is, it is none of ours.
            _ => true,
        }
    }
}
