//! Tokens and tickets.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use wayfare_net::reply::Refusal;
use wayfare_wire::{ErrorCode, Role};

use super::trips::change_trip;
use super::{drivers, stores};
use crate::House;
use crate::bearer::Bearer;
use crate::db::{self, DatabaseError, Write};
use crate::input::{Body, check_own_id, fault, invalid};
use crate::issue::{self, Issued, Ticket};
use crate::outbox::{self, Cause};
use crate::records::trip;
use crate::signing::TOKEN_S_MAX;

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// `driver`, `customer`, `store`, `share`, `support`, `admin` or `service`.
    pub role: String,
    /// Whom it names: a driver, a store, a trip (share), or the operator's own id of a person.
    pub sub: String,
    /// Seconds it is valid, from 60; by default a day.
    pub ttl_s: Option<i64>,
}

/// Longest life of a token of each role, seconds: what leaves the house dies sooner.
fn ttl_s_max(role: Role) -> i64 {
    match role {
        Role::Share => 7 * 86_400,
        Role::Customer => 30 * 86_400,
        Role::Driver | Role::Store => 90 * 86_400,
        Role::Support | Role::Admin | Role::Service => TOKEN_S_MAX,
    }
}

/// Make a token. A store may make share links of its own trips.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = NewToken, responses((status = 201, body = Issued)))]
pub async fn create(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<Issued>), Refusal> {
    let role = Role::ALL.into_iter().find(|role| role.name() == new.role);
    let role = role.ok_or_else(|| invalid("role", format!("{:.40?} is no role", new.role)))?;
    if !bearer.runs_the_house() && role != Role::Share {
        return Err(Refusal::new(ErrorCode::Forbidden, "a store makes share links only"));
    }
    // An admin is a person: another program is let in by a program.
    if role == Role::Service && bearer.0.role != Role::Service {
        return Err(Refusal::new(ErrorCode::Forbidden, "service tokens are made by service tokens"));
    }
    let (ttl_s, most) = (new.ttl_s.unwrap_or(86_400), ttl_s_max(role));
    if !(60..=most).contains(&ttl_s) {
        return Err(invalid("ttl_s", format!("{ttl_s} is not 60 to {most} for the role {}", role.name())));
    }
    let mut write = house.db.write().await.map_err(fault)?;
    match role {
        Role::Driver => drop(drivers::check_usable(&mut write, &new.sub).await?),
        Role::Store => drop(stores::check_usable(&mut write, &new.sub).await?),
        Role::Share => return share(&house, &bearer, write, new.sub, ttl_s).await,
        Role::Customer | Role::Support | Role::Admin | Role::Service => check_own_id("sub", &new.sub)?,
    }
    let issued = issue::token(&house.signing, &mut write, role, new.sub, ttl_s).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    bearer.did("POST /v1/tokens", &issued.id);
    Ok((StatusCode::CREATED, Json(issued)))
}

/// A share link stands in its trip, so that it can die with it.
async fn share(
    house: &House,
    bearer: &Bearer,
    mut write: Write,
    trip: String,
    ttl_s: i64,
) -> Result<(StatusCode, Json<Issued>), Refusal> {
    const SHARES_MAX: usize = 20;
    let issued = issue::token(&house.signing, &mut write, Role::Share, trip.clone(), ttl_s).await.map_err(fault)?;
    write.commit().await.map_err(|error| fault(error.into()))?;
    let id = issued.id.clone();
    let changed = change_trip(house, bearer, &trip, None, Cause::Access, |trip| {
        if !trip.is_live() {
            return Err(Refusal::new(ErrorCode::Conflict, "the trip is over"));
        }
        if trip.shares.len() >= SHARES_MAX {
            return Err(Refusal::new(ErrorCode::Conflict, format!("the trip has {SHARES_MAX} share links already")));
        }
        trip.shares.push(id);
        trip.version += 1;
        Ok(())
    });
    drop(changed.await?);
    bearer.did("POST /v1/tokens", &issued.id);
    Ok((StatusCode::CREATED, Json(issued)))
}

/// Revoke a token; what it opened is closed
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)), responses((status = 204)))]
pub async fn revoke(
    State(house): State<Arc<House>>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let now_s = wayfare_bus::now_ms() / 1000;
    let mut write = house.db.write().await.map_err(fault)?;
    let row: Option<(String, String)> = sqlx::query_as("SELECT role, sub FROM token WHERE id = $1")
        .bind(&id)
        .fetch_optional(&mut *write)
        .await
        .map_err(|error| fault(error.into()))?;
    let (role, sub) = row.ok_or_else(Refusal::not_found)?;
    if !bearer.runs_the_house() {
        // A store may take back the links of its own trips.
        let trip = trip::by_id_in(&mut write, &sub).await.map_err(fault)?;
        let own = trip.and_then(|trip| trip.store).is_some_and(|store| bearer.is(Role::Store, store));
        if role != Role::Share.name() || !own {
            return Err(Refusal::not_found());
        }
    }
    revoke_one(&mut write, &id).await.map_err(fault)?;
    if let (true, Some(mut trip)) = (role == Role::Share.name(), trip::by_id_in(&mut write, &sub).await.map_err(fault)?)
        && trip.is_live()
        && trip.shares.contains(&id)
    {
        trip.shares.retain(|share| *share != id);
        trip.version += 1;
        trip::update(&mut write, &trip).await.map_err(fault)?.map_err(|_| super::lost())?;
        outbox::put_trip(&mut write, &trip, Cause::Access).await.map_err(fault)?;
    }
    write.commit().await.map_err(|error| fault(error.into()))?;
    bearer.did("DELETE /v1/tokens/{id}", &id);
    tracing::info!(token = id, by = bearer.0.sub, at_s = now_s, "a token was revoked");
    house.news.told().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Trade a token for a ticket, to be used once and at once in a URL
#[utoipa::path(post, path = "/v1/tickets", tag = "tokens", responses((status = 201, body = Ticket)))]
pub async fn ticket(State(house): State<Arc<House>>, bearer: Bearer) -> Result<(StatusCode, Json<Ticket>), Refusal> {
    Ok((StatusCode::CREATED, Json(issue::ticket(&house, &bearer.0).map_err(fault)?)))
}

/// Everything that is ever issued lies before this, Unix seconds.
const REVOKED_FOR_EVER: i64 = 253_402_300_799;

/// Revokes a token; one that is revoked already stays so.
pub async fn revoke_one(write: &mut Write, id: &str) -> Result<(), DatabaseError> {
    sqlx::query("UPDATE token SET revoked_s = $2 WHERE id = $1 AND revoked_s IS NULL")
        .bind(id)
        .bind(REVOKED_FOR_EVER)
        .execute(&mut **write)
        .await?;
    let known: Option<i64> = sqlx::query_scalar("SELECT number FROM outbox WHERE entity = $1")
        .bind(format!("revoked:{id}"))
        .fetch_optional(&mut **write)
        .await?;
    match known {
        Some(_) => Ok(()),
        None => outbox::put_revoked(write, id, REVOKED_FOR_EVER).await,
    }
}

/// Revokes all tokens of a subject, also those to come.
pub async fn revoke_bearer(write: &mut Write, sub: &str) -> Result<(), DatabaseError> {
    db::set_meta(write, &format!("revoked:{sub}"), &REVOKED_FOR_EVER.to_string()).await?;
    outbox::put_revoked(write, sub, REVOKED_FOR_EVER).await
}
