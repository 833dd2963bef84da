//! Hearing: subscriptions to the channels of topics that somebody here listens to, and a look from time to time whether nothing was missed.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fred::error::Error;
use fred::interfaces::{EventInterface as _, HashesInterface as _, PubsubInterface as _};
use fred::types::Message as Frame;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use super::hub::{Hub, Topic};
use super::logs::Tails;
use super::message::{At, Kept, Message};
use super::mirror::{Attention, Hearing, Next};
use super::out::number;
use super::scripts::{RAISE, TOPIC};
use crate::queue::lock;

/// Topics whose subscription is worked on at once.
const AT_ONCE: usize = 64;

/// Every topic is looked at this often,
const AUDIT_EVERY: Duration = Duration::from_secs(2);
/// but no more than this many of them in a second.
const AUDITS_PER_S: usize = 5_000;

/// Looks on the way at once.
const AUDITS_AT_ONCE: usize = 256;

/// A word may be this much later than the number it tells.
const ON_THE_WAY: Duration = Duration::from_millis(300);

/// Hands words to their topics.
pub async fn hear(hub: Arc<Hub>, tails: Arc<Tails>, mut frames: broadcast::Receiver<Frame>) {
    loop {
        match frames.recv().await {
            Ok(frame) => take(&hub, &tails, &frame),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "words of the bus came faster than they could be taken; topics are read anew");
                metrics::counter!("wayfare_bus_redis_lagged_total").increment(missed);
                hub.attend_all();
                tails.wake_all();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn take(hub: &Hub, tails: &Tails, frame: &Frame) {
    let topic = hub.heard.read().unwrap_or_else(PoisonError::into_inner).get(&*frame.channel).cloned();
    let Some(topic) = topic else {
        tails.wake(&frame.channel, frame.value.as_u64());
        return;
    };
    let Some(message) = frame.value.as_bytes().and_then(Message::read) else {
        tracing::error!(topic = &*topic.name, "a word on a topic's channel cannot be read");
        hub.attend(&topic);
        return;
    };
    let attend = lock(&topic.mirror).hear(message, &topic);
    if attend {
        hub.attend(&topic);
    }
}

/// Works on the subscriptions of topics that need it.
pub async fn attend(hub: Arc<Hub>, topics: mpsc::UnboundedReceiver<Arc<Topic>>) {
    let topics = stream::unfold(topics, async |mut topics| topics.recv().await.map(|topic| (topic, topics)));
    let hub = &hub;
    Box::pin(topics).for_each_concurrent(AT_ONCE, async |topic| look_after(hub, topic).await).await;
}

async fn look_after(hub: &Hub, topic: Arc<Topic>) {
    loop {
        let is_wanted = {
            let mut mirror = lock(&topic.mirror);
            mirror.attention = Attention::Now;
            if mirror.listeners.is_empty() {
                mirror.rest();
                false
            } else {
                mirror.begin();
                true
            }
        };
        let done = if is_wanted { listen(hub, &topic).await } else { leave(hub, &topic).await };
        let mut mirror = lock(&topic.mirror);
        match done {
            Ok(false) => continue,
            Ok(true) if mirror.attention == Attention::Again => continue,
            Ok(true) => {}
            Err(error) => {
                tracing::debug!(%error, topic = &*topic.name, "a topic cannot be heard just now");
                hub.link.trouble.notify_one();
                // The audit tries again.
                mirror.stale(&topic);
            }
        }
        mirror.attention = Attention::None;
        return;
    }
}

/// Nobody listens any more.
async fn leave(hub: &Hub, topic: &Arc<Topic>) -> Result<bool, Error> {
    hub.heard.write().unwrap_or_else(PoisonError::into_inner).remove(&topic.key);
    // What fails here is words that nobody hears.
    let _ = hub.link.ears.sunsubscribe(topic.key.to_string()).await;
    Ok(true)
}

/// Subscribes, then reads. False if it is to be done again.
async fn listen(hub: &Hub, topic: &Arc<Topic>) -> Result<bool, Error> {
    hub.heard.write().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&topic.key), Arc::clone(topic));
    hub.link.ask(|| hub.link.ears.ssubscribe(topic.key.to_string())).await?;
    loop {
        let hash = hub.link.run(&TOPIC, &[&topic.key], Vec::new()).await?;
        let next = lock(&topic.mirror).read(Kept::read(hash), topic);
        match next {
            Next::Done => return Ok(true),
            Next::Read => return Ok(false),
            Next::Lost => {
                hub.lost();
                return Ok(true);
            }
            Next::Raise => {
                let at = topic.seen();
                let arguments = vec![number(hub.epoch()), number(at.0), number(at.1)];
                hub.link.run(&RAISE, &[&topic.key], arguments).await?;
                metrics::counter!("wayfare_bus_raised_total").increment(1);
                hub.lost();
            }
        }
    }
}

/// Whatever happens to connections and clusters ends in reading what may have been missed.
pub async fn follow_connections(hub: Arc<Hub>, tails: Arc<Tails>) {
    let (commands, ears) = (&hub.link.commands, &hub.link.ears);
    let (mut came_back, mut ears_back) = (commands.reconnect_rx(), ears.reconnect_rx());
    let (mut moved, mut ears_moved) = (commands.cluster_change_rx(), ears.cluster_change_rx());
    let mut failed = ears.error_rx();
    loop {
        let closed = tokio::select! {
            word = came_back.recv() => matches!(word, Err(RecvError::Closed)),
            word = ears_back.recv() => matches!(word, Err(RecvError::Closed)),
            word = moved.recv() => matches!(word, Err(RecvError::Closed)),
            word = ears_moved.recv() => matches!(word, Err(RecvError::Closed)),
            word = failed.recv() => matches!(word, Err(RecvError::Closed)),
        };
        if closed {
            return;
        }
        // Several come together.
        tokio::time::sleep(Duration::from_millis(20)).await;
        hub.link.trouble.notify_one();
        hub.attend_all();
        tails.listen_anew();
    }
}

/// Compares the numbers of topics that are heard with those they have. Channels promise nothing: a slot that moves takes its subscribers'
/// words away without telling this library.
pub async fn audit(hub: Arc<Hub>) {
    loop {
        let topics = hub.all_heard();
        let rounds = topics.len().div_ceil(AUDITS_PER_S).max(1);
        let pause = (AUDIT_EVERY / rounds as u32).max(Duration::from_secs(1));
        let mut pieces = topics.chunks(AUDITS_PER_S);
        loop {
            tokio::time::sleep(pause).await;
            let Some(piece) = pieces.next() else { break };
            look_at(&hub, piece).await;
        }
    }
}

async fn look_at(hub: &Hub, topics: &[Arc<Topic>]) {
    let mut ahead = Vec::new();
    {
        let looks = stream::iter(topics.to_vec()).map(|topic| look(hub, topic));
        let mut looks = std::pin::pin!(looks.buffer_unordered(AUDITS_AT_ONCE));
        while let Some(found) = looks.next().await {
            ahead.extend(found);
        }
    }
    if ahead.is_empty() {
        return;
    }
    tokio::time::sleep(ON_THE_WAY).await;
    for (topic, kept) in ahead {
        if lock(&topic.mirror).at < kept {
            metrics::counter!("wayfare_bus_missed_total").increment(1);
            hub.attend(&topic);
        }
    }
}

/// A topic that has a higher number than we heard: perhaps the word is on the way. Whatever else is wrong is attended to.
async fn look(hub: &Hub, topic: Arc<Topic>) -> Option<(Arc<Topic>, At)> {
    if hub.is_silent(&topic) {
        lock(&topic.mirror).stale(&topic);
        return None;
    }
    if let Ok(kept) = numbers(hub, &topic).await {
        let at = {
            let mirror = lock(&topic.mirror);
            (mirror.hearing == Hearing::Yes && !mirror.is_stale).then_some(mirror.at)
        };
        match at {
            Some(at) if kept == at => return None,
            Some(at) if kept > at => return Some((topic, kept)),
            _ => {}
        }
    }
    hub.attend(&topic);
    None
}

async fn numbers(hub: &Hub, topic: &Topic) -> Result<At, Error> {
    let (epoch, seq): (Option<u64>, Option<u64>) = hub.link.commands.hmget(&*topic.key, vec!["e", "s"]).await?;
    Ok((epoch.unwrap_or(0), seq.unwrap_or(0)))
}
