//! Making tokens: the first service key, tokens and tickets.

use serde::Serialize;
use utoipa::ToSchema;
use wayfare_wire::claims::ISSUER;
use wayfare_wire::{Claims, Role, TokenKind, ids};

use crate::db::{self, Database, DatabaseError, Write};
use crate::ids::random;
use crate::signing::{Signing, TOKEN_S_MAX};
use crate::{ApiConfig, House};

/// A ticket is meant to be used at once.
const TICKET_S: i64 = 20;

/// The first service key lives this long.
const FIRST_KEY_S: i64 = TOKEN_S_MAX;

/// The key that opens everything, made at the first start.
pub struct FirstKey(pub String);

/// A new token.
#[derive(Debug, Serialize, ToSchema)]
pub struct Issued {
    /// `tok_…`, by which it is revoked.
    pub id: String,
    /// The token itself: shown once, stored nowhere.
    pub token: String,
    /// Not valid from then on, Unix milliseconds.
    pub expires_at_ms: i64,
}

/// A new ticket.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ticket {
    /// For the query parameter `ticket`, once.
    pub ticket: String,
    /// Not valid from then on, Unix milliseconds.
    pub expires_at_ms: i64,
}

/// The first service key, if this is the first start.
pub async fn first_key(house: &House) -> Result<Option<FirstKey>, DatabaseError> {
    const NAME: &str = "first_key";
    let mut write = house.db.write().await?;
    // Two that start at once on an empty database make one key.
    if db::meta_in(&mut write, NAME).await?.is_some() {
        return Ok(None);
    }
    let issued = token(&house.signing, &mut write, Role::Service, "first".into(), FIRST_KEY_S).await?;
    db::set_meta(&mut write, NAME, &issued.id).await?;
    write.commit().await?;
    Ok(Some(FirstKey(issued.token)))
}

/// Another service key, made beside a house that may be running: whoever can read its folder owns it anyway.
///
/// # Errors
/// There are no records, or they cannot be written.
pub async fn issue_service_key(config: &ApiConfig) -> Result<FirstKey, DatabaseError> {
    let db = Database::open(&config.database).await?;
    let signing = Signing::open(&db).await?;
    let mut write = db.write().await?;
    let issued = token(&signing, &mut write, Role::Service, "key".into(), FIRST_KEY_S).await?;
    write.commit().await?;
    db.close().await;
    Ok(FirstKey(issued.token))
}

/// Makes a token and notes that it exists.
pub async fn token(
    signing: &Signing,
    write: &mut Write,
    role: Role,
    sub: String,
    ttl_s: i64,
) -> Result<Issued, DatabaseError> {
    let id = ids::Token(random()?).to_string();
    let iat = wayfare_bus::now_ms() / 1000;
    let exp = iat + ttl_s;
    sqlx::query("INSERT INTO token (id, role, sub, issued_s, expires_s) VALUES ($1, $2, $3, $4, $5)")
        .bind(&id)
        .bind(role.name())
        .bind(&sub)
        .bind(iat)
        .bind(exp)
        .execute(&mut **write)
        .await?;
    let claims = Claims {
        iss: ISSUER.into(),
        aud: ISSUER.into(),
        sub,
        role,
        kind: TokenKind::Access,
        jti: id.clone(),
        parent: None,
        iat,
        exp,
        until: None,
        kid: "".into(),
    };
    Ok(Issued { id, token: signing.sign(&claims), expires_at_ms: exp * 1000 })
}

/// Trades a token for a ticket. It carries the token's rights and ends with it; nothing is stored.
pub fn ticket(house: &House, bearer: &Claims) -> Result<Ticket, DatabaseError> {
    let iat = wayfare_bus::now_ms() / 1000;
    let exp = bearer.exp.min(iat + TICKET_S);
    let claims = Claims {
        kind: TokenKind::Ticket,
        jti: ids::Token(random()?).to_string(),
        parent: Some(bearer.jti.clone()),
        iat,
        exp,
        until: Some(bearer.exp),
        ..bearer.clone()
    };
    Ok(Ticket { ticket: house.signing.sign(&claims), expires_at_ms: exp * 1000 })
}
