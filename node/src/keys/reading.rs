//! The connection to Redis, by fred: questions out, answers in. Only commands that read are ever sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::ClientLike as _;
use fred::types::config::{Config, ConnectionConfig, Server, ServerConfig, TlsConfig};
use fred::types::{Builder, CustomCommand, RespVersion, Value};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::examination::{Reply, Words, words};
use crate::broker::Unreachable;
use crate::config::RedisUrl;
use crate::transport::tls;

/// How long connecting may take, and one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many names Redis looks at for one page; it may give a few more.
const PAGE: &str = "1000";

/// A Redis that answers.
pub struct Reading {
    client: Client,
    url: RedisUrl,
}

/// One page of names.
pub struct Page {
    /// Where the next one begins; none after the last.
    pub next: Option<Vec<u8>>,
    /// Names, none of them twice.
    pub names: Vec<Vec<u8>>,
}

/// Why it can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// It does not answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// It answers that it won't.
    #[error("{url} refuses {command}: {reason}")]
    Refused {
        /// Which Redis.
        url: String,
        /// What it was asked.
        command: String,
        /// In its words.
        reason: String,
    },
}

impl Reading {
    /// Connects, and chooses the database.
    pub async fn connect(url: &RedisUrl) -> Result<Self, ReadingError> {
        let connector = if url.tls {
            let config = tls::client_config().map_err(Unreachable::Tls)?;
            Some(TlsConnector::from(Arc::new(config)))
        } else {
            None
        };
        let client = client(url, connector).map_err(|error| unreachable(url, error.details()))?;
        let connected = async {
            // The library would tell why not in the words of its own code.
            let knock = TcpStream::connect((&*url.host, url.port)).await;
            knock.map_err(|error| unreachable(url, &error.to_string()))?;
            client.init().await.map_err(|error| unreachable(url, error.details()))
        };
        tokio::time::timeout(PATIENCE, connected).await.map_err(|_| silent(url))??;
        let reading = Self { client, url: url.clone() };
        if url.database != 0 {
            reading.insist(vec![words(&["SELECT", &url.database.to_string()])]).await?;
        }
        Ok(reading)
    }

    /// The names that match, from a cursor on.
    pub async fn page(&self, cursor: &[u8], pattern: &str) -> Result<Page, ReadingError> {
        let mut scan = words(&["SCAN", "", "MATCH", pattern, "COUNT", PAGE]);
        scan[1] = cursor.to_vec();
        let answer = self.insist(vec![scan]).await?.pop();
        let Some(Reply::Many(parts)) = answer else { return Err(self.nonsense("SCAN")) };
        let [Reply::Bytes(next), Reply::Many(names)] = &*parts else { return Err(self.nonsense("SCAN")) };
        let bytes = |reply: &Reply| if let Reply::Bytes(name) = reply { Some(name.clone()) } else { None };
        let mut names: Vec<_> = names.iter().filter_map(bytes).collect();
        names.sort_unstable();
        names.dedup();
        Ok(Page { next: Some(next.clone()).filter(|next| next != b"0"), names })
    }

    /// The answers to all questions, in their order; errors are answers, too.
    pub async fn ask(&self, questions: Vec<Words>) -> Result<Vec<Reply>, ReadingError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline = self.client.pipeline();
        for question in questions {
            let mut words = question.into_iter();
            let name = String::from_utf8_lossy(&words.next().unwrap_or_default()).into_owned();
            let arguments: Vec<Value> = words.map(|word| Value::Bytes(word.into())).collect();
            let queued = pipeline.custom::<(), _>(CustomCommand::new(name, None, false), arguments).await;
            queued.map_err(|error| unreachable(&self.url, error.details()))?;
        }
        let answers = pipeline.try_all::<Value>().await;
        answers.into_iter().map(|answer| self.reply(answer)).collect()
    }

    /// The same, where Redis may not refuse. A key of another type than the question is about has no answer.
    pub async fn insist(&self, questions: Vec<Words>) -> Result<Vec<Reply>, ReadingError> {
        let commands: Vec<_> = questions.iter().map(|words| words[0].clone()).collect();
        let answers = self.ask(questions).await?;
        for (command, answer) in commands.iter().zip(&answers) {
            if let Reply::Error(reason) = answer
                && !reason.starts_with("WRONGTYPE")
            {
                return Err(self.refused(&String::from_utf8_lossy(command), reason));
            }
        }
        Ok(answers)
    }

    fn reply(&self, answer: Result<Value, Error>) -> Result<Reply, ReadingError> {
        use ErrorKind::{Backpressure, Canceled, IO, Protocol, Timeout, Tls};
        match answer {
            Ok(value) => Ok(reply(value)),
            Err(error) if matches!(error.kind(), Timeout) => Err(silent(&self.url)),
            Err(error) if matches!(error.kind(), Canceled | IO) => {
                Err(unreachable(&self.url, "the connection was lost"))
            }
            Err(error) if matches!(error.kind(), Backpressure | Protocol | Tls) => {
                Err(unreachable(&self.url, error.details()))
            }
            Err(error) => Ok(Reply::Error(error.details().to_owned())),
        }
    }

    fn refused(&self, command: &str, reason: &str) -> ReadingError {
        let (url, command) = (self.url.to_string(), command.to_owned());
        ReadingError::Refused { url, command, reason: reason.to_owned() }
    }

    fn nonsense(&self, command: &str) -> ReadingError {
        self.refused(command, "its answer makes no sense")
    }
}

/// Without a second attempt: the operator is there to make it.
fn client(url: &RedisUrl, connector: Option<TlsConnector>) -> Result<Client, Error> {
    let config = Config {
        server: ServerConfig::Centralized { server: Server::new(url.host.clone(), url.port) },
        username: url.username.clone(),
        password: url.password.as_ref().map(|password| password.reveal().to_owned()),
        version: RespVersion::RESP3,
        tls: connector.map(TlsConfig::from),
        fail_fast: true,
        ..Config::default()
    };
    let mut builder = Builder::from_config(config);
    builder.with_connection_config(|connection: &mut ConnectionConfig| connection.max_command_attempts = 1);
    builder.with_performance_config(|performance| performance.default_command_timeout = PATIENCE);
    builder.build()
}

fn silent(url: &RedisUrl) -> ReadingError {
    unreachable(url, &format!("no answer within {} s", PATIENCE.as_secs()))
}

fn unreachable(url: &RedisUrl, reason: &str) -> ReadingError {
    Unreachable::Redis { url: url.to_string(), reason: reason.to_owned() }.into()
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Null | Value::Queued => Reply::Absent,
        Value::Boolean(is_so) => Reply::Number(i64::from(is_so)),
        Value::Integer(number) => Reply::Number(number),
        Value::Double(number) => Reply::Bytes(number.to_string().into_bytes()),
        Value::String(text) => Reply::Bytes(text.as_bytes().to_vec()),
        Value::Bytes(bytes) => Reply::Bytes(bytes.to_vec()),
        Value::Array(values) => Reply::Many(values.into_iter().map(reply).collect()),
        Value::Map(fields) => {
            Reply::Fields(fields.inner().into_iter().filter_map(field).collect::<HashMap<_, _>>())
        }
    }
}

fn field((name, value): (fred::types::Key, Value)) -> Option<(Vec<u8>, Vec<u8>)> {
    match reply(value) {
        Reply::Bytes(value) => Some((name.as_bytes().to_vec(), value)),
        _ => None,
    }
}
