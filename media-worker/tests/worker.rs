//! Workers on an embedded bus and a folder, with a child that does what broken decoders would.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wayfare_blobs::{Blobs, Key};
use wayfare_bus::{Bus, EmbeddedConfig, Event, EventKind, Fence, Fields, FixLogLimits, Job, JobState};
use wayfare_media_worker::{ChildCommand, Limits, MediaConfig, Quality, VariantFormat, run_workers};
use wayfare_wire::Topic;
use wayfare_wire::ids::{Store, Upload};
use wayfare_wire::upload::{PICTURES_QUEUE, PictureDoc, PictureJob, PictureOutcome};

const STORE: Store = Store(5);
const SOON: Duration = Duration::from_secs(60);

struct Kitchen {
    bus: Bus,
    blobs: Blobs,
    dir: tempfile::TempDir,
    stop: watch::Sender<bool>,
    workers: Option<JoinHandle<()>>,
}

impl Kitchen {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig {
            dir: dir.path().to_owned(),
            fix_log: FixLogLimits { keep_ms: 3_600_000, bytes_max: 1 << 20, fold_first: false },
            log_events_max: 1_000,
            log_keep_ms: i64::MAX,
        };
        let bus = Bus::embedded(config).await.unwrap();
        let blobs = Blobs::folder(dir.path().join("blobs")).unwrap();
        Self { bus, blobs, dir, stop: watch::Sender::new(false), workers: None }
    }

    fn work(&mut self, workers: usize) {
        let config = MediaConfig {
            node: "test".into(),
            workers,
            child: ChildCommand::new(env!("CARGO_BIN_EXE_faulty-child"), ["128"]),
            limits: Limits::default(),
            deadline: Duration::from_secs(20),
            lease: Duration::from_millis(900),
            quality: Quality::default(),
            widths: vec![320, 640, 1280],
            formats: vec![VariantFormat::Jpeg, VariantFormat::Webp],
        };
        let (bus, blobs) = (self.bus.clone(), self.blobs.clone());
        self.workers = Some(tokio::spawn(run_workers(config, bus, blobs, self.stop.subscribe())));
    }

    async fn order(&self, number: u64, picture: Vec<u8>) -> String {
        let id = format!("job-{number}");
        let job = PictureJob {
            upload: Upload::of(STORE, number),
            store: STORE,
            source: format!("stores/{STORE}/originals/{number}"),
            into: format!("stores/{STORE}/pictures/{number}/"),
            preset: "4:3".into(),
            focus: None,
        };
        self.blobs.put(&Key::new(job.source.clone()).unwrap(), Bytes::from(picture), "image/jpeg").await.unwrap();
        self.bus.jobs.enqueue(PICTURES_QUEUE, &id, &serde_json::to_vec(&job).unwrap()).await.unwrap();
        id
    }

    async fn until(&self, id: &str, what: impl Fn(&Job) -> bool) -> Job {
        let started = Instant::now();
        loop {
            let job = self.bus.jobs.read(PICTURES_QUEUE, id).await.unwrap().unwrap();
            if what(&job) {
                return job;
            }
            assert!(started.elapsed() < SOON, "{job:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(&self, id: &str) -> Job {
        self.until(id, |job| matches!(job.state, JobState::Done | JobState::Dead)).await
    }

    async fn close(self) {
        self.stop.send(true).unwrap();
        self.workers.unwrap().await.unwrap();
    }
}

fn dish() -> Vec<u8> {
    let picture = RgbImage::from_fn(800, 600, |x, y| Rgb([(x / 4) as u8, (y / 4) as u8, 60]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn made(job: &Job) -> PictureDoc {
    match serde_json::from_slice(job.result.as_deref().unwrap()).unwrap() {
        PictureOutcome::Made(doc) => doc,
        PictureOutcome::Refused(error) => panic!("{error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_made_put_and_told_step_by_step() {
    let mut kitchen = Kitchen::open().await;
    let topic = Topic::Upload(Upload::of(STORE, 1)).to_string();
    let mut fields = Fields::new();
    fields.set_json("state", "\"queued\"");
    kitchen.bus.topics.publish(&topic, &fields, Fence::Record { version: 1, assignment: 0 }).await.unwrap();
    let mut watcher = kitchen.bus.topics.subscriber(1_000);
    watcher.subscribe(&topic, 1).await;
    kitchen.work(1);
    let id = kitchen.order(1, dish()).await;
    let job = kitchen.end(&id).await;
    let doc = made(&job);
    assert_eq!((doc.width, doc.height, doc.files.len()), (800, 600, 6));
    assert!(doc.colour.starts_with('#') && doc.placeholder.len() > 20);
    for file in &doc.files {
        let bytes = kitchen.blobs.get(&Key::new(file.key.clone()).unwrap()).await.unwrap().unwrap();
        assert_eq!(bytes.len() as u64, file.bytes);
        assert!(file.key.starts_with(&format!("stores/{STORE}/pictures/1/{}x{}-", file.width, file.height)));
    }
    let mut events: Vec<Event> = Vec::new();
    watcher.try_recv(&mut events);
    let told: Vec<String> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Delta { patch, .. } => Some(String::from_utf8_lossy(patch.text()).into_owned()),
            _ => None,
        })
        .collect();
    let states: Vec<&str> = ["decoding", "encoding", "storing"].into();
    let first_with = |word: &str| told.iter().position(|text| text.contains(word)).unwrap();
    let places: Vec<usize> = states.iter().map(|state| first_with(state)).collect();
    assert!(places.is_sorted(), "{told:?}");
    assert_eq!(told.iter().filter(|text| text.contains("\"made\"")).count(), 7, "{told:?}");
    kitchen.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_costs_three_tries_and_nobody_else() {
    let mut kitchen = Kitchen::open().await;
    kitchen.work(2);
    let poison = [kitchen.order(1, b"abort".to_vec()).await, kitchen.order(2, b"hog".to_vec()).await];
    let refused = kitchen.order(3, b"<svg>".to_vec()).await;
    let good = [kitchen.order(4, dish()).await, kitchen.order(5, dish()).await];
    for id in &good {
        assert_eq!(made(&kitchen.end(id).await).files.len(), 6);
    }
    let job = kitchen.end(&refused).await;
    let outcome: PictureOutcome = serde_json::from_slice(job.result.as_deref().unwrap()).unwrap();
    assert!(matches!(outcome, PictureOutcome::Refused(error) if error.code == "unsupported_format"));
    for id in &poison {
        let job = kitchen.end(id).await;
        assert_eq!((job.state, job.failures, job.losses), (JobState::Dead, 3, 0));
        assert!(job.reason.unwrap().contains("signal"));
    }
    kitchen.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_costs_no_try() {
    let mut kitchen = Kitchen::open().await;
    let id = kitchen.order(1, dish()).await;
    // The folder leads in a circle: an error that is not "there is no such file".
    let (folder, aside) = (kitchen.dir.path().join("blobs/stores"), kitchen.dir.path().join("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::os::unix::fs::symlink(&folder, &folder).unwrap();
    kitchen.work(1);
    let job = kitchen.until(&id, |job| job.reason.is_some()).await;
    assert_eq!((job.state, job.failures), (JobState::Waiting, 0));
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let job = kitchen.end(&id).await;
    assert_eq!((job.state, job.failures), (JobState::Done, 0));
    kitchen.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_gone_is_not_tried_again() {
    let mut kitchen = Kitchen::open().await;
    let id = kitchen.order(1, dish()).await;
    kitchen.blobs.delete(&Key::new(format!("stores/{STORE}/originals/1")).unwrap()).await.unwrap();
    kitchen.work(1);
    assert_eq!(kitchen.end(&id).await.state, JobState::Dead);
    kitchen.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_picture_is_put_down_and_the_next_begun() {
    let mut kitchen = Kitchen::open().await;
    kitchen.work(1);
    let endless = kitchen.order(1, b"spin".to_vec()).await;
    kitchen.until(&endless, |job| job.state == JobState::Running).await;
    let next = kitchen.order(2, dish()).await;
    kitchen.bus.jobs.cancel(PICTURES_QUEUE, &endless).await.unwrap();
    assert_eq!(kitchen.end(&next).await.state, JobState::Done);
    kitchen.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_gives_its_picture_back() {
    let mut kitchen = Kitchen::open().await;
    kitchen.work(1);
    let endless = kitchen.order(1, b"spin".to_vec()).await;
    kitchen.until(&endless, |job| job.state == JobState::Running).await;
    kitchen.stop.send(true).unwrap();
    kitchen.workers.take().unwrap().await.unwrap();
    let job = kitchen.bus.jobs.read(PICTURES_QUEUE, &endless).await.unwrap().unwrap();
    assert_eq!((job.state, job.failures, job.losses), (JobState::Waiting, 0, 0));
}
