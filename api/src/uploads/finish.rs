//! When all bytes are there: one file, one job.

use axum::body::Bytes;
use ring::digest::{SHA256, digest};
use wayfare_blobs::{Blobs, Key};
use wayfare_net::reply::Refusal;
use wayfare_wire::upload::{PICTURES_QUEUE, PictureJob, UploadState};
use wayfare_wire::{ErrorCode, ids};

use super::{away, ends, files, original_key, pictures_prefix, pieces_prefix, tell, wrong_key};
use crate::House;
use crate::db::DatabaseError;
use crate::input::fault;
use crate::records::upload::{self, Upload};

/// Goes on with an upload whose bytes are all there. Doing it twice does no harm, and what fails here is done again by [`ends`]: the bytes are safe.
pub async fn finish(house: &House, id: ids::Upload) -> Result<(), Refusal> {
    let blobs = files(house)?;
    // Each holds a whole file for a moment.
    let _one_of_few = house.assembling.acquire().await;
    let stored = upload::by_id(&house.db, &id.to_string()).await.map_err(fault)?;
    let Some(upload) =
        stored.filter(|upload| upload.state == UploadState::Receiving && upload.received == upload.length)
    else {
        return Ok(());
    };
    let bytes = assemble(house, blobs, &upload).await?;
    let sha256 = hex(digest(&SHA256, &bytes).as_ref());
    let original = original_key(upload.store, &sha256).map_err(|error| wrong_key(&error))?;
    // First the name, then the file: whoever forgets the same picture meanwhile sees that it is needed, and one that is taken back just now leaves no file behind.
    if !note_source(house, id, &sha256).await.map_err(fault)? {
        return Ok(());
    }
    blobs.put(&original, bytes, "application/octet-stream").await.map_err(|error| away(&error))?;
    let job = job_of(&upload, &sha256);
    let queued = queue_up(house, id, job).await.map_err(fault)?;
    if let Some(upload) = queued {
        if upload.state == UploadState::Queued {
            enqueue(house, &upload).await;
            tell::queued(house, &upload, None);
        } else {
            house.news.hurry();
        }
    }
    clear_pieces(house, upload.store, id).await;
    Ok(())
}

/// All pieces, one behind the other.
async fn assemble(house: &House, blobs: &Blobs, upload: &Upload) -> Result<Bytes, Refusal> {
    let mut bytes = Vec::with_capacity(upload.length as usize);
    for piece in upload::pieces(&house.db, &upload.id.to_string()).await.map_err(fault)? {
        let key = Key::new(piece.file).map_err(|error| wrong_key(&error))?;
        let read = blobs.get(&key).await.map_err(|error| away(&error))?;
        match read {
            Some(read) if piece.start == bytes.len() as u64 && read.len() as u64 == piece.bytes => {
                bytes.extend_from_slice(&read);
            }
            _ => {
                tracing::error!(upload = %upload.id, key = %key, "a piece of an upload is not what it was");
                return Err(Refusal::new(ErrorCode::Internal, "a fault of the house; it is in the log"));
            }
        }
    }
    Ok(bytes.into())
}

/// The record names the file. False if the upload has ended meanwhile.
async fn note_source(house: &House, id: ids::Upload, sha256: &str) -> Result<bool, DatabaseError> {
    let mut write = house.db.write().await?;
    let stored = upload::by_id_in(&mut write, &id.to_string()).await?;
    let Some(mut upload) = stored.filter(|upload| upload.state == UploadState::Receiving) else { return Ok(false) };
    upload.sha256 = Some(sha256.to_owned());
    upload::update(&mut write, &upload).await?;
    write.commit().await?;
    Ok(true)
}

/// One transaction: the upload waits for a worker, or has ended with what was found out about the same picture before.
async fn queue_up(house: &House, id: ids::Upload, job: String) -> Result<Option<Upload>, DatabaseError> {
    let mut write = house.db.write().await?;
    let stored = upload::by_id_in(&mut write, &id.to_string()).await?;
    let Some(mut upload) = stored.filter(|upload| upload.state == UploadState::Receiving) else { return Ok(None) };
    let same = upload::of_job_in(&mut write, &job).await?;
    upload.job = Some(job);
    upload::forget_pieces(&mut write, &id.to_string()).await?;
    let known = same.iter().find(|same| matches!(same.state, UploadState::Done | UploadState::Failed));
    match known {
        Some(known) => {
            metrics::counter!("wayfare_uploads_known_total").increment(1);
            let (picture, error) = (known.picture.clone(), known.error.clone());
            ends::end(&mut write, &mut upload, known.state, picture, error).await?;
        }
        None => {
            upload.state = UploadState::Queued;
            upload.version += 1;
            upload.due_ms = wayfare_bus::now_ms();
            upload::update(&mut write, &upload).await?;
        }
    }
    write.commit().await?;
    Ok(Some(upload))
}

/// Hands an upload to the workers. If the queue is away it is done again later.
pub async fn enqueue(house: &House, upload: &Upload) {
    let (Some(job), Some(sha256)) = (&upload.job, &upload.sha256) else { return };
    let Ok(source) = original_key(upload.store, sha256) else { return };
    let payload = PictureJob {
        upload: upload.id,
        store: upload.store,
        source: source.to_string(),
        into: pictures_prefix(upload.store, job),
        preset: upload.preset.clone(),
        focus: upload.focus,
    };
    let payload = serde_json::to_vec(&payload).expect("a job has string keys");
    if let Err(error) = house.bus.jobs.enqueue(PICTURES_QUEUE, job, &payload).await {
        tracing::warn!(%error, upload = %upload.id, "an upload could not be queued; trying again later");
    }
}

/// Nothing needs the pieces any more. What cannot be deleted now is swept later. False if the store could not be reached.
pub async fn clear_pieces(house: &House, store: ids::Store, id: ids::Upload) -> bool {
    let Some(blobs) = &house.files else { return false };
    let clear = async {
        loop {
            let keys = blobs.list(&pieces_prefix(store, id), None, 200).await?;
            if keys.is_empty() {
                return Ok::<(), wayfare_blobs::BlobError>(());
            }
            for key in keys {
                blobs.delete(&key).await?;
            }
        }
    };
    match clear.await {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, upload = %id, "pieces of an upload could not be deleted; they are swept later");
            false
        }
    }
}

/// The same picture of the same store in the same shape is the same job.
fn job_of(upload: &Upload, sha256: &str) -> String {
    let focus = upload.focus.map_or_else(String::new, |[x, y]| format!("{x:.4},{y:.4}"));
    let text = format!("{}|{sha256}|{}|{focus}", upload.store, upload.preset);
    hex(&digest(&SHA256, text.as_bytes()).as_ref()[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
