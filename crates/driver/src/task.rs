//! The loop around the core: connect, read, write, wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::config::TokenSource;
use crate::core::{Ended, Next};
use crate::event::Event;
use crate::handle::{Shared, wall_ms};
use crate::socket::{self, Socket};

/// How long the closing handshake may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// How long the line may take nothing; nothing is read meanwhile, so the watchdog must not wait for it.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// Pause after the token could not be fetched.
const TOKEN_PAUSE: Duration = Duration::from_secs(5);

/// Everything a driver's task owns.
pub(crate) struct Task {
    pub(crate) url: String,
    pub(crate) token: TokenSource,
    pub(crate) shared: Arc<Shared>,
    pub(crate) interval: watch::Sender<u32>,
    pub(crate) events: mpsc::Sender<Event>,
}

/// Runs until the app closes or the server says to stay away.
pub(crate) async fn run(task: Task) {
    // Outside of the loop, so that a loop cut short by the app leaves it for a proper farewell.
    let mut socket = None;
    tokio::select! {
        () = task.shared.closing.notified() => {}
        () = task.connect_again_and_again(&mut socket) => {}
    }
    task.shared.stopped.store(true, Ordering::Release);
    task.shared.settled.notify_waiters();
    if let Some(socket) = &mut socket {
        goodbye(socket).await;
    }
}

impl Task {
    async fn connect_again_and_again(&self, slot: &mut Option<Socket>) {
        let mut token = None;
        loop {
            let present = match token.take() {
                Some(token) => token,
                None => self.fetch_token().await,
            };
            let ended = match socket::open(&self.url, &present).await {
                Ok(socket) => self.converse(slot.insert(socket)).await,
                Err(ended) => ended,
            };
            *slot = None;
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
    async fn converse(&self, socket: &mut Socket) -> Ended {
        let hello = {
            let mut core = self.shared.core();
            core.on_open(Instant::now());
            core.hello()
        };
        if let Err(ended) = self.write(socket, hello).await {
            return ended;
        }
        loop {
            self.pass_on().await;
            if let Err(ended) = self.write_all(socket).await {
                return ended;
            }
            let wake = self.shared.core().deadline();
            let wake = wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            tokio::select! {
                frame = socket.next() => match frame {
                    Some(Ok(frame)) => if let Some(ended) = self.read(&frame) { return ended },
                    Some(Err(error)) => return socket::broken(&error),
                    None => return Ended { reason: "the server closed".into(), ..Ended::default() },
                },
                () = self.shared.work.notified() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// Writes whatever the core wants written now.
    async fn write_all(&self, socket: &mut Socket) -> Result<(), Ended> {
        let hang_up = self.shared.core().must_hang_up(Instant::now());
        if let Some(reason) = hang_up {
            goodbye(socket).await;
            let reason = reason.to_owned();
            return Err(Ended { reason, ..Ended::default() });
        }
        let renewal = self.shared.core().poll_renewal(Instant::now());
        if renewal && self.token.is_renewable() {
            // Without a new one the server closes in time, and the next connection asks again.
            if let Ok(token) = self.token.fetch().await {
                let auth = self.shared.core().auth(token);
                self.write(socket, auth).await?;
            }
        }
        loop {
            let message = self.shared.core().poll_message(Instant::now(), wall_ms());
            let Some(message) = message else {
                return Ok(());
            };
            self.write(socket, message).await?;
        }
    }

    async fn write(&self, socket: &mut Socket, text: String) -> Result<(), Ended> {
        let written = tokio::time::timeout(WRITE_WITHIN, socket.send(Message::text(text))).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(socket::broken(&error)),
            Err(_) => Err(Ended { reason: "the line took nothing for too long".into(), ..Ended::default() }),
        }
    }

    fn read(&self, frame: &Message) -> Option<Ended> {
        let now = Instant::now();
        let mut core = self.shared.core();
        match frame {
            Message::Text(text) => core.on_text(text, now, wall_ms()),
            Message::Close(frame) => {
                let code = frame.as_ref().map(|frame| u16::from(frame.code));
                let reason = frame.as_ref().map(|frame| frame.reason.to_string());
                return Some(Ended { code, reason: reason.unwrap_or_default(), ..Ended::default() });
            }
            _ => core.on_heard(now),
        }
        None
    }

    /// Gives the core's events to the app, and wakes whoever waits for acks.
    async fn pass_on(&self) {
        loop {
            let event = self.shared.core().poll_event();
            let Some(event) = event else { break };
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

async fn goodbye(socket: &mut Socket) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = tokio::time::timeout(CLOSE_WITHIN, socket.close(Some(frame))).await;
}
