//! Tidiness as a test: the arrows between the rooms, the protocol's hash, licences and sources of what we build on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each room may lean on, among our own crates. A room that is not listed here may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    // floor 0
    ("wayfare-engine", &[]),
    // floor 1
    ("wayfare-atlas", &["wayfare-engine"]),
    ("wayfare-blobs", &[]),
    ("wayfare-bus", &[]),
    ("wayfare-wire", &["wayfare-engine"]),
    // the door, between the floors: what every listener needs
    ("wayfare-net", &["wayfare-wire"]),
    // floor 2
    ("wayfare-ingest", &["wayfare-atlas", "wayfare-bus", "wayfare-engine", "wayfare-net", "wayfare-wire"]),
    ("wayfare-fanout", &["wayfare-bus", "wayfare-net", "wayfare-wire"]),
    (
        "wayfare-api",
        &["wayfare-atlas", "wayfare-blobs", "wayfare-bus", "wayfare-engine", "wayfare-net", "wayfare-wire"],
    ),
    ("wayfare-media-worker", &["wayfare-blobs", "wayfare-bus", "wayfare-wire"]),
    ("wayfare-driver", &["wayfare-engine", "wayfare-wire"]),
    // floor 3
    ("wayfare-eval", &["wayfare-atlas", "wayfare-engine", "wayfare-wire"]),
    ("wayfare-loadtest", &["wayfare-driver", "wayfare-engine", "wayfare-wire"]),
    (
        "wayfare",
        &[
            "wayfare-api",
            "wayfare-atlas",
            "wayfare-blobs",
            "wayfare-bus",
            "wayfare-driver",
            "wayfare-engine",
            "wayfare-eval",
            "wayfare-fanout",
            "wayfare-ingest",
            "wayfare-loadtest",
            "wayfare-media-worker",
            "wayfare-net",
            "wayfare-wire",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that the engine must never see, whoever brings them along.
const NOT_IN_THE_ENGINE: &[&str] =
    &["rayon", "memmap2", "tokio", "serde", "rand", "tracing", "metrics", "chrono", "log"];

/// A second TLS or crypto backend, or a library from the system.
const NOWHERE: &[&str] = &["aws-lc-sys", "aws-lc-rs", "openssl-sys", "native-tls", "rsa"];

/// Licences that fit ours.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unlicense",
    "CC0-1.0",
    "Unicode-3.0",
    "BSL-1.0",
    "MIT-0",
    "Apache-2.0 WITH LLVM-exception",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `cargo metadata`, as JSON. Development dependencies are told apart by their kind.
fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn the_arrows_point_down() {
    let metadata = metadata();
    let members = metadata["workspace_members"].as_array().expect("members");
    let mut seen = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        if !members.contains(&package["id"]) {
            continue;
        }
        let name = text(&package["name"]);
        let allowed = ARROWS.iter().find(|(room, _)| *room == name).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("{name} has no place in ARROWS"));
        seen.push(name.to_owned());
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = text(&dependency["name"]);
            let own = ARROWS.iter().any(|(room, _)| *room == to);
            assert!(!own || allowed.contains(&to), "{name} may not lean on {to}");
        }
    }
    assert_eq!(seen.len(), ARROWS.len(), "rooms that no longer exist stand in ARROWS");
}

#[test]
fn the_engine_sees_no_outside() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "wayfare-engine", "--edges", "normal", "--prefix", "none", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(tree.starts_with("wayfare-engine"), "{tree}");
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(!NOT_IN_THE_ENGINE.contains(&name), "the engine leans on {name}");
    }
    let bans = fs::read_to_string(root().join("crates/engine/clippy.toml")).expect("the engine has bans of its own");
    for banned in ["SystemTime::now", "Instant::now", "std::env", "std::thread::spawn", "std::fs"] {
        assert!(bans.contains(banned), "{banned} is not banned in the engine");
    }
}

#[test]
fn what_we_build_on_is_allowed() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = text(&package["name"]);
        assert!(!NOWHERE.contains(&name), "{name} must not be part of the house");
        if package["source"].is_null() {
            continue;
        }
        assert!(text(&package["source"]).contains("crates.io"), "{name} comes from {}", package["source"]);
        let licence = text(&package["license"]).replace('/', " OR ");
        let fits =
            |term: &str| term.split(" AND ").all(|part| LICENCES.contains(&part.trim().trim_matches(['(', ')'])));
        assert!(licence.split(" OR ").any(fits), "{name} has the licence {licence:?}");
    }
}

#[test]
fn unsafe_is_denied_everywhere() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    assert!(manifest.contains("unsafe_code = \"deny\""));
    for file in files(&root(), &["rs"]) {
        let source = fs::read_to_string(&file).expect("a source can be read");
        // Written in two parts, so that this line does not find itself.
        let escape = concat!("allow(", "unsafe_code");
        assert!(!source.contains(escape), "{} allows what the workspace denies", file.display());
    }
    for file in files(&root(), &["toml"]).into_iter().filter(|file| file.ends_with("Cargo.toml")) {
        let manifest = fs::read_to_string(&file).expect("a manifest can be read");
        let fuzz = file.components().any(|part| part.as_os_str() == "fuzz");
        assert!(fuzz || manifest.contains("[lints]\nworkspace = true"), "{} does not take the lints", file.display());
    }
}

/// FNV-1a over the definitions of the messages: not a secret, only a reminder.
fn hash_of_messages() -> String {
    let mut sources = BTreeMap::new();
    for file in files(&root().join("crates/wire/src"), &["rs"]) {
        let name = file.strip_prefix(root()).expect("inside").display().to_string();
        let described = ["messages", "claims.rs", "close.rs", "cursor.rs", "topic.rs", "state.rs"];
        if described.iter().any(|part| name.contains(part)) {
            sources.insert(name, fs::read(&file).expect("a source can be read"));
        }
    }
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in sources.values().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[test]
fn the_protocol_describes_these_messages() {
    let protocol = fs::read_to_string(root().join("crates/wire/PROTOCOL.md")).expect("the protocol is written");
    let wanted = format!("<!-- messages: {} -->", hash_of_messages());
    assert!(
        protocol.contains(&wanted),
        "the messages changed: read PROTOCOL.md against them, then write this line into it: {wanted}"
    );
    for code in wayfare_wire::CloseCode::ALL {
        let row = format!("| {} | `{}` |", code.number(), code.word());
        assert!(protocol.contains(&row), "PROTOCOL.md lacks the close code {row}");
    }
    for role in wayfare_wire::Role::ALL {
        assert!(protocol.contains(role.name()), "PROTOCOL.md lacks the role {}", role.name());
    }
}

#[test]
fn nothing_names_a_registry_host_or_a_path_of_a_machine() {
    for file in files(&root(), &["rs", "ts", "mjs", "md", "toml", "json", "html"]) {
        let source = fs::read_to_string(&file).unwrap_or_default();
        for forbidden in [concat!("registry", ".npmjs.org"), concat!("/home", "/"), concat!("/ro", "ot/")] {
            assert!(!source.contains(forbidden), "{} contains {forbidden}", file.display());
        }
    }
}

/// Alerts and dashboards that watch what nobody measures never ring.
#[test]
fn what_is_watched_is_measured() {
    let sources: String =
        files(&root(), &["rs"]).iter().filter_map(|path| fs::read_to_string(path).ok()).collect::<Vec<_>>().concat();
    let mut watched = 0;
    for file in files(&root().join("deploy"), &["yml", "json"]) {
        let text = fs::read_to_string(&file).expect("it can be read");
        for (start, _) in text.match_indices("wayfare_") {
            let name = text[start..].split(|at: char| !at.is_ascii_lowercase() && at != '_').next().unwrap_or_default();
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(sources.contains(&format!("\"{name}\"")), "{}: nothing measures {name}", file.display());
            watched += 1;
        }
    }
    assert!(watched > 30, "only {watched} names found");
}

/// Files with one of the endings, in our own folders.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder can be read").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !matches!(&*name, "target" | "node_modules" | "dist" | "test-results" | "data")
            {
                found.extend(files(&path, endings));
            }
        } else if endings.iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
            found.push(path);
        }
    }
    found
}
