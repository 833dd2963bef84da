//! Files that belong to stores: what they upload, and what is made of it. In a folder, or in a bucket of S3.
//!
//! A file appears whole or not at all, and is never changed: its key says what is in it. `tests/contract.rs` is the one suite for both places.
//! It is a crate of its own so that the SDK of S3 is compiled once, whatever else changes.

mod folder;
mod key;
mod s3;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use folder::Folder;
pub use key::{InvalidKey, Key};
pub use s3::{Bucket, S3Config};

/// Why a file could not be reached. Try again later: nothing was changed, or the whole change was made.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk refused.
    #[error("the folder of files: {0}")]
    Folder(#[from] std::io::Error),
    /// The store of objects refused, or did not answer.
    #[error("the bucket {bucket}: {why}")]
    Bucket {
        /// Which.
        bucket: String,
        /// What it said.
        why: String,
    },
}

/// What a put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The file is there now.
    New,
    /// It was there before; nothing was written.
    Known,
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The bytes.
    pub bytes: Bytes,
    /// Of the whole file.
    pub bytes_total: u64,
}

/// Where the files are. Cheap to clone.
#[derive(Clone)]
pub enum Blobs {
    /// A folder of this machine.
    Folder(Arc<Folder>),
    /// A bucket of S3, or of a server that speaks like it.
    S3(Arc<Bucket>),
}

/// The same call on whichever it is.
macro_rules! on {
    ($blobs:expr, $place:ident => $call:expr) => {
        match $blobs {
            Blobs::Folder($place) => $call,
            Blobs::S3($place) => $call,
        }
    };
}

impl Blobs {
    /// Files in a folder, which is made if absent.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self, BlobError> {
        Ok(Self::Folder(Arc::new(Folder::open(path.into())?)))
    }

    /// Files in a bucket. Nothing is asked yet.
    ///
    /// # Errors
    /// The configuration names no place.
    pub fn s3(config: &S3Config) -> Result<Self, BlobError> {
        Ok(Self::S3(Arc::new(Bucket::open(config)?)))
    }

    /// Puts a file where there is none, durably and whole.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn put(&self, key: &Key, bytes: Bytes, content_type: &str) -> Result<Put, BlobError> {
        on!(self, place => place.put(key, bytes, content_type).await)
    }

    /// The whole file; nothing if there is none.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, BlobError> {
        on!(self, place => place.get(key).await)
    }

    /// A part of a file, as far as the file goes; nothing if there is no file. An empty piece means that the file ends before.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Piece>, BlobError> {
        on!(self, place => place.get_range(key, range).await)
    }

    /// How long a file is; nothing if there is none.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn size(&self, key: &Key) -> Result<Option<u64>, BlobError> {
        on!(self, place => place.size(key).await)
    }

    /// Deletes a file. It may be gone already.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        on!(self, place => place.delete(key).await)
    }

    /// Keys that begin with `prefix`, in order, after the one given; at most `limit`.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Key>, BlobError> {
        on!(self, place => place.list(prefix, after, limit).await)
    }

    /// An address at which anybody may get the file for `valid`, without us; nothing where there is no such place and we must serve it ourselves.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn link(&self, key: &Key, valid: Duration) -> Result<Option<String>, BlobError> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::S3(bucket) => bucket.link(key, valid).await.map(Some),
        }
    }

    /// Whether the place can be reached.
    ///
    /// # Errors
    /// [`BlobError`]: why not.
    pub async fn check(&self) -> Result<(), BlobError> {
        on!(self, place => place.check().await)
    }
}
