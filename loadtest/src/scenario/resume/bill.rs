//! What a resume costs: read at the break and once all are back.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Resume;
use crate::{
    process::{Cpu, Server},
    redis::Redis,
};

/// Reads the costs.
pub(super) struct Bill {
    redis: Option<Redis>,
    before: Reading,
}

/// What was used since the break.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub(super) server: Option<Cpu>,
    /// Seconds of Redis' main thread.
    pub(super) redis_s: Option<f64>,
    /// History reads by the URL of a node's metrics.
    pub(super) reads: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Reading {
    server: Option<Cpu>,
    redis: Option<Cpu>,
    reads: Vec<u64>,
}

impl Bill {
    pub(super) fn new(redis: Option<Redis>) -> Self {
        Self { redis, before: Reading::default() }
    }

    /// The break is now. It waits for the answers, as whoever counts from here must.
    pub(super) fn begin(&mut self, resume: &Resume) -> Result<()> {
        self.before = self.read(resume)?;
        Ok(())
    }

    /// What was used since.
    pub(super) fn end(&mut self, resume: &Resume) -> Result<Spent> {
        let after = self.read(resume)?;
        let reads =
            after.reads.iter().zip(&self.before.reads).map(|(after, before)| after.saturating_sub(*before));
        Ok(Spent {
            server: after.server.zip(self.before.server).map(|(after, before)| after - before),
            // What asking costs is taken off by Redis' own clock, which may be more than the CPU it used.
            redis_s: after
                .redis
                .zip(self.before.redis)
                .map(|(after, before)| (after - before).total().max(0.0)),
            reads: resume.pages.iter().map(|page| page.url.clone()).zip(reads).collect(),
        })
    }

    fn read(&mut self, resume: &Resume) -> Result<Reading> {
        Ok(Reading {
            server: resume.server.map(Server::cpu).transpose()?,
            redis: self.redis.as_mut().map(Redis::info).transpose()?.map(|info| info.main_thread),
            reads: resume.pages.iter().map(|page| page.redis_commands("read")).collect::<Result<_>>()?,
        })
    }
}
