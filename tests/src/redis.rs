//! A Redis server of a test's own, that can be killed, frozen, and asked what it did.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::node::Directory;
use crate::patience::{PATIENCE, soon, until};

/// A Redis server; it ends with this value.
pub struct Redis {
    address: SocketAddr,
    /// Whether it writes down what it is told.
    is_lasting: bool,
    server: Option<Child>,
    directory: Directory,
    /// Holds the port while the server is away. Without it another program could get the port, and a node
    /// that tries to reach the server could be connected to itself.
    _port: TcpSocket,
}

/// A key, and in how many seconds it goes: -1 for one that stays.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its time to live.
    pub ttl: i64,
}

impl Redis {
    /// Starts a server without persistence.
    pub async fn start() -> anyhow::Result<Self> {
        Self::begin(false).await
    }

    /// Starts a server that knows after its death what it has answered.
    pub async fn start_lasting() -> anyhow::Result<Self> {
        Self::begin(true).await
    }

    async fn begin(is_lasting: bool) -> anyhow::Result<Self> {
        let port = TcpSocket::new_v4()?;
        port.set_reuseaddr(true)?; // So that the server can have it, too.
        port.bind(([127, 0, 0, 1], 0).into())?;
        let (address, directory) = (port.local_addr()?, Directory::new()?);
        let mut redis = Self { address, is_lasting, server: None, directory, _port: port };
        redis.start_again().await?;
        Ok(redis)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it at once; what it knew is lost, unless it is lasting.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut server = self.server.take().context("the server runs")?;
        server.kill()?;
        server.wait()?;
        Ok(())
    }

    /// Makes it forget what it has written down, while it is away.
    pub fn forget(&self) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "the server runs");
        Ok(fs::remove_dir_all(self.directory.0.join("appendonlydir"))?)
    }

    /// Starts it on the same port, with what it has written down, and waits until it answers.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "the server runs already");
        let log = File::create(self.directory.0.join("redis.log"))?;
        let port = self.address.port().to_string();
        let lasting = if self.is_lasting { "yes" } else { "no" };
        let server = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", lasting])
            .args(["--repl-diskless-sync-delay", "0"])
            .current_dir(&self.directory.0)
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .context("the redis-server command is needed")?;
        self.server = Some(server);
        until("an answer from Redis", PATIENCE, async || Ok(self.ask(&["PING"]).await.ok())).await?;
        Ok(())
    }

    /// Makes it the replica of another, and waits until it has all that one has.
    pub async fn follow(&self, master: &Self) -> anyhow::Result<()> {
        let port = master.address.port().to_string();
        self.ask(&["REPLICAOF", "127.0.0.1", &port]).await?;
        until("the replica", PATIENCE, async || {
            let role = self.ask(&["ROLE"]).await?;
            Ok((role[0] == "slave" && role[3] == "connected").then_some(()))
        })
        .await?;
        self.catch_up_with(master).await
    }

    /// Waits until it has all that its master has now.
    pub async fn catch_up_with(&self, master: &Self) -> anyhow::Result<()> {
        let goal = master.ask(&["ROLE"]).await?[1].as_i64().context("how far the master is")?;
        until("the replica", PATIENCE, async || {
            Ok(self.ask(&["ROLE"]).await?[4].as_i64().filter(|offset| *offset >= goal).map(drop))
        })
        .await
    }

    /// Makes it a master of its own, whatever its master says from now on.
    pub async fn lead(&self) -> anyhow::Result<()> {
        self.ask(&["REPLICAOF", "NO", "ONE"]).await.map(drop)
    }

    /// Stops it where it is, until [`Redis::thaw`]; its sockets stay.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let server = self.server.as_ref().context("the server runs")?;
        Ok(kill_process(Pid::from_child(server), signal)?)
    }

    /// Sends it a command and gives its answer; an error if it answers with one.
    pub async fn ask(&self, words: &[&str]) -> anyhow::Result<Value> {
        soon(format_args!("Redis' answer to {words:?}"), async {
            let mut connection = self.send(words).await?;
            answer(&mut connection).await
        })
        .await
    }

    async fn send(&self, words: &[&str]) -> anyhow::Result<BufReader<TcpStream>> {
        let mut stream = TcpStream::connect(self.address).await?;
        let parts = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        let command = format!("*{}\r\n{}", words.len(), parts.collect::<String>());
        stream.write_all(command.as_bytes()).await?;
        Ok(BufReader::new(stream))
    }

    /// All its keys.
    pub async fn keys(&self) -> anyhow::Result<Vec<Key>> {
        let names = self.ask(&["KEYS", "*"]).await?;
        let mut keys = Vec::new();
        for name in names.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let ttl = self.ask(&["TTL", name]).await?.as_i64().context("a time to live")?;
            keys.push(Key { name: name.to_owned(), ttl });
        }
        Ok(keys)
    }

    /// What clients ask of it while `work` goes on, a line for each command; what scripts do is left out.
    pub async fn overhear(
        &self,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Vec<String>> {
        const END: [&str; 2] = ["ECHO", "the end"];
        let mut connection = self.send(&["MONITOR"]).await?;
        ensure!(answer(&mut connection).await? == "OK", "Redis refuses MONITOR");
        let mut overheard = Vec::new();
        let listen = async {
            let mut lines = connection.lines();
            while let Some(line) = lines.next_line().await?.filter(|line| !line.contains(END[1])) {
                overheard.extend(Some(line).filter(|line| !line.contains(" lua] ")));
            }
            anyhow::Ok(())
        };
        let work = async {
            work.await?;
            self.ask(&END).await
        };
        tokio::try_join!(listen, work)?;
        Ok(overheard)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.server.is_some() {
            let _ = self.kill(); // It fails only for a server that has ended and was waited for.
        }
    }
}

/// Reads one RESP2 answer.
async fn answer(from: &mut BufReader<TcpStream>) -> anyhow::Result<Value> {
    let mut line = String::new();
    ensure!(from.read_line(&mut line).await? > 0, "Redis closed the connection");
    let (kind, rest) = line.trim_end().split_at_checked(1).context("an empty answer")?;
    match kind {
        "+" => Ok(rest.into()),
        "-" => bail!("Redis: {rest}"),
        ":" => Ok(rest.parse::<i64>()?.into()),
        "$" if rest == "-1" => Ok(Value::Null),
        "$" => {
            let mut bytes = vec![0; rest.parse::<usize>()? + 2];
            from.read_exact(&mut bytes).await?;
            bytes.truncate(bytes.len() - 2);
            Ok(String::from_utf8_lossy(&bytes).into())
        }
        "*" => {
            let mut items = Vec::new();
            for _ in 0..rest.parse::<i64>()? {
                items.push(Box::pin(answer(from)).await?);
            }
            Ok(items.into())
        }
        _ => bail!("no RESP: {line:?}"),
    }
}
