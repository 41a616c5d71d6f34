//! Logs: for people or for machines, always on stderr.

use tracing::level_filters::LevelFilter;

use crate::config::{Log, LogFormat};

/// Starts logging; a second call is a bug.
pub fn start(log: &Log) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from_level(log.level))
        .with_writer(std::io::stderr)
        .with_target(false);
    match log.format {
        LogFormat::Human => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(colours).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
