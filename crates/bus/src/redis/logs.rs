//! Logs on Streams: a stream, a hash beside it, and a sharded channel that wakes the tails.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ahash::AHashMap;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{HashesInterface as _, PubsubInterface as _, SetsInterface as _};
use fred::types::Value;
use tokio::sync::{Notify, watch};

use super::Running;
use super::hub::Hub;
use super::link::Link;
use super::out::number;
use super::scripts::{APPEND, FORGET, READ, TRIM};
use crate::logs::{Append, Appended, ErasedEvents, LogError, LogEvent, LogPage, LogStart};
use crate::queue::lock;

/// Between two looks for events that are too old.
const AGED_EVERY: Duration = Duration::from_secs(60);

/// Tails that heard nothing look by themselves this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Events read at once when something is erased.
const PAGE: usize = 500;

/// See [`crate::Logs`].
pub struct Logs {
    pub(super) hub: Arc<Hub>,
    pub(super) _running: Arc<Running>,
    pub(super) tails: Arc<Tails>,
    pub(super) events_max: u64,
    pub(super) keep_ms: i64,
    pub(super) known: Mutex<Known>,
}

/// What this node knows of logs.
#[derive(Default)]
pub(super) struct Known {
    /// The newest id seen, and whether something was appended since the log was last trimmed.
    logs: AHashMap<Box<str>, (u64, bool)>,
    aged: Option<Instant>,
}

/// The keys of a log.
struct Keys {
    stream: String,
    meta: String,
}

fn keys(link: &Link, topic: &str) -> Keys {
    Keys { stream: link.key(topic, ":log"), meta: link.key(topic, ":log:about") }
}

fn names_key(link: &Link) -> String {
    link.key("house", ":logs")
}

impl Logs {
    pub(crate) async fn append(&self, topic: &str, event: Append<'_>) -> Result<Appended, LogError> {
        let places = self.append_places(topic, &[event]).await?;
        Ok(places.first().copied().filter(|id| *id > 0).map_or(Appended::Repeated, Appended::At))
    }

    pub(crate) async fn append_all(&self, topic: &str, events: &[Append<'_>]) -> Result<usize, LogError> {
        if events.is_empty() {
            return Ok(0);
        }
        let places = self.append_places(topic, events).await?;
        Ok(places.iter().filter(|id| **id > 0).count())
    }

    /// The id of each event; 0 for a repetition.
    async fn append_places(&self, topic: &str, events: &[Append<'_>]) -> Result<Vec<u64>, LogError> {
        let link = &self.hub.link;
        let known = lock(&self.known).logs.get(topic).copied();
        if known.is_none() {
            // For those who trim and erase.
            let _: Value = link.ask(|| link.commands.sadd(names_key(link), topic)).await?;
        }
        let mut arguments = vec![number(self.hub.epoch()), number(known.map_or(0, |(newest, _)| newest))];
        for event in events {
            arguments.push(event.entity.into());
            arguments.push(format!("{:020}", event.number).into());
            arguments.push(event.event_id.into());
            arguments.push(Value::Bytes(bytes::Bytes::copy_from_slice(event.payload)));
        }
        let keys = keys(link, topic);
        let reply = link.run(&APPEND, &[&keys.stream, &keys.meta], arguments).await?;
        let places: Vec<u64> = reply.into_array().iter().map(|id| id.as_u64().unwrap_or(0)).collect();
        let newest = places.iter().copied().max().unwrap_or(0);
        self.note(topic, newest, newest > 0);
        if newest > 0 {
            self.tails.wake(&keys.stream, Some(newest));
        }
        Ok(places)
    }

    fn note(&self, topic: &str, newest: u64, appended: bool) {
        let mut known = lock(&self.known);
        match known.logs.get_mut(topic) {
            Some(log) => *log = (log.0.max(newest), log.1 || appended),
            None if appended => drop(known.logs.insert(topic.into(), (newest, true))),
            None => {} // readers need not remember every log they were asked for
        }
    }

    pub(crate) async fn read(&self, topic: &str, start: LogStart, limit: usize) -> Result<LogPage, LogError> {
        let (word, generation, id) = match start {
            LogStart::Now => ("now", 0, 0),
            LogStart::Oldest => ("oldest", 0, 0),
            LogStart::After { generation, id } => ("after", generation, id),
        };
        // Cursors come from outside: what no log can have reached is as wrong as any other.
        let within = |number: u64| Value::from(number.min(1 << 53) as i64);
        let keys = keys(&self.hub.link, topic);
        let arguments = vec![
            number(self.hub.epoch()),
            word.into(),
            within(generation),
            within(id),
            Value::from(limit.max(1) as i64),
        ];
        let reply = self.hub.link.run(&READ, &[&keys.stream, &keys.meta], arguments).await?;
        let page = read_page(reply).ok_or_else(|| Error::new(ErrorKind::Protocol, "an answer of another form"))?;
        self.note(topic, if page.reset { 0 } else { page.next }, false);
        Ok(page)
    }

    pub(crate) fn tail(&self, topic: &str) -> watch::Receiver<u64> {
        let keys = keys(&self.hub.link, topic);
        self.tails.follow(&keys.stream, &keys.meta)
    }

    pub(crate) async fn trim(&self) {
        if let Err(error) = self.try_trim().await {
            tracing::warn!(%error, "old events could not be dropped; trying again later");
        }
    }

    async fn try_trim(&self) -> Result<(), Error> {
        let link = &self.hub.link;
        let (mut topics, aged) = {
            let mut known = lock(&self.known);
            let aged = known.aged.is_none_or(|aged| aged.elapsed() >= AGED_EVERY);
            if aged {
                known.aged = Some(Instant::now());
            }
            let appended =
                known.logs.iter_mut().filter_map(|(topic, log)| std::mem::take(&mut log.1).then(|| topic.to_string()));
            (appended.collect::<Vec<String>>(), aged)
        };
        if aged {
            topics = self.all().await?;
        }
        let until_ms = crate::now_ms().saturating_sub(self.keep_ms);
        for topic in topics {
            let keys = keys(link, &topic);
            let arguments = vec![number(self.events_max), Value::from(until_ms)];
            link.run(&TRIM, &[&keys.stream, &keys.meta], arguments).await?;
        }
        Ok(())
    }

    pub(crate) async fn erase(&self, text: &str, kept: Option<&str>) -> Result<ErasedEvents, LogError> {
        let link = &self.hub.link;
        let mut erased = ErasedEvents::default();
        for topic in self.all().await? {
            if !self.names(&topic, text).await? {
                continue;
            }
            let keys = keys(link, &topic);
            let keeps = i64::from(kept.is_some_and(|kept| topic.starts_with(kept)));
            let anew = link.key(&topic, ":log:anew");
            let arguments: Vec<Value> = vec![text.into(), keeps.into()];
            let reply = link.run(&FORGET, &[&keys.stream, &keys.meta, &anew], arguments).await?.into_array();
            erased.deleted += reply.first().and_then(Value::as_u64).unwrap_or(0);
            erased.redacted += reply.get(1).and_then(Value::as_u64).unwrap_or(0);
        }
        Ok(erased)
    }

    /// All logs there are, of any node.
    async fn all(&self) -> Result<Vec<String>, Error> {
        let link = &self.hub.link;
        link.ask(|| link.commands.smembers(names_key(link))).await
    }

    /// Whether a log knows a text: looked through in pages, so that nobody waits; only those that do are written anew.
    async fn names(&self, topic: &str, text: &str) -> Result<bool, LogError> {
        let meta = keys(&self.hub.link, topic).meta;
        let link = &self.hub.link;
        let entity = format!("={text}");
        if link.ask(|| link.commands.hexists::<bool, _, _>(&meta, &entity)).await? {
            return Ok(true);
        }
        let mut page = self.read(topic, LogStart::Oldest, PAGE).await?;
        loop {
            let names = |event: &LogEvent| {
                event.event_id.contains(text)
                    || event.payload.windows(text.len().max(1)).any(|part| part == text.as_bytes())
            };
            if page.events.iter().any(names) {
                return Ok(true);
            }
            if !page.more || page.events.is_empty() {
                return Ok(false);
            }
            page = self.read(topic, LogStart::After { generation: page.generation, id: page.next }, PAGE).await?;
        }
    }

    /// Streams that were written anew hold nothing of it; what is left stands in the servers' append-only files until they are written anew too.
    pub(crate) async fn scrub(&self) -> Result<(), LogError> {
        Ok(self.hub.link.rewrite_files().await?)
    }
}

/// See `read.lua`.
fn read_page(reply: Value) -> Option<LogPage> {
    let parts = reply.into_array();
    let part = |at: usize| parts.get(at).and_then(Value::as_u64);
    let (generation, newest, after, reset) = (part(0)?, part(1)?, part(2)?, part(3)? == 1);
    let mut page = LogPage { generation, next: after, reset, ..LogPage::default() };
    for event in parts.get(4)?.clone().into_array() {
        let [id, fields]: [Value; 2] = event.into_array().try_into().ok()?;
        let fields = fields.into_array();
        page.events.push(LogEvent {
            id: id.as_string()?.split('-').next()?.parse().ok()?,
            event_id: fields.get(1)?.as_string()?,
            payload: fields.get(3)?.clone().into_bytes()?,
        });
    }
    page.next = page.events.last().map_or(after, |event| event.id);
    page.more = !reset && page.next < newest && !page.events.is_empty();
    Some(page)
}

/// Who waits for which log, by the channel's name.
#[derive(Default)]
pub struct Tails {
    inner: Mutex<AHashMap<Box<str>, Tail>>,
    changed: Notify,
}

struct Tail {
    newest: watch::Sender<u64>,
    meta: String,
    is_heard: bool,
}

impl Tails {
    /// A channel, and the hash whose field `n` says what was told on it last.
    pub fn follow(&self, channel: &str, meta: &str) -> watch::Receiver<u64> {
        let mut tails = lock(&self.inner);
        let tail = tails.entry(channel.into()).or_insert_with(|| {
            self.changed.notify_one();
            Tail { newest: watch::Sender::new(0), meta: meta.to_owned(), is_heard: false }
        });
        tail.newest.subscribe()
    }

    /// Something was appended.
    pub fn wake(&self, channel: &str, newest: Option<u64>) {
        if let (Some(tail), Some(id)) = (lock(&self.inner).get(channel), newest) {
            // Two may arrive out of order; one who looks once too often finds nothing.
            tail.newest.send_if_modified(|newest| std::mem::replace(newest, id) != id);
        }
    }

    /// Something may have been missed.
    pub fn wake_all(&self) {
        self.changed.notify_one();
    }

    /// Subscriptions may be gone.
    pub fn listen_anew(&self) {
        for tail in lock(&self.inner).values_mut() {
            tail.is_heard = false;
        }
        self.changed.notify_one();
    }

    /// Keeps the subscriptions, and looks from time to time itself.
    pub async fn run(self: Arc<Self>, hub: Arc<Hub>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.changed.notified() => {}
            }
            let mut left = Vec::new();
            let all: Vec<(Box<str>, String, bool)> = {
                let mut tails = lock(&self.inner);
                tails.retain(|channel, tail| {
                    let followed = tail.newest.receiver_count() > 0;
                    if !followed {
                        left.push(channel.to_string());
                    }
                    followed
                });
                tails.iter().map(|(channel, tail)| (channel.clone(), tail.meta.clone(), tail.is_heard)).collect()
            };
            for channel in left {
                let _ = hub.link.ears.sunsubscribe(channel).await;
            }
            for (channel, meta, is_heard) in all {
                if !is_heard
                    && hub.link.ask(|| hub.link.ears.ssubscribe(channel.to_string())).await.is_ok()
                    && let Some(tail) = lock(&self.inner).get_mut(&channel)
                {
                    tail.is_heard = true;
                }
                let newest: Result<Option<u64>, Error> = hub.link.commands.hget(meta, "n").await;
                if let Ok(Some(newest)) = newest {
                    self.wake(&channel, Some(newest));
                }
            }
        }
    }
}
