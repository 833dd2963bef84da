//! What all nodes agree on: which epoch the bus is in, and who has rebuilt their topics in it.
//!
//! A node asks every primary who it is, once a second. A server that started or was promoted has a new name, and what it had may be lost: a new
//! epoch begins, in which every topic is numbered above all earlier epochs, logs have another generation, and nobody is ready before having told everything
//! again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike as _, ClusterInterface as _};
use fred::types::config::Server;
use fred::types::{ClusterHash, CustomCommand, Value};
use futures_util::future::join_all;

use super::hub::Hub;
use super::link::Link;
use super::out::number;
use super::scripts;
use crate::queue::lock;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// When something fails, it is looked at once, but not without pause.
const AT_LEAST: Duration = Duration::from_millis(100);

impl Link {
    /// All servers that hold slots.
    pub fn primaries(&self) -> Vec<Server> {
        match self.commands.cached_cluster_state() {
            Some(cluster) => cluster.unique_primary_nodes(),
            None => self.commands.client_config().server.hosts(),
        }
    }

    /// The server that a slot lives on.
    pub fn server_of(&self, slot: u16) -> Option<Server> {
        match self.commands.cached_cluster_state() {
            Some(cluster) => cluster.get_server(slot).cloned(),
            None => self.commands.client_config().server.hosts().into_iter().next(),
        }
    }

    /// Has every server write its append-only file anew, beside its work: without what is no longer there.
    pub async fn rewrite_files(&self) -> Result<(), Error> {
        for server in self.primaries() {
            match self.command_on(&server, "BGREWRITEAOF", Vec::new()).await {
                Err(error) if !error.details().contains("in progress") => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn command_on(&self, server: &Server, name: &'static str, arguments: Vec<Value>) -> Result<Value, Error> {
        let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
        if self.commands.is_clustered() {
            self.commands.with_cluster_node(server).custom(command, arguments).await
        } else {
            self.commands.custom(command, arguments).await
        }
    }

    /// Name of a server in its present life: changes when it starts, and when it becomes a primary.
    async fn id_of(&self, server: &Server) -> Result<String, Error> {
        let text = self
            .command_on(server, "INFO", vec!["server".into(), "replication".into()])
            .await?
            .into_string()
            .unwrap_or_default();
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        Ok(format!("{}:{}", line("run_id:"), line("master_replid:")))
    }
}

/// The key of what all agree on.
pub fn house_key(link: &Link) -> String {
    link.key("house", ":agreed")
}

/// Looks once.
pub async fn look(hub: &Hub) -> Result<(), Error> {
    let primaries = hub.link.primaries();
    let ids = join_all(primaries.iter().map(|server| hub.link.id_of(server))).await;
    let silent: Vec<Server> =
        primaries.iter().zip(&ids).filter(|(_, id)| id.is_err()).map(|(server, _)| server.clone()).collect();
    if silent.len() == primaries.len() {
        // Before anybody hears that it is away.
        hub.link.note(&Err(Error::new(ErrorKind::IO, "no server answers")));
    }
    let is_silent = !silent.is_empty();
    *hub.silent.write().unwrap_or_else(PoisonError::into_inner) = silent;
    if is_silent {
        for topic in hub.all_heard().iter().filter(|topic| hub.is_silent(topic)) {
            lock(&topic.mirror).stale(topic);
        }
    }
    let known = hub.epoch();
    // Before the servers are asked: who finds one ignorant later has it looked at again.
    let forced = hub.link.unknown.swap(false, Ordering::AcqRel);
    let mut arguments = vec![number(known)];
    arguments.extend(ids.iter().filter_map(|id| id.as_ref().ok()).map(|id| Value::from(&**id)));
    if arguments.len() == 1 {
        return Err(Error::new(ErrorKind::IO, "no server answers"));
    }
    let Value::Array(mut reply) = hub.link.run_anywhere(&scripts::ERA, &[&house_key(&hub.link)], arguments).await?
    else {
        return Err(Error::new(ErrorKind::Protocol, "an answer of another form"));
    };
    let epoch = reply.remove(0).as_u64().unwrap_or(0);
    let answered = primaries.iter().zip(&ids).filter_map(|(server, id)| Some((server, id.as_ref().ok()?)));
    if let Err(error) = load(hub, epoch, answered, forced).await {
        hub.link.unknown.store(true, Ordering::Release);
        return Err(error);
    }
    *lock(&hub.ready) = reply.into_iter().filter_map(Value::into_string).collect();
    hub.link.epoch.store(epoch, Ordering::Release);
    if known != 0 && epoch != known {
        tracing::warn!(epoch, "Redis started anew, or a replica took over: everything is told and read again");
        hub.lost();
        hub.attend_all();
    }
    Ok(())
}

/// Has each server know the scripts of the epoch, unless it does.
async fn load<'a>(
    hub: &Hub,
    epoch: u64,
    servers: impl Iterator<Item = (&'a Server, &'a String)>,
    forced: bool,
) -> Result<(), Error> {
    for (server, id) in servers {
        let done = (epoch, id.clone());
        if !forced && lock(&hub.loaded).contains(&done) {
            continue;
        }
        let texts = scripts::ALL.iter().map(|script| vec!["LOAD".into(), script.text(epoch).into()]);
        for loaded in join_all(texts.map(|text| hub.link.command_on(server, "SCRIPT", text))).await {
            loaded?;
        }
        let mut loaded = lock(&hub.loaded);
        loaded.retain(|(of, _)| *of == epoch);
        loaded.insert(done);
    }
    Ok(())
}

/// Looks again and again.
pub async fn run(hub: Arc<Hub>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = hub.link.trouble.notified() => tokio::time::sleep(AT_LEAST).await,
        }
        hub.link.note(&look(&hub).await);
    }
}
