//! The loop around the core: connect, read, write, wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use wayfare_wire::messages::drive::FromDriver;

use crate::config::TokenSource;
use crate::core::ladder::{Ladder, Way};
use crate::core::{Ended, Next, Outgoing};
use crate::event::{Acked, Event};
use crate::handle::{Shared, wall_ms};
use crate::pipe::{Dialer, Heard, Pipe};

/// Pause after the token could not be fetched.
const TOKEN_PAUSE: Duration = Duration::from_secs(5);
/// At least this often it is asked whether something is due.
const LOOK_AROUND: Duration = Duration::from_secs(30);

/// Everything a driver's task owns.
pub(crate) struct Task {
    pub(crate) dialer: Dialer,
    pub(crate) ways: Ladder,
    pub(crate) token: TokenSource,
    pub(crate) shared: Arc<Shared>,
    pub(crate) interval: watch::Sender<u32>,
    pub(crate) events: mpsc::Sender<Event>,
}

/// Runs until the app closes or the server says to stay away.
pub(crate) async fn run(mut task: Task) {
    // Outside of the loop, so that a loop cut short by the app leaves it for a proper farewell.
    let mut pipe = None;
    let shared = Arc::clone(&task.shared);
    tokio::select! {
        () = shared.closing.notified() => {}
        () = task.connect_again_and_again(&mut pipe) => {}
    }
    shared.stopped.store(true, Ordering::Release);
    shared.settled.notify_waiters();
    if let Some(pipe) = &mut pipe {
        pipe.goodbye().await;
    }
    if let Some(mut store) = shared.store() {
        // What it refuses now was handed to it before.
        let _ = store.sync();
    }
}

impl Task {
    async fn connect_again_and_again(&mut self, slot: &mut Option<Pipe>) {
        let mut token = None;
        loop {
            let present = match token.take() {
                Some(token) => token,
                None => self.fetch_token().await,
            };
            let way = self.ways.way(Instant::now());
            let session = self.shared.core().session();
            let (ended, proved) = match self.dialer.open(way, &present, session).await {
                Ok(pipe) => {
                    let pipe = slot.insert(pipe);
                    let ended = self.converse(way, pipe, &present).await;
                    (ended, self.shared.core().is_up() && pipe.is_proved())
                }
                Err(ended) => (ended, false),
            };
            *slot = None;
            if proved {
                self.ways.worked();
            }
            let ended = self.ways.judge(ended, proved, Instant::now(), fastrand::f64());
            let next = self.end(ended);
            self.pass_on().await;
            match next {
                Next::Stop => return,
                Next::Connect { after, new_token } => {
                    token = (!new_token).then_some(present);
                    tokio::time::sleep(after).await;
                }
            }
        }
    }

    fn end(&self, ended: Ended) -> Next {
        let renewable = self.token.is_renewable();
        self.shared.core().on_end(ended, renewable)
    }

    /// Asks until there is one: a server that gives no tokens just now is no reason to lose fixes.
    async fn fetch_token(&self) -> String {
        loop {
            match self.token.fetch().await {
                Ok(token) => return token,
                Err(error) => {
                    let reason = format!("no token: {error}");
                    let event = Event::Disconnected { code: None, reason, retry_after: TOKEN_PAUSE };
                    let _ = self.events.send(event).await;
                    tokio::time::sleep(TOKEN_PAUSE).await;
                }
            }
        }
    }

    /// One connection, from hello to its end.
    async fn converse(&self, way: Way, pipe: &mut Pipe, token: &str) -> Ended {
        let hello = {
            let mut core = self.shared.core();
            core.on_open(way, Instant::now());
            core.hello(pipe.wants_token().then_some(token))
        };
        if let Err(ended) = pipe.control(&hello).await {
            return ended;
        }
        loop {
            self.pass_on().await;
            if let Err(ended) = self.write_all(pipe).await {
                return ended;
            }
            let now = Instant::now();
            if way == Way::Http && self.ways.should_climb(now) {
                let retry_after = Some(Duration::ZERO);
                return Ended { reason: "looking for a better way".into(), retry_after, ..Ended::default() };
            }
            let wake = self.shared.core().deadline();
            let wake = wake.unwrap_or_else(|| now + Duration::from_secs(1)).min(now + LOOK_AROUND);
            tokio::select! {
                heard = pipe.next() => match heard {
                    Ok(Heard::Message(message)) => self.shared.core().on_message(message, Instant::now(), wall_ms()),
                    Ok(Heard::Sign) => self.shared.core().on_heard(Instant::now()),
                    Err(ended) => return ended,
                },
                () = self.shared.work.notified() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// Writes whatever the core wants written now.
    async fn write_all(&self, pipe: &mut Pipe) -> Result<(), Ended> {
        let hang_up = self.shared.core().must_hang_up(Instant::now());
        if let Some(reason) = hang_up {
            pipe.goodbye().await;
            let reason = reason.to_owned();
            return Err(Ended { reason, ..Ended::default() });
        }
        let renewal = self.shared.core().poll_renewal(Instant::now());
        if renewal && self.token.is_renewable() {
            // Without a new one the server closes in time, and the next connection asks again.
            if let Ok(token) = self.token.fetch().await {
                pipe.control(&FromDriver::Auth { token }).await?;
            }
        }
        let phone = self.shared.core().poll_phone();
        if let Some(phone) = phone {
            pipe.control(&phone).await?;
        }
        loop {
            let word = self.shared.core().poll_word(Instant::now());
            let Some(word) = word else { break };
            pipe.control(&word).await?;
        }
        let messages = self.number().await?;
        for message in messages {
            pipe.fixes(&message.message).await?;
        }
        Ok(())
    }

    /// All messages that may travel now. Where there is a queue on the disk, it knows their numbers before anybody else does.
    async fn number(&self) -> Result<Vec<Outgoing>, Ended> {
        let (mut messages, mut failed) = (Vec::new(), None);
        {
            let mut core = self.shared.core();
            let mut store = self.shared.store();
            while let Some(message) = core.poll_message(Instant::now(), wall_ms()) {
                if let Some(store) = &mut store
                    && let Err(error) = store.number(message.seq, message.count)
                {
                    failed = Some(error);
                    break;
                }
                messages.push(message);
            }
        }
        if failed.is_none() && !messages.is_empty() && self.shared.store.is_some() {
            // The disk may take its time; others have work to do on this thread.
            let shared = Arc::clone(&self.shared);
            let synced = tokio::task::spawn_blocking(move || shared.store().map_or(Ok(()), |mut store| store.sync()));
            failed = synced.await.map_err(std::io::Error::other).and_then(|synced| synced).err();
        }
        match failed {
            None => Ok(messages),
            Some(error) => Err(Ended { reason: format!("the queue on the disk: {error}"), ..Ended::default() }),
        }
    }

    /// Gives the core's events to the app, and wakes whoever waits for acks.
    async fn pass_on(&self) {
        loop {
            let event = self.shared.core().poll_event();
            let Some(event) = event else { break };
            if let (Event::Acked(Acked { seq, .. }) | Event::Refused { seq, .. }, Some(mut store)) =
                (&event, self.shared.store())
            {
                // If the disk takes nothing, the message goes again after a restart, and is recognised.
                let _ = store.settle(*seq);
            }
            // Nobody listens: then nobody needs to know.
            let _ = self.events.send(event).await;
        }
        let (interval_ms, idle) = {
            let core = self.shared.core();
            (core.interval_ms(), core.is_idle())
        };
        self.interval.send_if_modified(|known| {
            let changed = *known != interval_ms;
            *known = interval_ms;
            changed
        });
        if idle {
            self.shared.settled.notify_waiters();
        }
    }
}
