//! `[files]`: where pictures are.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use url::Url;
use wayfare_blobs::{Blobs, S3Config};

use super::Data;
use super::key::{Key, word};

pub(super) const KEYS: &[Key] = &[
    word(
        "dir",
        "Folder of the pictures. Empty: a folder in data.dir. Rooms that run alone must share it, or a bucket.",
    ),
    word("bucket", "Bucket of S3, or of a server that speaks like it, for the pictures. Empty: they are in a folder."),
    word("endpoint", "Address of that server, https://host[:port]. Empty: Amazon's own for the region."),
    word("region", "Region of the bucket; many servers take any."),
    word("access_key", "Name of the credentials for the bucket."),
    word("secret_key", "Their secret; better given by WAYFARE_FILES_SECRET_KEY."),
    word("prefix", "Goes before every key in the bucket: empty, or words that end with a slash."),
    word(
        "path_style",
        "The bucket stands in the path and not in the name of the host, as most servers beside Amazon's want it.",
    ),
    word(
        "public_url",
        "Where everybody may get files of the bucket without a signature: a public bucket's address, or that of caches before it. Empty: links are signed.",
    ),
];

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    pub dir: PathBuf,
    pub bucket: String,
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
    pub prefix: String,
    pub path_style: bool,
    pub public_url: String,
}

/// Without the secret: a configuration may be printed.
impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("dir", &self.dir).field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Default for Files {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            bucket: String::new(),
            endpoint: String::new(),
            region: "us-east-1".into(),
            access_key: String::new(),
            secret_key: String::new(),
            prefix: String::new(),
            path_style: true,
            public_url: String::new(),
        }
    }
}

impl Files {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.bucket.is_empty() {
            return Ok(());
        }
        ensure!(
            !self.access_key.is_empty() && !self.secret_key.is_empty(),
            "files.bucket is {:?}, so files.access_key and files.secret_key must be given",
            self.bucket
        );
        ensure!(
            self.prefix.is_empty() || self.prefix.ends_with('/'),
            "files.prefix is {:?}, it must be empty or end with a slash",
            self.prefix
        );
        for (key, address) in [("endpoint", &self.endpoint), ("public_url", &self.public_url)] {
            if address.is_empty() {
                continue;
            }
            let url: Url = address.parse().with_context(|| format!("files.{key} is not a URL"))?;
            let host = url.host_str().unwrap_or_default();
            let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            if url.scheme() != "https" && !(url.scheme() == "http" && here) {
                bail!("files.{key} is {address}: it must begin with https:// unless it is on this machine");
            }
        }
        Ok(())
    }

    /// Whether other processes find the same files.
    pub fn is_shared(&self) -> bool {
        !self.bucket.is_empty() || !self.dir.as_os_str().is_empty()
    }

    /// The folder, where there is no bucket.
    pub fn folder(&self, data: &Data) -> PathBuf {
        if self.is_shared() { self.dir.clone() } else { data.dir.join("files") }
    }

    /// Where browsers are sent for files that are not here: scheme, host and port.
    pub fn origin(&self) -> Option<String> {
        if self.bucket.is_empty() {
            return None;
        }
        let address = match (&*self.public_url, &*self.endpoint) {
            ("", "") => format!("https://s3.{}.amazonaws.com", self.region),
            ("", endpoint) => endpoint.to_owned(),
            (public_url, _) => public_url.to_owned(),
        };
        let url: Url = address.parse().ok()?;
        let (scheme, host) = (url.scheme(), url.host_str()?);
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let bucket =
            if self.path_style || !self.public_url.is_empty() { String::new() } else { format!("{}.", self.bucket) };
        Some(format!("{scheme}://{bucket}{host}{port}"))
    }

    /// Opens the place.
    pub(super) fn open(&self, data: &Data) -> anyhow::Result<Blobs> {
        if self.bucket.is_empty() {
            return Blobs::folder(self.folder(data)).context("files.dir");
        }
        let config = S3Config {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            path_style: self.path_style,
            public_url: self.public_url.clone(),
        };
        Blobs::s3(&config).context("files.bucket")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_sent_to_the_bucket_or_what_stands_before_it() {
        let check = |files: Files, origin: Option<&str>| assert_eq!(files.origin().as_deref(), origin);
        let bucket = || Files { bucket: "pictures".into(), ..Files::default() };
        check(Files::default(), None);
        check(bucket(), Some("https://s3.us-east-1.amazonaws.com"));
        check(Files { path_style: false, ..bucket() }, Some("https://pictures.s3.us-east-1.amazonaws.com"));
        let endpoint = "http://127.0.0.1:9000/";
        check(Files { endpoint: endpoint.into(), ..bucket() }, Some("http://127.0.0.1:9000"));
        let public_url = "https://cdn.example/menu/";
        check(
            Files { endpoint: endpoint.into(), public_url: public_url.into(), ..bucket() },
            Some("https://cdn.example"),
        );
    }
}
