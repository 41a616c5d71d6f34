//! What `fanout`, `topics` and `cross` are told: how many, how fast, by whom.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::{Args, value_parser};
use dunlin_loadtest::{
    clock::Nanos,
    duration,
    fleet::Rest,
    process::Beside,
    sampler::interval_of,
    scenario::{
        Mode, Topics,
        climb::Climb,
        fanout::{Pace, Plan},
        stage::Cast,
    },
};

use super::number::{part, rate, size};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Fanout,
    Topics,
    Cross,
}

/// What is carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Course {
    Once(Plan),
    Climb(Climb),
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    crowd: Crowd,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    climb: ClimbArgs,
    #[command(flatten)]
    spread: Spread,
    /// How long before anything is measured [default: 2s, with --climb 1s]
    #[arg(long, value_parser = duration::parse)]
    warmup: Option<Duration>,
    /// How long to measure, with --climb each step [default: 10s, with --climb 4s]
    #[arg(long, value_parser = duration::parse_some)]
    duration: Option<Duration>,
}

#[derive(Debug, Args)]
struct Crowd {
    /// Topics [default: 1, for `topics` 1000]
    #[arg(long)]
    topics: Option<u32>,
    /// Subscribers in all, spread evenly over the topics [default: 1000, for `topics` 10000]
    #[arg(long)]
    peers: Option<u32>,
    /// What the topics remember: relay, value, log, list or map; their names then begin with log: and so on
    #[arg(long, value_name = "MODE", default_value = "relay", value_parser = Mode::parse)]
    mode: Mode,
    /// Publishers; each publishes round-robin over the topics
    #[arg(long, default_value_t = 1)]
    publishers: u32,
    /// Where the publishers connect, if not where the subscribers do: another node of the cluster
    #[arg(long, value_name = "URL")]
    publish_url: Option<String>,
    /// Another process whose CPU is reported, as NAME=PID; may be repeated
    #[arg(long, value_name = "NAME=PID", value_parser = super::beside)]
    beside: Vec<Beside>,
    /// Bytes of a whole payload, at least the 50 that a stamp takes
    #[arg(long, default_value_t = 128, value_parser = size())]
    size: usize,
    /// Never sleep: the server doesn't pay for waking the client, which needs a core of its own
    #[arg(long)]
    spin: bool,
}

#[derive(Debug, Args)]
struct PaceArgs {
    /// Deliveries per second over all subscribers; 0 is as fast as they come back, or as answers do
    #[arg(long, default_value_t = 30_000.0, value_parser = rate, conflicts_with = "climb")]
    rate: f64,
    /// With rate 0: publications on their way at a time
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u64).range(1..=1_000_000), conflicts_with = "climb")]
    window: u64,
    /// With rate 0: publications carry an id and are on their way until they are answered
    #[arg(long, conflicts_with = "climb")]
    answered: bool,
}

#[derive(Debug, Args)]
struct ClimbArgs {
    /// Raise the rate until the server no longer keeps up
    #[arg(long)]
    climb: bool,
    /// Deliveries per second of the first step
    #[arg(long, default_value_t = 50_000.0, value_parser = rate, requires = "climb")]
    from: f64,
    /// What the rate is multiplied with from step to step
    #[arg(long, default_value_t = 1.15, requires = "climb")]
    factor: f64,
    /// The p99 from which a step is bad
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration::parse, requires = "climb")]
    limit_p99: Duration,
    /// The part of the deliveries that may be lost, doubled or out of order in a good step
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = part, requires = "climb")]
    limit_loss: f64,
}

#[derive(Debug, Args)]
struct Spread {
    /// Spread the subscribers over so many processes; the first also publishes
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(..=256))]
    agents: u32,
    /// A command that runs `dunlin-loadtest agent`, maybe on another machine; may be repeated
    #[arg(long, value_name = "COMMAND")]
    agent: Vec<String>,
}

impl Shape {
    /// The command's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fanout => "fanout",
            Self::Topics => "topics",
            Self::Cross => "cross",
        }
    }
}

impl Load {
    /// An empty cast with everybody in it.
    pub(super) fn cast(&self, shape: Shape, empty: Cast) -> Cast {
        let (topics, peers) = match shape {
            Shape::Fanout | Shape::Cross => (1, 1000),
            Shape::Topics => (1000, 10_000),
        };
        let Crowd { publishers, size, mode, ref beside, .. } = self.crowd;
        Cast {
            topics: Topics { count: self.crowd.topics.unwrap_or(topics), ..empty.topics }.that_remember(mode),
            peers: self.crowd.peers.unwrap_or(peers),
            publishers,
            size,
            beside: beside.clone(),
            asks: self.plan().pace.asks() && !self.climb.climb,
            rest: if self.crowd.spin { Rest::Spin } else { Rest::Sleep },
            ..empty
        }
    }

    pub(super) fn publish_url(&self, shape: Shape) -> Result<Option<&str>> {
        match (shape, &self.crowd.publish_url) {
            (Shape::Cross, None) => bail!("cross takes --publish-url: where the publishers connect"),
            (_, url) => Ok(url.as_deref()),
        }
    }

    /// What to do with a cast of so many.
    pub(crate) fn course(&self, cast: &Cast) -> Result<Course> {
        ensure!(cast.publishers > 0, "somebody must publish: --publishers is 0");
        ensure!(
            !cast.topics.mode.is_state() || cast.publishers == 1,
            "versions of a value, list or map may be delivered as one, so only one publisher's can be checked"
        );
        ensure!(
            !cast.topics.mode.is_state() || self.climb.climb || self.pace.rate > 0.0 || self.pace.answered,
            "versions of a value, list or map may be delivered as one, so deliveries don't say how fast to publish: \
             --rate 0 takes --answered"
        );
        ensure!(
            self.climb.climb || !self.pace.answered || self.pace.rate <= 0.0,
            "--answered takes --rate 0: at a rate nothing waits for answers"
        );
        ensure!(
            !self.climb.climb
                || (self.climb.factor > 1.0 && self.climb.factor <= 100.0 && self.climb.from > 0.0),
            "a climb starts above 0 (--from) and goes up by a factor above 1 and up to 100 (--factor)"
        );
        ensure!(
            cast.peers > 0 || (cast.asks && !self.climb.climb),
            "without subscribers only answers say how fast to publish"
        );
        Ok(if self.climb.climb { Course::Climb(self.climb()) } else { Course::Once(self.plan()) })
    }

    /// How often such a run is sampled.
    pub(crate) fn interval(&self) -> Nanos {
        let Plan { warmup, duration, .. } = self.plan();
        interval_of(warmup + duration)
    }

    /// How many processes of this program, and which other commands, carry the load; none if this one does.
    pub(crate) fn agents(&self) -> Option<(u32, &[String])> {
        let Spread { agents, ref agent } = self.spread;
        (agents > 0 || !agent.is_empty()).then_some((agents, agent.as_slice()))
    }

    fn plan(&self) -> Plan {
        let pace = match (self.pace.rate > 0.0, self.pace.answered) {
            (true, _) => Pace::Deliveries(self.pace.rate),
            (false, false) => Pace::Window(self.pace.window),
            (false, true) => Pace::Answers(self.pace.window),
        };
        let (warmup, duration) = if self.climb.climb { (1, 4) } else { (2, 10) };
        Plan {
            pace,
            warmup: self.warmup.unwrap_or(Duration::from_secs(warmup)),
            duration: self.duration.unwrap_or(Duration::from_secs(duration)),
        }
    }

    fn climb(&self) -> Climb {
        let Plan { warmup, duration, .. } = self.plan();
        let ClimbArgs { from, factor, limit_p99, limit_loss, .. } = self.climb;
        Climb { from, factor, warmup, duration, p99_limit: limit_p99, loss_limit: limit_loss }
    }
}
