//! What a token says. The rules are in `PROTOCOL.md`, "Tokens and tickets".

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// `iss` and `aud` of every token of the house.
pub const ISSUER: &str = "wayfare";

/// Who the bearer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sends fixes as itself; `sub` is a driver id.
    Driver,
    /// Watches trips that name it as customer; `sub` is the operator's own customer id.
    Customer,
    /// Watches and manages the trips of one store; `sub` is a store id.
    Store,
    /// Watches one trip, whoever holds the link; `sub` is a trip id.
    Share,
    /// Reads and watches everything, changes nothing.
    Support,
    /// May do everything that people do.
    Admin,
    /// Another program of the operator: everything an admin may.
    Service,
}

impl Role {
    /// All roles, in the order of the table in `PROTOCOL.md`.
    pub const ALL: [Self; 7] =
        [Self::Driver, Self::Customer, Self::Store, Self::Share, Self::Support, Self::Admin, Self::Service];

    /// As written in a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Customer => "customer",
            Self::Store => "store",
            Self::Share => "share",
            Self::Support => "support",
            Self::Admin => "admin",
            Self::Service => "service",
        }
    }

    /// Reads and watches everything.
    pub fn sees_everything(self) -> bool {
        matches!(self, Self::Support | Self::Admin | Self::Service)
    }

    /// Creates, changes and revokes.
    pub fn runs_the_house(self) -> bool {
        matches!(self, Self::Admin | Self::Service)
    }
}

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Carried in a header or a message, many times, until it expires.
    Access,
    /// Carried once in a URL, within seconds.
    Ticket,
}

/// Body of a token. Unknown members are ignored; a missing one is a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Always [`ISSUER`].
    pub iss: String,
    /// Always [`ISSUER`].
    pub aud: String,
    /// Whose token it is; what it names depends on `role`.
    pub sub: String,
    /// Who the bearer is.
    pub role: Role,
    /// Access token or ticket.
    pub kind: TokenKind,
    /// The token's own id, `tok_…`, by which it is revoked.
    pub jti: String,
    /// Id of the token that a ticket was traded for: a ticket dies with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Not valid from then on, Unix seconds.
    pub exp: i64,
    /// Of a ticket: when the connection it opens must end, Unix seconds (the `exp` of the parent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// Id of the key that signed it. It stands in the token's header; whoever has checked the signature writes it here.
    #[serde(skip)]
    pub kid: Arc<str>,
}

impl Claims {
    /// When a connection opened by this token must end, Unix milliseconds.
    pub fn connection_ends_ms(&self) -> i64 {
        self.until.unwrap_or(self.exp).saturating_mul(1000)
    }
}
