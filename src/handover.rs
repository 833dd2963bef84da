//! One process follows another without a closed door.
//!
//! Listening sockets come from outside in the way of systemd (`LISTEN_FDS`: the TCP one first, then the UDP one if there is QUIC), or are
//! bound here. On SIGUSR2 a process starts its own program again, with its arguments and sockets: whoever connects meanwhile waits in the
//! sockets' queues, which both share. The two speak over a pair of Unix sockets that is the new one's standard input: the new one says that it is
//! open, then the old one drains, and its end is the end of the stream.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use command_fds::{CommandFdExt as _, FdMapping};
use listenfd::ListenFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Tells a process that another one waits for it to open. No key of the configuration.
pub const SUCCEEDS: &str = "WAYFARE_SUCCEEDS";

/// A new process that is not open by then is ended, and the old one goes on.
const OPEN_WITHIN: Duration = Duration::from_secs(120);

/// The first number after standard error, as systemd counts.
const FIRST_FD: i32 = 3;

/// What a process was given when it was started.
#[derive(Default)]
pub struct Inherited {
    /// The listener of TCP.
    pub http: Option<TcpListener>,
    /// The socket of QUIC.
    pub quic: Option<UdpSocket>,
    /// The process whose place this one takes.
    pub before: Option<Before>,
}

impl Inherited {
    /// Reads it from the environment.
    ///
    /// # Errors
    /// What was given is something else than sockets of these kinds.
    pub fn from_environment() -> anyhow::Result<Self> {
        let mut given = ListenFd::from_env();
        let take = |index: usize, kind: &str| format!("LISTEN_FDS: number {index} is no {kind}");
        let http =
            if given.len() > 0 { given.take_tcp_listener(0).with_context(|| take(0, "TCP listener"))? } else { None };
        let quic =
            if given.len() > 1 { given.take_udp_socket(1).with_context(|| take(1, "UDP socket"))? } else { None };
        let before = match std::env::var_os(SUCCEEDS) {
            Some(_) => Some(Before::on_standard_input().context("there is no process before this one")?),
            None => None,
        };
        Ok(Self { http, quic, before })
    }
}

/// The process before this one.
pub struct Before(UnixStream);

impl Before {
    fn on_standard_input() -> io::Result<Self> {
        let own = io::stdin().as_fd().try_clone_to_owned()?;
        let stream = std::os::unix::net::UnixStream::from(own);
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream).map(Self)
    }

    /// This process takes connections: the other one may go. Returns when it has.
    pub async fn gone(mut self) {
        // One that is gone already does not hear it, and need not.
        let _ = self.0.write_all(b"open").await;
        let _ = self.0.read(&mut [0]).await;
    }
}

/// The process after this one.
pub struct Successor {
    child: Child,
    stream: UnixStream,
}

impl Successor {
    /// Starts the program anew with these sockets.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path, http: TcpListener, quic: Option<UdpSocket>) -> anyhow::Result<Self> {
        let (own, theirs) = std::os::unix::net::UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let sockets = [Some(OwnedFd::from(http)), quic.map(OwnedFd::from)].into_iter().flatten();
        let mappings: Vec<FdMapping> =
            sockets.zip(FIRST_FD..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
        let mut command = Command::new(program);
        command
            .args(std::env::args_os().skip(1))
            .env("LISTEN_FDS", mappings.len().to_string())
            .env_remove("LISTEN_PID")
            .env(SUCCEEDS, "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .fd_mappings(mappings)?;
        let child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { child, stream: UnixStream::from_std(own)? })
    }

    /// Waits until it is open. The stream must be kept until this process ends.
    ///
    /// # Errors
    /// It ended, or is not open in time and was ended.
    pub async fn open(mut self) -> anyhow::Result<UnixStream> {
        let mut word = [0; 4];
        let heard = tokio::time::timeout(OPEN_WITHIN, self.stream.read_exact(&mut word)).await;
        if matches!(heard, Ok(Ok(_))) {
            return Ok(self.stream);
        }
        let _ = self.child.kill();
        let ended = self.child.wait()?;
        ensure!(heard.is_ok(), "it was not open within {OPEN_WITHIN:?} and was ended");
        anyhow::bail!("it ended with {ended} before it was open; its log says why");
    }
}
