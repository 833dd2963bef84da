//! Who calls: checked before any handler runs.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use wayfare_net::audit;
use wayfare_net::reply::Refusal;
use wayfare_wire::{Claims, ErrorBody, ErrorCode, Role};

use crate::{House, permissions};

/// The claims of whoever calls; put there by [`check`].
#[derive(Clone)]
pub struct Bearer(pub Arc<Claims>);

/// Origin, token, and the table of permissions, in this order.
pub async fn check(State(house): State<Arc<House>>, mut request: Request, next: Next) -> Result<Response, Refusal> {
    if !house.origins.allow(request.headers()) {
        return Err(ErrorBody::new(ErrorCode::Forbidden, "this origin is not allowed here").field("origin").into());
    }
    let claims = house
        .verifier
        .verify_headers(request.headers(), wayfare_bus::now_ms() / 1000)
        .map_err(|error| Refusal::new(ErrorCode::Unauthorized, error.to_string()))?;
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    if !permissions::allowed(request.method().as_str(), path, claims.role) {
        tracing::info!(role = claims.role.name(), method = %request.method(), path, "a call was refused");
        let message = format!("the role {} may not do this", claims.role.name());
        return Err(Refusal::new(ErrorCode::Forbidden, message));
    }
    request.extensions_mut().insert(Bearer(Arc::new(claims)));
    Ok(next.run(request).await)
}

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let bearer = parts.extensions.get::<Self>().cloned();
        bearer.ok_or_else(|| Refusal::new(ErrorCode::Unauthorized, "a token is needed"))
    }
}

impl Bearer {
    /// Notes in the audit trail what the bearer did.
    pub fn did(&self, what: &str, object: &str) {
        audit::note(audit::name_of(&self.0), what, object, "done");
    }

    /// Manages everything.
    pub fn runs_the_house(&self) -> bool {
        self.0.role.runs_the_house()
    }

    /// Whether the bearer is this very one.
    pub fn is(&self, role: Role, id: impl ToString) -> bool {
        self.0.role == role && self.0.sub == id.to_string()
    }
}
