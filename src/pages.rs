//! The built pages, inside the binary, and the headers that every answer carries.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use wayfare_net::reply::Refusal;
use wayfare_wire::ErrorCode;

/// `web/dist` as it was when the binary was built; empty if the pages were not built.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

/// Pages load scripts and data from here only, pictures also from where files are, and are framed by nobody.
pub fn policy(files: Option<&str>) -> HeaderValue {
    let files = files.map(|origin| format!(" {origin}")).unwrap_or_default();
    let text = format!(
        "default-src 'self'; worker-src 'self' blob:; img-src 'self' data: blob:{files}; style-src 'self' 'unsafe-inline'; \
         connect-src 'self' ws: wss: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&text).expect("an origin is visible ASCII")
}

/// Whatever no other route answers.
pub async fn page(policy: HeaderValue, method: Method, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path.starts_with("v1/") || !matches!(method, Method::GET | Method::HEAD) {
        return Refusal::new(ErrorCode::NotFound, "there is no such path").into_response();
    }
    let name = if path.is_empty() || path.ends_with('/') { format!("{path}index.html") } else { path.to_owned() };
    if let Some(file) = Dist::get(&name) {
        let kind = file.metadata.mimetype().to_owned();
        let kind = if name.ends_with(".mjs") { "text/javascript".to_owned() } else { kind };
        let mut response = file.data.into_owned().into_response();
        let headers = response.headers_mut();
        if let Ok(kind) = HeaderValue::from_str(&kind) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        // Names of assets carry a hash of their content; pages do not.
        let forever = name.starts_with("assets/");
        let cache = if forever { "public, max-age=31536000, immutable" } else { "no-cache" };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        return response;
    }
    if Dist::get(&format!("{name}/index.html")).is_some() {
        let to = format!("/{name}/");
        return (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, to)]).into_response();
    }
    Refusal::new(ErrorCode::NotFound, "there is no such path").into_response()
}

/// No guessing of types, no addresses (which may name a trip) told to other hosts.
pub async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
