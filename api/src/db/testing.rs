//! Databases of both kinds, for tests.

#[path = "../../tests/servers/mod.rs"]
mod servers;

use super::{Database, DatabasePlace};

/// An empty database, which goes when this is dropped.
pub struct Scratch {
    pub db: Database,
    /// Its file, if it is one.
    pub file: Option<std::path::PathBuf>,
    _folder: tempfile::TempDir,
    _server: Option<servers::Postgres>,
}

/// One of each kind.
pub async fn databases() -> [Scratch; 2] {
    let folder = || tempfile::tempdir().expect("a temporary folder");
    let (on_file, server) = (folder(), servers::Postgres::start());
    let file = on_file.path().join("records.sqlite");
    let open = async |place| Database::open(&place).await.expect("it opens");
    [
        Scratch {
            db: open(DatabasePlace::File(file.clone())).await,
            file: Some(file),
            _folder: on_file,
            _server: None,
        },
        Scratch {
            db: open(DatabasePlace::Server { url: server.url(), readers_max: 4 }).await,
            file: None,
            _folder: folder(),
            _server: Some(server),
        },
    ]
}
