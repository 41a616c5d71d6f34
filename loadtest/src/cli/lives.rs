//! The command line of `churn` and `storm`.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use dunlin_loadtest::{
    duration,
    process::{Beside, Server},
    scenario::{
        churn::Churn,
        storm::{End, Storm},
    },
};
use rustix::process::Signal;

use super::{
    Cli, beside,
    number::{part, rate, size},
    resume::process_to_end,
};

#[derive(Debug, Args)]
pub(crate) struct ChurnArgs {
    /// Peers connected at any time
    #[arg(long, default_value_t = 1000)]
    peers: u32,
    /// Topics they are spread over
    #[arg(long, default_value_t = 100)]
    topics: u32,
    /// How many leave and are replaced, on average; a life takes peers / per-second on average
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    per_second: f64,
    /// How long
    #[arg(long, default_value = "60s", value_parser = duration::parse_some)]
    duration: Duration,
    /// Deliveries per second of what the peers publish; 0 publishes nothing
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    rate: f64,
    /// The part that leaves without a closing handshake: by a reset, or in the middle of a frame
    #[arg(long, default_value_t = 0.3, value_parser = part)]
    abrupt: f64,
    #[command(flatten)]
    rest: RestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StormArgs {
    /// Subscribers on the node that goes (--url)
    #[arg(long, default_value_t = 1000)]
    peers: u32,
    /// Topics they are spread over
    #[arg(long, default_value_t = 100)]
    topics: u32,
    /// The node everybody comes to; --server-pid is its process
    #[arg(long, value_name = "URL")]
    to: String,
    /// Deliveries per second to the subscribers, published on the other node; 0 publishes nothing
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    rate: f64,
    /// End this process, which serves --url
    #[arg(long, value_name = "PID", required_unless_present = "cut")]
    end_pid: Option<i32>,
    /// How to end it
    #[arg(long, value_enum, default_value_t = Ending::Term, requires = "end_pid")]
    signal: Ending,
    /// End no process: the load cuts all its connections at once
    #[arg(long, conflicts_with = "end_pid")]
    cut: bool,
    /// A peer comes back after a random time up to this; 0s is at once, which is the worst
    #[arg(long, default_value = "0s", value_parser = duration::parse)]
    delay: Duration,
    /// How long all is calm before, and again afterwards
    #[arg(long, default_value = "3s", value_parser = duration::parse)]
    calm: Duration,
    #[command(flatten)]
    rest: RestArgs,
}

/// What all who keep peers alive take.
#[derive(Debug, Args)]
pub(super) struct RestArgs {
    /// Another process whose CPU is reported, as NAME=PID; may be repeated
    #[arg(long, value_name = "NAME=PID", value_parser = beside)]
    pub(super) beside: Vec<Beside>,
    /// Bytes of a whole payload, at least the 50 that a stamp takes
    #[arg(long, default_value_t = 128, value_parser = size())]
    pub(super) size: usize,
    /// What chance is drawn from: the same seed gives the same lives
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ending {
    /// SIGTERM: a node drains
    Term,
    /// SIGKILL: it is gone
    Kill,
}

impl ChurnArgs {
    pub(crate) fn churn(&self, cli: &Cli) -> Result<Churn> {
        cli.has_no_losses()?;
        Ok(Churn {
            target: cli.target()?,
            protocol: cli.adapter,
            server: cli.server_pid.map(Server::new),
            beside: self.rest.beside.clone(),
            topics: cli.topics(self.topics),
            peers: self.peers,
            per_second: self.per_second,
            duration: self.duration,
            rate: self.rate,
            abrupt: self.abrupt,
            size: self.rest.size,
            concurrency: cli.concurrency,
            answers: cli.answers(),
            seed: self.rest.seed,
        })
    }
}

impl StormArgs {
    pub(crate) fn storm(&self, cli: &Cli) -> Result<Storm> {
        cli.has_no_losses()?;
        Ok(Storm {
            from: cli.target()?,
            to: cli.target_at(&self.to)?,
            protocol: cli.adapter,
            server: cli.server_pid.map(Server::new),
            beside: self.rest.beside.clone(),
            topics: cli.topics(self.topics),
            peers: self.peers,
            rate: self.rate,
            end: self.end()?,
            delay: self.delay,
            calm: self.calm,
            size: self.rest.size,
            concurrency: cli.concurrency,
            answers: cli.answers(),
            seed: self.rest.seed,
        })
    }

    fn end(&self) -> Result<End> {
        let Some(pid) = self.end_pid else { return Ok(End::Cut) };
        Ok(End::Signal(
            process_to_end(pid)?,
            if self.signal == Ending::Term { Signal::TERM } else { Signal::KILL },
        ))
    }
}
