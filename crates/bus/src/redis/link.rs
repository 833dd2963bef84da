//! The connections to Redis, and how scripts are run on them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::config::{Config, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, ClusterHash, CustomCommand, RespVersion, Value};
use fred::util::redis_keyslot;
use tokio::sync::{Notify, watch};

use super::scripts::Script;

/// What does not answer within this is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Between two tries of what must not fail.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A key that is on its way from one server to another can be asked for again after this,
const MOVING_PAUSE: Duration = Duration::from_millis(20);
/// and this often, before it counts as away.
const MOVING_TRIES: u32 = 50;

/// Messages that may wait between the connection and the topics; beyond it all topics are read anew.
const MESSAGES_MAX: usize = 65_536;

/// Both clients: one for commands, which are pipelined, and one that hears.
pub struct Link {
    pub commands: Client,
    pub ears: Client,
    /// Goes before every key.
    namespace: Box<str>,
    /// Whether the house's own key answers.
    pub up: watch::Sender<bool>,
    /// Both connections were ended from here.
    closed: AtomicBool,
    /// Something failed: look now whether the rest answers.
    pub trouble: Notify,
    /// Of the bus, as far as this node knows.
    pub epoch: AtomicU64,
    /// A server did not know a script: it is of another epoch, or has been told to forget them.
    pub unknown: AtomicBool,
}

impl Link {
    /// Connects both clients.
    pub async fn open(config: Config, namespace: &str) -> Result<Self, Error> {
        let (commands, ears) = (client(config.clone())?, client(config)?);
        for client in [&commands, &ears] {
            if let Err(error) = client.init().await {
                // The library's own tasks do not end by themselves.
                for client in [&commands, &ears] {
                    let _ = client.quit().await;
                }
                return Err(error);
            }
        }
        Ok(Self {
            commands,
            ears,
            namespace: namespace.into(),
            up: watch::Sender::new(true),
            closed: AtomicBool::new(false),
            trouble: Notify::new(),
            epoch: AtomicU64::new(0),
            unknown: AtomicBool::new(false),
        })
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The key of something whose other keys must live beside it: `tag` decides where, `rest` tells them apart.
    pub fn key(&self, tag: &str, rest: &str) -> String {
        format!("{}{{{tag}}}{rest}", self.namespace)
    }

    /// Asks, and asks again while the key is being moved to another server, or that server is not yet part of the epoch.
    pub async fn ask<T, F>(&self, command: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        for _ in 0..MOVING_TRIES {
            match command().await {
                Err(error) if is_moving(&error) || is_unknown(&error) => tokio::time::sleep(MOVING_PAUSE).await,
                done => return done,
            }
        }
        command().await
    }

    /// Runs a script once. The keys live in one slot.
    pub async fn run(&self, script: &Script, keys: &[&str], args: Vec<Value>) -> Result<Value, Error> {
        self.ask(|| self.try_run(script, keys, &args)).await
    }

    async fn try_run(&self, script: &Script, keys: &[&str], args: &[Value]) -> Result<Value, Error> {
        // The library's own calls for scripts wait for each other; as plain commands they go one behind the other.
        let done = self.evaluate("EVALSHA", script.name(self.epoch()), keys, args).await;
        if done.as_ref().is_err_and(is_unknown) {
            // Whoever looks at the servers finds out which epoch this one is of.
            self.unknown.store(true, Ordering::Release);
            self.trouble.notify_one();
        }
        done
    }

    /// Runs a script on whatever server has the keys, of this epoch or not.
    pub async fn run_anywhere(&self, script: &Script, keys: &[&str], args: Vec<Value>) -> Result<Value, Error> {
        self.ask(|| self.evaluate("EVAL", script.body().into(), keys, &args)).await
    }

    async fn evaluate(
        &self,
        command: &'static str,
        script: Value,
        keys: &[&str],
        args: &[Value],
    ) -> Result<Value, Error> {
        let slot = ClusterHash::Custom(keys.first().map_or(0, |key| redis_keyslot(key.as_bytes())));
        let mut all = Vec::with_capacity(2 + keys.len() + args.len());
        all.push(script);
        all.push(Value::from(keys.len() as i64));
        all.extend(keys.iter().map(|key| Value::from(*key)));
        all.extend(args.iter().cloned());
        self.commands.custom(CustomCommand::new_static(command, slot, false), all).await
    }

    /// As [`Self::run`], again and again until Redis answers.
    pub async fn insist(&self, script: &Script, keys: &[&str], args: Vec<Value>) -> Value {
        loop {
            match self.run(script, keys, args.clone()).await {
                Ok(value) => return value,
                Err(error) => self.wait_after(&error).await,
            }
        }
    }

    /// Notes a failure and waits until it makes sense to try again.
    pub async fn wait_after(&self, error: &Error) {
        tracing::debug!(%error, "Redis did not answer as it should; trying again");
        metrics::counter!("wayfare_bus_redis_errors_total").increment(1);
        self.trouble.notify_one();
        tokio::time::sleep(AGAIN_AFTER).await;
        let _ = self.up.subscribe().wait_for(|up| *up).await;
    }

    /// Notes whether the house's own key answers. After the end it does not, which is no news.
    pub fn note(&self, looked: &Result<(), Error>) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let is_up = looked.is_ok();
        if !self.up.send_if_modified(|up| std::mem::replace(up, is_up) != is_up) {
            return;
        }
        match looked {
            Err(error) => tracing::error!(%error, "Redis is away: nothing is told until it is back"),
            Ok(()) => tracing::info!("Redis is back"),
        }
    }

    /// Ends both connections.
    pub async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for client in [&self.commands, &self.ears] {
            let _ = client.quit().await;
        }
    }
}

fn is_moving(error: &Error) -> bool {
    error.details().starts_with("TRYAGAIN") || error.details().starts_with("Too many redirections")
}

fn is_unknown(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT")
}

fn client(config: Config) -> Result<Client, Error> {
    Builder::from_config(config)
        .with_config(|config| config.version = RespVersion::RESP3)
        .with_connection_config(|connection| {
            connection.connection_timeout = ANSWER_WITHIN;
            connection.internal_command_timeout = ANSWER_WITHIN;
            connection.max_command_attempts = 1;
            // The library follows ASK by writing between other commands' answers, and takes those for its own. So it follows nothing: where a
            // slot has moved it learns the new place, and we ask again.
            connection.max_redirections = 0;
            connection.tcp.nodelay = Some(true);
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(ANSWER_WITHIN), interval: Duration::from_millis(500) };
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = ANSWER_WITHIN;
            performance.broadcast_channel_capacity = MESSAGES_MAX;
        })
        .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2))
        .build()
}
