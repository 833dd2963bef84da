//! How uploads end: what the workers found, what nobody completed, what somebody took back. And what was lost on the way is found again.

use std::time::Duration;

use tokio::sync::watch;
use wayfare_bus::{Job, JobState};
use wayfare_wire::upload::{PICTURES_QUEUE, PictureDoc, PictureError, PictureOutcome, UploadState};
use wayfare_wire::{Topic, ids};

use super::{briefly, finish, original_key, pictures_prefix, tell};
use crate::House;
use crate::db::{DatabaseError, Write};
use crate::outbox;
use crate::records::upload::{self, Upload};

/// Between two looks when nothing woke us.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Between two rounds of tidying.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// Whoever received the last byte goes on with an upload at once; after this somebody else does, milliseconds.
const LEFT_MS: i64 = 30_000;

/// Taken at once.
const BATCH: i64 = 100;

/// What is said when the workers gave up. The reason is for operators, and stands with the dead jobs.
const GAVE_UP: &str = "We could not process this photo, although we tried several times. Please try another copy of it; we keep this one for a look.";

/// Follows the queue and tidies up until told to stop.
pub async fn run(house: &House, mut stop: watch::Receiver<bool>) {
    if house.files.is_none() {
        return;
    }
    let mut tail = house.bus.jobs.tail(PICTURES_QUEUE).await;
    let mut tidied = None::<tokio::time::Instant>;
    loop {
        tail.mark_unchanged();
        if house.leads() {
            if let Err(why) = collect(house).await {
                tracing::warn!(%why, "ends of uploads could not be noted; trying again");
            }
            places(house).await;
            if tidied.is_none_or(|tidied| tidied.elapsed() > TIDY_EVERY) {
                tidied = Some(tokio::time::Instant::now());
                if let Err(why) = tidy(house).await {
                    tracing::warn!(%why, "uploads could not be tidied; trying again later");
                }
            }
            gauges(house).await;
        }
        let woken = async {
            if tail.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = woken => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        // Several come together.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Why something about uploads did not go on.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Records(#[from] DatabaseError),
    #[error(transparent)]
    Queue(#[from] wayfare_bus::JobError),
    #[error(transparent)]
    Files(#[from] wayfare_blobs::BlobError),
}

impl From<sqlx::Error> for Why {
    fn from(error: sqlx::Error) -> Self {
        Self::Records(error.into())
    }
}

/// Notes every end that the queue knows, and only then lets it forget. Noted twice it changes nothing: an upload that has ended is left as it is.
async fn collect(house: &House) -> Result<(), Why> {
    loop {
        let jobs = house.bus.jobs.ended(PICTURES_QUEUE, BATCH as usize).await?;
        for job in &jobs {
            let mut write = house.db.write().await?;
            let (state, picture, error) = outcome(job);
            let mut noted = 0;
            for mut upload in upload::of_job_in(&mut write, &job.id).await? {
                if upload.state == UploadState::Queued {
                    end(&mut write, &mut upload, state, picture.clone(), error.clone()).await?;
                    noted += 1;
                }
            }
            write.commit().await?;
            house.bus.jobs.collect(PICTURES_QUEUE, &job.id).await?;
            if noted > 0 {
                house.news.hurry();
            }
        }
        if jobs.len() < BATCH as usize {
            return Ok(());
        }
    }
}

fn outcome(job: &Job) -> (UploadState, Option<PictureDoc>, Option<PictureError>) {
    let failed = |code: &str, message: &str| {
        (UploadState::Failed, None, Some(PictureError { code: code.into(), message: message.into() }))
    };
    match job.state {
        JobState::Cancelled => (UploadState::Cancelled, None, None),
        JobState::Done => match job.result.as_deref().map(serde_json::from_slice::<PictureOutcome>) {
            Some(Ok(PictureOutcome::Made(picture))) => (UploadState::Done, Some(picture), None),
            Some(Ok(PictureOutcome::Refused(error))) => (UploadState::Failed, None, Some(error)),
            _ => {
                tracing::error!(job = job.id, "what a worker made cannot be read");
                failed("processing_failed", GAVE_UP)
            }
        },
        _ => failed("processing_failed", GAVE_UP),
    }
}

/// Ends an upload within a write: record, menu, and the news of both.
pub async fn end(
    write: &mut Write,
    upload: &mut Upload,
    state: UploadState,
    picture: Option<PictureDoc>,
    error: Option<PictureError>,
) -> Result<(), DatabaseError> {
    upload.state = state;
    upload.picture = picture;
    upload.error = error;
    upload.version += 1;
    upload.due_ms = wayfare_bus::now_ms();
    upload::update(write, upload).await?;
    if let (UploadState::Done, Some(item)) = (state, upload.item.clone()) {
        upload::attach(write, upload, &item).await?;
    }
    let code = upload.error.as_ref().map_or_else(|| state.as_str().to_owned(), |error| error.code.clone());
    metrics::counter!("wayfare_uploads_ended_total", "how" => code).increment(1);
    outbox::put_upload(write, upload).await
}

/// Takes an upload back. Nothing if it has ended already.
pub async fn cancel(house: &House, id: ids::Upload) -> Result<bool, DatabaseError> {
    let mut write = house.db.write().await?;
    let stored = upload::by_id_in(&mut write, &id.to_string()).await?;
    let Some(mut upload) = stored.filter(|upload| !upload.state.is_end()) else { return Ok(false) };
    let others = match &upload.job {
        Some(job) => upload::of_job_in(&mut write, job).await?,
        None => Vec::new(),
    };
    let alone = !others.iter().any(|other| other.id != id && other.state == UploadState::Queued);
    upload::forget_pieces(&mut write, &id.to_string()).await?;
    end(&mut write, &mut upload, UploadState::Cancelled, None, None).await?;
    write.commit().await?;
    house.news.hurry();
    if let (Some(job), true) = (&upload.job, alone)
        && let Err(error) = house.bus.jobs.cancel(PICTURES_QUEUE, job).await
    {
        tracing::warn!(%error, job, "a job could not be cancelled; what it makes goes with the upload");
    }
    finish::clear_pieces(house, upload.store, id).await;
    Ok(true)
}

/// A dead job is tried again, and so are the uploads that wait for it. False if there is no such job.
pub async fn retry(house: &House, job: &str) -> Result<bool, Retry> {
    let mut write = house.db.write().await.map_err(Retry::Records)?;
    let mut again = Vec::new();
    for mut upload in upload::of_job_in(&mut write, job).await.map_err(Retry::Records)? {
        if upload.state == UploadState::Failed {
            upload.state = UploadState::Queued;
            upload.error = None;
            upload.version += 1;
            upload.due_ms = wayfare_bus::now_ms();
            upload::update(&mut write, &upload).await.map_err(Retry::Records)?;
            again.push(upload);
        }
    }
    // The queue first: if it says no, nothing is changed here.
    if !house.bus.jobs.retry(PICTURES_QUEUE, job).await.map_err(Retry::Queue)? {
        return Ok(false);
    }
    write.commit().await.map_err(|error| Retry::Records(error.into()))?;
    for upload in &again {
        // Its end was told; it begins anew.
        house.bus.topics.erase(&Topic::Upload(upload.id).to_string()).await;
        tell::queued(house, upload, None);
    }
    Ok(true)
}

/// Leaves nothing of a dead job; the same picture may be tried again as if it were new. False if there is no such job.
pub async fn forget_dead(house: &House, job: &str) -> Result<bool, Retry> {
    let mut write = house.db.write().await.map_err(Retry::Records)?;
    for mut upload in upload::of_job_in(&mut write, job).await.map_err(Retry::Records)? {
        if upload.state == UploadState::Failed {
            upload.job = None;
            upload::update(&mut write, &upload).await.map_err(Retry::Records)?;
        }
    }
    if !house.bus.jobs.forget(PICTURES_QUEUE, job).await.map_err(Retry::Queue)? {
        return Ok(false);
    }
    write.commit().await.map_err(|error| Retry::Records(error.into()))?;
    Ok(true)
}

/// Why a retry could not be made.
#[derive(Debug)]
pub enum Retry {
    Records(DatabaseError),
    Queue(wayfare_bus::JobError),
}

/// Tells those who watch how many come before their picture.
async fn places(house: &House) {
    let Ok(queued) = upload::due(&house.db, UploadState::Queued, i64::MAX, BATCH).await else { return };
    for upload in &queued {
        let topic = Topic::Upload(upload.id).to_string();
        if !house.bus.topics.interest(&topic).await {
            continue;
        }
        let Some(job) = &upload.job else { continue };
        if let Ok(Some(job)) = house.bus.jobs.read(PICTURES_QUEUE, job).await
            && job.state == JobState::Waiting
            && job.ahead.is_some()
        {
            tell::queued(house, upload, job.ahead);
        }
    }
}

async fn tidy(house: &House) -> Result<(), Why> {
    let (now_ms, limits) = (wayfare_bus::now_ms(), house.config.uploads);
    // All bytes are there, and whoever took the last is gone.
    for upload in upload::complete(&house.db, now_ms + limits.expire_ms - LEFT_MS, BATCH).await? {
        if let Err(refusal) = finish::finish(house, upload.id).await {
            tracing::warn!(upload = %upload.id, why = refusal.error.message, "an upload could not go on; trying again later");
        }
    }
    for upload in upload::due(&house.db, UploadState::Receiving, now_ms, BATCH).await? {
        expire(house, upload.id).await?;
    }
    // A queue on a server that lost its memory has lost these.
    let mut after = String::new();
    loop {
        let queued = upload::page(&house.db, UploadState::Queued, &after, BATCH).await?;
        let Some(last) = queued.last() else { break };
        after = last.id.to_string();
        for upload in queued.iter().filter(|upload| upload.due_ms < now_ms - LEFT_MS) {
            finish::enqueue(house, upload).await;
        }
    }
    for upload in upload::unused(&house.db, now_ms - limits.unused_keep_ms, BATCH).await? {
        forget(house, &upload).await?;
    }
    Ok(())
}

async fn expire(house: &House, id: ids::Upload) -> Result<(), Why> {
    let mut write = house.db.write().await?;
    let stored = upload::by_id_in(&mut write, &id.to_string()).await?;
    // Bytes may have come since it was read.
    let is_due = |upload: &Upload| upload.state == UploadState::Receiving && upload.due_ms <= wayfare_bus::now_ms();
    let Some(mut upload) = stored.filter(is_due) else { return Ok(()) };
    upload::forget_pieces(&mut write, &id.to_string()).await?;
    end(&mut write, &mut upload, UploadState::Expired, None, None).await?;
    write.commit().await?;
    house.news.hurry();
    finish::clear_pieces(house, upload.store, id).await;
    Ok(())
}

/// Leaves nothing of an upload that no menu shows: the record last, so that what was not deleted is tried again.
async fn forget(house: &House, upload: &Upload) -> Result<(), Why> {
    let Some(blobs) = &house.files else { return Ok(()) };
    // If the store is away this shows here, where nobody waits.
    if !finish::clear_pieces(house, upload.store, upload.id).await {
        return Ok(());
    }
    // Until the record is gone nobody else may come to lean on what is deleted here.
    let mut write = house.db.write().await?;
    let id = upload.id.to_string();
    let stored = upload::by_id_in(&mut write, &id).await?;
    let is_shown = upload::is_shown(&mut write, &id).await?;
    let Some(upload) = stored.filter(|stored| stored.due_ms == upload.due_ms && !is_shown) else { return Ok(()) };
    if let Some(job) = &upload.job {
        let others = upload::of_job_in(&mut write, job).await?;
        if others.len() <= 1 {
            for key in briefly(blobs.list(&pictures_prefix(upload.store, job), None, 200)).await? {
                briefly(blobs.delete(&key)).await?;
            }
        }
    }
    let shared = upload::shares_source(&mut write, &upload).await?;
    if let (Some(sha256), false) = (&upload.sha256, shared)
        && let Ok(original) = original_key(upload.store, sha256)
    {
        briefly(blobs.delete(&original)).await?;
    }
    upload::forget(&mut write, &id).await?;
    write.commit().await?;
    Ok(())
}

/// Tells the bus, as if for the first time, of uploads that have not ended, and of those that ended lately.
pub async fn rebuild(house: &House) -> Result<(), DatabaseError> {
    let since_ms = wayfare_bus::now_ms() - house.config.ended_keep_ms;
    for state in [UploadState::Receiving, UploadState::Queued] {
        let mut after = String::new();
        loop {
            let uploads = upload::page(&house.db, state, &after, 500).await?;
            let Some(last) = uploads.last() else { break };
            after = last.id.to_string();
            for upload in &uploads {
                if state == UploadState::Receiving {
                    tell::received(house, upload, upload.received);
                } else {
                    tell::queued(house, upload, None);
                    finish::enqueue(house, upload).await;
                }
            }
        }
    }
    let mut after = String::new();
    loop {
        let uploads = upload::ended_after(&house.db, since_ms, &after, 500).await?;
        let Some(last) = uploads.last() else { return Ok(()) };
        after = last.id.to_string();
        for upload in &uploads {
            tell::ended(house, upload).await;
        }
    }
}

async fn gauges(house: &House) {
    let Ok(counts) = house.bus.jobs.counts(PICTURES_QUEUE).await else { return };
    for (state, count) in
        [("waiting", counts.waiting), ("running", counts.running), ("ended", counts.ended), ("dead", counts.dead)]
    {
        metrics::gauge!("wayfare_media_queue", "state" => state).set(count as f64);
    }
    let age_ms = counts.oldest_ms.map_or(0, |oldest_ms| (wayfare_bus::now_ms() - oldest_ms).max(0));
    metrics::gauge!("wayfare_media_queue_age_seconds").set(age_ms as f64 / 1000.0);
}
