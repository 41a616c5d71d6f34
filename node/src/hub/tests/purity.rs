//! The hub, and a node's side of the cluster, know no socket, no runtime, no clock and no chance (style 1):
//! their files are read to make sure.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that have no business there.
const FOREIGN: &[&str] = &[
    "tokio",
    "mio",
    "rustix",
    "socket2",
    "Socket",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Instant",
    "SystemTime",
    "thread",
    "sleep",
    "spawn",
    "rand",
    "getrandom",
    "async",
    "await",
];

/// Files of the broker on Redis that are for bytes, threads and metrics.
const IMPURE: &[&str] = &["driver", "bulk", "metrics", "fake"];

/// The files of a directory under `src`, but for tests and those named.
fn files_in(directory: &str, except: &[&str]) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(directory);
    let listed = fs::read_dir(directory).expect("the files are there");
    let paths = listed.map(|entry| entry.expect("its names can be read").path());
    let is_meant = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("names are text");
        path.extension().is_some_and(|extension| extension == "rs")
            && !name.contains("tests")
            && !except.contains(&name)
    };
    paths.filter(is_meant).collect()
}

/// The words of a line's code; a comment may say anything.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

fn foreign(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| {
        words(line).any(|word| FOREIGN.contains(&word)) || line.replace(' ', "").contains("std::net")
    });
    lines.map(str::to_owned).collect()
}

#[test]
fn no_file_of_the_pure_core_names_what_it_must_not_know() {
    let hub = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hub.rs");
    let (hub_files, machine_files) = (files_in("hub", &[]), files_in("broker/redis", IMPURE));
    let history_files = files_in("history", &[]);
    let alone = ["history.rs", "feed.rs", "grant.rs"].map(|name| hub.with_file_name(name));
    let feed_files = if hub.with_file_name("feed").is_dir() { files_in("feed", &[]) } else { Vec::new() };
    assert!(hub_files.len() > 10 && machine_files.len() > 10, "{hub_files:?} {machine_files:?}");
    let alone = alone.into_iter().filter(|path| path.is_file());
    let all = alone.chain(hub_files).chain(machine_files).chain(history_files).chain(feed_files);
    for path in std::iter::once(hub).chain(all) {
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(foreign(&text), Vec::<String>::new(), "in {}", path.display());
    }
}

#[test]
fn the_reader_finds_what_is_foreign_and_nothing_else() {
    for line in ["use tokio::net::TcpStream;", "let now = Instant::now();", "std::net::IpAddr", "x.await"] {
        assert_eq!(foreign(line).len(), 1, "{line}");
    }
    for line in ["/// A socket, an Instant, a thread.", "let random = 1; // rand", "operand", "WebSocket"] {
        assert!(foreign(line).is_empty(), "{line}");
    }
}
