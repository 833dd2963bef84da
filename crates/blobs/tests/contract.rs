//! One suite for a folder and for a bucket.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod servers;

use std::time::Duration;

use bytes::Bytes;
use servers::S3Server;
use wayfare_blobs::{BlobError, Blobs, Key, Put};

/// What holds the files, for as long as the test runs.
struct Place {
    blobs: Blobs,
    dir: tempfile::TempDir,
    _server: Option<S3Server>,
}

fn folder() -> Place {
    let dir = tempfile::tempdir().unwrap();
    Place { blobs: Blobs::folder(dir.path().join("blobs")).unwrap(), dir, _server: None }
}

fn s3() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let server = S3Server::start(dir.path());
    Place { blobs: Blobs::s3(&server.config()).unwrap(), dir, _server: Some(server) }
}

macro_rules! contract {
    ($($test:ident),* $(,)?) => {
        mod in_a_folder {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::folder()).await;
            })*
        }
        mod in_a_bucket {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::s3()).await;
            })*
        }
    };
}

contract!(
    what_is_put_can_be_had_until_it_is_deleted,
    a_file_is_never_changed,
    parts_can_be_had,
    keys_are_listed_in_order,
    a_large_file_is_whole,
    many_at_once_are_no_trouble,
);

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

async fn put(blobs: &Blobs, name: &str, bytes: &'static [u8]) -> Put {
    blobs.put(&key(name), Bytes::from_static(bytes), "image/webp").await.unwrap()
}

async fn what_is_put_can_be_had_until_it_is_deleted(place: Place) {
    let blobs = &place.blobs;
    blobs.check().await.unwrap();
    let name = key("stores/sto_1/a.webp");
    assert_eq!(blobs.get(&name).await.unwrap(), None);
    assert_eq!(blobs.size(&name).await.unwrap(), None);
    assert_eq!(put(blobs, "stores/sto_1/a.webp", b"dish").await, Put::New);
    assert_eq!(blobs.get(&name).await.unwrap().as_deref(), Some(&b"dish"[..]));
    assert_eq!(blobs.size(&name).await.unwrap(), Some(4));
    for _ in 0..2 {
        blobs.delete(&name).await.unwrap();
        assert_eq!(blobs.get(&name).await.unwrap(), None);
    }
    assert_eq!(put(blobs, "stores/sto_1/a.webp", b"").await, Put::New);
    assert_eq!(blobs.get(&name).await.unwrap().as_deref(), Some(&b""[..]));
}

async fn a_file_is_never_changed(place: Place) {
    let blobs = &place.blobs;
    assert_eq!(put(blobs, "a", b"first").await, Put::New);
    assert_eq!(put(blobs, "a", b"second").await, Put::Known);
    assert_eq!(blobs.get(&key("a")).await.unwrap().as_deref(), Some(&b"first"[..]));
}

async fn parts_can_be_had(place: Place) {
    let blobs = &place.blobs;
    put(blobs, "a", b"0123456789").await;
    for (range, bytes) in [(0..4, "0123"), (4..5, "4"), (8..99, "89"), (10..12, ""), (99..100, ""), (3..3, "")] {
        let piece = blobs.get_range(&key("a"), range.clone()).await.unwrap().unwrap();
        assert_eq!((&piece.bytes[..], piece.bytes_total), (bytes.as_bytes(), 10), "{range:?}");
    }
    assert_eq!(blobs.get_range(&key("b"), 0..4).await.unwrap(), None);
    assert_eq!(blobs.get_range(&key("b"), 0..0).await.unwrap(), None);
}

async fn keys_are_listed_in_order(place: Place) {
    let blobs = &place.blobs;
    for name in ["s/a/1", "s/a/3", "s/a/2", "s/ab/1", "s/b/1"] {
        put(blobs, name, b"x").await;
    }
    let list = async |prefix: &str, after: Option<&str>, limit| {
        let after = after.map(key);
        let keys = blobs.list(prefix, after.as_ref(), limit).await.unwrap();
        keys.iter().map(Key::to_string).collect::<Vec<_>>()
    };
    assert_eq!(list("s/a/", None, 9).await, ["s/a/1", "s/a/2", "s/a/3"]);
    assert_eq!(list("s/a/", None, 2).await, ["s/a/1", "s/a/2"]);
    assert_eq!(list("s/a/", Some("s/a/2"), 9).await, ["s/a/3"]);
    assert_eq!(list("s/a", None, 9).await, ["s/a/1", "s/a/2", "s/a/3", "s/ab/1"]);
    assert_eq!(list("nothing/", None, 9).await, Vec::<String>::new());
}

/// More than one part of a multipart upload.
async fn a_large_file_is_whole(place: Place) {
    let blobs = &place.blobs;
    let bytes: Bytes = (0..19_000_000_u32).map(|at| (at ^ (at >> 11)) as u8).collect::<Vec<u8>>().into();
    assert_eq!(blobs.put(&key("large"), bytes.clone(), "image/jpeg").await.unwrap(), Put::New);
    assert_eq!(blobs.put(&key("large"), bytes.clone(), "image/jpeg").await.unwrap(), Put::Known);
    assert!(blobs.get(&key("large")).await.unwrap() == Some(bytes));
}

async fn many_at_once_are_no_trouble(place: Place) {
    let writers: Vec<_> = (0..24)
        .map(|at| {
            let blobs = place.blobs.clone();
            // Some of the same name; and folders come and go meanwhile.
            let name = key(&format!("d/{}/{}", at % 3, at % 6));
            tokio::spawn(async move {
                let put = blobs.put(&name, Bytes::from_static(b"same"), "image/jpeg").await.unwrap();
                assert_eq!(blobs.get(&name).await.unwrap().as_deref(), Some(&b"same"[..]));
                put
            })
        })
        .collect();
    let mut new = 0;
    for writer in writers {
        new += usize::from(writer.await.unwrap() == Put::New);
    }
    // A server may let two through that come in the same moment; the bytes are the same.
    assert!(new >= 6, "{new}");
    assert_eq!(place.blobs.list("d/", None, 99).await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_folder_leaves_nothing_half_written_and_no_empty_folder() {
    let Place { blobs, dir, .. } = folder();
    let top = dir.path().join("blobs");
    for (name, age_s) in [("old", 7200), ("young", 60)] {
        let half = std::fs::File::create(top.join(".unfinished").join(name)).unwrap();
        half.set_modified(std::time::SystemTime::now() - Duration::from_secs(age_s)).unwrap();
    }
    put(&blobs, "a/b/c", b"x").await;
    assert_eq!(blobs.get(&key("a/b")).await.unwrap(), None, "a folder is no file");
    assert_eq!(blobs.size(&key("a/b")).await.unwrap(), None);
    blobs.delete(&key("a/b/c")).await.unwrap();
    assert!(!top.join("a").exists());
    drop(blobs);
    Blobs::folder(&top).unwrap();
    let left: Vec<_> =
        std::fs::read_dir(top.join(".unfinished")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["young"], "another process may be writing it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_to_a_bucket_are_good_as_they_are_and_for_a_while() {
    let place = s3();
    put(&place.blobs, "a.webp", b"dish").await;
    let link = place.blobs.link(&key("a.webp"), Duration::from_secs(60)).await.unwrap().unwrap();
    let get = async |url: &str| reqwest::get(url).await.unwrap();
    let answer = get(&link).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "image/webp");
    assert_eq!(&answer.bytes().await.unwrap()[..], b"dish");
    let (bare, _) = link.split_once('?').unwrap();
    for wrong in [bare.to_owned(), link.replace("a.webp", "b.webp"), link.replace("Expires=60", "Expires=600")] {
        assert_eq!(get(&wrong).await.status(), 403, "{wrong}");
    }
    let short = place.blobs.link(&key("a.webp"), Duration::from_secs(1)).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(get(&short).await.status(), 403);
    let public = wayfare_blobs::S3Config {
        public_url: "https://img.example/".into(),
        ..place._server.as_ref().unwrap().config()
    };
    let link = Blobs::s3(&public).unwrap().link(&key("a.webp"), Duration::from_secs(1)).await.unwrap();
    assert_eq!(link.as_deref(), Some("https://img.example/wayfare/a.webp"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_away_says_so_and_comes_back() {
    let mut place = s3();
    put(&place.blobs, "a", b"dish").await;
    let mut server = place._server.take().unwrap();
    server.kill();
    let get = place.blobs.get(&key("a")).await;
    assert!(matches!(get, Err(BlobError::Bucket { .. })), "{get:?}");
    assert!(place.blobs.put(&key("b"), Bytes::from_static(b"x"), "image/jpeg").await.is_err());
    assert!(place.blobs.check().await.is_err());
    server.up();
    assert_eq!(place.blobs.get(&key("a")).await.unwrap().as_deref(), Some(&b"dish"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_with_a_wrong_secret_is_no_missing_file() {
    let place = s3();
    let config = wayfare_blobs::S3Config { secret_key: "wrong".into(), ..place._server.as_ref().unwrap().config() };
    let blobs = Blobs::s3(&config).unwrap();
    assert!(blobs.get(&key("a")).await.is_err());
    assert!(blobs.put(&key("a"), Bytes::new(), "image/jpeg").await.is_err());
}
