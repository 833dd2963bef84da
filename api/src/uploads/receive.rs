//! Bytes of an upload, piece by piece.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use ring::digest::{self, Context};
use wayfare_blobs::Key;
use wayfare_net::reply::Refusal;
use wayfare_wire::{ErrorBody, ErrorCode};

use super::turns::Turn;
use super::{away, files, piece_key, tell, wrong_key};
use crate::House;
use crate::db::DatabaseError;
use crate::ids::random;
use crate::input::fault;
use crate::records::upload::{self, Upload, UploadPiece};

/// A piece is kept when it has grown to this: what a cut line loses is less.
const PIECE_BYTES: usize = 256 * 1024;

/// A line on which nothing came for this long is dead. Nobody waits for that: who asks how much is kept calls it off before ([`super::turns`]).
const SILENT: Duration = Duration::from_secs(20);

/// What a request promises about its bytes.
pub struct Checksum {
    pub context: Context,
    pub expected: Vec<u8>,
}

/// What became of the bytes of a request.
pub enum Received {
    /// All of them are kept; the upload is so long now.
    All(u64),
    /// The line was cut, went silent, or was called off; what had come is kept, unless the request had a checksum.
    Cut,
    /// Somebody else has brought bytes for this place meanwhile, or the upload has ended.
    Elsewhere,
    /// The bytes are not what the request promised; none is kept.
    Wrong,
    /// More bytes than the upload has.
    TooMany,
}

/// Reads the body of a request into an upload, from where the upload is.
pub async fn receive(
    house: &House,
    upload: &Upload,
    body: &mut Body,
    checksum: Option<Checksum>,
) -> Result<Received, Refusal> {
    let mut inlet = Inlet { house, upload, at: upload.received, kept: upload.received, held: Vec::new(), checksum };
    let mut turn = house.receiving.enter(upload.id);
    let done = inlet.read(body, &mut turn).await;
    if !matches!(done, Ok(Received::All(_))) {
        inlet.discard().await;
    }
    done
}

struct Inlet<'a> {
    house: &'a House,
    upload: &'a Upload,
    /// Bytes of the upload that are in files.
    at: u64,
    /// Bytes of the upload that the record knows.
    kept: u64,
    /// Pieces that wait for their checksum.
    held: Vec<UploadPiece>,
    checksum: Option<Checksum>,
}

impl Inlet<'_> {
    async fn read(&mut self, body: &mut Body, turn: &mut Turn) -> Result<Received, Refusal> {
        let mut piece: Vec<u8> = Vec::new();
        loop {
            let frame = match turn.bounded(body.frame(), SILENT).await {
                Some(Some(Ok(frame))) => frame,
                Some(None) => break,
                Some(Some(Err(_))) | None => {
                    if self.checksum.is_none() && !piece.is_empty() {
                        self.put(std::mem::take(&mut piece)).await?;
                    }
                    return Ok(Received::Cut);
                }
            };
            let Ok(bytes) = frame.into_data() else { continue };
            if self.at + (piece.len() + bytes.len()) as u64 > self.upload.length {
                return Ok(Received::TooMany);
            }
            if let Some(checksum) = &mut self.checksum {
                checksum.context.update(&bytes);
            }
            piece.extend_from_slice(&bytes);
            if piece.len() >= PIECE_BYTES && !self.put(std::mem::take(&mut piece)).await? {
                return Ok(Received::Elsewhere);
            }
        }
        if !piece.is_empty() && !self.put(piece).await? {
            return Ok(Received::Elsewhere);
        }
        if let Some(checksum) = self.checksum.take() {
            if checksum.context.finish().as_ref() != checksum.expected {
                return Ok(Received::Wrong);
            }
            let held = std::mem::take(&mut self.held);
            if !held.is_empty() && !self.keep(&held).await? {
                self.held = held;
                return Ok(Received::Elsewhere);
            }
        }
        Ok(Received::All(self.kept))
    }

    /// Makes a piece durable, then lets it count: at once, or when the whole request has proved right. False if it came too late.
    async fn put(&mut self, bytes: Vec<u8>) -> Result<bool, Refusal> {
        let (blobs, length) = (files(self.house)?, bytes.len() as u64);
        let random = random().map_err(fault)? as u64;
        let key = piece_key(self.upload.store, self.upload.id, self.at, random).map_err(|error| wrong_key(&error))?;
        let put = blobs.put(&key, Bytes::from(bytes), "application/octet-stream").await;
        put.map_err(|error| away(&error))?;
        let piece = UploadPiece { start: self.at, bytes: length, file: key.to_string() };
        self.at += length;
        self.held.push(piece.clone());
        if self.checksum.is_some() {
            return Ok(true);
        }
        let kept = self.keep(&[piece]).await?;
        if kept {
            self.held.clear();
        }
        Ok(kept)
    }

    async fn keep(&mut self, pieces: &[UploadPiece]) -> Result<bool, Refusal> {
        let (house, id) = (self.house, self.upload.id.to_string());
        let due_ms = wayfare_bus::now_ms() + house.config.uploads.expire_ms;
        let stored = async {
            let mut write = house.db.write().await?;
            let grown = upload::grow(&mut write, &id, self.kept, pieces, due_ms).await?;
            write.commit().await?;
            Ok::<bool, DatabaseError>(grown)
        };
        if !stored.await.map_err(fault)? {
            return Ok(false);
        }
        self.kept = self.at;
        tell::received(house, self.upload, self.kept);
        metrics::counter!("wayfare_uploads_bytes_total").increment(pieces.iter().map(|piece| piece.bytes).sum());
        Ok(true)
    }

    /// Pieces that count for nothing. What cannot be deleted now goes when the upload ends.
    async fn discard(&mut self) {
        for piece in self.held.drain(..) {
            if let (Some(blobs), Ok(key)) = (&self.house.files, Key::new(piece.file)) {
                let _ = blobs.delete(&key).await;
            }
        }
    }
}

impl Checksum {
    /// `sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=`, as tus has it.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let wrong =
            |message: &str| Refusal::from(ErrorBody::new(ErrorCode::Malformed, message).field("Upload-Checksum"));
        let (algorithm, value) = text.split_once(' ').ok_or_else(|| wrong("is an algorithm, a space and base64"))?;
        let algorithm = match algorithm {
            "sha1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            "sha256" => &digest::SHA256,
            _ => return Err(wrong("the algorithm must be sha1 or sha256")),
        };
        let expected = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value.trim());
        let expected = expected.map_err(|_| wrong("the value is not base64"))?;
        Ok(Self { context: Context::new(algorithm), expected })
    }
}
