//! Pictures of menus, on their way from a restaurant's phone into the menu.
//!
//! Bytes come in pieces ([`receive`]): each is durable before it counts, nobody holds a lock meanwhile, and who brings the next piece says where it begins. When all are there
//! they become one file ([`finish`]), named by its hash, and a job for the workers. The queue tells how it ended until the records have it ([`ends`]).
//! What can be lost on the way (a process between two steps, the queue's server) is found again by the records, which know every upload that has not ended; what is left
//! behind on the way is swept ([`sweep`]).

pub mod ends;
pub mod finish;
pub mod receive;
pub mod sweep;
pub mod tell;
pub mod turns;

use std::time::Duration;

use wayfare_blobs::{BlobError, Blobs, InvalidKey, Key};
use wayfare_net::reply::Refusal;
use wayfare_wire::ids::{Store, Upload};
use wayfare_wire::{ErrorBody, ErrorCode};

use crate::House;

/// Bounds of uploads.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    /// Bytes of a file.
    pub bytes_max: u64,
    /// Uploads of one store that have not ended.
    pub open_per_store: u32,
    /// Uploads of one user whose bytes come in.
    pub receiving_per_user: u32,
    /// Uploads that a store may begin in a day.
    pub per_store_day: u32,
    /// An upload to which nothing was added for this long expires, milliseconds.
    pub expire_ms: i64,
    /// A picture that no menu shows is kept for this long, milliseconds.
    pub unused_keep_ms: i64,
    /// Between two sweeps of files that nothing names, milliseconds.
    pub sweep_ms: i64,
}

/// A store of files that does not answer within this may not hold up the records any longer.
const BRIEFLY: Duration = Duration::from_secs(3);

/// What is asked of the store of files while the records are locked: everybody waits meanwhile.
async fn briefly<T>(asked: impl Future<Output = Result<T, BlobError>>) -> Result<T, BlobError> {
    let late = || BlobError::Folder(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"));
    tokio::time::timeout(BRIEFLY, asked).await.map_err(|_| late())?
}

/// A piece of an upload.
fn piece_key(store: Store, upload: Upload, start: u64, random: u64) -> Result<Key, InvalidKey> {
    Key::new(format!("{}{start:08}-{random:016x}", pieces_prefix(store, upload)))
}

/// All pieces of an upload.
fn pieces_prefix(store: Store, upload: Upload) -> String {
    format!("stores/{store}/uploads/{upload}/")
}

/// A file as it was uploaded. Nobody is ever served one.
fn original_key(store: Store, sha256: &str) -> Result<Key, InvalidKey> {
    Key::new(format!("stores/{store}/originals/{sha256}"))
}

/// What is made of it.
fn pictures_prefix(store: Store, job: &str) -> String {
    format!("stores/{store}/pictures/{job}/")
}

/// The files, if there is a place for them.
pub fn files(house: &House) -> Result<&Blobs, Refusal> {
    house.files.as_ref().ok_or_else(|| {
        Refusal::new(
            ErrorCode::Invalid,
            "this house takes no pictures: it has no place that all its rooms share (files.bucket)",
        )
    })
}

/// The store of files is away.
pub fn away(error: &BlobError) -> Refusal {
    tracing::warn!(%error, "a file could not be reached; whoever asked is told to try again");
    ErrorBody::new(ErrorCode::NotReady, "the store of files cannot be reached just now").after_ms(2000).into()
}

/// A key that we made is none: a fault of the house.
fn wrong_key(error: &InvalidKey) -> Refusal {
    tracing::error!(%error, "a key of a file is wrong");
    Refusal::new(ErrorCode::Internal, "a fault of the house; it is in the log")
}
