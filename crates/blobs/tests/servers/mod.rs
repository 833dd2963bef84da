//! A server that speaks S3, which a test starts itself: own port, own folder, killed with the test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wayfare_blobs::S3Config;

/// Where `cargo xtask test` installs it; otherwise it is looked for in the path.
fn program() -> PathBuf {
    // Also tests of other crates start it.
    let mut places = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|top| top.join("target/tools/bin/s3s-fs"));
    places.find(|place| place.exists()).unwrap_or_else(|| "s3s-fs".into())
}

pub struct S3Server {
    port: u16,
    dir: PathBuf,
    child: Option<Child>,
    guard: Option<Child>,
}

impl S3Server {
    pub fn start(dir: &Path) -> Self {
        std::fs::create_dir_all(dir.join("pictures")).expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let mut server = Self { port, dir: dir.to_owned(), child: None, guard: None };
        server.up();
        server
    }

    pub fn up(&mut self) {
        let port = self.port.to_string();
        let child = Command::new(program())
            .args(["--host", "127.0.0.1", "--port", &port, "--access-key", "house", "--secret-key", "secret"])
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("s3s-fs can be started; `cargo xtask test` installs it");
        let guard = Command::new("sh")
            .args(["-c", &format!("read nothing; kill -9 {}", child.id())])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        (self.child, self.guard) = (Some(child), Some(guard));
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "s3s-fs came up in time");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn kill(&mut self) {
        for mut child in self.guard.take().into_iter().chain(self.child.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn config(&self) -> S3Config {
        S3Config {
            endpoint: format!("http://127.0.0.1:{}", self.port),
            region: "house-1".into(),
            bucket: "pictures".into(),
            prefix: "wayfare/".into(),
            access_key: "house".into(),
            secret_key: "secret".into(),
            path_style: true,
            public_url: String::new(),
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.kill();
    }
}
