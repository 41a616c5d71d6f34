//! The command line, and what it means.

mod lives;
mod load;
mod number;
mod resume;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use dunlin_loadtest::{
    adapter::{Losses, Protocol},
    duration,
    process::{Beside, Server},
    redis::Redis,
    scenario::{Answers, Topics, connect::Arrivals, stage::Cast},
    target::Target,
};

pub(crate) use self::load::{Course, Load, Shape};
use self::{
    lives::{ChurnArgs, StormArgs},
    resume::ResumeArgs,
};

/// Measures a pub/sub server.
#[derive(Debug, Parser)]
#[command(name = "dunlin-loadtest", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// The server, as ws://127.0.0.1:PORT/path
    #[arg(long, global = true, default_value = "ws://127.0.0.1:8080/load")]
    url: String,
    /// The server may be another machine: ask its owner first
    #[arg(long, global = true)]
    allow_remote: bool,
    /// How the server is spoken to: plain, dunlin-msgpack, raw, nats, nchan or socket-io
    #[arg(long, global = true, value_name = "NAME", default_value = "plain", value_parser = Protocol::parse)]
    adapter: Protocol,
    /// The server's process: its CPU and memory are read from /proc
    #[arg(long, global = true)]
    server_pid: Option<u32>,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The server doesn't answer frames with an id: find out about subscriptions by publishing
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
    /// Drop, double or swap parts of the received deliveries, as drop=0.001,double=0.001,swap=0.001, to see
    /// that the sequence check notices
    #[arg(long, global = true, value_name = "FAULTS", value_parser = Losses::parse, hide_short_help = true)]
    lossy: Option<Losses>,
    /// Write report.json and report.html, with plots, into this directory
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// A Redis whose CPU and commands are sampled with INFO, as HOST:PORT
    #[arg(long, global = true, value_name = "HOST:PORT")]
    redis: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish on one topic with 1000 peers and watch every delivery
    Fanout(Load),
    /// The same on 1000 topics with 10,000 peers
    Topics(Load),
    /// The same across a cluster: publishers at --publish-url, subscribers at --url
    Cross(Load),
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
        /// Another process whose CPU is reported, as NAME=PID; may be repeated
        #[arg(long, value_name = "NAME=PID", value_parser = beside)]
        beside: Vec<Beside>,
    },
    /// Connect and leave
    Connect {
        /// How many
        #[arg(long, default_value_t = 10_000)]
        count: u32,
    },
    /// Keep peers connected while they leave and others take their place; see whether memory grows
    Churn(ChurnArgs),
    /// A node goes and all its peers come to another at once
    Storm(StormArgs),
    /// All peers of a log lose their connections at once and come back with their cursors
    Resume(ResumeArgs),
    /// Carry a part of a load for a coordinator on stdin and stdout, as --agent asks for
    #[command(hide = true)]
    Agent,
}

impl Cli {
    /// The Redis to sample.
    pub(crate) fn redis(&self) -> Result<Option<Redis>> {
        self.redis.as_deref().map(Redis::connect).transpose()
    }

    /// Who takes part in a load.
    pub(crate) fn cast(&self, shape: Shape, load: &Load) -> Result<Cast> {
        let cast = load.cast(shape, self.empty_cast()?);
        match load.publish_url(shape)? {
            Some(url) => Ok(Cast { publishing: self.target_at(url)?, ..cast }),
            None => Ok(cast),
        }
    }

    /// Who is idle. Nobody publishes, unless it takes a probe to see that a subscription is there.
    pub(crate) fn idle_cast(&self, peers: u32, topics: u32, beside: &[Beside]) -> Result<Cast> {
        self.has_no_losses()?;
        let publishers = u32::from(self.answers() == Answers::Nothing);
        let topics = self.topics(topics);
        let beside = beside.to_vec();
        Ok(Cast { topics, peers, publishers, beside, size: 0, ..self.empty_cast()? })
    }

    /// Who connects and leaves.
    pub(crate) fn arrivals(&self, count: u32) -> Result<Arrivals> {
        self.has_no_losses()?;
        Ok(Arrivals {
            target: self.target()?,
            protocol: self.adapter,
            server: self.server_pid.map(Server::new),
            count,
            concurrency: self.concurrency,
            topics: self.topics(1),
            answers: self.answers(),
        })
    }

    /// Who doesn't check sequences has no use for faults in them.
    fn has_no_losses(&self) -> Result<()> {
        ensure!(self.lossy.is_none(), "--lossy is for fanout, topics and cross: only they check sequences");
        Ok(())
    }

    fn empty_cast(&self) -> Result<Cast> {
        Ok(Cast {
            protocol: self.adapter,
            losses: self.lossy,
            server: self.server_pid.map(Server::new),
            topics: self.topics(1),
            concurrency: self.concurrency,
            answers: self.answers(),
            ..Cast::new(self.target()?)
        })
    }

    fn target(&self) -> Result<Target> {
        self.target_at(&self.url)
    }

    fn target_at(&self, url: &str) -> Result<Target> {
        let target = if self.allow_remote { Target::parse_anywhere(url) } else { Target::parse(url) }?;
        let offered = self.subprotocol.as_deref().or(self.adapter.subprotocol());
        Ok(Target { subprotocol: offered.map(str::to_owned), ..target })
    }

    fn topics(&self, count: u32) -> Topics {
        Topics::of_relay(&self.prefix, count)
    }

    fn answers(&self) -> Answers {
        if self.no_ack || !self.adapter.confirms() { Answers::Nothing } else { Answers::Ok }
    }
}

/// Reads `redis=4711`.
fn beside(text: &str) -> Result<Beside> {
    let (name, pid) = text.split_once('=').context("a name and a process number are NAME=PID")?;
    let pid = pid.parse().with_context(|| format!("{pid:?} is no process number"))?;
    Ok(Beside { name: name.to_owned(), server: Server::new(pid) })
}

#[cfg(test)]
mod tests;
