//! One picture: fetched, made in the child, put where it can be had; and what is told meanwhile.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use wayfare_blobs::{Blobs, Key};
use wayfare_bus::{Bus, Claim, Fence, Fields, Publisher};
use wayfare_wire::Topic;
use wayfare_wire::upload::{
    PictureDoc, PictureError, PictureFile, PictureJob, PictureOutcome, UploadState, field, rank,
};

use crate::crop::{Focus, Preset};
use crate::pipeline::{Made, Recipe, Step};
use crate::workbench::{Trouble, Workbench};
use crate::worker::MediaConfig;

/// A picture came to its end, one way or the other.
pub struct Done {
    pub outcome: PictureOutcome,
    /// For the counters.
    pub label: &'static str,
}

/// A picture did not come to its end.
pub enum Undone {
    /// The claim is not ours any more.
    Lost,
    /// This process ends.
    Stopping,
    /// The store of files, or this machine, cannot just now.
    Away(String),
    /// This try failed.
    Failed(String),
    /// So would every other.
    Hopeless(String),
}

pub async fn make(
    bench: &mut Workbench,
    bus: &Bus,
    blobs: &Blobs,
    config: &MediaConfig,
    claim: &Claim,
) -> Result<Done, Undone> {
    let job: PictureJob = serde_json::from_slice(&claim.payload)
        .map_err(|error| Undone::Hopeless(format!("what is to be done cannot be read: {error}")))?;
    let source = key(&job.source)?;
    let mut teller = Teller::new(bus, &job);
    let away = |teller: &Teller, error: &dyn std::error::Error| {
        teller.waits("storage");
        Undone::Away(error.to_string())
    };

    let started = Instant::now();
    let picture = blobs.get(&source).await.map_err(|error| away(&teller, &error))?;
    let Some(picture) = picture else {
        return Err(Undone::Hopeless("the uploaded file is not there any more".into()));
    };
    spent("fetch", started);

    let started = Instant::now();
    let made = bench.process(&picture, &recipe(config, &job)?, |step| teller.step(step)).await;
    spent("make", started);
    drop(picture);
    let made = match made {
        Ok(made) => made,
        Err(Trouble::Refused(refusal)) => {
            metrics::counter!("wayfare_media_refused_total", "code" => refusal.code.as_str()).increment(1);
            let error = PictureError { code: refusal.code.as_str().into(), message: refusal.sentence };
            return Ok(Done { outcome: PictureOutcome::Refused(error), label: "refused" });
        }
        Err(trouble @ Trouble::Start(_)) => {
            teller.waits("workers");
            return Err(Undone::Away(trouble.to_string()));
        }
        Err(trouble) => return Err(Undone::Failed(trouble.to_string())),
    };

    let started = Instant::now();
    teller.stores();
    let doc = describe(&made, &job.into);
    for (variant, file) in made.variants.into_iter().zip(&doc.files) {
        let put = blobs.put(&key(&file.key)?, Bytes::from(variant.bytes), variant.format.content_type()).await;
        put.map_err(|error| away(&teller, &error))?;
    }
    spent("store", started);
    Ok(Done { outcome: PictureOutcome::Made(doc), label: "made" })
}

fn key(text: &str) -> Result<Key, Undone> {
    Key::new(text).map_err(|error| Undone::Hopeless(error.to_string()))
}

fn recipe(config: &MediaConfig, job: &PictureJob) -> Result<Recipe, Undone> {
    let preset = Preset::parse(&job.preset)
        .ok_or_else(|| Undone::Hopeless(format!("there is no preset named {:.20}", job.preset)))?;
    let focus = job.focus.map_or_else(Focus::default, |[x, y]| Focus { x, y });
    Ok(Recipe {
        preset,
        focus,
        widths: config.widths.clone(),
        formats: config.formats.clone(),
        quality: config.quality,
        ..Recipe::default()
    })
}

/// Files are named by what is in them: a name never comes to mean something else, so caches may keep it for ever, and two workers who make the same do not disturb each other.
fn describe(made: &Made, into: &str) -> PictureDoc {
    let files = made.variants.iter().map(|variant| {
        let hash = ring::digest::digest(&ring::digest::SHA256, &variant.bytes);
        let hash: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        PictureFile {
            format: variant.format.word().into(),
            width: variant.width,
            height: variant.height,
            bytes: variant.bytes.len() as u64,
            key: format!("{into}{}x{}-{hash}.{}", variant.width, variant.height, variant.format.extension()),
        }
    });
    let [r, g, b] = made.colour;
    PictureDoc {
        width: made.source_width,
        height: made.source_height,
        placeholder: STANDARD.encode(&made.thumb_hash),
        colour: format!("#{r:02x}{g:02x}{b:02x}"),
        files: files.collect(),
    }
}

fn spent(stage: &'static str, since: Instant) {
    metrics::histogram!("wayfare_media_stage_seconds", "stage" => stage).record(since.elapsed().as_secs_f64());
}

/// Tells watchers of the upload how far it is. What is lower than what was told already is refused by the topic: a second try does not lead back.
struct Teller {
    publisher: Publisher,
    made: u64,
    at: u64,
}

impl Teller {
    fn new(bus: &Bus, job: &PictureJob) -> Self {
        Self {
            publisher: bus.topics.publisher(&Topic::Upload(job.upload).to_string()),
            made: 0,
            at: rank(UploadState::Queued, 0),
        }
    }

    fn step(&mut self, step: Step) {
        let mut fields = Fields::new();
        match step {
            Step::Decoding { variants } => {
                self.at = rank(UploadState::Decoding, 0);
                reached(&mut fields, UploadState::Decoding);
                fields.set_null(field::AHEAD).set_json(field::MADE, "0");
                fields.set_json(field::VARIANTS, &variants.to_string());
            }
            Step::Made { .. } => {
                self.made += 1;
                self.at = rank(UploadState::Encoding, self.made);
                reached(&mut fields, UploadState::Encoding);
                fields.set_json(field::MADE, &self.made.to_string());
            }
        }
        self.tell(&fields);
    }

    fn stores(&mut self) {
        self.at = rank(UploadState::Storing, 0);
        let mut fields = Fields::new();
        reached(&mut fields, UploadState::Storing);
        self.tell(&fields);
    }

    /// It does not go on because of `what`.
    fn waits(&self, what: &str) {
        let mut fields = Fields::new();
        fields.set_json(field::WAITING, &format!("\"{what}\""));
        self.tell(&fields);
    }

    fn tell(&self, fields: &Fields) {
        // A refusal says that more was told already, or the end.
        let _ = self.publisher.publish_now(fields, Fence::Record { version: self.at, assignment: 0 });
    }
}

/// It is there now, and waits for nothing: also when another worker was stopped by something in the same state.
fn reached(fields: &mut Fields, state: UploadState) {
    fields.set_json(field::STATE, &format!("\"{}\"", state.as_str()));
    fields.set_json(field::AT_MS, &wayfare_bus::now_ms().to_string()).set_null(field::WAITING);
}
