//! The broker of a cluster: nodes hand each other publications and counts through Redis.
//!
//! One thread owns both links and the [`Machine`](machine::Machine); shards put commands into its mailbox and
//! take events out of their inboxes. What is decided is decided in the machine, which knows no sockets;
//! `driver` moves bytes. `bulk` is fred: it looks after what is neither quick nor ordered.

mod agreeing;
mod bulk;
mod channels;
mod committing;
mod counting;
mod driver;
mod feeding;
mod hearing;
mod lanes;
mod lease;
mod leasing;
mod link;
mod machine;
mod metrics;
mod names;
mod pairing;
mod reading;
mod relaying;
mod resp;
mod script;
mod space;
mod tally;
mod window;
mod writers;

#[cfg(test)]
mod fake;
#[cfg(test)]
pub mod tests;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_protocol::{Incarnation, Namespace};
use tokio::sync::{Notify, watch};

pub use self::metrics::RedisMetrics;
pub(crate) use self::names::{LAYOUT, encode as encode_name};

use self::driver::Driver;
use self::machine::Settings;
use self::names::Names;
use super::inbox::{self, Inbox};
use super::{Broker, Command, Event, Status, Wake};
use crate::clock::Clock;
use crate::config;
use crate::feed::Rules;
use crate::history::CommitError;
use crate::hub::{Moment, PublishError};
use crate::transport::tls::TlsError;

/// What shards' commands may cost before they are taken, in bytes.
const MAIL_MAX: usize = 64 * 1024 * 1024;
/// How long leaving may take.
const LEAVE_TIME: Duration = Duration::from_secs(2);
/// A status older than this is no status.
const STATUS_TIME: Duration = Duration::from_secs(3);

/// What a node brings to its cluster.
#[derive(Debug)]
pub struct Membership {
    /// Where Redis is, and what the cluster is called there.
    pub redis: config::Redis,
    /// The node's life.
    pub incarnation: Incarnation,
    /// The least time between two counts of a namespace.
    pub interval: Duration,
    /// Namespaces whose count every node knows, for metrics.
    pub named: Vec<Namespace>,
    /// 64 bits nobody can guess.
    pub seed: u64,
    /// What grants are signed with, if no other node has said so yet.
    pub secret: [u8; 32],
    /// Which rules feeds keep.
    pub rules: Rules,
}

/// Why a node can't join its cluster.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Redis was not reached in time.
    #[error("{url} can't be reached: {reason}")]
    Redis {
        /// Which one.
        url: String,
        /// What happened the last time.
        reason: String,
    },
    /// This machine can't check certificates.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// No thread to be had.
    #[error("the system refuses a thread: {0}")]
    Thread(std::io::Error),
}

/// Carries between the shards of all nodes that use the same Redis and prefix.
pub struct RedisBroker {
    exchange: Arc<Exchange>,
    progress: watch::Receiver<Progress>,
}

/// How far the driver has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    /// It never was up; why the last attempt failed.
    Failing(String),
    /// It was up.
    Joined,
    /// Redis knows that this node left, or can't be told.
    Left,
}

/// What shards and the driver share.
struct Exchange {
    /// Guards the mailbox and the inboxes. Shards take it twice a turn, the driver once or twice; none holds it
    /// longer than it takes to move pointers.
    desk: Mutex<Desk>,
    /// Wakes the driver.
    notify: Notify,
    /// Guards how things stand, for whoever asks.
    status: Mutex<(Moment, Status)>,
    topics: AtomicUsize,
    leaving: AtomicBool,
    clock: Clock,
    metrics: Arc<RedisMetrics>,
}

/// What waits on either side.
#[derive(Default)]
struct Desk {
    mail: Vec<(usize, Command)>,
    mail_bytes: usize,
    inboxes: Vec<Inbox>,
}

impl RedisBroker {
    /// Starts the driver. Whether Redis is reached is for [`RedisBroker::joined`] to say.
    pub fn start(
        membership: &Membership,
        clock: Clock,
        metrics: Arc<RedisMetrics>,
    ) -> Result<Arc<Self>, Unreachable> {
        metrics.begin();
        let config::Redis { url, prefix, lease } = &membership.redis;
        let user = url.username.clone().unwrap_or_else(|| "default".to_owned());
        let settings = Settings {
            names: Names::new(prefix, url.database),
            incarnation: membership.incarnation,
            lease: *lease,
            interval: membership.interval,
            named: membership.named.clone(),
            login: url.password.as_ref().map(|password| (user, password.clone())),
            database: url.database,
            secret: membership.secret,
            rules: membership.rules,
        };
        let exchange = Arc::new(Exchange {
            desk: Mutex::default(),
            notify: Notify::new(),
            status: Mutex::new((clock.now(), Status { nodes: 1, ..Status::default() })),
            topics: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
            clock,
            metrics,
        });
        let (report, progress) = watch::channel(Progress::Failing("no attempt was made yet".to_owned()));
        let driver = Driver::new(exchange.clone(), settings, url.clone(), membership.seed, report)?;
        let run = move || driver.run();
        std::thread::Builder::new().name("redis".to_owned()).spawn(run).map_err(Unreachable::Thread)?;
        Ok(Arc::new(Self { exchange, progress }))
    }

    /// Waits until Redis is reached, at most so long.
    pub async fn joined(&self, url: &config::RedisUrl, patience: Duration) -> Result<(), Unreachable> {
        let mut progress = self.progress.clone();
        let joined = progress.wait_for(|progress| !matches!(progress, Progress::Failing(_)));
        if let Ok(Ok(_)) = tokio::time::timeout(patience, joined).await {
            return Ok(());
        }
        let reason = match &*self.progress.borrow() {
            Progress::Failing(reason) => reason.clone(),
            Progress::Joined | Progress::Left => return Ok(()),
        };
        Err(Unreachable::Redis { url: url.to_string(), reason })
    }
}

impl Broker for RedisBroker {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn attach(&self, wake: Wake) -> usize {
        let mut desk = self.exchange.desk();
        desk.inboxes.push(Inbox::new(wake));
        desk.inboxes.len() - 1
    }

    fn submit(&self, shard: usize, commands: &mut Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        let mut desk = self.exchange.desk();
        for command in commands.drain(..) {
            desk.put(shard, command);
        }
        let wake = desk.inboxes[shard].newly_filled();
        drop(desk);
        self.exchange.notify.notify_one();
        if let Some(wake) = wake {
            wake();
        }
    }

    fn topics(&self) -> usize {
        self.exchange.topics.load(Ordering::Relaxed)
    }

    fn status(&self) -> Status {
        let (at, mut status) = self.exchange.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.exchange.clock.now().since(at) > STATUS_TIME {
            status
                .trouble
                .get_or_insert_with(|| "the node's own thread for redis does not answer".to_owned());
        }
        status
    }

    fn leave(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.exchange.leaving.store(true, Ordering::Relaxed);
        self.exchange.notify.notify_one();
        let mut progress = self.progress.clone();
        Box::pin(async move {
            let left = progress.wait_for(|progress| *progress == Progress::Left);
            if !matches!(tokio::time::timeout(LEAVE_TIME, left).await, Ok(Ok(_))) {
                tracing::warn!(
                    "redis could not be told that this node leaves; the others notice by its lease"
                );
            }
        })
    }

    fn collect(&self, shard: usize, events: &mut VecDeque<Event>) {
        self.exchange.desk().inboxes[shard].collect(events);
    }
}

impl Exchange {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// Puts a command into the mailbox; a publication that finds it full is refused at once.
    fn put(&mut self, shard: usize, command: Command) {
        let (cost, refused) = match &command {
            Command::Publish(ticket, envelope) => {
                let refused = Event::Settled(*ticket, Err(PublishError::Unavailable));
                (inbox::cost(envelope.payload.bytes.len()), Some(refused))
            }
            Command::Commit(ticket, commit) => {
                let refused = Event::Committed(*ticket, Err(CommitError::Unavailable));
                (inbox::cost(commit.envelope.payload.bytes.len()), Some(refused))
            }
            _ => (0, None),
        };
        if let Some(refused) = refused.filter(|_| self.mail_bytes + cost > MAIL_MAX) {
            return self.inboxes[shard].push(refused);
        }
        self.mail_bytes += cost;
        self.mail.push((shard, command));
    }
}
