//! Which web pages may talk to us.
//!
//! Tokens are not cookies, so a foreign page has no ambient credential to abuse; the list is the second lock on that door.

use axum::http::{HeaderMap, header};

/// Exact origins, `https://track.example.com`.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins(Vec<String>);

/// An entry of the list is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin: write scheme and host, and the port if it is not the scheme's own, without a path")]
pub struct InvalidOrigin(pub String);

impl AllowedOrigins {
    /// Checks and keeps the list.
    ///
    /// # Errors
    /// An entry with a path, a wildcard, or no scheme.
    pub fn new(origins: impl IntoIterator<Item = String>) -> Result<Self, InvalidOrigin> {
        let check = |origin: String| {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).unwrap_or("");
            let plain = !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']);
            if plain { Ok(origin.to_ascii_lowercase()) } else { Err(InvalidOrigin(origin)) }
        };
        origins.into_iter().map(check).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a request with these headers may pass: no `Origin` at all (not a browser), the host it is addressed to
    /// (our own page), or one of the list.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = given.next() else { return true };
        if given.next().is_some() {
            return false;
        }
        let Ok(origin) = origin.to_str() else { return false };
        let origin = origin.to_ascii_lowercase();
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        let own = !host.is_empty()
            && origin
                .split_once("://")
                .is_some_and(|(scheme, rest)| matches!(scheme, "http" | "https") && rest.eq_ignore_ascii_case(host));
        own || self.0.contains(&origin)
    }

    /// Whether this origin is on the list (for answers to preflight requests).
    pub fn lists(&self, origin: &str) -> bool {
        self.0.contains(&origin.to_ascii_lowercase())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn only_exact_origins_pass() {
        let allowed = AllowedOrigins::new(["https://track.example.com".to_owned()]).unwrap();
        let check = |origin: &str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "wayfare.local:8080".parse().unwrap());
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            assert_eq!(allowed.allow(&headers), expected, "{origin}");
        };
        check("https://track.example.com", true);
        check("http://wayfare.local:8080", true);
        check("HTTPS://TRACK.example.com", true);
        for foreign in [
            "http://track.example.com",
            "https://track.example.com.evil.example",
            "https://eviltrack.example.com",
            "https://track.example.com:444",
            "http://wayfare.local",
            "null",
            "",
            "file://wayfare.local:8080",
        ] {
            check(foreign, false);
        }
        assert!(allowed.allow(&HeaderMap::new()), "programs send no origin");
    }

    #[test]
    fn the_list_takes_origins_only() {
        for wrong in ["*", "https://*.example.com", "example.com", "https://a/b", "https://", ""] {
            assert!(AllowedOrigins::new([wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
