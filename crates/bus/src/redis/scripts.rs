//! The scripts, and the names Redis has for them.
//!
//! A script's text begins with the epoch it belongs to, so that it has another name in each. What a server knows of scripts is its own and goes
//! with its process: whoever looks at the servers ([`super::era`]) loads the scripts of the epoch onto those that are part of it. A server that
//! started anew or was promoted knows none of them until a new epoch has begun, so it cannot be read or written as if nothing had happened.

use std::sync::{Mutex, PoisonError};

use fred::types::Value;
use fred::util::sha1_hash;

/// A script.
pub struct Script {
    body: &'static str,
    /// Its name in the epoch in which it was last used.
    named: Mutex<(u64, Value)>,
}

impl Script {
    const fn new(body: &'static str) -> Self {
        Self { body, named: Mutex::new((0, Value::Null)) }
    }

    /// As servers of an epoch have it.
    pub fn text(&self, epoch: u64) -> String {
        format!("-- {epoch}\n{}", self.body)
    }

    /// Its name in an epoch. Computed when the epoch changes; otherwise a copy of a reference.
    pub fn name(&self, epoch: u64) -> Value {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.0 != epoch || named.1.is_null() {
            *named = (epoch, sha1_hash(&self.text(epoch)).into());
        }
        named.1.clone()
    }

    /// Without an epoch: for what finds out which one it is.
    pub fn body(&self) -> &'static str {
        self.body
    }
}

macro_rules! scripts {
    ($($name:ident $file:literal,)*) => {
        $(pub static $name: Script = Script::new(include_str!(concat!("scripts/", $file)));)*
        /// All of them, in no order.
        pub static ALL: &[&Script] = &[$(&$name,)*];
    };
}

scripts! {
    APPEND "append.lua",
    DROP "drop.lua",
    END "end.lua",
    ERA "era.lua",
    ERASE "erase.lua",
    EXPIRE "expire.lua",
    FLUSH "flush.lua",
    FORGET "forget.lua",
    GRANT "grant.lua",
    JOBS "jobs.lua",
    OUTLIVED "outlived.lua",
    PUBLISH "publish.lua",
    RAISE "raise.lua",
    READ "read.lua",
    RECORDS "records.lua",
    RENEW "renew.lua",
    REPLACE "replace.lua",
    TOPIC "topic.lua",
    TRIM "trim.lua",
}
