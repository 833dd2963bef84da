//! PostgreSQL servers that a test starts itself: own port, own folder, killed with the test, also by a panic.

#![allow(
    dead_code,
    clippy::expect_used,
    reason = "each test binary uses a part of it; in a test, a panic is the report"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server comes up within this, or never.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// Where Debian puts the server's programs, by version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// One server with one empty database.
pub struct Postgres {
    pub port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
    /// Kills the server when this process is gone, however it went: its input ends then.
    guard: Option<Child>,
}

impl Postgres {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let mut server = Self { port, folder, child: None, guard: None };
        if is_root() {
            // It refuses to run as root, and its user must find its folder.
            let owner = Command::new("chown").arg("postgres").arg(server.folder.path()).status();
            assert!(owner.expect("chown runs").success(), "the user postgres exists");
        }
        let made = server
            .program("initdb")
            .args(["--username=wayfare", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
            .arg("--pgdata")
            .arg(server.data())
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs; `cargo xtask test` installs it").success());
        server.up();
        server
    }

    /// Of its database.
    pub fn url(&self) -> String {
        format!("postgres://wayfare@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it again, with what its folder holds.
    pub fn up(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let child = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
            // The machine does not fall in a test, only processes do.
            .args(["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "log_min_messages=fatal"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres can be started");
        let guard = Command::new("sh")
            .args(["-c", &format!("read nothing; kill -9 {}", child.id())])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        (self.child, self.guard) = (Some(child), Some(guard));
        let started = Instant::now();
        let is_ready = || {
            let mut ask = Command::new(bin().join("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .expect("pg_isready runs")
                .success()
        };
        while !is_ready() {
            assert!(started.elapsed() < UP_WITHIN, "postgres came up in time");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As if its process were killed; its children end by themselves.
    pub fn kill(&mut self) {
        for mut child in self.guard.take().into_iter().chain(self.child.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Debian's `setpriv` becomes the program, so that the child is the server itself.
    fn program(&self, name: &str) -> Command {
        let program = bin().join(name);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
        // Its children may still write for a moment, as another user.
        let began = Instant::now();
        while std::fs::remove_dir_all(self.data()).is_err() && self.data().exists() && began.elapsed() < UP_WITHIN {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The newest version that is installed.
fn bin() -> PathBuf {
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    newest.map(|version| Path::new(DEBIAN).join(version.to_string()).join("bin")).unwrap_or_default()
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("a process of ours")) == 0
}
