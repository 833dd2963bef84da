//! What comes in from strangers: bodies read within bounds, values checked by name.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde::de::DeserializeOwned;
use wayfare_net::reply::Refusal;
use wayfare_wire::{ErrorBody, ErrorCode};

use crate::db::DatabaseError;

/// Most bytes of a body.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The same where shapes are sent: several times what the largest fence takes, so that one too large hears how large it may be.
const LARGE_BODY_BYTES_MAX: usize = 1024 * 1024;

/// A body must be complete after this long.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body. Members that do not belong there are refused by name.
pub struct Body<T>(pub T);

/// The same with room for a shape.
pub struct LargeBody<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        read(request, BODY_BYTES_MAX).await.map(Self)
    }
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for LargeBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        read(request, LARGE_BODY_BYTES_MAX).await.map(Self)
    }
}

async fn read<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, Refusal> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let error = ErrorBody::new(ErrorCode::TooLarge, "bodies are taken uncompressed");
        return Err(error.field("content-encoding").into());
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), bytes_max)).await;
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let message = format!("the body has more than {bytes_max} bytes, or was cut off");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        Err(_) => return Err(Refusal::new(ErrorCode::Malformed, "the body did not arrive in time")),
    };
    // An empty body stands for an empty object: most calls need no more.
    let bytes = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| {
        let code = if error.is_data() { ErrorCode::Invalid } else { ErrorCode::Malformed };
        Refusal::new(code, error.to_string())
    })
}

/// Refuses a value by name.
pub fn invalid(field: &str, message: impl Into<String>) -> Refusal {
    ErrorBody::new(ErrorCode::Invalid, message).field(field).into()
}

/// Text that people read: 1 to 200 characters, no control characters (they would break lines of logs).
pub fn check_text(field: &str, text: &str) -> Result<(), Refusal> {
    let length = text.chars().count();
    if !(1..=200).contains(&length) {
        return Err(invalid(field, format!("has {length} characters, must have 1 to 200")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(field, "has a control character"));
    }
    Ok(())
}

/// An id of the operator's own: 1 to 64 letters, digits, dots, dashes, underscores.
pub fn check_own_id(field: &str, id: &str) -> Result<(), Refusal> {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if !plain || !(1..=64).contains(&id.len()) {
        return Err(invalid(field, "must be 1 to 64 letters, digits, dots, dashes or underscores"));
    }
    Ok(())
}

/// A place on the globe.
pub fn check_position(field: &str, lat: f64, lon: f64) -> Result<(), Refusal> {
    wayfare_engine::Position::new(lat, lon)
        .map(|_| ())
        .map_err(|error| invalid(field, format!("lat {lat}, lon {lon}: {error}")))
}

impl From<DatabaseError> for ErrorBody {
    fn from(error: DatabaseError) -> Self {
        if error.is_away() {
            tracing::warn!(%error, "a request failed; whoever asked is told to try again");
            return Self::new(ErrorCode::NotReady, "the records cannot be reached just now").after_ms(1000);
        }
        tracing::error!(%error, "a request failed");
        Self::new(ErrorCode::Internal, "a fault of the house; it is in the log").after_ms(1000)
    }
}

/// For handlers: a fault of the database becomes an answer.
pub fn fault(error: DatabaseError) -> Refusal {
    ErrorBody::from(error).into()
}
