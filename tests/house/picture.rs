//! Photographs, and how a restaurant's page brings them in.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{House, SOON, until};
use crate::rest::Answer;

/// A photograph of a dish: a real one of 12 megapixels where `WAYFARE_DATA` has it, otherwise a generated one.
pub fn photo() -> Vec<u8> {
    let data = std::env::var_os("WAYFARE_DATA").map_or_else(|| "../shared/data".into(), std::path::PathBuf::from);
    std::fs::read(data.join("images/photo-12mp.jpg")).unwrap_or_else(|_| {
        eprintln!("WAYFARE_DATA holds no photographs; a generated one is uploaded");
        jpeg(4032, 3024, 1)
    })
}

/// A picture of its own for every seed.
pub fn jpeg(width: usize, height: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut wave = |length: usize, shape: fn(f32) -> f32| -> Vec<i16> {
        let waves: [f32; 3] = std::array::from_fn(|_| 0.002 + random.f32() * 0.03);
        (0..length * 3).map(|at| (60.0 * shape((at / 3) as f32 * waves[at % 3])) as i16).collect()
    };
    let (across, down) = (wave(width, f32::sin), wave(height, f32::cos));
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let [red, green, blue] = [down[3 * y] + 127, down[3 * y + 1] + 127, down[3 * y + 2] + 127];
        for x in across.chunks_exact(3) {
            pixels.extend([(x[0] + red) as u8, (x[1] + green) as u8, (x[2] + blue) as u8]);
        }
    }
    let image =
        turbojpeg::Image { pixels: &pixels[..], width, pitch: width * 3, height, format: turbojpeg::PixelFormat::RGB };
    turbojpeg::compress(image, 90, turbojpeg::Subsamp::Sub2x2).unwrap().to_vec()
}

/// One that must be held whole while it is decoded, which takes long.
pub fn progressive(width: usize, height: usize) -> Vec<u8> {
    let mut compressor = turbojpeg::Compressor::new().unwrap();
    compressor.set_progressive(true).unwrap();
    compressor.set_subsamp(turbojpeg::Subsamp::None).unwrap();
    let pixels = vec![99_u8; width * height * 3];
    let image =
        turbojpeg::Image { pixels: &pixels[..], width, pitch: width * 3, height, format: turbojpeg::PixelFormat::RGB };
    compressor.compress_to_vec(image).unwrap()
}

/// The same JPEG with a comment after its first marker: another file with the same pixels.
pub fn commented(jpeg: &[u8], comment: u64) -> Vec<u8> {
    [&jpeg[..2], &[0xff, 0xfe, 0, 10], &comment.to_be_bytes(), &jpeg[2..]].concat()
}

/// `Upload-Metadata` of these members.
pub fn metadata(members: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = members.iter().map(|(name, value)| format!("{name} {}", STANDARD.encode(value))).collect();
    pairs.join(",")
}

/// An upload as a tus client has it.
pub struct Tus<'a> {
    pub house: &'a House,
    pub token: String,
    pub id: String,
}

impl<'a> Tus<'a> {
    /// Begins an upload.
    pub async fn begin(house: &'a House, token: &str, length: usize, members: &[(&str, &str)]) -> Self {
        let answer = Self::create(house, token, &length.to_string(), members, None).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let location = answer.header("location");
        assert!(!answer.header("upload-expires").is_empty());
        Self { house, token: token.to_owned(), id: location.strip_prefix("/v1/uploads/").unwrap().to_owned() }
    }

    /// As it is answered.
    pub async fn create(
        house: &House,
        token: &str,
        length: &str,
        members: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let mut request = house.http.post(house.url("/v1/uploads")).bearer_auth(token);
        request = request.header("tus-resumable", "1.0.0").header("upload-length", length);
        request = request.header("upload-metadata", metadata(members));
        if let Some(body) = body {
            request = request.header("content-type", "application/offset+octet-stream").body(body);
        }
        House::answer(request).await
    }

    pub fn topic(&self) -> String {
        format!("upload:{}", self.id)
    }

    pub async fn ask(&self, method: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let url = self.house.url(&format!("/v1/uploads/{}", self.id));
        let mut request = self.house.http.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        request = request.bearer_auth(&self.token).header("tus-resumable", "1.0.0");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        House::answer(request.body(body)).await
    }

    pub async fn patch(&self, offset: usize, bytes: &[u8]) -> Answer {
        let offset = offset.to_string();
        let headers = [("upload-offset", &*offset), ("content-type", "application/offset+octet-stream")];
        self.ask("PATCH", &headers, bytes.to_vec()).await
    }

    /// How many bytes are kept.
    pub async fn offset(&self) -> usize {
        let answer = self.ask("HEAD", &[], Vec::new()).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        answer.header("upload-offset").parse().unwrap()
    }

    /// A request that promises more than it brings. Its line breaks without a farewell when it is dropped.
    pub async fn broken_patch(&self, offset: usize, promised: usize, bytes: &[u8]) -> tokio::net::TcpStream {
        let mut line = tokio::net::TcpStream::connect(("127.0.0.1", self.house.port)).await.unwrap();
        let head = format!(
            "PATCH /v1/uploads/{} HTTP/1.1\r\nHost: house\r\nAuthorization: Bearer {}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n\
             Content-Type: application/offset+octet-stream\r\nContent-Length: {promised}\r\n\r\n",
            self.id, self.token
        );
        line.write_all(head.as_bytes()).await.unwrap();
        line.write_all(bytes).await.unwrap();
        line.flush().await.unwrap();
        line.set_zero_linger().unwrap();
        line
    }

    /// Sends what is missing, as a client that does not give up: after a refusal it waits as long as it is told and asks where to go on. Returns the refusals.
    pub async fn complete(&self, bytes: &[u8]) -> Vec<Answer> {
        let mut refused = Vec::new();
        loop {
            let offset = self.offset().await;
            if offset == bytes.len() {
                return refused;
            }
            let answer = self.patch(offset, &bytes[offset..]).await;
            if answer.status != 204 {
                let pause =
                    answer.header("retry-after").parse().map_or(Duration::from_millis(200), Duration::from_secs);
                tokio::time::sleep(pause).await;
                refused.push(answer);
            }
        }
    }

    /// The record.
    pub async fn record(&self) -> Value {
        let path = format!("/v1/uploads/{}", self.id);
        let answer = self.house.call("GET", &path, Some(&self.token), None).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// The record when it has ended.
    pub async fn ended(&self) -> Value {
        until(SOON * 3, "the upload ends", async || {
            let record = self.record().await;
            record["ended_ms"].is_i64().then_some(record)
        })
        .await
    }

    /// Sends all of it.
    pub async fn send(house: &'a House, token: &str, bytes: &[u8], members: &[(&str, &str)]) -> Self {
        let upload = Self::begin(house, token, bytes.len(), members).await;
        let answer = upload.patch(0, bytes).await;
        assert_eq!(answer.status, 204, "{}", answer.text);
        assert_eq!(answer.header("upload-offset"), bytes.len().to_string());
        upload
    }
}

/// Events of the store's log about pictures, when there are so many; there may never be more. They come a moment after the records have it.
pub async fn told(house: &House, store: &str, count: usize) -> Vec<Value> {
    until(SOON, "every end is told once", async || {
        let events = told_by_now(house, store).await;
        assert!(events.len() <= count, "{events:?}");
        (events.len() == count).then_some(events)
    })
    .await
}

async fn told_by_now(house: &House, store: &str) -> Vec<Value> {
    let path = format!("/v1/watch/poll?topics=store:{store}");
    let now = house.call("GET", &path, Some(&house.key), None).await.json();
    let (generation, _) = now["cursor"].as_str().unwrap().split_once('.').unwrap();
    let (mut cursor, mut told) = (format!("{generation}.0"), Vec::new());
    // Page by page.
    loop {
        let answer = house.call("GET", &format!("{path}&cursor={cursor}"), Some(&house.key), None).await.json();
        let events = answer["topics"][0]["events"].as_array().cloned().unwrap_or_default();
        if events.is_empty() {
            return told;
        }
        answer["cursor"].as_str().unwrap().clone_into(&mut cursor);
        let events = events.into_iter().map(|event| event["event"].clone());
        told.extend(events.filter(|event| event["kind"] == "picture"));
    }
}
