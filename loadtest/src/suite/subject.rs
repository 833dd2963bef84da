//! Servers that the suite starts, measures and ends.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};

use super::SuiteOptions;
use crate::load::Speaks;

/// A server that is not open by then is not worth measuring.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Wayfare,
    Bun,
    Ws,
    SocketIo,
}

impl Kind {
    pub(super) const PEERS: [Self; 3] = [Self::Bun, Self::Ws, Self::SocketIo];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wayfare => "Wayfare",
            Self::Bun => "Bun, native publish",
            Self::Ws => "Node, ws",
            Self::SocketIo => "Node, Socket.IO",
        }
    }

    pub(super) fn speaks(self) -> Speaks {
        match self {
            Self::Wayfare => Speaks::Wayfare,
            Self::Bun | Self::Ws => Speaks::Relay,
            Self::SocketIo => Speaks::SocketIo,
        }
    }
}

/// A running server. Dropped, it is killed.
pub(super) struct Subject {
    pub(super) url: String,
    pub(super) token: String,
    pub(super) pid: u32,
    child: Child,
    _folder: tempfile::TempDir,
    /// A full or closed pipe would stop it.
    _output: Option<Lines<BufReader<ChildStdout>>>,
}

impl Subject {
    pub(super) async fn start(kind: Kind, options: &SuiteOptions, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        match kind {
            Kind::Wayfare => Self::wayfare(options, settings, folder).await,
            Kind::Bun => {
                let peers = options.peers.as_ref().context("there is no folder of peers")?;
                // Its installer puts the program there, whatever the system.
                Self::peer(&peers.join("node_modules/bun/bin/bun.exe"), "bun.js", options, folder).await
            }
            Kind::Ws => Self::peer(Path::new("node"), "ws.js", options, folder).await,
            Kind::SocketIo => Self::peer(Path::new("node"), "socketio.js", options, folder).await,
        }
    }

    async fn wayfare(
        options: &SuiteOptions,
        settings: &[(&str, &str)],
        folder: tempfile::TempDir,
    ) -> anyhow::Result<Self> {
        let mut command = pinned(&options.wayfare, options.server_core);
        // Nobody is refused for asking too often: what is measured is something else.
        for name in [
            "ADDRESS_REQUESTS_PER_SECOND",
            "ADDRESS_REQUESTS_BURST",
            "NETWORK_REQUESTS_PER_SECOND",
            "NETWORK_REQUESTS_BURST",
        ] {
            command.env(format!("WAYFARE_GATE_{name}"), "1000000");
        }
        // And every move is told: drivers who move evenly are foreseen otherwise.
        for phase in ["WAITING", "UNDER_WAY", "ARRIVING"] {
            command.env(format!("WAYFARE_PREDICTION_{phase}_TOLERANCE_M"), "0");
        }
        command
            .env("WAYFARE_INGEST_MESSAGES_PER_SECOND", "1000000")
            .env("WAYFARE_INGEST_MESSAGES_BURST", "1000000")
            .env("WAYFARE_DATA_DIR", folder.path().join("data"))
            .env("WAYFARE_HTTP_LISTEN", "127.0.0.1:0")
            .envs(settings.iter().map(|(name, value)| (format!("WAYFARE_{name}"), value)));
        if options.server_core.is_some() {
            command.env("WAYFARE_CORES_THREADS", "1");
        }
        let mut child = command.arg("serve").stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("it has an output")?).lines();
        let (mut token, mut url) = (String::new(), String::new());
        let opened = async {
            while url.is_empty() {
                let line = lines.next_line().await?.context("wayfare ended before it was open")?;
                if line.starts_with("eyJ") {
                    token = line;
                } else if let Some(address) = line.strip_prefix("Wayfare listens on ") {
                    url = address.trim_end_matches('/').to_owned();
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(OPEN_WITHIN, opened).await.context("wayfare was not open in time")??;
        let pid = child.id().context("it runs")?;
        Ok(Self { url, token, pid, child, _folder: folder, _output: Some(lines) })
    }

    async fn peer(
        program: &Path,
        script: &str,
        options: &SuiteOptions,
        folder: tempfile::TempDir,
    ) -> anyhow::Result<Self> {
        let peers = options.peers.as_ref().context("there is no folder of peers")?;
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let mut command = pinned(program, options.server_core);
        command.arg(peers.join(script)).arg(port.to_string()).current_dir(peers);
        let child = command.stdout(Stdio::null()).spawn().with_context(|| {
            format!("{} cannot be started; `npm install` in {}", program.display(), peers.display())
        })?;
        let opened = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(OPEN_WITHIN, opened).await.with_context(|| format!("{script} was not open in time"))?;
        let pid = child.id().context("it runs")?;
        Ok(Self {
            url: format!("http://127.0.0.1:{port}"),
            token: String::new(),
            pid,
            child,
            _folder: folder,
            _output: None,
        })
    }

    /// Ends it.
    pub(super) async fn end(mut self) {
        // One that is gone already needs no ending.
        let _ = self.child.kill().await;
    }
}

/// On one core if one is named. `taskset` becomes the program, so that the child is the server itself.
fn pinned(program: &Path, core: Option<u32>) -> Command {
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(core.to_string()).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.kill_on_drop(true);
    command
}
