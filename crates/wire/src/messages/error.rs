//! Errors as clients see them, over every transport.

use serde::{Deserialize, Serialize};

/// A word a program can act on; the same over WebSocket, SSE and HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The bytes are not the JSON, or not the message, that belongs here.
    Malformed,
    /// A value is well formed but out of its range.
    Invalid,
    /// More of something than the limit allows.
    TooMany,
    /// More bytes than the limit allows.
    TooLarge,
    /// No token, or one that is not valid.
    Unauthorized,
    /// The token is valid but its bearer may not do this.
    Forbidden,
    /// Nothing there, or nothing the bearer may know of.
    NotFound,
    /// The HTTP method does not exist on this path.
    MethodNotAllowed,
    /// The trip is over; the final status comes with it.
    Ended,
    /// The record was changed by someone else, or is in a state that forbids this.
    Conflict,
    /// Something was asked for by road, and no file of roads is loaded that holds the place.
    NoRoads,
    /// Asked too often.
    RateLimited,
    /// Too many come in at once; this one's turn is later.
    Overloaded,
    /// The house is still waking up.
    NotReady,
    /// What has to be kept cannot be kept just now.
    NotDurable,
    /// The node is shutting down.
    Draining,
    /// A fault of the house.
    Internal,
}

impl ErrorCode {
    /// The HTTP status that carries this code.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Invalid | Self::NoRoads => 422,
            Self::TooMany | Self::TooLarge => 413,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Ended => 410,
            Self::Conflict => 409,
            Self::RateLimited => 429,
            Self::Overloaded | Self::NotReady | Self::NotDurable | Self::Draining => 503,
            Self::Internal => 500,
        }
    }

    /// Whether the same request may succeed later, unchanged.
    pub fn worth_retrying(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::Overloaded | Self::NotReady | Self::NotDurable | Self::Draining | Self::Internal
        )
    }
}

/// Body of an error: `{"code":…,"message":…}` and what is known beyond that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, for a program.
    pub code: ErrorCode,
    /// What went wrong, for a person: names the value seen and the limit.
    pub message: String,
    /// Whether the same request may succeed later, unchanged.
    pub retry: bool,
    /// When to try again, milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u32>,
    /// The member or query parameter at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The topic it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

impl ErrorBody {
    /// An error with nothing beyond code and sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry: code.worth_retrying(),
            retry_after_ms: None,
            field: None,
            topic: None,
        }
    }

    /// Names the member or parameter at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names the topic it is about.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn after_ms(mut self, retry_after_ms: u32) -> Self {
        self.retry = true;
        self.retry_after_ms = Some(retry_after_ms);
        self
    }
}
