//! A node from its first port to its last peer: everything is bound before anything starts.

mod listen;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use dunlin_protocol::Incarnation;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::mpsc;

pub use self::listen::BindError;

use crate::admission::Admission;
use crate::broker::{Broker, Membership, MemoryBroker, RedisBroker, Unreachable};
use crate::clock::Clock;
use crate::config::Config;
use crate::feed::Rules;
use crate::grant::Keys;
use crate::hub::Settings;
use crate::metrics::Metrics;
use crate::shard::{self, Common, Request};
use crate::shards::Shards;
use crate::transport::tls::{self, TlsError};
use crate::{api, broker, pages};

/// How long Redis may be out of reach when a node starts.
const REDIS_PATIENCE: Duration = Duration::from_secs(30);
/// Requests that may wait for a shard.
const REQUESTS_MAX: usize = 64;

/// Why a node can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port can't be had: exit 71 if it is in use.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate can't be used: exit 64.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// Redis was not reached: exit 69.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The system refuses what a node needs.
    #[error("the system refuses {what}: {error}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        error: std::io::Error,
    },
}

/// A node whose ports are bound and whose shards run.
pub struct Node {
    /// Where peers connect.
    pub listen: SocketAddr,
    /// Where operators look.
    pub internal: SocketAddr,
    /// Its name, and the life it has until it ends.
    pub incarnation: Incarnation,
    /// The name of its broker.
    pub broker: &'static str,
    shards: Arc<Shards>,
    internal_listener: tokio::net::TcpListener,
}

impl Node {
    /// Binds both listeners, joins the cluster, then starts the shards.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        listen::raise_descriptor_limit();
        refuse_huge_pages();
        be_patient();
        let count = config.shards.count();
        let (listen, listeners) = listen::bind_shared(config.listen, count, "--listen")?;
        let internal_listener = listen::bind(config.internal, "--internal")?;
        let internal = internal_listener.local_addr().map_err(system("a port's address"))?;
        let internal_listener =
            tokio::net::TcpListener::from_std(internal_listener).map_err(system("a listener"))?;
        let acceptor = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let incarnation = Incarnation(random()?);
        let (clock, metrics) = (Clock::start(), Arc::new(Metrics::new(config.metrics.namespaces.clone())));
        let broker = join(&config, incarnation, clock, &metrics).await?;
        let common = Arc::new(Common {
            clock,
            admission: Admission::new(config.limits.clone()),
            metrics,
            tls: acceptor,
            pages: config.demo.then(pages::demo),
            draining: AtomicBool::new(false),
            settings: Arc::new(settings(config, incarnation, count)),
            shards: count,
            broker: broker.clone(),
        });
        let mut requests = Vec::with_capacity(count);
        for (number, listener) in listeners.into_iter().enumerate() {
            requests.push(start_shard(number, common.clone(), listener)?);
        }
        let shards = Arc::new(Shards::new(common, requests));
        Ok(Self { listen, internal, incarnation, broker: broker.name(), shards, internal_listener })
    }

    /// Serves operators until `stop` resolves, then drains within the time it names; a further signal from
    /// `again` stops at once. True unless it came: peers that did not answer their Close in time are no
    /// reason to complain.
    pub async fn run(self, stop: impl Future<Output = Duration>, again: impl Future<Output = ()>) -> bool {
        let server = axum::serve(self.internal_listener, api::router(self.shards.clone()));
        #[expect(clippy::disallowed_methods, reason = "the internal listener lives as long as the node")]
        let serving = tokio::spawn(server.into_future());
        let within = stop.await;
        tracing::info!("draining");
        let drained = tokio::select! {
            () = self.shards.drain(within) => true,
            () = again => false,
        };
        serving.abort();
        drained
    }
}

/// The broker: memory, or the cluster's. Returns once Redis is reached.
async fn join(
    config: &Config,
    incarnation: Incarnation,
    clock: Clock,
    metrics: &Metrics,
) -> Result<Arc<dyn Broker>, StartError> {
    let Some(redis) = &config.redis else {
        let keys = Keys { current: secret()?, previous: None };
        return Ok(Arc::new(MemoryBroker::new(random()?, clock, broker::TOPICS_MAX).with_keys(keys)));
    };
    let membership = Membership {
        redis: redis.clone(),
        incarnation,
        interval: config.session.interval,
        named: config.metrics.namespaces.clone(),
        seed: random()?,
        secret: secret()?,
        rules: Rules::ALL,
    };
    let broker = RedisBroker::start(&membership, clock, metrics.redis())?;
    broker.joined(&redis.url, REDIS_PATIENCE).await?;
    Ok(broker)
}

/// Keeps the kernel from backing the heap with huge pages: the first touch of one clears all 2 MiB of it, and
/// whoever touches it keeps all peers of its shard waiting (4 to 5 ms were measured). Threads inherit it.
fn refuse_huge_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay");
    }
}

/// Asks the kernel not to stop a thread of this node for another one that has just become ready (`SCHED_BATCH`,
/// `sched(7)`). Where threads share a core, a publication else wakes one after the other, each does the work
/// of one publication, and nothing is ever served together. Threads inherit it; niceness stays as it is.
fn be_patient() {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    let niceness = rustix::process::getpriority_process(None).unwrap_or_default();
    let priorities = (0..=u8::MAX).filter_map(|value| ThreadPriorityValue::try_from(value).ok());
    let mut priorities = priorities.map(ThreadPriority::Crossplatform);
    let same = priorities.find(|priority| priority.to_posix(policy) == Ok(niceness));
    let set = same.map(|same| set_thread_priority_and_policy(thread_native_id(), same, policy));
    if set != Some(Ok(())) {
        tracing::debug!(?set, "the scheduling policy stays");
    }
}

fn settings(config: Config, incarnation: Incarnation, shards: usize) -> Settings {
    Settings {
        outbox_total: config.limits.outbox_total.bytes() / shards,
        endpoints: config.endpoints,
        limits: config.limits,
        session: config.session,
        topics: config.topics,
        resume: config.resume,
        node: incarnation.to_string(),
        incarnation,
    }
}

fn start_shard(
    number: usize,
    common: Arc<Common>,
    listener: std::net::TcpListener,
) -> Result<mpsc::Sender<Request>, StartError> {
    let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
    let seed = random()?;
    let run = move || {
        if let Err(error) = shard::run(common, listener, receiver, seed) {
            // A shard's peers can't be served by another one.
            tracing::error!(%error, shard = number, "a shard ended");
            std::process::exit(crate::exit::BUG);
        }
    };
    thread::Builder::new().name(format!("shard-{number}")).spawn(run).map_err(system("a thread"))?;
    Ok(requests)
}

/// 64 bits nobody can guess.
fn random() -> Result<u64, StartError> {
    getrandom::u64().map_err(no_chance)
}

/// 256 of them.
fn secret() -> Result<[u8; 32], StartError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(no_chance)?;
    Ok(secret)
}

fn no_chance(error: getrandom::Error) -> StartError {
    StartError::System { what: "random bits", error: std::io::Error::other(error.to_string()) }
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> StartError {
    move |error| StartError::System { what, error }
}
