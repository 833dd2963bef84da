//! A request per message, for networks that let nothing else through. To the core it looks like a connection with one message on its
//! way at a time: answers become the messages that a connection would have brought.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wayfare_wire::messages::drive::{Deliveries, Fixes, FixesReply, FromDriver, Phone, ToDriver};
use wayfare_wire::{ErrorBody, ErrorCode};

use super::Heard;
use crate::config::BadUrl;
use crate::core::Ended;

/// A phone in a lift would otherwise wait for minutes.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// The server waits at most 10 s for its disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// No answer is longer.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What an app on HTTP keeps to, as there is no `welcome`: the limits of `PROTOCOL.md`, one message at a time, and no heartbeats.
fn welcome() -> ToDriver {
    ToDriver::Welcome {
        version: 1,
        driver: String::new(),
        interval_ms: 15_000,
        max_fixes: 100,
        max_unacked: 1,
        heartbeat_ms: 3_600_000,
        expires_at_ms: i64::MAX,
    }
}

/// A server and how to reach it.
#[derive(Clone)]
pub(crate) struct Target {
    host: String,
    port: u16,
    /// Of the request: path before ours, and the host as the URL has it.
    base: String,
    authority: String,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Target {
    pub(crate) fn new(url: &str, tls: Arc<rustls::ClientConfig>) -> Result<Self, BadUrl> {
        let bad = || BadUrl(url.to_owned());
        let uri: hyper::Uri = url.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?;
        Ok(Self {
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            base: uri.path().trim_end_matches('/').to_owned(),
            authority: authority.to_string(),
            tls: secure.then_some(tls),
        })
    }

    /// Nothing travels before there is something to say.
    pub(crate) fn open(&self, token: &str, session: u64) -> Line {
        Line {
            target: self.clone(),
            token: token.to_owned(),
            session,
            sender: None,
            heard: VecDeque::from([welcome()]),
            answered: false,
            known: Deliveries::default(),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Ended> {
        let stream = TcpStream::connect((&*self.host, self.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some(tls) = &self.tls else { return shake_hands(stream).await };
        let name = ServerName::try_from(self.host.clone()).map_err(failed)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(failed)?;
        shake_hands(stream).await
    }
}

async fn shake_hands<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Ended>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends with the sender, or with the line.
    tokio::spawn(connection);
    Ok(sender)
}

/// See the module.
pub(crate) struct Line {
    target: Target,
    token: String,
    session: u64,
    sender: Option<SendRequest<Full<Bytes>>>,
    heard: VecDeque<ToDriver>,
    answered: bool,
    /// Deliveries that were told on this line.
    known: Deliveries,
}

impl Line {
    /// Whether the server has answered at all.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered
    }

    /// `hello` has nothing to tell that a request does not; a new token goes into the next request; what the phone says of itself is one.
    pub(crate) async fn control(&mut self, message: &FromDriver) -> Result<(), Ended> {
        match message {
            FromDriver::Auth { token } => {
                self.token.clone_from(token);
                self.heard.push_back(welcome());
                Ok(())
            }
            FromDriver::Phone(phone) => self.phone(phone).await,
            FromDriver::Accept { trip, .. } => self.word(message, trip, "accept", "accept").await,
            FromDriver::Decline { trip, .. } => self.word(message, trip, "decline", "decline").await,
            FromDriver::Status { trip, phase, .. } => self.word(message, trip, "status", phase).await,
            FromDriver::Hello { .. } | FromDriver::Ping | FromDriver::Fixes(_) => Ok(()),
        }
    }

    /// What is said about a trip is a call of the API. What it refuses is refused for good; what else goes wrong is said again.
    async fn word(&mut self, message: &FromDriver, trip: &str, call: &str, said: &str) -> Result<(), Ended> {
        let mut body = serde_json::to_value(message).map_err(failed)?;
        if let Some(members) = body.as_object_mut() {
            members.retain(|name, _| !matches!(name.as_str(), "type" | "trip"));
        }
        let path = format!("/v1/trips/{trip}/{call}");
        let (status, retry_after, _) = self.ask(&path, body.to_string().into()).await?;
        let heard = match status {
            200..300 => ToDriver::Noted { trip: trip.to_owned(), said: said.to_owned() },
            400 | 404 | 409 | 410 | 422 => {
                let message = format!("refused with status {status}");
                ToDriver::Error(ErrorBody::new(ErrorCode::NotFound, message).field("trip"))
            }
            _ => return Err(refused(status, retry_after)),
        };
        self.heard.push_back(heard);
        Ok(())
    }

    /// Whatever the answer is: a message of fixes will hear it too, and can do something about it.
    async fn phone(&mut self, phone: &Phone) -> Result<(), Ended> {
        let body = serde_json::to_vec(phone).map_err(failed)?;
        self.ask("/v1/phone", body.into()).await.map(drop)
    }

    /// Posts the message and keeps what the answer says.
    pub(crate) async fn fixes(&mut self, message: &FromDriver) -> Result<(), Ended> {
        let FromDriver::Fixes(fixes) = message else { return Err(failed("not a message of fixes")) };
        let (session, known) = (format!("{:x}", self.session), self.known.tag.clone());
        let request = Fixes { session: Some(session), deliveries: Some(known), ..fixes.clone() };
        let body = serde_json::to_vec(&request).map_err(failed)?;
        let (status, retry_after, answer) = self.ask("/v1/fixes", body.into()).await?;
        match status {
            200 => self.keep(&answer, fixes.seq),
            401 | 403 | 404 => {
                let answer = serde_json::from_slice::<Value>(&answer).unwrap_or_default();
                let reason = answer["message"].as_str().unwrap_or("refused").to_owned();
                // A driver that the server does not know, and one whose token it does not take, need the same: another token.
                let code = answer["code"].as_str();
                let status = if code == Some("not_found") { 401 } else { status };
                Err(Ended { status: Some(status), retry_after, reason, ..Ended::default() })
            }
            _ => {
                let error = serde_json::from_slice::<ErrorBody>(&answer).map_err(|_| refused(status, retry_after))?;
                self.answered = true;
                self.heard.push_back(ToDriver::Error(error));
                Ok(())
            }
        }
    }

    /// An answer as the messages `ack` and `config`, and those about deliveries.
    fn keep(&mut self, answer: &[u8], seq: u64) -> Result<(), Ended> {
        let reply = serde_json::from_slice::<FixesReply>(answer).ok().filter(|reply| reply.ack.seq == seq);
        // What answers 200 without our number is a portal that wants to be logged in to.
        let reply = reply.ok_or_else(|| failed("something that is not the server has answered"))?;
        self.answered = true;
        self.heard.push_back(ToDriver::Ack(reply.ack));
        self.heard.push_back(ToDriver::Config { interval_ms: reply.interval_ms, heartbeat_ms: None });
        if let Some(deliveries) = reply.deliveries {
            self.compare(deliveries);
        }
        Ok(())
    }

    /// What is new, and what is gone, as the messages in which a connection hears of it.
    fn compare(&mut self, deliveries: Deliveries) {
        let known = std::mem::replace(&mut self.known, deliveries);
        for old in known.open.iter().filter(|old| self.known.open.iter().all(|new| new.trip != old.trip)) {
            self.heard.push_back(ToDriver::DeliveryWithdrawn { trip: old.trip.clone(), offer: old.offer });
        }
        let is_known = |trip: &str, offer| known.open.iter().any(|old| old.trip == trip && old.offer == offer);
        for new in self.known.open.iter().filter(|new| !is_known(&new.trip, new.offer)) {
            self.heard.push_back(ToDriver::NewDeliveryAssigned(new.clone()));
        }
    }

    /// Posts, and gives status, `Retry-After` and the whole answer.
    async fn ask(&mut self, path: &str, body: Bytes) -> Result<(u16, Option<Duration>, Bytes), Ended> {
        let answer = Box::pin(self.post(path, body));
        let response = timeout(ANSWER_WITHIN, answer).await.map_err(|_| failed("no answer in time"))??;
        let (status, retry_after) = (response.status().as_u16(), retry_after(&response));
        let body = timeout(ANSWER_WITHIN, Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect()).await;
        let body = body.map_err(|_| failed("the answer did not end in time"))?.map_err(failed)?.to_bytes();
        Ok((status, retry_after, body))
    }

    async fn post(&mut self, path: &str, body: Bytes) -> Result<Response<Incoming>, Ended> {
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                let connecting = timeout(CONNECT_WITHIN, self.target.connect());
                connecting.await.map_err(|_| failed("no connection in time"))??
            }
        };
        let request = Request::post(format!("{}{path}", self.target.base))
            .header(HOST, &self.target.authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| Ended { status: Some(401), ..failed("the token has letters that no header can carry") })?;
        sender.ready().await.map_err(failed)?;
        let response = sender.send_request(request).await.map_err(failed)?;
        self.sender = Some(sender);
        Ok(response)
    }

    /// What the last answer said; then nothing, until the next request.
    pub(crate) async fn next(&mut self) -> Result<Heard, Ended> {
        match self.heard.pop_front() {
            Some(message) => Ok(Heard::Message(message)),
            None => std::future::pending().await,
        }
    }
}

fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn refused(status: u16, retry_after: Option<Duration>) -> Ended {
    Ended { status: Some(status), retry_after, ..failed(format!("refused with status {status}")) }
}

fn failed(reason: impl ToString) -> Ended {
    Ended { reason: reason.to_string(), ..Ended::default() }
}
