//! The hub knows no socket, no runtime, no clock and no chance (style 1): its files are read to make sure.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that have no business in the hub.
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

fn hub_files() -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let listed = fs::read_dir(source.join("hub")).expect("the hub's files are there");
    let paths = listed.map(|entry| entry.expect("its names can be read").path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("names are text");
        path.extension().is_some_and(|extension| extension == "rs") && !name.contains("tests")
    };
    std::iter::once(source.join("hub.rs")).chain(paths.filter(is_ours)).collect()
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
fn no_file_of_the_hub_names_what_it_must_not_know() {
    let files = hub_files();
    assert!(files.len() > 10, "the hub has more files than {files:?}");
    for path in files {
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
