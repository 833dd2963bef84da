//! Every 401 and 403 of every door over HTTP goes into the audit trail: who, as far as that is known, and what was asked for; nothing of what was sent.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use wayfare_net::audit;
use wayfare_net::network::network_name;
use wayfare_net::tokens::Verifier;
use wayfare_wire::TokenKind;

/// Lets the request through and looks at the answer.
pub async fn note(State(verifier): State<Arc<Verifier>>, request: Request, next: Next) -> Response {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|from| from.0.ip());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (method, given) = (request.method().clone(), request.headers().get(header::AUTHORIZATION).cloned());
    let response = next.run(request).await;
    let outcome = match response.status() {
        StatusCode::UNAUTHORIZED => "401",
        StatusCode::FORBIDDEN => "403",
        _ => return response,
    };
    // Of a token that is no good nothing is believed.
    let token = given.as_ref().and_then(|given| given.to_str().ok()?.split_once(' ')).map(|(_, token)| token.trim());
    let now_s = wayfare_bus::now_ms() / 1000;
    let claims = token.and_then(|token| verifier.verify(token, TokenKind::Access, now_s).ok());
    let who =
        claims.map_or_else(|| from.map_or_else(|| "unknown".into(), network_name), |claims| audit::name_of(&claims));
    // A path that is no route may hold anything.
    let route = route.as_ref().map_or("another path", MatchedPath::as_str);
    audit::refused(who, &format!("{method} {route}"), outcome);
    response
}
