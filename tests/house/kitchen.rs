//! Rooms alone that make pictures: the records on one process, the workers on others, watchers on a third, all on one Redis that keeps what it is told, and one bucket.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};
use wayfare_blobs::{Blobs, Key, S3Config};

use crate::harness::House;
use crate::picture::{Tus, jpeg, told};
use crate::redis_server::Server;
use crate::s3_server::S3Server;

/// See above.
pub struct Kitchen {
    pub api: House,
    pub workers: Vec<House>,
    pub fanout: House,
    pub bucket: S3Server,
    pub redis: Server,
    pub store: String,
    pub token: String,
    settings: Vec<(String, String)>,
    _dir: tempfile::TempDir,
}

impl Kitchen {
    pub async fn open(workers: usize, more: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let redis = Server::start(dir.path(), &[]);
        let bucket = S3Server::start(&dir.path().join("s3"));
        let config = bucket.config();
        let mut settings: Vec<(String, String)> = [
            ("BUS_URL", redis.url()),
            ("FILES_BUCKET", config.bucket),
            ("FILES_ENDPOINT", config.endpoint),
            ("FILES_ACCESS_KEY", config.access_key),
            ("FILES_SECRET_KEY", config.secret_key),
            ("MEDIA_LEASE_S", "3".into()),
            ("MEDIA_WORKERS", "1".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let api = House::start_role("api", &borrowed(&settings)).await;
        let fanout = House::front_of(House::start_role("fanout", &borrowed(&settings)).await, &api.key);
        let store = api.store("Tasca").await;
        let token = api.token("store", &store).await;
        let mut kitchen = Self { api, workers: Vec::new(), fanout, bucket, store, token, settings, redis, _dir: dir };
        for number in 0..workers {
            kitchen.hire(number).await;
        }
        kitchen
    }

    pub async fn hire(&mut self, number: usize) {
        let node = format!("kitchen-{number}");
        let mut settings = self.settings.clone();
        settings.push(("BUS_NODE".into(), node));
        self.workers.push(House::start_role("media-worker", &borrowed(&settings)).await);
    }

    pub async fn send(&self, seed: u64) -> Tus<'_> {
        let item = format!("dish-{seed}");
        Tus::send(&self.api, &self.token, &jpeg(2400, 1800, seed), &[("item", &*item)]).await
    }

    /// Everything that is in the bucket.
    pub async fn files(&self) -> BTreeSet<String> {
        let blobs = Blobs::s3(&S3Config { prefix: String::new(), ..self.bucket.config() }).unwrap();
        let (mut files, mut after) = (BTreeSet::new(), None::<Key>);
        loop {
            let page = blobs.list("stores/", after.as_ref(), 1_000).await.unwrap();
            let Some(last) = page.last() else { return files };
            after = Some(last.clone());
            files.extend(page.iter().map(ToString::to_string));
        }
    }

    /// One end for each, one image in each menu, one event in the log.
    pub async fn judge(&self, uploads: &[Tus<'_>]) {
        for upload in uploads {
            let record = upload.ended().await;
            assert_eq!(record["state"], "done", "{record}");
            let item = record["item"].as_str().unwrap();
            let menu = format!("/v1/stores/{}/menu/{item}/images", self.store);
            let images = self.api.call("GET", &menu, Some(&self.token), None).await.json();
            assert_eq!(images["images"], json!([record["picture"]]));
            // The bucket serves it, at a link that is signed.
            let url = self.api.url(record["picture"]["src"].as_str().unwrap());
            let file = self.api.http.get(url).send().await.unwrap();
            assert_eq!((file.status().as_u16(), file.headers()["content-type"].to_str().unwrap()), (200, "image/jpeg"));
            assert!(file.url().query().is_some_and(|query| query.contains("X-Amz-Signature")));
        }
        told(&self.fanout, &self.store, uploads.len()).await;
    }
}

/// Keys of the files of a picture, from the addresses in its record.
pub fn keys_of(picture: &Value) -> impl Iterator<Item = String> {
    let files = picture["sources"].as_array().unwrap().iter().flat_map(|source| source["files"].as_array().unwrap());
    files.map(|file| {
        let mut words = file["url"].as_str().unwrap().strip_prefix("/v1/images/").unwrap().split('/');
        let (store, picture, name) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        format!("stores/{store}/pictures/{picture}/{name}")
    })
}

fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (&**name, &**value)).collect()
}

pub fn signal(house: &House, signal: &str) {
    assert!(Command::new("kill").args([signal, &house.id().to_string()]).status().unwrap().success());
}
