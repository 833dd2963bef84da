//! `[bus]`: where the corridor lives.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::key::{Key, word};

pub(super) const KEYS: &[Key] = &[
    word(
        "url",
        "Where the bus lives: \"redis://user:password@host:6379\" for one Redis (7.0 or newer), \"redis-cluster://user:password@host:7001?node=host:7002\" \
         for a Cluster; rediss:// and rediss-cluster:// over TLS. Empty: inside this process.",
    ),
    word(
        "node",
        "Name of this process among those on one Redis, the same after a restart; no two of one role may have the same.",
    ),
    word("namespace", "Goes before every key there, so that several houses may share one Redis."),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    pub url: String,
    pub namespace: String,
    pub node: String,
}

impl Default for Bus {
    fn default() -> Self {
        Self { url: String::new(), namespace: "wayfare:".into(), node: "node-1".into() }
    }
}

impl Bus {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let Self { url, namespace, node } = self;
        ensure!(
            (1..=32).contains(&node.len()) && node.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            "bus.node is {node:?}, it must be 1 to 32 letters, digits and hyphens"
        );
        ensure!(
            !namespace.is_empty() && namespace.len() <= 64 && !namespace.contains(['{', '}', ' ']),
            "bus.namespace is {namespace:?}, it must be 1 to 64 bytes without braces and spaces"
        );
        if !url.is_empty() {
            wayfare_bus::redis::url::read(url)
                .map_err(|why| anyhow::anyhow!("bus.url is {:?}: {why}", wayfare_bus::redis::url::shown(url)))?;
        }
        Ok(())
    }
}
