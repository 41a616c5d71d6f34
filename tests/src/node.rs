//! A node as its own process, in its own directory, on ports of its own.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use std::{env, fs, thread};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::Share;
use crate::patience::{PATIENCE, until};
use crate::scrape::Scrape;

/// A configuration without rates, for tests that are about something else: every path an endpoint, no
/// `session` frames in between, two shards.
pub const OPEN: &str = "
shards = 2
drain = '5s'
[session]
topic = ''
[limits]
frames_per_second = 0
publishes_per_second = 0
subscribes_per_second = 0
handshakes_per_second = 0
";

/// A running node; it ends with this value.
pub struct Node {
    /// Where peers connect.
    pub listen: SocketAddr,
    /// Where operators look.
    pub internal: SocketAddr,
    /// The line it said it was ready with.
    pub ready: String,
    process: Process,
    _share: Option<Share>,
}

/// A node that has not said yet that it is ready; it ends with this value.
pub struct Starting {
    process: Process,
    first: mpsc::Receiver<String>,
}

/// A process of the binary, in a directory of its own.
struct Process {
    child: Child,
    said: Said,
    _directory: Directory,
}

/// How a process ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it said on stdout.
    pub stdout: String,
    /// What it said on stderr.
    pub stderr: String,
}

impl Node {
    /// Starts a node with this `dunlin.toml`, beside other tests.
    pub fn start(config: &str) -> anyhow::Result<Self> {
        Self::begin(config, Directory::new()?, Some(Share::some()?))
    }

    /// Starts a node while no other test runs, for measuring.
    pub fn start_alone(config: &str) -> anyhow::Result<Self> {
        Self::begin(config, Directory::new()?, Some(Share::all()?))
    }

    /// Starts another node beside this one, which holds the machine for both and so must end last.
    pub fn start_beside(&self, config: &str) -> anyhow::Result<Self> {
        Self::begin(config, Directory::new()?, None)
    }

    /// Starts a node whose directory has these files, too.
    pub fn start_with(config: &str, files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let directory = Directory::new()?;
        for (name, text) in files {
            fs::write(directory.0.join(name), text)?;
        }
        Self::begin(config, directory, Some(Share::some()?))
    }

    /// Starts a node without waiting until it is ready; the caller has a share of the machine.
    pub(crate) fn launch(config: &str) -> anyhow::Result<Starting> {
        Starting::begin(config, Directory::new()?)
    }

    fn begin(config: &str, directory: Directory, share: Option<Share>) -> anyhow::Result<Self> {
        Ok(Self { _share: share, ..Starting::begin(config, directory)?.ready()? })
    }

    /// The name it goes by in the cluster.
    pub fn name(&self) -> anyhow::Result<&str> {
        word_in(&self.ready, "node=")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it has said on stderr.
    pub fn stderr(&self) -> String {
        self.process.said.text()
    }

    /// Its metrics, now.
    pub async fn metrics(&self) -> anyhow::Result<Scrape> {
        Scrape::of(self.internal).await
    }

    /// Waits until a metric satisfies a condition; gives its value.
    pub async fn metric(&self, series: &str, fits: impl Fn(u64) -> bool) -> anyhow::Result<u64> {
        let mut last = 0;
        let found = until(series, PATIENCE, async || {
            last = self.metrics().await?.value(series);
            Ok(fits(last).then_some(last))
        });
        let found = found.await;
        found.with_context(|| format!("{series} stays at {last}"))
    }

    /// Asks it to leave.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Ends it without a chance to say goodbye.
    pub fn kill(self) -> anyhow::Result<()> {
        self.process.signal(Signal::KILL)
    }

    /// Stops it where it is, until [`Node::thaw`].
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Waits for its end.
    pub async fn exit(&mut self, within: Duration) -> anyhow::Result<i32> {
        let status = until("the node's end", within, async || Ok(self.process.child.try_wait()?)).await?;
        Ok(status.code().unwrap_or(-1))
    }
}

impl Starting {
    fn begin(config: &str, directory: Directory) -> anyhow::Result<Self> {
        fs::write(directory.0.join("dunlin.toml"), config)?;
        let mut child = command(&directory.0, &["--listen", "127.0.0.1:0", "--internal", "127.0.0.1:0"])?
            .spawn()
            .context("the node's binary does not start")?;
        let said = Said::default();
        said.keep(child.stderr.take().context("stderr is piped")?);
        let first = first_line(child.stdout.take().context("stdout is piped")?);
        Ok(Self { process: Process { child, said, _directory: directory }, first })
    }

    /// What it has said on stderr.
    pub fn stderr(&self) -> String {
        self.process.said.text()
    }

    /// Waits until it is ready.
    pub fn ready(mut self) -> anyhow::Result<Node> {
        let Ok(ready) = self.first.recv_timeout(PATIENCE) else {
            let _ = self.process.child.kill(); // It may have ended by itself.
            let status = self.process.child.wait()?;
            bail!("the node did not get ready: {status}\n{}", self.stderr());
        };
        let (listen, internal) =
            (word_in(&ready, "listen=")?.parse()?, word_in(&ready, "internal=")?.parse()?);
        Ok(Node { listen, internal, ready, process: self.process, _share: None })
    }
}

impl Process {
    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the node said:\n{}", self.said.text());
        }
    }
}

/// Runs the binary to its end in a directory of its own.
pub fn run(arguments: &[&str], config: &str) -> anyhow::Result<Exit> {
    let directory = Directory::new()?;
    fs::write(directory.0.join("dunlin.toml"), config)?;
    run_in(&directory.0, arguments)
}

/// Runs the binary to its end in a given directory. It is ended when it does not end by itself.
pub fn run_in(directory: &Path, arguments: &[&str]) -> anyhow::Result<Exit> {
    let mut child = command(directory, arguments)?.spawn().context("the binary does not start")?;
    let (stdout, stderr) = (Said::default(), Said::default());
    let readers = [
        stdout.keep(child.stdout.take().context("stdout is piped")?),
        stderr.keep(child.stderr.take().context("stderr is piped")?),
    ];
    let (ended, end) = mpsc::channel::<()>();
    let pid = Pid::from_child(&child);
    let watch = thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL); // Not waited for yet, so the id is still its own.
        }
    });
    for reader in readers {
        ensure!(reader.join().is_ok(), "a reader of the binary's output panicked");
    }
    drop(ended);
    ensure!(watch.join().is_ok(), "the watch over the binary panicked");
    let code = child.wait()?.code().unwrap_or(-1);
    Ok(Exit { code, stdout: stdout.text(), stderr: stderr.text() })
}

/// The binary: `DUNLIN_BIN`, or what the `fast` profile built beside these tests.
fn binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os("DUNLIN_BIN") {
        return Ok(path.into());
    }
    let here = env::current_exe()?;
    let target = here.ancestors().find(|path| path.join("CACHEDIR.TAG").exists());
    let path = target.context("these tests run from cargo's target directory")?.join("fast/dunlin");
    ensure!(
        path.exists(),
        "{} is missing: run `cargo build --profile fast -p dunlin`, or set DUNLIN_BIN",
        path.display()
    );
    Ok(path)
}

fn command(directory: &Path, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments).current_dir(directory);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DUNLIN__")) {
        command.env_remove(name); // The machine's own settings are not the test's.
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn first_line(stdout: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (line, first) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = line.try_send(text); // Only the first is asked for; the rest must not block the node.
        }
    });
    first
}

fn word_in<'a>(ready: &'a str, key: &str) -> anyhow::Result<&'a str> {
    let word = ready.split(' ').find_map(|word| word.strip_prefix(key));
    word.with_context(|| format!("no {key} in {ready:?}"))
}

/// What a process says, as it says it.
#[derive(Default, Clone)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn keep(&self, mut from: impl Read + Send + 'static) -> thread::JoinHandle<()> {
        let said = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                said.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        })
    }

    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A directory that goes when it is dropped.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("dunlin-tests-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // What stays is in the temporary directory.
    }
}
