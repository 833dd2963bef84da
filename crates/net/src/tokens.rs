//! Tokens at the door: signed here, checked everywhere, without a look into any database.
//!
//! One algorithm (EdDSA), keys by `kid` from our own set only, no leeway. Who is revoked is a list fed from outside.

mod known;

use std::sync::{Arc, PoisonError, RwLock};

use ahash::AHashMap;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use wayfare_wire::claims::ISSUER;
use wayfare_wire::{Claims, TokenKind};

use crate::ring_jwt;
use known::Known;

/// Longest token looked at, bytes; ours have about 400.
const TOKEN_BYTES_MAX: usize = 2048;

/// Why a token was refused. What exactly was wrong with a forged one is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No token where one is needed.
    #[error("a token is needed")]
    Missing,
    /// Not a token of this house.
    #[error("the token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It, or its bearer, was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// A ticket in place of a token, or the other way round.
    #[error("a ticket opens a connection by URL, a token everything else")]
    WrongKind,
}

/// The keys that are believed, by id.
type Keys = AHashMap<Arc<str>, DecodingKey>;

/// Checks tokens. Shared by all doors of a process.
#[derive(Default)]
pub struct Verifier {
    keys: RwLock<Arc<Keys>>,
    revoked: RwLock<AHashMap<String, i64>>,
    known: Known,
}

impl Verifier {
    /// Knows no key yet, and so refuses everything.
    pub fn new() -> Self {
        ring_jwt::install();
        Self::default()
    }

    /// Believes these keys from now on (id, and 32 bytes in base64url), and no other. What was signed with one that is gone is refused, and
    /// counts as revoked where it has opened something. Returns how many were no keys; they are left out.
    pub fn set_keys<'a>(&self, wanted: impl IntoIterator<Item = (&'a str, &'a str)>) -> usize {
        let (mut believed, mut wrong) = (AHashMap::new(), 0);
        for (kid, public_base64url) in wanted {
            let long_enough = URL_SAFE_NO_PAD.decode(public_base64url).is_ok_and(|bytes| bytes.len() == 32);
            match long_enough.then(|| DecodingKey::from_ed_components(public_base64url).ok()).flatten() {
                Some(key) => drop(believed.insert(Arc::from(kid), key)),
                None => wrong += 1,
            }
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        for kid in keys.keys().filter(|kid| !believed.contains_key(*kid)) {
            self.revoke(kid, i64::MAX);
        }
        for kid in believed.keys().filter(|kid| !keys.contains_key(*kid)) {
            self.unrevoke(kid);
        }
        *keys = Arc::new(believed);
        wrong
    }

    /// Refuses from now on what was issued before `before_s` (Unix seconds) under this name: a token id (`jti`), or a subject.
    pub fn revoke(&self, name: &str, before_s: i64) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), before_s);
    }

    /// Takes back a revocation (of a subject that was let in again).
    pub fn unrevoke(&self, name: &str) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Whether claims that were valid at the door still are.
    pub fn is_revoked(&self, claims: &Claims) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        let hit = |name: &str| revoked.get(name).is_some_and(|before_s| claims.iat <= *before_s);
        let parent = || claims.parent.as_deref().is_some_and(hit);
        !revoked.is_empty() && (hit(&claims.jti) || hit(&claims.sub) || hit(&claims.kid) || parent())
    }

    /// Checks a token of the wanted kind. About 60 us the first time, nearly all of it the signature; 1 us for an access token that was checked
    /// before.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str, kind: TokenKind, now_s: i64) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let claims = self.signed(token)?;
        if claims.exp <= now_s {
            return Err(TokenError::Expired);
        }
        // A minute of grace for machines whose clocks differ; beyond it a token from the future is a forgery or a fault.
        if claims.iat > now_s + 60 {
            return Err(TokenError::Invalid);
        }
        if claims.kind != kind {
            return Err(TokenError::WrongKind);
        }
        if self.is_revoked(&claims) {
            return Err(TokenError::Revoked);
        }
        Ok(Arc::unwrap_or_clone(claims))
    }

    /// What one of our keys has signed, whatever has become of it.
    fn signed(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let digest = known::digest_of(token);
        if let Some(claims) = self.known.get(&digest, &keys) {
            return Ok(claims);
        }
        let claims = Arc::new(check_signature(token, &keys)?);
        // A ticket comes once.
        if claims.kind == TokenKind::Access {
            self.known.add(digest, &keys, &claims);
        }
        Ok(claims)
    }

    /// Checks the access token of a request's `Authorization` header.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify_headers(&self, headers: &HeaderMap, now_s: i64) -> Result<Claims, TokenError> {
        self.verify(bearer(headers).ok_or(TokenError::Missing)?, TokenKind::Access, now_s)
    }
}

fn check_signature(token: &str, keys: &Keys) -> Result<Claims, TokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
    if header.alg != Algorithm::EdDSA {
        return Err(TokenError::Invalid);
    }
    let kid = header.kid.ok_or(TokenError::Invalid)?;
    let (kid, key) = keys.get_key_value(&*kid).ok_or(TokenError::Invalid)?;
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_issuer(&[ISSUER]);
    rules.set_audience(&[ISSUER]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Time is compared by the caller's clock, without leeway.
    rules.validate_exp = false;
    let mut claims = jsonwebtoken::decode::<Claims>(token, key, &rules).map_err(|_| TokenError::Invalid)?.claims;
    claims.kid = Arc::clone(kid);
    Ok(claims)
}

/// The token in `Authorization: Bearer …`; `None` also when the header occurs twice.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (value, second) = (given.next()?.to_str().ok()?, given.next());
    let (scheme, token) = value.split_once(' ')?;
    (second.is_none() && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

/// Signs tokens.
pub struct Signer {
    kid: String,
    key: EncodingKey,
    public_base64url: String,
}

/// The bytes are not an Ed25519 key in PKCS #8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing key is not an Ed25519 key in PKCS #8")]
pub struct InvalidKey;

impl Signer {
    /// Draws a new key and returns it in PKCS #8, to be stored as a secret.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn generate_pkcs8() -> Result<Vec<u8>, InvalidKey> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| InvalidKey)?;
        Ok(document.as_ref().to_vec())
    }

    /// Takes a stored key.
    ///
    /// # Errors
    /// See [`InvalidKey`].
    pub fn from_pkcs8(kid: String, pkcs8: &[u8]) -> Result<Self, InvalidKey> {
        ring_jwt::install();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| InvalidKey)?;
        let public_base64url = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Ok(Self { kid, key: EncodingKey::from_ed_der(pkcs8), public_base64url })
    }

    /// Id of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key, 32 bytes in base64url.
    pub fn public_base64url(&self) -> &str {
        &self.public_base64url
    }

    /// Signs.
    pub fn sign(&self, claims: &Claims) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.key).expect("an Ed25519 key that was checked signs plain claims")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use wayfare_wire::Role;

    const NOW: i64 = 1_763_686_800;

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.into(),
            aud: ISSUER.into(),
            sub: "cus-1".into(),
            role: Role::Customer,
            kind: TokenKind::Access,
            jti: "tok_1".into(),
            parent: None,
            iat: NOW,
            exp: NOW + 60,
            until: None,
            kid: "k1".into(),
        }
    }

    fn house() -> (Signer, Verifier) {
        let signer = Signer::from_pkcs8("k1".into(), &Signer::generate_pkcs8().unwrap()).unwrap();
        let verifier = Verifier::new();
        assert_eq!(verifier.set_keys([("k1", signer.public_base64url())]), 0);
        (signer, verifier)
    }

    #[test]
    fn a_signed_token_opens_until_it_expires() {
        let (signer, verifier) = house();
        let token = signer.sign(&claims());
        assert_eq!(verifier.verify(&token, TokenKind::Access, NOW), Ok(claims()));
        assert_eq!(verifier.verify(&token, TokenKind::Access, NOW + 60), Err(TokenError::Expired));
        assert_eq!(verifier.verify(&token, TokenKind::Ticket, NOW), Err(TokenError::WrongKind));
    }

    #[test]
    fn revocation_is_by_token_by_subject_and_by_parent() {
        for name in ["tok_1", "cus-1", "tok_0"] {
            let (signer, verifier) = house();
            let claims = Claims { parent: Some("tok_0".into()), ..claims() };
            let token = signer.sign(&claims);
            verifier.revoke(name, NOW - 1);
            assert!(verifier.verify(&token, TokenKind::Access, NOW).is_ok(), "issued after the cut");
            verifier.revoke(name, NOW);
            assert_eq!(verifier.verify(&token, TokenKind::Access, NOW), Err(TokenError::Revoked));
            verifier.unrevoke(name);
            assert!(verifier.verify(&token, TokenKind::Access, NOW).is_ok());
        }
    }

    #[test]
    fn keys_overlap_until_the_old_one_is_withdrawn() {
        let (old, verifier) = house();
        let new = Signer::from_pkcs8("k2".into(), &Signer::generate_pkcs8().unwrap()).unwrap();
        let (before, after) = (old.sign(&claims()), new.sign(&claims()));
        let opened = verifier.verify(&before, TokenKind::Access, NOW).unwrap();
        let both = [("k1", old.public_base64url()), ("k2", new.public_base64url())];
        verifier.set_keys(both);
        for token in [&before, &after] {
            assert!(verifier.verify(token, TokenKind::Access, NOW).is_ok());
        }
        assert!(!verifier.is_revoked(&opened));
        assert_eq!(verifier.set_keys([both[1], ("k3", "no key"), ("k4", "")]), 2);
        assert_eq!(verifier.verify(&before, TokenKind::Access, NOW), Err(TokenError::Invalid));
        assert!(verifier.is_revoked(&opened), "what it opened is over");
        let opened = verifier.verify(&after, TokenKind::Access, NOW).unwrap();
        assert!(!verifier.is_revoked(&opened) && &*opened.kid == "k2");
        // A key that was missing in what was heard for a moment is believed again.
        verifier.set_keys(both);
        assert!(verifier.verify(&before, TokenKind::Access, NOW).is_ok());
    }

    #[test]
    fn a_token_seen_before_is_judged_like_a_new_one() {
        let (signer, verifier) = house();
        let token = signer.sign(&claims());
        for _ in 0..2 {
            assert_eq!(verifier.verify(&token, TokenKind::Access, NOW), Ok(claims()));
        }
        assert_eq!(verifier.verify(&token, TokenKind::Access, NOW - 61), Err(TokenError::Invalid), "from the future");
        let mut other = token.clone().into_bytes();
        let last = other.len() - 10;
        other[last] = if other[last] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert_eq!(verifier.verify(&other, TokenKind::Access, NOW), Err(TokenError::Invalid));
        verifier.revoke("cus-1", NOW);
        assert_eq!(verifier.verify(&token, TokenKind::Access, NOW), Err(TokenError::Revoked));
        verifier.unrevoke("cus-1");
        // Another key of the same name: what the one before signed is no longer worth anything.
        let stranger = Signer::from_pkcs8("k1".into(), &Signer::generate_pkcs8().unwrap()).unwrap();
        verifier.set_keys([("k1", stranger.public_base64url())]);
        assert_eq!(verifier.verify(&token, TokenKind::Access, NOW), Err(TokenError::Invalid));
        assert!(verifier.verify(&stranger.sign(&claims()), TokenKind::Access, NOW).is_ok());
    }

    /// Everything RFC 8725 warns of, and some more.
    #[test]
    fn forged_tokens_are_refused() {
        let (signer, verifier) = house();
        let token = signer.sign(&claims());
        let parts: Vec<&str> = token.split('.').collect();
        let encode = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let body = |change: fn(&mut Claims)| {
            let mut claims = claims();
            change(&mut claims);
            signer.sign(&claims)
        };
        let with_header = |header: &str| format!("{}.{}.{}", encode(header), parts[1], parts[2]);
        let hmac = |header: &str| {
            let message = format!("{}.{}", encode(header), parts[1]);
            let secret = URL_SAFE_NO_PAD.decode(signer.public_base64url()).unwrap();
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
            let tag = ring::hmac::sign(&key, message.as_bytes());
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
        };
        let stranger = Signer::from_pkcs8("k1".into(), &Signer::generate_pkcs8().unwrap()).unwrap();
        let unknown = Signer::from_pkcs8("k2".into(), &Signer::generate_pkcs8().unwrap()).unwrap();
        let mut flipped = parts[2].to_owned().into_bytes();
        flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
        let forged = [
            String::new(),
            "a".into(),
            "a.b.c".into(),
            "..".into(),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.{}", parts[0], parts[1], String::from_utf8(flipped).unwrap()),
            format!("{}.{}.{}", parts[0], encode(r#"{"sub":"x"}"#), parts[2]),
            format!("{token}."),
            format!("{}.{}.", encode(r#"{"alg":"none"}"#), parts[1]),
            with_header(r#"{"alg":"none","kid":"k1"}"#),
            with_header(r#"{"alg":"None","kid":"k1"}"#),
            with_header(r#"{"alg":"HS256","kid":"k1"}"#),
            with_header(r#"{"alg":"EdDSA"}"#),
            with_header(r#"{"alg":"EdDSA","kid":"../../k1"}"#),
            with_header(r#"{"alg":"EdDSA","kid":"k1' OR 1=1"}"#),
            with_header(r#"{"alg":"EdDSA","kid":"k1","jku":"http://evil.example"}"#),
            hmac(r#"{"alg":"HS256","kid":"k1","typ":"JWT"}"#),
            hmac(r#"{"alg":"EdDSA","kid":"k1","typ":"JWT"}"#),
            stranger.sign(&claims()),
            unknown.sign(&claims()),
            body(|claims| claims.iss = "other".into()),
            body(|claims| claims.aud = "other".into()),
            body(|claims| claims.iat = NOW + 3600),
            "x".repeat(100_000),
        ];
        for token in &forged {
            assert_eq!(verifier.verify(token, TokenKind::Access, NOW), Err(TokenError::Invalid), "{token:.80}");
        }
        assert_eq!(
            Verifier::new().verify(&token, TokenKind::Access, NOW),
            Err(TokenError::Invalid),
            "no keys, no entry"
        );
    }

    #[test]
    fn the_header_is_read_strictly() {
        let check = |values: &[&str], expected| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(bearer(&headers), expected, "{values:?}");
        };
        check(&["Bearer abc"], Some("abc"));
        check(&["bearer abc"], Some("abc"));
        check(&["Basic abc"], None);
        check(&["abc"], None);
        check(&[], None);
        check(&["Bearer a", "Bearer b"], None);
    }
}
