//! The third connection, fred's: what is neither quick nor ordered. That is a look at whether Redis is one to rely on,
//! and pages of history that peers ask for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Epoch, Position};
use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::{Config, ConnectionConfig, ReconnectPolicy, Server, ServerConfig, TlsConfig};
use fred::types::{Builder, CustomCommand, RespVersion, Value};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsConnector;

use super::Exchange;
use super::metrics::Connection;
use super::names::Names;
use super::reading;
use super::resp::Reply;
use super::script::Script;
use crate::broker::Event;
use crate::config::{Mode, RedisUrl};
use crate::feed::Answer;
use crate::history::{CommitError, Page, Place, Range, Reading, Since, Span, State};

/// How often the policy is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one command may take.
const COMMAND_TIME: Duration = Duration::from_secs(2);
/// With any other policy a full Redis throws away what nodes rely on, the leases first.
const POLICY: &str = "noeviction";
/// Pages that may wait; who finds no room is told to come again.
const WAITING_MAX: usize = 1024;
/// Pages that are read at the same time.
const READING_MAX: usize = 8;
/// Publications in a page at most.
const PAGE_MAX: u32 = 1000;
/// What one read brings at most, in bytes; a page needs less.
const READ_BYTES: &str = "2097152";

/// The third connection.
pub(super) struct Bulk {
    /// Guards the last look's result, for the driver to pass on.
    trouble: Arc<Mutex<Option<String>>>,
    exchange: Arc<Exchange>,
    wanted: mpsc::Sender<Wanted>,
}

/// A page that a shard waits for.
struct Wanted {
    shard: usize,
    ticket: u32,
    reading: Box<Reading>,
}

impl Bulk {
    /// Connects, looks now and then, and reads what is wanted; for ever.
    pub(super) fn start(
        url: &RedisUrl,
        connector: Option<TlsConnector>,
        exchange: Arc<Exchange>,
        names: Names,
    ) -> Self {
        let trouble = Arc::new(Mutex::new(None));
        let (wanted, waiting) = mpsc::channel(WAITING_MAX);
        let (url, result, shared) = (url.clone(), trouble.clone(), exchange.clone());
        #[expect(clippy::disallowed_methods, reason = "it lives as long as the node")]
        tokio::spawn(async move {
            let client = match client(&url, connector) {
                Ok(client) => client,
                Err(error) => return tracing::error!("{url}: no third connection: {error}"),
            };
            let _connection = client.connect();
            #[expect(clippy::disallowed_methods, reason = "it lives as long as the node, too")]
            tokio::spawn(serve(client.clone(), shared.clone(), names, waiting));
            watch(&client, &shared, &result).await;
        });
        Self { trouble, exchange, wanted }
    }

    /// What is wrong with this Redis, whether or not it answers.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads a page for a shard, which is answered some time.
    pub(super) fn read(&self, shard: usize, ticket: u32, reading: Box<Reading>) {
        if self.wanted.try_send(Wanted { shard, ticket, reading }).is_err() {
            answer(&self.exchange, shard, ticket, Err(CommitError::Unavailable));
        }
    }
}

async fn watch(client: &Client, exchange: &Exchange, result: &Mutex<Option<String>>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if client.ping::<()>(None).await.is_err() {
            exchange.metrics.went_down(Connection::Bulk);
            continue;
        }
        exchange.metrics.came_up(Connection::Bulk);
        if let Some(found) = look(client).await {
            *result.lock().unwrap_or_else(PoisonError::into_inner) = found;
        }
    }
}

async fn serve(client: Client, exchange: Arc<Exchange>, names: Names, mut waiting: mpsc::Receiver<Wanted>) {
    let free = Arc::new(Semaphore::new(READING_MAX));
    while let Some(Wanted { shard, ticket, reading }) = waiting.recv().await {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let (client, exchange, names) = (client.clone(), exchange.clone(), names.clone());
        #[expect(clippy::disallowed_methods, reason = "the semaphore bounds how many there are")]
        tokio::spawn(async move {
            answer(&exchange, shard, ticket, page(&client, &names, &reading).await);
            drop(permit);
        });
    }
}

fn answer(exchange: &Exchange, shard: usize, ticket: u32, page: Result<Page, CommitError>) {
    let mut desk = exchange.desk();
    desk.inboxes[shard].push(Event::Read(ticket, Box::new(page)));
    let wake = desk.inboxes[shard].newly_filled();
    drop(desk);
    if let Some(wake) = wake {
        wake();
    }
}

/// A map as one publication.
async fn map(client: &Client, names: &Names, reading: &Reading) -> Result<Page, CommitError> {
    let Reading { namespace, topic, retention, .. } = reading;
    let key = Value::Bytes(names.topic_key(namespace, topic, "k").into());
    let command = CustomCommand::new_static("HGETALL", None, false);
    let value: Value = client.custom(command, vec![key]).await.map_err(|_| CommitError::Unavailable)?;
    let Answer::Members(head, members) = reading::members(&reply(value))? else {
        return Err(CommitError::Broken);
    };
    if head.is_none() {
        is_nowhere(client, names, reading, "h").await?;
    }
    let position = head.unwrap_or_else(nowhere);
    let mut state = State::of_members(retention.clone(), members, position.offset > 0, 0);
    let place = Place { namespace: namespace.clone(), topic: topic.clone() };
    let publications = state.publication(&place, position).into_iter().collect();
    Ok(Page { position, recovered: None, publications })
}

/// Makes sure that a topic is not stored in another form.
async fn is_nowhere(
    client: &Client,
    names: &Names,
    reading: &Reading,
    kind: &str,
) -> Result<(), CommitError> {
    let key = Value::Bytes(names.topic_key(&reading.namespace, &reading.topic, kind).into());
    let command = CustomCommand::new_static("EXISTS", None, false);
    let exists: Value = client.custom(command, vec![key]).await.map_err(|_| CommitError::Unavailable)?;
    if matches!(exists, Value::Integer(0)) { Ok(()) } else { Err(CommitError::Mode) }
}

/// Where a topic is that nobody ever wrote to or listened to.
fn nowhere() -> Position {
    Position::origin(Epoch([0; 8]))
}

/// One page. Of what is asked for before a position the newest counts, so a read that was cut short for its size is
/// repeated with less.
async fn page(client: &Client, names: &Names, reading: &Reading) -> Result<Page, CommitError> {
    if reading.retention.mode == Mode::Map {
        return map(client, names, reading).await;
    }
    let Range { since, before, limit } = reading.range;
    let range = Range { limit: limit.min(PAGE_MAX), ..reading.range };
    let mut count = u64::from(range.limit) + 1;
    let (mut since, mut unproven) = (since, None);
    loop {
        let (from, end) = match (since, before) {
            (Since::Position(since), _) => (Some(since.offset.max(1)), None),
            (_, Since::Position(before)) => (Some(before.offset.saturating_sub(count).max(1)), Some(before)),
            _ => (None, None),
        };
        let (head, span) = read(client, names, reading, from, count).await?;
        let Some(head) = head else {
            is_nowhere(client, names, reading, "k").await?;
            return Ok(Page { position: nowhere(), recovered: None, publications: Vec::new() });
        };
        let last = span.last().map(|last| last.position.offset);
        let is_short = end.zip(last).is_some_and(|(end, last)| last + 1 < end.offset && last < head.offset);
        if is_short && count > 2 {
            count /= 2;
            continue;
        }
        let page = span.page(head, range);
        if matches!((since, page.recovered), (Since::Position(_), Some(Err(_)))) {
            // What does not follow is what is newest.
            (since, unproven) = (Since::Garbage, page.recovered);
            continue;
        }
        return Ok(Page { recovered: unproven.or(page.recovered), ..page });
    }
}

async fn read(
    client: &Client,
    names: &Names,
    reading: &Reading,
    from: Option<u64>,
    count: u64,
) -> Result<(Option<Position>, Span), CommitError> {
    let Reading { namespace, topic, retention, .. } = reading;
    let key = |kind| Value::Bytes(names.topic_key(namespace, topic, kind).into());
    let text = |text: &str| Value::Bytes(Bytes::copy_from_slice(text.as_bytes()));
    let mut words = vec![text(Script::Read.body()), text("2"), key("h"), key("s")];
    match from {
        Some(offset) => words.extend([text("from"), text(&offset.to_string())]),
        None => words.push(text("last")),
    }
    words.extend([text(&count.to_string()), text(READ_BYTES)]);
    let command = CustomCommand::new_static("EVAL", None, false);
    let value: Value = client.custom(command, words).await.map_err(|_| CommitError::Unavailable)?;
    let place = Place { namespace: namespace.clone(), topic: topic.clone() };
    match reading::entries(retention.mode, &place, &reply(value))? {
        Answer::Entries(head, entries) => {
            let mut span = Span::of(entries);
            if from.is_none() {
                span.keep(if retention.mode == Mode::Value { 1 } else { retention.limit as usize });
            }
            Ok((head, span))
        }
        _ => Err(CommitError::Broken),
    }
}

/// Fred's word in ours.
fn reply(value: Value) -> Reply {
    match value {
        Value::Bytes(bytes) => Reply::Text(bytes),
        Value::String(text) => Reply::Text(Bytes::copy_from_slice(text.as_bytes())),
        Value::Integer(number) => Reply::Number(number),
        Value::Array(values) => Reply::List(values.into_iter().map(reply).collect()),
        Value::Map(pairs) => {
            let pairs = pairs
                .inner()
                .into_iter()
                .flat_map(|(key, value)| [Reply::Text(key.into_bytes()), reply(value)]);
            Reply::List(pairs.collect())
        }
        _ => Reply::Null,
    }
}

fn client(url: &RedisUrl, connector: Option<TlsConnector>) -> Result<Client, fred::error::Error> {
    let config = Config {
        server: ServerConfig::Centralized { server: Server::new(url.host.clone(), url.port) },
        username: url.username.clone(),
        password: url.password.as_ref().map(|password| password.reveal().to_owned()),
        version: RespVersion::RESP3,
        tls: connector.map(TlsConfig::from),
        // For the usual one no right to choose one is needed.
        database: u8::try_from(url.database).ok().filter(|database| *database != 0),
        fail_fast: false,
        ..Config::default()
    };
    let mut builder = Builder::from_config(config);
    builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2));
    builder.with_connection_config(|connection: &mut ConnectionConfig| connection.max_command_attempts = 1);
    builder.with_performance_config(|performance| performance.default_command_timeout = COMMAND_TIME);
    builder.build()
}

/// What is wrong, if it could be found out: some services don't allow the question.
async fn look(client: &Client) -> Option<Option<String>> {
    let command = CustomCommand::new_static("CONFIG", None, false);
    let answer: Result<std::collections::HashMap<String, String>, _> =
        client.custom(command, vec!["GET", "maxmemory-policy"]).await;
    let policy = answer.ok()?.remove("maxmemory-policy")?;
    let wrong = policy != POLICY;
    Some(wrong.then(|| format!("its maxmemory-policy is {policy}; a node's redis needs {POLICY}")))
}
