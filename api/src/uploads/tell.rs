//! What watchers of an upload see. The end goes by the outbox; everything before it is told as it happens.

use std::time::Duration;

use wayfare_bus::{Fence, Fields, PublishError};
use wayfare_wire::Topic;
use wayfare_wire::state::{write_i64, write_string};
use wayfare_wire::upload::{UploadState, field, rank};

use crate::House;
use crate::records::upload::{Image, Upload};

/// The bus takes a topic within this, or is away: then it hears of the upload when it is back.
const BEGUN_WITHIN: Duration = Duration::from_secs(1);

fn common(upload: &Upload) -> Fields {
    let mut fields = Fields::new();
    fields.set(field::STATE, |out| write_string(out, upload.state.as_str()));
    fields.set(field::STORE, |out| write_string(out, &upload.store.to_string()));
    fields.set(field::RECEIVED, |out| write_i64(out, upload.received as i64));
    fields.set(field::LENGTH, |out| write_i64(out, upload.length as i64));
    fields
}

fn publish(house: &House, upload: &Upload, fields: &Fields, number: u64) {
    let publisher = house.bus.topics.publisher(&Topic::Upload(upload.id).to_string());
    // A refusal says that more was told already, or the end.
    let _ = publisher.publish_now(fields, Fence::Record { version: number, assignment: 0 });
}

/// It is begun. Whoever begins it watches it at once, so the topic is there before the answer; but nobody waits for a bus that is away.
pub async fn begun(house: &House, upload: &Upload) {
    let (topic, fields) = (Topic::Upload(upload.id).to_string(), common(upload));
    let fence = Fence::Record { version: rank(UploadState::Receiving, 0), assignment: 0 };
    let _ = tokio::time::timeout(BEGUN_WITHIN, house.bus.topics.publish(&topic, &fields, fence)).await;
}

/// So many bytes are kept.
pub fn received(house: &House, upload: &Upload, received: u64) {
    let upload = Upload { received, ..upload.clone() };
    publish(house, &upload, &common(&upload), rank(UploadState::Receiving, received));
}

/// It waits for a worker, behind so many others.
pub fn queued(house: &House, upload: &Upload, ahead: Option<u64>) {
    let mut fields = common(upload);
    if let Some(ahead) = ahead {
        fields.set(field::AHEAD, |out| write_i64(out, ahead as i64));
    }
    publish(house, upload, &fields, rank(UploadState::Queued, 0));
}

/// It has ended.
pub async fn ended(house: &House, upload: &Upload) {
    let keep_ms = upload.due_ms + house.config.ended_keep_ms - wayfare_bus::now_ms();
    if keep_ms <= 0 {
        return;
    }
    let mut fields = common(upload);
    if let Some(image) = Image::of(upload) {
        fields.set(field::PICTURE, |out| {
            serde_json::to_writer(out, &image).expect("an image has string keys");
        });
    }
    if let Some(error) = &upload.error {
        fields.set(field::ERROR, |out| {
            serde_json::to_writer(out, error).expect("an error has string keys");
        });
    }
    let number = rank(UploadState::Done, upload.version);
    let told = house.bus.topics.end(&Topic::Upload(upload.id).to_string(), &fields, number, keep_ms).await;
    if let Err(PublishError::Fenced) = told {
        tracing::debug!(upload = %upload.id, "older news of an upload were not told");
    }
}

/// For the store: what came of an upload. Id and payload of an event of its log.
pub fn store_event(upload: &Upload) -> (String, Vec<u8>) {
    let id = format!("{}/{}", upload.id, upload.version);
    let event = serde_json::json!({
        "id": id, "kind": "picture", "upload": upload.id, "item": upload.item, "state": upload.state, "at_ms": upload.due_ms,
        "picture": Image::of(upload), "error": upload.error, "version": upload.version,
    });
    (id, event.to_string().into_bytes())
}
