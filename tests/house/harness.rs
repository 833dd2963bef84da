//! The house under test: started, killed, restarted, and asked at the end whether it logged anything alarming.

use std::fs::File;
use std::future::Future;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use tempfile::TempDir;

use crate::postgres_server::Postgres;
use crate::replica::Ledger;

/// Nothing that the house does at once may take longer than this on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A running house. Dropped, it is killed and waited for.
pub struct House {
    child: Option<Child>,
    /// The process that took the place of the one started here.
    successor: Option<u32>,
    /// A socket that it is given in place of one that it binds.
    given: Option<std::net::TcpListener>,
    /// Which part of the house it is; empty for all of it.
    role: &'static str,
    dir: TempDir,
    settings: Vec<(String, String)>,
    pub port: u16,
    /// UDP; 0 without QUIC.
    pub quic_port: u16,
    /// Of the certificate on QUIC.
    pub fingerprint: String,
    /// The first service key.
    pub key: String,
    pub http: reqwest::Client,
    /// What any watcher of this house has seen, so that all can be compared.
    pub ledger: Ledger,
    expected: Mutex<Vec<String>>,
    tokens: Mutex<Vec<String>>,
    /// Where its records are, if not in its folder.
    _database: Option<Postgres>,
}

impl House {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings, `key=value` as in the environment, without the `WAYFARE_`.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut house = Self::closed("", settings);
        house.spawn();
        let told = house.told(0).await;
        house.key = told.lines().find(|line| line.starts_with("eyJ")).expect("the first start tells a key").to_owned();
        house.note_token(&house.key);
        house
    }

    /// Only a part of it.
    pub async fn start_role(role: &'static str, settings: &[(&str, &str)]) -> Self {
        let mut house = Self::closed(role, settings);
        house.spawn();
        let told = house.told(0).await;
        house.key = told.lines().find(|line| line.starts_with("eyJ")).unwrap_or_default().to_owned();
        house
    }

    /// The front of a house whose parts are elsewhere.
    pub fn front(port: u16, key: &str) -> Self {
        let mut front = Self::closed("", &[]);
        (front.port, front.key) = (port, key.to_owned());
        front
    }

    /// A part, asked by those who know the key of the whole.
    pub fn front_of(mut part: Self, key: &str) -> Self {
        part.key = key.to_owned();
        part
    }

    fn closed(role: &'static str, settings: &[(&str, &str)]) -> Self {
        let mut settings: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let database = on_postgres().then(Postgres::start);
        if let Some(database) = &database {
            settings.insert(0, ("DATABASE_URL".to_owned(), database.url()));
        }
        Self {
            child: None,
            successor: None,
            given: None,
            role,
            dir: tempfile::tempdir().unwrap(),
            settings,
            port: 0,
            quic_port: 0,
            fingerprint: String::new(),
            key: String::new(),
            http: reqwest::Client::new(),
            ledger: Ledger::default(),
            expected: Mutex::default(),
            tokens: Mutex::default(),
            _database: database,
        }
    }

    /// Kills as a power cut would.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        if let Some(successor) = self.successor.take() {
            let _ = Command::new("kill").args(["-KILL", &successor.to_string()]).status();
        }
    }

    /// Has a new process take its place, and waits until the old one has ended.
    pub async fn hand_over(&mut self) {
        self.signal_replace();
        let before = self.processes().len();
        match self.child.take() {
            Some(mut child) => {
                let status = until(SOON * 2, "the old process ends", async || child.try_wait().unwrap()).await;
                assert!(status.success(), "it ended with {status}; the log:\n{}", self.log());
            }
            None => {
                let old = self.successor.expect("it runs");
                let gone = async || (!std::path::Path::new(&format!("/proc/{old}")).exists()).then_some(());
                until(SOON * 2, "the old process ends", gone).await;
            }
        }
        self.successor = until(SOON, "the new process", async || self.processes().get(before).copied()).await.into();
    }

    /// Asks it to have a new process take its place.
    pub fn signal_replace(&self) {
        let id = self.child.as_ref().map(Child::id).or(self.successor).expect("it runs").to_string();
        assert!(Command::new("kill").args(["-USR2", &id]).status().unwrap().success());
    }

    /// The numbers of the processes that have been open, in order.
    fn processes(&self) -> Vec<u32> {
        let log = self.log();
        let told = log.lines().filter(|line| line.contains("the house is open"));
        told.filter_map(|line| line.split("process=").nth(1)?.trim().parse().ok()).collect()
    }

    /// A house that is given its socket, as systemd does, and does not run yet.
    pub fn with_socket(socket: std::net::TcpListener, settings: &[(&str, &str)]) -> Self {
        let mut house = Self::closed("", settings);
        house.port = socket.local_addr().unwrap().port();
        house.given = Some(socket);
        house
    }

    /// Asks it to stop, and expects a clean end.
    pub async fn terminate(&mut self) -> Duration {
        let began = Instant::now();
        self.signal_term();
        let status = self.ended(Duration::from_secs(35)).await;
        assert!(status.success(), "it ended with {status}; the log:\n{}", self.log());
        began.elapsed()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends SIGTERM and returns at once.
    pub fn signal_term(&self) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let child = self.child.as_mut().expect("it runs");
        let status = until(within, "the process ends", async || child.try_wait().unwrap()).await;
        self.child = None;
        status
    }

    /// Starts it again with the same data folder on the same port.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none() && self.successor.is_none(), "it runs already");
        let before = self.output().len();
        self.spawn();
        self.told(before).await;
    }

    /// Runs another command of the binary on the same data folder, and returns its output.
    pub async fn command(&self, arguments: &[&str]) -> String {
        let mut command = self.prepared();
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same for a command that must fail; returns what it says.
    pub async fn command_fails(&self, arguments: &[&str]) -> String {
        let mut command = self.prepared();
        command.args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts a house that must not start, and returns what it says.
    pub async fn refused(settings: &[(&str, &str)], arguments: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wayfare"));
        command.env("WAYFARE_DATA_DIR", dir.path().join("data")).args(arguments);
        command.envs(settings.iter().map(|(name, value)| (format!("WAYFARE_{name}"), value)));
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + SOON;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    panic!("{settings:?} {arguments:?}: it started");
                }
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        assert!(!status.success(), "{settings:?} {arguments:?}");
        std::io::read_to_string(child.stderr.take().unwrap()).unwrap()
    }

    /// A counter or gauge of `/metrics`, summed over its labels; `having` must be among them.
    pub async fn metric(&self, name: &str, having: &str) -> f64 {
        let text = self.call("GET", "/metrics", Some(&self.key), None).await.text;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(having));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Declares that lines with this text may be in the log although they warn.
    pub fn expect_log(&self, text: &str) {
        self.expected.lock().unwrap().push(text.to_owned());
    }

    /// Notes a token that must never be in the log.
    pub fn note_token(&self, token: &str) {
        self.tokens.lock().unwrap().push(token.to_owned());
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// Nothing warned, nothing panicked, and no token was written down.
    pub fn assert_clean_log(&self) {
        let (log, expected) = (self.log(), self.expected.lock().unwrap());
        for line in log.lines() {
            let alarming = line.contains(" ERROR ") || line.contains(" WARN ") || line.contains("panicked at");
            assert!(!alarming || expected.iter().any(|text| line.contains(text)), "the log says: {line}");
        }
        let output = self.output();
        for token in self.tokens.lock().unwrap().iter() {
            // The signature alone would be of use to nobody else, but it is the part that no other text has.
            let signature = token.rsplit('.').next().unwrap();
            assert!(!log.contains(signature), "a token is in the log");
            assert!(*token == self.key || !output.contains(signature), "a token is in the output");
        }
    }

    fn spawn(&mut self) {
        let append = |name: &str| File::options().create(true).append(true).open(self.path(name)).unwrap();
        let mut command = self.prepared();
        command.stdout(append("stdout")).stderr(append("stderr"));
        if !self.role.is_empty() {
            command.arg(self.role);
        }
        if let Some(socket) = &self.given {
            let parent_fd = socket.try_clone().unwrap().into();
            command.env("LISTEN_FDS", "1").fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).unwrap();
        }
        self.child = Some(command.spawn().unwrap());
    }

    fn prepared(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wayfare"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WAYFARE_")) {
            command.env_remove(name);
        }
        command
            .env("RUST_BACKTRACE", "0")
            // Most tests wait for each position they sent: what watchers foresee has tests of its own.
            .envs(
                ["WAITING", "UNDER_WAY", "ARRIVING"]
                    .map(|phase| (format!("WAYFARE_PREDICTION_{phase}_TOLERANCE_M"), "0")),
            )
            .env("WAYFARE_DATA_DIR", self.dir.path().join("data"))
            .env("WAYFARE_HTTP_LISTEN", format!("127.0.0.1:{}", self.port))
            .envs(self.settings.iter().map(|(name, value)| (format!("WAYFARE_{name}"), value)));
        if self.quic_port != 0 {
            command.env("WAYFARE_QUIC_LISTEN", format!("127.0.0.1:{}", self.quic_port));
        }
        command
    }

    /// Waits until it says where it listens, after this much of its output.
    async fn told(&mut self, after: usize) -> String {
        let mark = "Wayfare listens on http";
        let told = until(SOON, "the house opens", async || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("it ended with {status} before it opened; the log:\n{}", self.log());
            }
            let told = self.output()[after..].to_owned();
            told.contains(mark).then_some(told).filter(|told| told.ends_with('\n'))
        })
        .await;
        let (_, rest) = told.split_once(mark).unwrap();
        let (_, address) = rest.split_once("://127.0.0.1:").unwrap();
        self.port = address.split('/').next().unwrap().parse().unwrap();
        if let Some((_, quic)) = told.split_once("Drivers on QUIC: 127.0.0.1:") {
            let (port, rest) = quic.split_once(", certificate SHA-256 ").unwrap();
            self.quic_port = port.parse().unwrap();
            self.fingerprint = rest.lines().next().unwrap().to_owned();
        }
        told
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.path("stdout")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("the log of the house:\n{}", self.log());
        }
    }
}

/// Asks again and again until there is an answer; ends the test if there is none in time.
pub async fn until<T>(within: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Bounds a wait; ends the test if it takes longer.
pub async fn within<T>(time: Duration, what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(time, wait).await {
        Ok(value) => value,
        Err(_) => panic!("not within {time:?}: {what}"),
    }
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// How long tests of faults go on: briefly, or for a minute with `LONG_TESTS=1`.
pub fn fault_time(briefly: Duration) -> Duration {
    if is_long() { Duration::from_secs(60) } else { briefly }
}

/// How often they kill: so often, or a hundred times with `LONG_TESTS=1`.
pub fn fault_rounds(briefly: usize) -> usize {
    if is_long() { 100 } else { briefly }
}

/// Whether the records of houses are on PostgreSQL.
pub fn on_postgres() -> bool {
    std::env::var("HOUSE_ON_POSTGRES").is_ok_and(|value| value == "1")
}

/// Whether tests may take minutes: `LONG_TESTS=1`.
pub fn is_long() -> bool {
    std::env::var("LONG_TESTS").is_ok_and(|value| value == "1")
}
