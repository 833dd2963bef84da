//! Files of pictures: what is in them, who gets them, and what becomes of those that nothing names.

use std::time::Duration;

use serde_json::json;

use crate::harness::{House, SOON, until};
use crate::picture::{Tus, jpeg};
use crate::raw::Raw;

#[tokio::test]
async fn nothing_of_the_original_but_its_pixels_is_served() {
    let house = House::start().await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    // Place, camera, a profile and a comment in front, a thumbnail and another file behind.
    let plain = jpeg(900, 700, 5);
    let segment = |marker: u8, bytes: &[u8]| {
        let length = (bytes.len() as u16 + 2).to_be_bytes();
        [&[0xff, marker][..], &length, bytes].concat()
    };
    let original = [
        &plain[..2],
        &segment(0xe1, b"Exif\0\0MM\0*\0\0\0\x08\0\0 SecretCam GPS 41.15 -8.61"),
        &segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>SecretCam</x:xmpmeta>"),
        &segment(0xed, b"Photoshop 3.0\08BIM SecretCam"),
        &segment(0xfe, b"SecretCam"),
        &plain[2..],
        &plain,
        b"PK\x03\x04 SecretCam",
    ]
    .concat();
    let record = Tus::send(&house, &token, &original, &[("item", "a")]).await.ended().await;
    assert_eq!(record["state"], "done", "{record}");
    let mut files = 0;
    for source in record["picture"]["sources"].as_array().unwrap() {
        for file in source["files"].as_array().unwrap() {
            let answer = house.http.get(house.url(file["url"].as_str().unwrap())).send().await.unwrap();
            let bytes = answer.bytes().await.unwrap();
            if source["type"] == "image/jpeg" {
                judge_jpeg(&bytes)
            } else {
                judge_webp(&bytes)
            }
            files += 1;
        }
    }
    // Widths of 320, 640 and the picture's own.
    assert_eq!(files, 6);
    house.assert_clean_log();
}

/// Only what pixels are made of, from the first marker to the end.
fn judge_jpeg(bytes: &[u8]) {
    assert_eq!(bytes[..2], [0xff, 0xd8]);
    let mut at = 2;
    loop {
        let (marker, length) = (bytes[at + 1], usize::from(bytes[at + 2]) << 8 | usize::from(bytes[at + 3]));
        assert_eq!(bytes[at], 0xff);
        match marker {
            // JFIF, without a thumbnail.
            0xe0 => assert_eq!((&bytes[at + 4..at + 9], length), (&b"JFIF\0"[..], 16)),
            // Quantisation, frame, Huffman tables, restart interval.
            0xdb | 0xc0 | 0xc2 | 0xc4 | 0xdd => {}
            // Scan.
            0xda => break,
            other => panic!("a segment of kind {other:x}"),
        }
        at += 2 + length;
    }
    // Behind it nothing but scans and their tables: any other marker would be metadata, or another file.
    let scan = &bytes[at..];
    for pair in scan.windows(2).filter(|pair| pair[0] == 0xff) {
        assert!(matches!(pair[1], 0 | 0xd0..=0xd7 | 0xd9 | 0xda | 0xc4 | 0xff), "a marker {:x} in a scan", pair[1]);
    }
    assert_eq!(scan[scan.len() - 2..], [0xff, 0xd9]);
}

/// One chunk, of pixels.
fn judge_webp(bytes: &[u8]) {
    let length = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&bytes[..4], &bytes[8..12], length(4)), (&b"RIFF"[..], &b"WEBP"[..], bytes.len() - 8));
    assert_eq!(&bytes[12..16], b"VP8 ");
    assert!(20 + length(16).next_multiple_of(2) == bytes.len());
}

#[tokio::test]
async fn files_that_nothing_names_are_swept_and_no_others() {
    let house = House::start_with(&[("MEDIA_SWEEP_HOURS", "0.0003")]).await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let done = Tus::send(&house, &token, &jpeg(700, 500, 3), &[("item", "a")]).await;
    let record = done.ended().await;
    let refused = Tus::send(&house, &token, b"no picture at all", &[]).await;
    assert_eq!(refused.ended().await["state"], "failed");
    let begun = Tus::begin(&house, &token, 1_000, &[]).await;
    assert_eq!(begun.patch(0, &[7; 500]).await.status, 204);
    let top = house.data().join("files/stores").join(&store);
    let files = || {
        let mut files = Vec::new();
        for kind in top.read_dir().unwrap().map(|kind| kind.unwrap().path()) {
            for entry in kind.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    files.extend(entry.read_dir().unwrap().map(|file| file.unwrap().path()));
                } else {
                    files.push(entry);
                }
            }
        }
        files.sort();
        files
    };
    // Four files and the original, the original that was refused, the piece.
    let named = files();
    assert_eq!(named.len(), 7, "{named:?}");
    let picture = record["picture"]["src"].as_str().unwrap().split('/').nth(4).unwrap().to_owned();
    let strays = [
        // A piece that came too late; one of an upload that nobody knows.
        format!("uploads/{}/00000000-0000000000000007", done.id),
        format!("uploads/{}x/00000000-0000000000000007", done.id),
        format!("originals/{}", "0".repeat(64)),
        // Of a worker that woke up late, with another version of an encoder; of a picture that is forgotten.
        format!("pictures/{picture}/320x256-0123456789abcdef.jpg"),
        format!("pictures/{}/320x256-0123456789abcdef.jpg", "0".repeat(32)),
    ];
    for stray in &strays {
        std::fs::create_dir_all(top.join(stray).parent().unwrap()).unwrap();
        std::fs::write(top.join(stray), b"stray").unwrap();
    }
    let gone = async || strays.iter().all(|stray| !top.join(stray).exists()).then_some(());
    until(SOON, "what nothing names goes", gone).await;
    // Some more sweeps.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(files(), named);
    assert_eq!(house.metric("wayfare_uploads_strays_total", "").await, strays.len() as f64);
    house.assert_clean_log();
}

#[tokio::test]
async fn a_backup_has_the_pictures() {
    let house = House::start().await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    let record = Tus::send(&house, &token, &jpeg(700, 500, 3), &[("item", "a")]).await.ended().await;
    let into = house.data().parent().unwrap().join("copy");
    house.command(&["backup", into.to_str().unwrap()]).await;
    for source in record["picture"]["sources"].as_array().unwrap() {
        for file in source["files"].as_array().unwrap() {
            let mut parts = file["url"].as_str().unwrap().strip_prefix("/v1/images/").unwrap().split('/');
            let (store, picture, name) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let copy = std::fs::metadata(into.join(format!("files/stores/{store}/pictures/{picture}/{name}"))).unwrap();
            assert_eq!(json!(copy.len()), file["bytes"]);
        }
    }
    house.assert_clean_log();
}

#[tokio::test]
async fn originals_are_nobodys() {
    let house = House::start().await;
    let store = house.store("Tasca").await;
    let token = house.token("store", &store).await;
    Tus::send(&house, &token, &jpeg(300, 200, 3), &[]).await.ended().await;
    let original = house.data().join(format!("files/stores/{store}/originals")).read_dir().unwrap().next().unwrap();
    let name = original.unwrap().file_name().into_string().unwrap();
    for path in [
        format!("/v1/images/{store}/../originals/{name}"),
        format!("/v1/images/{store}/%2e%2e/{name}"),
        format!("/v1/images/{store}/..%2foriginals/{name}"),
        format!("/v1/images/{store}/originals/{name}"),
        format!("/v1/images/{store}/originals/{name}.jpg"),
        format!("/v1/images/{store}/x%00/{name}.jpg"),
        "/v1/images/..%2f..%2frecords.sqlite/x/y.jpg".to_owned(),
    ] {
        // As it stands: a client would tidy it.
        let mut line = Raw::connect(&house).await;
        line.send(format!("GET {path} HTTP/1.1\r\nHost: house\r\n\r\n").as_bytes()).await;
        let answer = line.head().await;
        assert!(answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 400"), "{path}: {answer:.100}");
    }
    house.assert_clean_log();
}
