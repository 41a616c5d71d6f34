//! The command line of `resume`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use dunlin_loadtest::{
    adapter::Protocol,
    duration,
    metrics::Page,
    process::Server,
    scenario::{Mode, resume::Resume},
};
use rustix::process::Pid;

use super::{Cli, lives::RestArgs, number::rate};

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// Subscribers of one log, at --url
    #[arg(long, default_value_t = 1000)]
    peers: u32,
    /// Where they come back, and where the publisher is all along: another node of the cluster, whose process
    /// is --server-pid [default: --url]
    #[arg(long, value_name = "URL")]
    resume_at: Option<String>,
    /// Publications before all connections are cut
    #[arg(long, default_value_t = 100)]
    publications: u32,
    /// Publications per second, before, during and after
    #[arg(long, default_value_t = 20.0, value_parser = rate)]
    rate: f64,
    /// Kill this process, which serves --url, when the connections are cut
    #[arg(long, value_name = "PID", requires = "resume_at")]
    end_pid: Option<i32>,
    /// The peers dial one after the other over so long; 0s is all at once
    #[arg(long, default_value = "0s", value_parser = duration::parse)]
    ramp: Duration,
    /// How long publishing goes on once all are back
    #[arg(long, default_value = "2s", value_parser = duration::parse)]
    calm: Duration,
    /// Metrics of a node whose history reads are counted, as `http://127.0.0.1:8081/metrics`; may be repeated
    #[arg(long, value_name = "URL", value_parser = Page::parse)]
    metrics: Vec<Page>,
    #[command(flatten)]
    rest: RestArgs,
}

impl ResumeArgs {
    pub(crate) fn resume(&self, cli: &Cli) -> Result<Resume> {
        cli.has_no_losses()?;
        ensure!(
            cli.adapter == Protocol::Plain && cli.subprotocol.is_none(),
            "resume speaks dunlin.json.v1: it takes neither --adapter nor --subprotocol"
        );
        let from = cli.target()?;
        Ok(Resume {
            to: self.resume_at.as_deref().map_or_else(|| Ok(from.clone()), |url| cli.target_at(url))?,
            from,
            server: cli.server_pid.map(Server::new),
            beside: self.rest.beside.clone(),
            pages: self.metrics.clone(),
            topics: cli.topics(1).that_remember(Mode::Log),
            peers: self.peers,
            publications: self.publications,
            rate: self.rate,
            end: self.end_pid.map(process_to_end).transpose()?,
            ramp: self.ramp,
            calm: self.calm,
            size: self.rest.size,
            concurrency: cli.concurrency,
            seed: self.rest.seed,
        })
    }
}

/// Below 2 is a group of processes, or the one that must not end.
pub(super) fn process_to_end(pid: i32) -> Result<Pid> {
    ensure!(pid >= 2, "{pid} is no process to end");
    Pid::from_raw(pid).context("a process number is above 0")
}
