//! Redis servers that a test starts itself: own port, own folder, killed with the test, also by a panic.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server comes up within this, or never.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// One server.
pub struct Server {
    pub port: u16,
    dir: PathBuf,
    options: Vec<String>,
    child: Option<Child>,
    /// Kills the server when this process is gone, however it went: its input ends then.
    guard: Option<Child>,
}

impl Server {
    /// Starts a server that keeps what it is told in `dir`.
    pub fn start(dir: &Path, options: &[&str]) -> Self {
        let port = free_port();
        let mut server = Self { port, dir: dir.join(port.to_string()), options: Vec::new(), child: None, guard: None };
        server.options = options.iter().map(|option| (*option).to_owned()).collect();
        std::fs::create_dir_all(&server.dir).expect("a folder");
        server.up();
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it again, with what its folder holds.
    pub fn up(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"])
            .arg("--dir")
            .arg(&self.dir)
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server can be started; `cargo xtask test` installs it");
        let guard = Command::new("sh")
            .args(["-c", &format!("read nothing; kill -9 {}", child.id())])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        (self.child, self.guard) = (Some(child), Some(guard));
        let started = Instant::now();
        while self.try_ask(&["PING"]).as_deref() != Some("PONG") {
            assert!(started.elapsed() < UP_WITHIN, "redis-server came up in time");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As a power cut would.
    pub fn kill(&mut self) {
        for mut child in self.guard.take().into_iter().chain(self.child.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops answering, without closing anything, until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill runs").success());
    }

    /// Loses everything it kept; only while it is down.
    pub fn wipe(&self) {
        assert!(self.child.is_none(), "it runs");
        std::fs::remove_dir_all(&self.dir).expect("a folder");
        std::fs::create_dir_all(&self.dir).expect("a folder");
    }

    /// Runs one command and returns what it printed.
    pub fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).unwrap_or_else(|| panic!("{words:?} on {}", self.port))
    }

    fn try_ask(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(words)
            .output()
            .expect("redis-cli can be started; `cargo xtask test` installs it");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.starts_with("ERR")).then_some(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Cluster of three masters, each with a replica: nodes 0 to 2 and 3 to 5.
pub struct Cluster {
    pub nodes: Vec<Server>,
    _dir: tempfile::TempDir,
}

const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

impl Cluster {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let nodes: Vec<Server> = (0..6)
            .map(|_| {
                let gossip = free_port().to_string();
                let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &gossip];
                let options = [&options[..], &["--repl-diskless-sync-delay", "0"]].concat();
                Server::start(dir.path(), &options)
            })
            .collect();
        for (node, (from, to)) in nodes.iter().zip(SLOTS) {
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
        }
        for (at, node) in nodes.iter().enumerate() {
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
        }
        for node in &nodes[1..] {
            let gossip = &node.options[5];
            nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), gossip]);
        }
        let cluster = Self { nodes, _dir: dir };
        cluster.until("all know each other", |node| node.ask(&["CLUSTER", "NODES"]).lines().count() == 6);
        for at in 0..3 {
            let id = cluster.nodes[at].ask(&["CLUSTER", "MYID"]);
            cluster.nodes[at + 3].ask(&["CLUSTER", "REPLICATE", &id]);
        }
        cluster.until("the cluster is whole", |node| node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
        for replica in &cluster.nodes[3..] {
            wait("replicas are in step", || replica.ask(&["INFO", "replication"]).contains("master_link_status:up"));
        }
        cluster.until("all know who is a replica", |node| {
            node.ask(&["CLUSTER", "NODES"]).lines().filter(|line| line.contains("slave")).count() == 3
        });
        cluster
    }

    pub fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{}?node=127.0.0.1:{}", self.nodes[0].port, self.nodes[1].port)
    }

    fn until(&self, what: &str, is_so: impl Fn(&Server) -> bool) {
        wait(what, || self.nodes.iter().all(&is_so));
    }

    /// The master that a key lives on, among `running`.
    pub fn master_of(&self, key: &str, running: &[usize]) -> usize {
        let slot: u16 = self.nodes[running[0]].ask(&["CLUSTER", "KEYSLOT", key]).parse().expect("a slot");
        let nodes = self.nodes[running[0]].ask(&["CLUSTER", "NODES"]);
        let has =
            |line: &&str| {
                line.contains("master") && !line.contains("fail") && line.split(' ').skip(8).any(|range| {
                    let (from, to) = range.split_once('-').unwrap_or((range, range));
                    matches!((from.parse::<u16>(), to.parse::<u16>()), (Ok(from), Ok(to)) if from <= slot && slot <= to)
                })
            };
        let line = nodes.lines().find(has).expect("every slot has a master");
        let port = line.split([':', '@']).nth(1).expect("a port");
        self.nodes.iter().position(|node| node.port.to_string() == port).expect("one of ours")
    }

    /// Says that the slot of `key` is going to move to another master; returns it, and from where.
    pub fn begin_migration(&self, key: &str, to: usize) -> (String, usize) {
        let from = self.master_of(key, &[0]);
        assert_ne!(from, to);
        let slot = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]);
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (source_id, target_id) = (source.ask(&["CLUSTER", "MYID"]), target.ask(&["CLUSTER", "MYID"]));
        target.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
        source.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
        (slot, from)
    }

    /// Moves the slot of `key` to another master while everything goes on.
    pub fn migrate(&self, key: &str, to: usize) {
        let (slot, from) = self.begin_migration(key, to);
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let target_id = target.ask(&["CLUSTER", "MYID"]);
        loop {
            let keys = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            for key in keys.lines() {
                source.ask(&["MIGRATE", "127.0.0.1", &target.port.to_string(), key, "0", "5000"]);
                // Between the first key and the last there is time for trouble.
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        for node in [target, source] {
            node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
        }
        for node in &self.nodes[..3] {
            let _ = node.try_ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
        }
    }
}

/// Waits for something that needs no more than a few seconds.
pub fn wait(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < UP_WITHIN, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
