//! Pictures of menus: what the records ask of the workers, what these answer, and what watchers of an upload see.

use serde::{Deserialize, Serialize};

use crate::ids::{Store, Upload};

/// Queue of the bus with the pictures that are to be made.
pub const PICTURES_QUEUE: &str = "pictures";

/// Fields of the topic `upload:{id}`.
pub mod field {
    /// A [`super::UploadState`].
    pub const STATE: &str = "state";
    /// The store's id.
    pub const STORE: &str = "store";
    /// Bytes that are kept.
    pub const RECEIVED: &str = "received";
    /// Bytes of the whole file.
    pub const LENGTH: &str = "length";
    /// Pictures that come before it.
    pub const AHEAD: &str = "ahead";
    /// Variants that are made.
    pub const MADE: &str = "made";
    /// Variants that will be made.
    pub const VARIANTS: &str = "variants";
    /// Why it does not go on just now; null when it does.
    pub const WAITING: &str = "waiting";
    /// When it came to where it is, Unix milliseconds; of steps that workers tell.
    pub const AT_MS: &str = "at_ms";
    /// What was made: a [`super::PictureDoc`].
    pub const PICTURE: &str = "picture";
    /// Why nothing was made: a [`super::PictureError`].
    pub const ERROR: &str = "error";
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadState {
    /// Bytes come in.
    Receiving,
    /// All bytes are kept; a worker will take it.
    Queued,
    /// Its pixels are decoded.
    Decoding,
    /// Variants are made, one after the other.
    Encoding,
    /// Variants are put where they can be had.
    Storing,
    /// The picture can be shown.
    Done,
    /// Nothing was made; `error` says why.
    Failed,
    /// Taken back by who uploaded it.
    Cancelled,
    /// The rest of the bytes did not come in time.
    Expired,
}

impl UploadState {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Queued => "queued",
            Self::Decoding => "decoding",
            Self::Encoding => "encoding",
            Self::Storing => "storing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Nothing follows.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled | Self::Expired)
    }

    /// How far along, for [`rank`]: more than any number of bytes or variants lies between two.
    const fn rank(self) -> u64 {
        match self {
            Self::Receiving => 1,
            Self::Queued => 2,
            Self::Decoding => 3,
            Self::Encoding => 4,
            Self::Storing => 5,
            _ => 6,
        }
    }
}

/// Number with which progress is published: a topic refuses lower ones, so that what a worker said before it was lost, or a second worker says again, never leads back.
/// `within` grows inside a state: bytes, or variants.
pub const fn rank(state: UploadState, within: u64) -> u64 {
    state.rank() * (1 << 40) + within
}

/// A picture to be made: the payload of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureJob {
    /// Whose progress is told.
    pub upload: Upload,
    /// Whose picture it is.
    pub store: Store,
    /// Key of the file as uploaded.
    pub source: String,
    /// Where variants go: a prefix of keys that ends with a slash.
    pub into: String,
    /// `5:4`, `4:3`, `1:1` or `none`.
    pub preset: String,
    /// The point that must be seen, as fractions of width and height; the middle if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focus: Option<[f32; 2]>,
}

/// What came of it: the result of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureOutcome {
    /// The variants are where they can be had.
    Made(PictureDoc),
    /// The picture's fault: the same file will never do.
    Refused(PictureError),
}

/// A picture that can be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureDoc {
    /// Width of what was uploaded, upright, pixels.
    pub width: u32,
    /// Its height, pixels.
    pub height: u32,
    /// A ThumbHash in base64, to be shown before the picture is there.
    pub placeholder: String,
    /// The most frequent colour, `#rrggbb`.
    pub colour: String,
    /// The files, narrow ones first.
    pub files: Vec<PictureFile>,
}

/// One file of a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureFile {
    /// `jpeg` or `webp`.
    pub format: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Of the file.
    pub bytes: u64,
    /// Its key among the files of the house.
    pub key: String,
}

/// Why a picture was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureError {
    /// For programs.
    pub code: String,
    /// For whoever runs the restaurant.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_bytes_reaches_the_next_state() {
        let states = [
            UploadState::Receiving,
            UploadState::Queued,
            UploadState::Decoding,
            UploadState::Encoding,
            UploadState::Storing,
            UploadState::Done,
        ];
        for pair in states.windows(2) {
            assert!(rank(pair[0], u64::from(u32::MAX)) < rank(pair[1], 0));
        }
    }
}
