//! Numbers on topics that remember, through all that goes wrong: what was acknowledged is there, once and in order, or
//! peers were told that something is missing.

use std::env;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use dunlin_tests::{Cluster, Doors, Follower, OPEN, Publisher, Redis};
use tokio::sync::watch;
use tokio::time::interval;

/// Logs that keep more than any of these faults lasts.
const LOGS: &str = "
[[topic]]
match = 'log:*'
mode = 'log'
limit = 10000
";
const TOPICS: [&str; 4] = ["log:a", "log:b", "log:c", "log:d"];
/// Numbers published, unless `DUNLIN_STREAM` says otherwise.
const USUAL: usize = 20_000;
/// No more a second: the machine is shared, and what is shown here is not speed.
const PER_SECOND_MAX: usize = 4_000;
const SECONDS_MIN: usize = 20;
/// How often something happens.
const FAULTS: Duration = Duration::from_secs(2);
/// How long Redis is away.
const AWAY: Duration = Duration::from_millis(500);

/// What peers knew when the memory was still whole, and what broke afterwards.
struct Stream {
    publishers: Vec<Publisher>,
    followers: Vec<(usize, Follower)>,
    goal: usize,
}

impl Stream {
    /// Two followers of each topic come in by each of the doors.
    async fn start(doors: &[Doors], count: usize) -> anyhow::Result<Self> {
        let seconds = (count / PER_SECOND_MAX).max(SECONDS_MIN);
        let per_second = count / seconds / TOPICS.len();
        let mut followers = Vec::new();
        for (topic, door) in (0..TOPICS.len() * doors.len() * 2).map(|number| (number % TOPICS.len(), number))
        {
            let door = &doors[door / TOPICS.len() % doors.len()];
            followers.push((topic, Follower::start(door.clone(), TOPICS[topic]).await?));
        }
        let publisher = |(number, topic): (usize, _)| {
            Publisher::start(doors[number % doors.len()].clone(), topic, per_second)
        };
        let publishers = TOPICS.into_iter().enumerate().map(publisher).collect();
        Ok(Self { publishers, followers, goal: count })
    }

    fn published(&self) -> usize {
        self.publishers.iter().map(Publisher::published).sum()
    }

    /// Waits until every topic is written to again.
    async fn flows(&mut self) -> anyhow::Result<()> {
        for publisher in &mut self.publishers {
            publisher.is_heard().await?;
        }
        Ok(())
    }

    fn breaks(&self) -> Vec<String> {
        self.followers.iter().flat_map(|(_, follower)| follower.breaks()).collect()
    }

    /// Ends it, and checks all that was given to anybody.
    async fn end(self) -> anyhow::Result<()> {
        let (mut acknowledged, mut resumed, mut breaks) = (Vec::new(), 0, Vec::new());
        for publisher in self.publishers {
            acknowledged.push(publisher.end().await?);
        }
        for (topic, follower) in self.followers {
            let last = acknowledged[topic].len() as u64 - 1;
            let heard = follower.hears(last).await.context(TOPICS[topic])?;
            heard.check(&acknowledged[topic]).context(TOPICS[topic])?;
            resumed += heard.resumed;
            breaks.push(heard.breaks);
        }
        let count = |which: bool| acknowledged.iter().flatten().filter(|each| **each == which).count();
        println!(
            "{} numbers acknowledged, {} not; {resumed} resumed; breaks {breaks:?}",
            count(true),
            count(false)
        );
        ensure!(breaks.iter().all(|breaks| !breaks.is_empty()), "a Redis that forgot is told to everybody");
        ensure!(resumed > 0, "the peers of the dead node came back");
        ensure!(count(true) > 9 * count(false), "most were acknowledged");
        Ok(())
    }
}

fn count() -> anyhow::Result<usize> {
    env::var("DUNLIN_STREAM").map_or(Ok(USUAL), |count| count.parse().context("DUNLIN_STREAM is a number"))
}

// R1, R2, T12, redis 0.7, 2.5, 2.11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_numbered_stream_loses_doubles_and_reorders_nothing_in_silence() -> anyhow::Result<()> {
    let mut cluster =
        Cluster::start_apart_on(Redis::start_lasting().await?, 2, &format!("{OPEN}{LOGS}")).await?;
    let (one, two) = (cluster.nodes[0].listen, cluster.nodes[1].listen);
    let doors = [vec![one, two], vec![two, one]].map(|doors| watch::channel(doors).1);
    let mut stream = Stream::start(&doors, count()?).await?;
    let mut faults = interval(FAULTS);
    for round in 0.. {
        faults.tick().await;
        match round % 4 {
            3 => restart(&mut cluster.redis, false).await?,
            round => cluster.proxies[round % 2].cut(),
        }
        stream.flows().await?;
        if stream.published() > stream.goal * 4 / 5 {
            break;
        }
    }
    cluster.nodes.remove(0).kill()?;
    stream.flows().await?;
    faults.tick().await;
    ensure!(stream.breaks().is_empty(), "until now all could be mended: {:?}", stream.breaks());
    restart(&mut cluster.redis, true).await?;
    stream.flows().await?;
    while stream.published() < stream.goal {
        faults.tick().await;
    }
    stream.end().await
}

/// Redis dies, and comes back with what it has answered, or with nothing.
async fn restart(redis: &mut Redis, forgets: bool) -> anyhow::Result<()> {
    redis.kill()?;
    if forgets {
        redis.forget()?;
    }
    let mut away = interval(AWAY);
    away.tick().await;
    away.tick().await;
    redis.start_again().await
}
