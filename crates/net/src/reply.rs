//! Errors as HTTP answers: status, body, `Retry-After`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use wayfare_wire::{ErrorBody, ErrorCode};

/// What a handler returns when it refuses.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// What went wrong.
    pub error: Box<ErrorBody>,
    /// Of a trip that is over: its final state, as member `state`.
    pub state: Option<serde_json::Value>,
}

/// As it is written: the error's members, and the state beside them.
#[derive(serde::Serialize)]
struct Body {
    #[serde(flatten)]
    error: Box<ErrorBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<serde_json::Value>,
}

impl Refusal {
    /// Code and sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        ErrorBody::new(code, message).into()
    }

    /// An error with the final state of a trip.
    pub fn with_state(error: ErrorBody, state: serde_json::Value) -> Self {
        Self { error: Box::new(error), state: Some(state) }
    }

    /// The answer to whatever the bearer may not know of.
    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "there is nothing here that this token may know of")
    }
}

impl From<ErrorBody> for Refusal {
    fn from(error: ErrorBody) -> Self {
        Self { error: Box::new(error), state: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after_s = self.error.retry_after_ms.map(|after_ms| after_ms.div_ceil(1000));
        let mut response = (status, Json(Body { error: self.error, state: self.state })).into_response();
        if let Some(seconds) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
