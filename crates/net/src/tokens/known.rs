//! Tokens whose signature was checked not long ago: who asks every few seconds shows the same one each time, and an Ed25519 signature costs a
//! hundred times what looking it up does.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap;
use ring::digest::{SHA256, digest};
use wayfare_wire::Claims;

use super::Keys;

/// Tokens of one half; two halves of claims are at most some 20 MiB.
const HALF: usize = 16_384;

/// SHA-256 of a token: what was not signed cannot be taken for something that was.
type Digest = [u8; 32];

/// Good signatures under the present keys. When a half is full the older one is forgotten: whoever still asks has come into the younger.
#[derive(Default)]
pub struct Known(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    /// Under which it was checked. Others make everything unknown.
    keys: Arc<Keys>,
    young: AHashMap<Digest, Arc<Claims>>,
    old: AHashMap<Digest, Arc<Claims>>,
}

/// What a token is looked up by.
pub fn digest_of(token: &str) -> Digest {
    digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl Known {
    /// The claims of a token that was added under these keys. About 0.1 us.
    pub fn get(&self, digest: &Digest, keys: &Arc<Keys>) -> Option<Arc<Claims>> {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&halves.keys, keys) {
            return None;
        }
        if let Some(claims) = halves.young.get(digest) {
            return Some(Arc::clone(claims));
        }
        let claims = halves.old.remove(digest)?;
        halves.add(*digest, &claims);
        Some(claims)
    }

    /// Remembers a token whose signature is good under these keys.
    pub fn add(&self, digest: Digest, keys: &Arc<Keys>, claims: &Arc<Claims>) {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&halves.keys, keys) {
            *halves = Halves { keys: Arc::clone(keys), ..Halves::default() };
        }
        halves.add(digest, claims);
    }
}

impl Halves {
    fn add(&mut self, digest: Digest, claims: &Arc<Claims>) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, Arc::clone(claims));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use wayfare_wire::{Role, TokenKind};

    fn claims(number: usize) -> Arc<Claims> {
        let text = |text: &str| text.to_owned();
        Arc::new(Claims {
            iss: text("wayfare"),
            aud: text("wayfare"),
            sub: text("sub"),
            role: Role::Customer,
            kind: TokenKind::Access,
            jti: number.to_string(),
            parent: None,
            iat: 0,
            exp: 1,
            until: None,
            kid: "k1".into(),
        })
    }

    #[test]
    fn who_still_asks_is_remembered_the_others_are_forgotten() {
        let (known, keys) = (Known::default(), Arc::new(Keys::default()));
        let digest = |number: usize| digest_of(&number.to_string());
        for number in 0..10 * HALF {
            known.add(digest(number), &keys, &claims(number));
            assert_eq!(known.get(&digest(0), &keys).unwrap().jti, "0", "asked for again and again");
        }
        let halves = known.0.lock().unwrap();
        assert!(halves.young.len() <= HALF && halves.old.len() <= HALF);
        drop(halves);
        assert!(known.get(&digest(1), &keys).is_none());
        assert!(known.get(&digest(0), &Arc::new(Keys::default())).is_none(), "under other keys");
    }
}
