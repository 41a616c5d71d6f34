//! The command line, and what it means.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use dunlin_loadtest::{
    duration,
    fleet::Rest,
    process::{Beside, Server},
    scenario::{
        Answers, Topics,
        connect::Arrivals,
        fanout::{Pace, Plan},
        most::Climb,
        stage::Cast,
    },
    target::Target,
};

/// Measures a pub/sub node on this machine.
#[derive(Debug, Parser)]
#[command(name = "dunlin-loadtest", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The node, as ws://127.0.0.1:PORT/path
    #[arg(long, global = true, default_value = "ws://127.0.0.1:8080/load")]
    url: String,
    /// The node's process: its CPU and memory are read from /proc
    #[arg(long, global = true)]
    server_pid: Option<u32>,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The node doesn't answer frames with an id: find out about subscriptions by publishing
    #[arg(long, global = true)]
    no_ack: bool,
    /// Upgrades under way at a time
    #[arg(long, global = true, default_value_t = 64)]
    concurrency: u32,
    /// A subprotocol to offer
    #[arg(long, global = true)]
    subprotocol: Option<String>,
    /// What topic names start with
    #[arg(long, global = true, default_value = "load")]
    prefix: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish at a steady pace and watch every delivery
    Fanout {
        #[command(flatten)]
        crowd: Crowd,
        #[command(flatten)]
        pace: PaceArgs,
    },
    /// Raise the rate until the node no longer keeps up
    Most {
        #[command(flatten)]
        crowd: Crowd,
        #[command(flatten)]
        climb: ClimbArgs,
    },
    /// Connect peers that do nothing
    Idle {
        /// Subscribers, each of one topic
        #[arg(long, default_value_t = 10_000)]
        peers: u32,
        /// Topics they are spread over
        #[arg(long, default_value_t = 1)]
        topics: u32,
        /// How long to keep them
        #[arg(long, default_value = "5s", value_parser = duration::parse)]
        hold: Duration,
    },
    /// Connect and leave
    Connect {
        /// How many
        #[arg(long, default_value_t = 10_000)]
        count: u32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Crowd {
    /// Topics
    #[arg(long, default_value_t = 1)]
    topics: u32,
    /// Subscribers in all, spread evenly over the topics
    #[arg(long, default_value_t = 1000)]
    peers: u32,
    /// Publishers; each publishes round-robin over the topics
    #[arg(long, default_value_t = 1)]
    publishers: u32,
    /// Where the publishers connect, if not where the subscribers do: another node of the cluster
    #[arg(long)]
    publish_url: Option<String>,
    /// Another process whose CPU is reported, as NAME=PID; may be repeated
    #[arg(long, value_name = "NAME=PID", value_parser = beside)]
    beside: Vec<Beside>,
    /// Bytes of a whole payload
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Never sleep: the node doesn't pay for waking the client, which needs a core of its own
    #[arg(long)]
    spin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PaceArgs {
    /// Deliveries per second over all subscribers; 0 is as fast as they come back, or as answers do
    #[arg(long, default_value_t = 30_000.0)]
    rate: f64,
    /// With rate 0: publications on their way at a time
    #[arg(long, default_value_t = 64)]
    window: u64,
    /// With rate 0: publications carry an id and are on their way until they are answered
    #[arg(long)]
    answered: bool,
    /// How long before anything is measured
    #[arg(long, default_value = "2s", value_parser = duration::parse)]
    warmup: Duration,
    /// How long to measure
    #[arg(long, default_value = "10s", value_parser = duration::parse)]
    duration: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct ClimbArgs {
    /// Deliveries per second of the first step
    #[arg(long, default_value_t = 50_000.0)]
    from: f64,
    /// What the rate is multiplied with from step to step
    #[arg(long, default_value_t = 1.15)]
    factor: f64,
    /// How long each step runs before it is measured
    #[arg(long, default_value = "1s", value_parser = duration::parse)]
    warmup: Duration,
    /// How long each step is measured
    #[arg(long, default_value = "4s", value_parser = duration::parse)]
    duration: Duration,
}

impl Cli {
    /// Who takes part in a fan-out.
    pub(crate) fn cast(&self, crowd: &Crowd) -> Result<Cast> {
        let publishing = crowd.publish_url.as_ref().map_or(self.target(), |url| self.target_at(url))?;
        Ok(Cast {
            target: self.target()?,
            publishing,
            server: self.server_pid.map(Server::new),
            beside: crowd.beside.clone(),
            topics: self.topics(crowd.topics),
            peers: crowd.peers,
            publishers: crowd.publishers,
            size: crowd.size,
            concurrency: self.concurrency,
            answers: self.answers(),
            rest: if crowd.spin { Rest::Spin } else { Rest::Sleep },
        })
    }

    /// Who is idle. Nobody publishes, unless it takes a probe to see that a subscription is there.
    pub(crate) fn idle_cast(&self, peers: u32, topics: u32) -> Result<Cast> {
        let publishers = u32::from(self.answers() == Answers::Nothing);
        let (publish_url, beside) = (None, Vec::new());
        self.cast(&Crowd { topics, peers, publishers, publish_url, beside, size: 0, spin: false })
    }

    /// Who connects and leaves.
    pub(crate) fn arrivals(&self, count: u32) -> Result<Arrivals> {
        Ok(Arrivals {
            target: self.target()?,
            server: self.server_pid.map(Server::new),
            count,
            concurrency: self.concurrency,
            topics: self.topics(1),
            answers: self.answers(),
        })
    }

    fn target(&self) -> Result<Target> {
        self.target_at(&self.url)
    }

    fn target_at(&self, url: &str) -> Result<Target> {
        Ok(Target { subprotocol: self.subprotocol.clone(), ..Target::parse(url)? })
    }

    fn topics(&self, count: u32) -> Topics {
        Topics { prefix: self.prefix.clone(), count }
    }

    fn answers(&self) -> Answers {
        if self.no_ack { Answers::Nothing } else { Answers::Ok }
    }
}

impl PaceArgs {
    pub(crate) fn plan(&self) -> Plan {
        let pace = match (self.rate > 0.0, self.answered) {
            (true, _) => Pace::Deliveries(self.rate),
            (false, false) => Pace::Window(self.window),
            (false, true) => Pace::Answers(self.window),
        };
        Plan { pace, warmup: self.warmup, duration: self.duration }
    }
}

/// Reads `redis=4711`.
fn beside(text: &str) -> Result<Beside> {
    let (name, pid) = text.split_once('=').context("a name and a process number are NAME=PID")?;
    let pid = pid.parse().with_context(|| format!("{pid:?} is no process number"))?;
    Ok(Beside { name: name.to_owned(), server: Server::new(pid) })
}

impl ClimbArgs {
    pub(crate) fn climb(&self) -> Climb {
        Climb { from: self.from, factor: self.factor, warmup: self.warmup, duration: self.duration }
    }
}
