//! An upload: a picture on its way in, from the first byte to the menu.

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;
use utoipa::ToSchema;
use wayfare_wire::ids;
use wayfare_wire::upload::{PictureDoc, PictureError, UploadState};

use crate::db::{Database, DatabaseError, Write};

/// The record. What changes with every piece of bytes stands in columns of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upload {
    pub id: ids::Upload,
    pub store: ids::Store,
    /// Who uploads.
    pub sub: String,
    /// Item of the menu that it is meant for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// See [`wayfare_wire::upload::PictureJob`].
    pub preset: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focus: Option<[f32; 2]>,
    /// Bytes of the whole file.
    pub length: u64,
    pub created_ms: i64,
    /// Grows with each change of the state.
    pub version: u64,
    /// `receiving`, `queued`, or an end.
    pub state: UploadState,
    /// Bytes that are kept.
    #[serde(skip)]
    pub received: u64,
    /// When it expires; of one that is ended, when it ended.
    #[serde(skip)]
    pub due_ms: i64,
    /// SHA-256 of the file, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The job that makes it: the same for the same picture of the same store in the same shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<PictureDoc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<PictureError>,
}

/// Bytes that came in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadPiece {
    /// Place of the first byte.
    pub start: u64,
    pub bytes: u64,
    /// Key of the file.
    pub file: String,
}

/// How much of the limits a store and a user have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Uploads of the store that are not ended.
    pub store_open: i64,
    /// Uploads of the user whose bytes come in.
    pub sub_receiving: i64,
    /// Uploads of the store that were begun since then.
    pub store_lately: i64,
}

/// Images that an item of a menu may have.
pub const IMAGES_MAX: usize = 10;

const COLUMNS: &str = "doc, received, due_ms";

fn read(row: &AnyRow) -> Result<Upload, DatabaseError> {
    let mut upload: Upload = serde_json::from_str(row.try_get(0)?)?;
    upload.received = row.try_get::<i64, _>(1)? as u64;
    upload.due_ms = row.try_get(2)?;
    Ok(upload)
}

fn read_all(rows: &[AnyRow]) -> Result<Vec<Upload>, DatabaseError> {
    rows.iter().map(read).collect()
}

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM upload {rest}"))
}

pub async fn by_id(db: &Database, id: &str) -> Result<Option<Upload>, DatabaseError> {
    let row = sqlx::query(select("WHERE id = $1")).bind(id.to_owned()).fetch_optional(db.read()).await?;
    row.as_ref().map(read).transpose()
}

pub async fn by_id_in(write: &mut Write, id: &str) -> Result<Option<Upload>, DatabaseError> {
    let row = sqlx::query(select("WHERE id = $1")).bind(id.to_owned()).fetch_optional(&mut **write).await?;
    row.as_ref().map(read).transpose()
}

pub async fn insert(write: &mut Write, upload: &Upload) -> Result<(), DatabaseError> {
    sqlx::query(
        "INSERT INTO upload (id, store, sub, created_ms, version, state, received, length, due_ms, job, doc)
         VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, NULL, $9)",
    )
    .bind(upload.id.to_string())
    .bind(upload.store.to_string())
    .bind(upload.sub.clone())
    .bind(upload.created_ms)
    .bind(upload.version as i64)
    .bind(upload.state.as_str())
    .bind(upload.length as i64)
    .bind(upload.due_ms)
    .bind(serde_json::to_string(upload)?)
    .execute(&mut **write)
    .await?;
    Ok(())
}

/// Stores a change of the state, but not how much was received.
pub async fn update(write: &mut Write, upload: &Upload) -> Result<(), DatabaseError> {
    sqlx::query("UPDATE upload SET version = $2, state = $3, due_ms = $4, job = $5, doc = $6 WHERE id = $1")
        .bind(upload.id.to_string())
        .bind(upload.version as i64)
        .bind(upload.state.as_str())
        .bind(upload.due_ms)
        .bind(upload.job.clone())
        .bind(serde_json::to_string(upload)?)
        .execute(&mut **write)
        .await?;
    Ok(())
}

/// Keeps pieces that follow what was received up to `from`. False if that is no longer where the upload is: somebody else has brought the same, or it has ended.
pub async fn grow(
    write: &mut Write,
    id: &str,
    from: u64,
    pieces: &[UploadPiece],
    due_ms: i64,
) -> Result<bool, DatabaseError> {
    let to = from + pieces.iter().map(|piece| piece.bytes).sum::<u64>();
    let grown = sqlx::query(
        "UPDATE upload SET received = $3, due_ms = $4 WHERE id = $1 AND received = $2 AND state = 'receiving'",
    )
    .bind(id.to_owned())
    .bind(from as i64)
    .bind(to as i64)
    .bind(due_ms)
    .execute(&mut **write)
    .await?;
    if grown.rows_affected() != 1 {
        return Ok(false);
    }
    for piece in pieces {
        sqlx::query("INSERT INTO upload_piece (upload, start, bytes, file) VALUES ($1, $2, $3, $4)")
            .bind(id.to_owned())
            .bind(piece.start as i64)
            .bind(piece.bytes as i64)
            .bind(piece.file.clone())
            .execute(&mut **write)
            .await?;
    }
    Ok(true)
}

pub async fn pieces(db: &Database, id: &str) -> Result<Vec<UploadPiece>, DatabaseError> {
    let rows: Vec<(i64, i64, String)> =
        sqlx::query_as("SELECT start, bytes, file FROM upload_piece WHERE upload = $1 ORDER BY start")
            .bind(id.to_owned())
            .fetch_all(db.read())
            .await?;
    let piece =
        |(start, bytes, file): (i64, i64, String)| UploadPiece { start: start as u64, bytes: bytes as u64, file };
    Ok(rows.into_iter().map(piece).collect())
}

pub async fn forget_pieces(write: &mut Write, id: &str) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM upload_piece WHERE upload = $1").bind(id.to_owned()).execute(&mut **write).await?;
    Ok(())
}

pub async fn used(write: &mut Write, store: &str, sub: &str, since_ms: i64) -> Result<Used, DatabaseError> {
    let (store_open, sub_receiving, store_lately) = sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM upload WHERE store = $1 AND state IN ('receiving', 'queued')),
                (SELECT COUNT(*) FROM upload WHERE sub = $2 AND state = 'receiving'),
                (SELECT COUNT(*) FROM upload WHERE store = $1 AND created_ms > $3)",
    )
    .bind(store.to_owned())
    .bind(sub.to_owned())
    .bind(since_ms)
    .fetch_one(&mut **write)
    .await?;
    Ok(Used { store_open, sub_receiving, store_lately })
}

/// Uploads that the same job makes, or has made.
pub async fn of_job_in(write: &mut Write, job: &str) -> Result<Vec<Upload>, DatabaseError> {
    let rows = sqlx::query(select("WHERE job = $1 ORDER BY created_ms, id")).bind(job.to_owned());
    read_all(&rows.fetch_all(&mut **write).await?)
}

/// Uploads in a state that are due, some of them.
pub async fn due(db: &Database, state: UploadState, until_ms: i64, limit: i64) -> Result<Vec<Upload>, DatabaseError> {
    let rows = sqlx::query(select("WHERE state = $1 AND due_ms <= $2 ORDER BY due_ms LIMIT $3"));
    read_all(&rows.bind(state.as_str()).bind(until_ms).bind(limit).fetch_all(db.read()).await?)
}

/// Uploads whose bytes are all there, and which nobody has gone on with since `until_ms`.
pub async fn complete(db: &Database, until_ms: i64, limit: i64) -> Result<Vec<Upload>, DatabaseError> {
    let rows = sqlx::query(select(
        "WHERE state = 'receiving' AND received = length AND due_ms <= $1 ORDER BY due_ms LIMIT $2",
    ));
    read_all(&rows.bind(until_ms).bind(limit).fetch_all(db.read()).await?)
}

/// Uploads in a state, page by page in the order of their ids.
pub async fn page(db: &Database, state: UploadState, after: &str, limit: i64) -> Result<Vec<Upload>, DatabaseError> {
    let rows = sqlx::query(select("WHERE state = $1 AND id > $2 ORDER BY id LIMIT $3"));
    read_all(&rows.bind(state.as_str()).bind(after.to_owned()).bind(limit).fetch_all(db.read()).await?)
}

/// Uploads that have ended after `since_ms`, page by page in the order of their ids.
pub async fn ended_after(db: &Database, since_ms: i64, after: &str, limit: i64) -> Result<Vec<Upload>, DatabaseError> {
    let rows = sqlx::query(select(
        "WHERE state IN ('done', 'failed', 'cancelled', 'expired') AND due_ms > $1 AND id > $2 ORDER BY id LIMIT $3",
    ));
    read_all(&rows.bind(since_ms).bind(after.to_owned()).bind(limit).fetch_all(db.read()).await?)
}

/// Uploads that have ended before `until_ms` and are in no menu, some of them.
pub async fn unused(db: &Database, until_ms: i64, limit: i64) -> Result<Vec<Upload>, DatabaseError> {
    let rows = sqlx::query(select(
        "WHERE state IN ('done', 'failed', 'cancelled', 'expired') AND due_ms <= $1
         AND NOT EXISTS (SELECT 1 FROM menu_image WHERE menu_image.upload = upload.id) ORDER BY due_ms LIMIT $2",
    ));
    read_all(&rows.bind(until_ms).bind(limit).fetch_all(db.read()).await?)
}

/// Whether an item of the menu shows it.
pub async fn is_shown(write: &mut Write, id: &str) -> Result<bool, DatabaseError> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM menu_image WHERE upload = $1")
        .bind(id.to_owned())
        .fetch_one(&mut **write)
        .await?;
    Ok(count > 0)
}

/// Ids of stores, page by page.
pub async fn stores_after(db: &Database, after: &str, limit: i64) -> Result<Vec<String>, DatabaseError> {
    let ids = sqlx::query_scalar("SELECT id FROM store WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after.to_owned())
        .bind(limit)
        .fetch_all(db.read())
        .await?;
    Ok(ids)
}

/// All uploads of a store.
pub async fn of_store(db: &Database, store: &str) -> Result<Vec<Upload>, DatabaseError> {
    read_all(&sqlx::query(select("WHERE store = $1")).bind(store.to_owned()).fetch_all(db.read()).await?)
}

pub async fn of_store_in(write: &mut Write, store: &str) -> Result<Vec<Upload>, DatabaseError> {
    read_all(&sqlx::query(select("WHERE store = $1")).bind(store.to_owned()).fetch_all(&mut **write).await?)
}

/// Whether another upload of the store goes on with this file as uploaded.
pub async fn shares_source(write: &mut Write, upload: &Upload) -> Result<bool, DatabaseError> {
    let Some(sha256) = &upload.sha256 else { return Ok(false) };
    // Hashes are no column: a store has few uploads, and this is asked when one is forgotten.
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM upload WHERE store = $1 AND id <> $2 AND doc LIKE $3")
        .bind(upload.store.to_string())
        .bind(upload.id.to_string())
        .bind(format!("%\"sha256\":\"{sha256}\"%"))
        .fetch_one(&mut **write)
        .await?;
    Ok(count > 0)
}

pub async fn forget(write: &mut Write, id: &str) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM upload WHERE id = $1").bind(id.to_owned()).execute(&mut **write).await?;
    Ok(())
}

/// Images of an item, in their order.
pub async fn of_item(db: &Database, store: &str, item: &str) -> Result<Vec<Upload>, DatabaseError> {
    let rows = sqlx::query(select(
        "JOIN menu_image ON menu_image.upload = upload.id WHERE menu_image.store = $1 AND menu_image.item = $2
         ORDER BY menu_image.place, upload.id",
    ));
    read_all(&rows.bind(store.to_owned()).bind(item.to_owned()).fetch_all(db.read()).await?)
}

/// Items of a store that have images, page by page in the order of their names.
pub async fn items_after(db: &Database, store: &str, after: &str, limit: i64) -> Result<Vec<String>, DatabaseError> {
    let items = sqlx::query_scalar(
        "SELECT DISTINCT item FROM menu_image WHERE store = $1 AND item > $2 ORDER BY item LIMIT $3",
    )
    .bind(store.to_owned())
    .bind(after.to_owned())
    .bind(limit)
    .fetch_all(db.read())
    .await?;
    Ok(items)
}

/// Images of all items from `first` to `last`, those of each in their order.
pub async fn of_items(
    db: &Database,
    store: &str,
    first: &str,
    last: &str,
) -> Result<Vec<(String, Upload)>, DatabaseError> {
    let rows = sqlx::query(
        "SELECT doc, received, due_ms, item FROM upload JOIN menu_image ON menu_image.upload = upload.id
         WHERE menu_image.store = $1 AND item >= $2 AND item <= $3 ORDER BY item, place, upload.id",
    )
    .bind(store.to_owned())
    .bind(first.to_owned())
    .bind(last.to_owned())
    .fetch_all(db.read())
    .await?;
    rows.iter().map(|row| Ok((row.try_get(3)?, read(row)?))).collect()
}

/// Ids of the images of an item, in their order.
pub async fn ids_of_item_in(write: &mut Write, store: &str, item: &str) -> Result<Vec<String>, DatabaseError> {
    let ids = sqlx::query_scalar("SELECT upload FROM menu_image WHERE store = $1 AND item = $2 ORDER BY place, upload")
        .bind(store.to_owned())
        .bind(item.to_owned())
        .fetch_all(&mut **write)
        .await?;
    Ok(ids)
}

/// Puts an image behind those that an item has; the oldest go where there are too many. Putting one twice changes nothing.
pub async fn attach(write: &mut Write, upload: &Upload, item: &str) -> Result<(), DatabaseError> {
    let store = upload.store.to_string();
    let mut ids = ids_of_item_in(write, &store, item).await?;
    let id = upload.id.to_string();
    if ids.contains(&id) {
        return Ok(());
    }
    ids.push(id);
    let too_many = ids.len().saturating_sub(IMAGES_MAX);
    set_item(write, &store, item, &ids[too_many..]).await
}

/// Sets the images of an item. Those that are taken out are kept a while for pages that show them still.
pub async fn set_item(write: &mut Write, store: &str, item: &str, ids: &[String]) -> Result<(), DatabaseError> {
    let before = ids_of_item_in(write, store, item).await?;
    sqlx::query("DELETE FROM menu_image WHERE store = $1 AND item = $2")
        .bind(store.to_owned())
        .bind(item.to_owned())
        .execute(&mut **write)
        .await?;
    for (place, id) in ids.iter().enumerate() {
        sqlx::query("INSERT INTO menu_image (store, item, upload, place) VALUES ($1, $2, $3, $4)")
            .bind(store.to_owned())
            .bind(item.to_owned())
            .bind(id.clone())
            .bind(place as i64)
            .execute(&mut **write)
            .await?;
    }
    for gone in before.iter().filter(|id| !ids.contains(id)) {
        sqlx::query("UPDATE upload SET due_ms = $2 WHERE id = $1")
            .bind(gone.clone())
            .bind(wayfare_bus::now_ms())
            .execute(&mut **write)
            .await?;
    }
    Ok(())
}

/// An image as menus show it: ready for `<picture>`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Image {
    /// The upload it came from, `upl_…`.
    #[schema(value_type = String)]
    pub upload: ids::Upload,
    /// Of what was uploaded, upright, pixels.
    pub width: u32,
    /// Of what was uploaded, upright, pixels.
    pub height: u32,
    /// For `src`: a JPEG of medium width.
    pub src: String,
    /// One per format, the smaller files first: for `<source>`.
    pub sources: Vec<Source>,
    /// A ThumbHash in base64, to be shown before the picture is there.
    pub placeholder: String,
    /// The most frequent colour, `#rrggbb`.
    pub colour: String,
}

/// The files of one format.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Source {
    /// `image/avif`, `image/webp` or `image/jpeg`: the smallest first.
    #[serde(rename = "type")]
    pub content_type: String,
    /// For the attribute of that name.
    pub srcset: String,
    /// Narrow ones first.
    pub files: Vec<ImageFile>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ImageFile {
    /// Never changes its content.
    pub url: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Of the file.
    pub bytes: u64,
}

/// Width of the picture for those who cannot choose, pixels.
const MEDIUM_PX: u32 = 640;

impl Image {
    /// How an upload is shown; nothing if no picture was made of it.
    pub fn of(upload: &Upload) -> Option<Self> {
        let picture = upload.picture.as_ref()?;
        let sources: Vec<Source> =
            ["avif", "webp", "jpeg"].into_iter().filter_map(|format| source(picture, format)).collect();
        let jpeg = &sources.last()?.files;
        let src = jpeg.iter().find(|file| file.width >= MEDIUM_PX).or(jpeg.last())?.url.clone();
        Some(Self {
            upload: upload.id,
            width: picture.width,
            height: picture.height,
            src,
            sources,
            placeholder: picture.placeholder.clone(),
            colour: picture.colour.clone(),
        })
    }
}

fn source(picture: &PictureDoc, format: &str) -> Option<Source> {
    let files = picture.files.iter().filter(|file| file.format == format);
    let files: Vec<ImageFile> = files
        .filter_map(|file| {
            // Keys begin with `stores/`.
            let url = format!("/v1/images/{}", file.key.strip_prefix("stores/")?.replace("/pictures/", "/"));
            Some(ImageFile { url, width: file.width, height: file.height, bytes: file.bytes })
        })
        .collect();
    let srcset: Vec<String> = files.iter().map(|file| format!("{} {}w", file.url, file.width)).collect();
    (!files.is_empty()).then(|| Source { content_type: format!("image/{format}"), srcset: srcset.join(", "), files })
}
