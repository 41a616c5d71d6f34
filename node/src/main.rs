//! The `dunlin` command.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use dunlin::broker::Unreachable;
use dunlin::cli::{Command, Keys, Stop};
use dunlin::config::{Config, Flags};
use dunlin::keys::{KeysError, ReadingError};
use dunlin::lifecycle::{BindError, Node, StartError};
use dunlin::{client, exit, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let code = match Command::parse(std::env::args_os()) {
        Ok(Command::Serve(flags)) => serve(&flags),
        Ok(Command::Publish(publish)) => report(client::publish(publish)),
        Ok(Command::Subscribe(subscribe)) => report(client::subscribe(subscribe)),
        Ok(Command::Config(command)) => say(command.answer()),
        Ok(Command::Keys(options)) => keys(&options),
        Err(Stop::Shown(text)) => say(Ok::<_, std::convert::Infallible>(text)),
        Err(Stop::Usage(text)) => {
            eprint!("{text}");
            exit::USAGE
        }
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Runs a node until a signal ends it.
fn serve(flags: &Flags) -> i32 {
    let config = match Config::of_process(flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return exit::USAGE;
        }
    };
    telemetry::start(&config.log);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("a bug, please report it: {panic}\n{}", std::backtrace::Backtrace::capture());
        std::process::exit(exit::BUG);
    }));
    match run(config) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dunlin: {error:#}");
            exit_code(&error)
        }
    }
}

fn run(config: Config) -> anyhow::Result<i32> {
    let (drain, demo) = (config.drain, config.demo);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
    runtime.block_on(async {
        let mut signals = Signals::new().context("signals")?;
        let mut more_signals = Signals::new().context("signals")?;
        let node = tokio::select! {
            node = Node::start(config) => node?,
            () = signals.next() => return Ok(0), // It never served anybody.
        };
        announce(&node);
        if demo {
            tracing::info!("open http://{} in two browser windows", node.listen);
        }
        let again = async move {
            more_signals.next().await;
            more_signals.next().await;
        };
        let stop = async {
            signals.next().await;
            drain
        };
        let drained = node.run(stop, again).await;
        Ok(if drained { 0 } else { exit::INTERRUPTED })
    })
}

/// The one line on stdout: the node takes peers.
fn announce(node: &Node) {
    let (listen, internal, broker, id) = (node.listen, node.internal, node.broker, node.incarnation);
    let mut stdout = std::io::stdout();
    // Whoever closed stdout does not want to know.
    let _ = writeln!(stdout, "ready listen={listen} internal={internal} broker={broker} node={id}");
    let _ = stdout.flush();
}

fn exit_code(error: &anyhow::Error) -> i32 {
    match error.downcast_ref::<StartError>() {
        Some(
            StartError::Bind(BindError::InUse { .. } | BindError::Refused { .. })
            | StartError::System { .. }
            | StartError::Unreachable(Unreachable::Thread(_)),
        ) => exit::SYSTEM,
        Some(StartError::Tls(_) | StartError::Unreachable(Unreachable::Tls(_))) => exit::USAGE,
        Some(StartError::Unreachable(Unreachable::Redis { .. })) => exit::UNAVAILABLE,
        None => exit::BUG,
    }
}

fn keys(options: &Keys) -> i32 {
    let report = match dunlin::keys::run(options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("dunlin: {error}");
            return match error {
                KeysError::Config(_)
                | KeysError::NoRedis
                | KeysError::Reading(ReadingError::Unreachable(Unreachable::Tls(_))) => exit::USAGE,
                KeysError::Reading(_) => exit::UNAVAILABLE,
                KeysError::System(_) => exit::SYSTEM,
            };
        }
    };
    let text = if options.json { report.to_json().to_string() } else { report.to_string() };
    // Whoever closed stdout does not want to know.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    if report.is_clean() { 0 } else { exit::FINDINGS }
}

fn report(result: anyhow::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("dunlin: {error:#}");
            exit::UNAVAILABLE
        }
    }
}

fn say(answer: Result<String, impl std::fmt::Display>) -> i32 {
    match answer {
        Ok(text) => {
            // Whoever closed stdout does not want to know.
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            0
        }
        Err(error) => {
            eprintln!("{error}");
            exit::USAGE
        }
    }
}

/// What ends a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
