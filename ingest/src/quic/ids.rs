//! Names of connections: 64 random bits, and 32 by which an id of ours is told from noise, also one of an earlier start.
//!
//! The library's own generator has 24 random bits. An id given out with a Retry is not looked up among those in use; with 2,000 clients
//! connected, one in some thousand newcomers was given another's, and its packets never arrived.

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

const RANDOM: usize = 8;
const TAG: usize = 4;

/// See the module.
pub struct Ids {
    key: hmac::Key,
    random: SystemRandom,
}

impl Ids {
    /// The same secret recognises the same ids.
    pub fn new(secret: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), random: SystemRandom::new() }
    }

    fn tag(&self, random: &[u8]) -> [u8; TAG] {
        let mut tag = [0; TAG];
        tag.copy_from_slice(&hmac::sign(&self.key, random).as_ref()[..TAG]);
        tag
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; RANDOM + TAG];
        self.random.fill(&mut id[..RANDOM]).expect("the system gave random numbers when the house opened");
        let tag = self.tag(&id[..RANDOM]);
        id[RANDOM..].copy_from_slice(&tag);
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let parts = id.split_at_checked(RANDOM);
        if parts.is_some_and(|(random, tag)| self.tag(random) == *tag) { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        RANDOM + TAG
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_known_after_a_restart_and_never_the_same() {
        let (mut ids, again, other) = (Ids::new(b"secret"), Ids::new(b"secret"), Ids::new(b"other"));
        let made: HashSet<ConnectionId> = (0..100_000).map(|_| ids.generate_cid()).collect();
        assert_eq!(made.len(), 100_000);
        for id in made.iter().take(1000) {
            assert_eq!(id.len(), ids.cid_len());
            assert!(again.validate(id).is_ok());
            assert!(other.validate(id).is_err());
        }
        for noise in [&[][..], &[0; 8], &[0; 12], &[7; 20]] {
            assert!(ids.validate(&ConnectionId::new(noise)).is_err());
        }
    }
}
