//! What goes to Redis: per topic one line of patches, one of them on the way at a time.
//!
//! A patch that comes while another of the same writer waits is merged into it; so what waits is bounded by the topics, and by a number of bytes. Beyond
//! it nothing more is taken, and the topics' owners are asked to tell everything again when the way is free.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fred::types::Value;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::hub::{Hub, Topic};
use super::message::At;
use super::scripts::PUBLISH;
use crate::fields::Fields;
use crate::queue::lock;
use crate::topics::{Fence, PublishError};

/// Most bytes of fields that wait to be sent from one process, or for their answer.
pub const OUT_BYTES_MAX: usize = 64 << 20;

/// Topics with a patch on the way at once.
const ON_THE_WAY_MAX: usize = 1024;

/// What a topic has to send.
#[derive(Default)]
pub struct Out {
    waiting: VecDeque<Patch>,
    is_queued: bool,
    /// The newest number that was answered.
    pub seen: At,
}

type Answer = oneshot::Sender<Result<u64, PublishError>>;

struct Patch {
    fields: Fields,
    fence: Fence,
    answer: Option<Answer>,
}

/// Puts a patch in line. Without anybody who waits for the answer it may be merged, or dropped.
pub fn put(hub: &Hub, topic: &Arc<Topic>, fields: &Fields, fence: Fence, answer: Option<Answer>) {
    let mut out = lock(&topic.out);
    if answer.is_none() {
        // Writers of single fields have nothing to do with each other: any place will do. For others the order counts.
        let merges = |patch: &&mut Patch| patch.answer.is_none() && patch.fence == fence;
        let patch = match fence {
            Fence::Member { .. } => out.waiting.iter_mut().find(merges),
            Fence::Tracker { .. } | Fence::Record { .. } => out.waiting.back_mut().filter(merges),
        };
        if let Some(patch) = patch {
            let merged = patch.fields.merged(fields);
            hub.out_bytes.fetch_add(merged.bytes(), Ordering::Relaxed);
            hub.out_bytes.fetch_sub(patch.fields.bytes(), Ordering::Relaxed);
            patch.fields = merged;
            metrics::counter!("wayfare_bus_out_merged_total").increment(1);
            return;
        }
        if hub.out_bytes.load(Ordering::Relaxed) + fields.bytes() > OUT_BYTES_MAX {
            hub.is_owing.store(true, Ordering::Release);
            metrics::counter!("wayfare_bus_out_dropped_total").increment(1);
            return;
        }
    }
    hub.out_bytes.fetch_add(fields.bytes(), Ordering::Relaxed);
    out.waiting.push_back(Patch { fields: fields.clone(), fence, answer });
    if !std::mem::replace(&mut out.is_queued, true) {
        let _ = hub.outgoing.send(Arc::clone(topic));
    }
}

/// Sends what is in line until the hub is gone.
pub async fn run(hub: Arc<Hub>, mut topics: mpsc::UnboundedReceiver<Arc<Topic>>) {
    let mut on_the_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            topic = topics.recv(), if on_the_way.len() < ON_THE_WAY_MAX => match topic {
                Some(topic) => on_the_way.push(send(&hub, topic)),
                None => return,
            },
            Some(()) = on_the_way.next() => {
                if on_the_way.is_empty() && topics.is_empty() && hub.is_owing.swap(false, Ordering::AcqRel) {
                    hub.lost();
                }
            }
        }
    }
}

/// Sends everything one topic has in line.
async fn send(hub: &Arc<Hub>, topic: Arc<Topic>) {
    loop {
        let patch = {
            let mut out = lock(&topic.out);
            match out.waiting.pop_front() {
                Some(patch) => patch,
                None => {
                    out.is_queued = false;
                    return;
                }
            }
        };
        match hub.link.run(&PUBLISH, &[&topic.key], arguments(hub, &topic, &patch)).await {
            Ok(reply) => {
                hub.out_bytes.fetch_sub(patch.fields.bytes(), Ordering::Relaxed);
                settle(hub, &topic, patch, reply);
            }
            Err(error) => {
                put_back(hub, &topic, patch);
                // In line again when it makes sense; those of other servers go on meanwhile.
                let hub = Arc::clone(hub);
                tokio::spawn(async move {
                    hub.link.wait_after(&error).await;
                    let _ = hub.outgoing.send(topic);
                });
                return;
            }
        }
    }
}

/// It goes first again, and what came meanwhile is newer.
fn put_back(hub: &Hub, topic: &Topic, patch: Patch) {
    let mut out = lock(&topic.out);
    let next = out.waiting.front_mut();
    let patch = match next.filter(|next| next.fence == patch.fence && next.answer.is_none() && patch.answer.is_none()) {
        Some(next) => {
            let merged = patch.fields.merged(&next.fields);
            hub.out_bytes.fetch_add(merged.bytes(), Ordering::Relaxed);
            hub.out_bytes.fetch_sub(patch.fields.bytes() + next.fields.bytes(), Ordering::Relaxed);
            next.fields = merged;
            return;
        }
        None => patch,
    };
    out.waiting.push_front(patch);
}

/// As the script wants them.
fn arguments(hub: &Hub, topic: &Topic, patch: &Patch) -> Vec<Value> {
    let digits = |number: u64| Value::from(format!("{number:020}"));
    let (writer, first, second) = match patch.fence {
        Fence::Tracker { assignment, lease } => ("tracker", digits(assignment), digits(lease)),
        Fence::Record { version, assignment } => ("record", digits(version), digits(assignment)),
        Fence::Member { lease } => ("member", digits(lease), digits(0)),
    };
    let seen = topic.seen();
    let mut arguments = vec![writer.into(), first, second, number(hub.epoch()), number(seen.0), number(seen.1)];
    push_fields(&mut arguments, &patch.fields);
    arguments
}

/// Epochs and seqs fit: milliseconds since 1970, and publishes.
pub fn number(number: u64) -> Value {
    Value::from(number as i64)
}

/// Name, value, name, value, …
pub fn push_fields(arguments: &mut Vec<Value>, fields: &Fields) {
    for (name, value) in fields.iter() {
        arguments.push(Value::from(&**name));
        arguments.push(Value::Bytes(bytes::Bytes::copy_from_slice(value)));
    }
}

/// A script's answer: where the topic is now, and how many nodes were told.
pub fn read_reply(reply: Value) -> Result<(At, u64), PublishError> {
    if let Value::Array(parts) = &reply {
        let part = |at: usize| parts.get(at).and_then(Value::as_u64).unwrap_or(0);
        return Ok(((part(0), part(1)), part(2)));
    }
    Err(match reply.as_str().as_deref() {
        Some("ended") => PublishError::Ended,
        Some("absent") => PublishError::Absent,
        _ => PublishError::Fenced,
    })
}

fn settle(hub: &Hub, topic: &Topic, patch: Patch, reply: Value) {
    let reply = read_reply(reply);
    match reply {
        Ok((at, told)) => {
            let ours = u64::from(Hub::is_heard_here(topic));
            topic.is_watched_elsewhere.store(told > ours, Ordering::Relaxed);
            let mut out = lock(&topic.out);
            out.seen = at.max(out.seen);
        }
        Err(error) => {
            let seen = std::mem::take(&mut lock(&topic.out).seen);
            if error == PublishError::Absent && seen.1 > 0 {
                hub.lost(); // it was there; said once
            }
            if patch.answer.is_none() {
                metrics::counter!("wayfare_bus_out_refused_total").increment(1);
            }
        }
    }
    if let Some(answer) = patch.answer {
        let _ = answer.send(reply.map(|(at, _)| at.1));
    }
}
