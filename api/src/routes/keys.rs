//! The keys that sign tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use wayfare_net::reply::Refusal;
use wayfare_wire::{ErrorBody, ErrorCode};

use super::Page;
use crate::House;
use crate::bearer::Bearer;
use crate::input::fault;
use crate::signing::{self, KeyError, SigningKey};

/// List the keys that sign tokens, newest first
#[utoipa::path(get, path = "/v1/keys", tag = "tokens", responses((status = 200, body = Page<SigningKey>)))]
pub async fn list(State(house): State<Arc<House>>) -> Result<Json<Page<SigningKey>>, Refusal> {
    Ok(Json(Page { items: signing::list(&house.db).await.map_err(fault)?, next: None }))
}

/// Make a key that signs tokens from ten seconds later on
///
/// Tokens of the keys before it stay valid until they expire, or until their key is withdrawn. 409 while another is about to sign, or 8 are believed.
#[utoipa::path(post, path = "/v1/keys", tag = "tokens", responses((status = 201, body = SigningKey)))]
pub async fn create(
    State(house): State<Arc<House>>,
    bearer: Bearer,
) -> Result<(StatusCode, Json<SigningKey>), Refusal> {
    let mut write = house.db.write().await.map_err(fault)?;
    let key = signing::make(&mut write, None).await?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    bearer.did("POST /v1/keys", &key.id);
    tracing::info!(key = key.id, by = bearer.0.sub, "a signing key was made");
    house.news.told().await;
    Ok((StatusCode::CREATED, Json(key)))
}

/// Withdraw a key that signs no more: its tokens are not valid any more, and what they opened is closed with 4201
///
/// 409 for the key that signs, and for the one that signed the token of this call.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "tokens", params(("id" = String, Path)), responses((status = 204)))]
pub async fn withdraw(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    if *bearer.0.kid == *id {
        let message = "the key signed the token of this call: come with a newer token, or shut yourself out from the command line";
        return Err(Refusal::new(ErrorCode::Conflict, message));
    }
    let mut write = house.db.write().await.map_err(fault)?;
    signing::withdraw(&mut write, &id, None).await?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    bearer.did("DELETE /v1/keys/{id}", &id);
    tracing::info!(key = id, by = bearer.0.sub, "a signing key was withdrawn");
    house.news.told().await;
    Ok(StatusCode::NO_CONTENT)
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        let message = error.to_string();
        match error {
            KeyError::Absent(_) => Self::not_found(),
            KeyError::Pending { in_ms, .. } => {
                let after_ms = u32::try_from(in_ms).unwrap_or(u32::MAX);
                ErrorBody::new(ErrorCode::Conflict, message).after_ms(after_ms).into()
            }
            KeyError::Signs | KeyError::Many => Self::new(ErrorCode::Conflict, message),
            KeyError::Database(error) => fault(error),
        }
    }
}
