//! `dunlin keys`: what a cluster keeps in Redis, and what of it looks wrong.
//!
//! It reads only, page by page, so that it may be run on a Redis in use; what looks wrong is read a second time
//! before it is told. `class`, `examination` and `census` are pure; `reading` is the connection.
//!
//! **Invariant:** what it holds does not grow with the number of keys.

mod census;
mod class;
mod examination;
mod reading;
mod report;
mod shown;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

pub use self::reading::ReadingError;
pub use self::report::Report;

use self::census::Census;
use self::class::{Key, Layout, Sort};
use self::examination::{
    Depth, Facts, Finding, Reply, Verdict, Words, is_read_whole, judge, questions, words,
};
use self::reading::Reading;
use crate::cli::Keys;
use crate::clock::Clock;
use crate::config::{self, Config, ConfigError, Flags};
use crate::hub::Moment;

/// So many keys are asked about at once.
const BATCH: usize = 250;
/// The same where items and whole hashes are read, of up to some MiB each.
const BATCH_DEEP: usize = 16;

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The configuration is no good.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It names no Redis.
    #[error("no redis is configured; pass --redis, for example redis://127.0.0.1:6379, or set [redis] url")]
    NoRedis,
    /// Redis does not answer, or refuses to.
    #[error(transparent)]
    Reading(#[from] ReadingError),
    /// The system refuses what a runtime needs.
    #[error("the system refuses a runtime: {0}")]
    System(#[from] std::io::Error),
}

/// Looks at all keys of the cluster that is meant.
pub fn run(options: &Keys) -> Result<Report, KeysError> {
    let flags = Flags {
        config: options.config.clone(),
        redis: options.redis.clone(),
        prefix: options.prefix.clone(),
        ..Flags::default()
    };
    let redis = Config::of_process(&flags)?.redis.ok_or(KeysError::NoRedis)?;
    let depth = if options.check { Depth::Deep } else { Depth::Shallow };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(look(&redis, depth))?)
}

async fn look(redis: &config::Redis, depth: Depth) -> Result<Report, ReadingError> {
    let layout = Layout::new(&redis.prefix, redis.url.database);
    let reading = Reading::connect(&redis.url).await?;
    let mut round = Round {
        layout,
        reading,
        depth,
        knows_bytes: true,
        census: Census::default(),
        progress: Progress::start(),
    };
    let result = round.walk().await;
    round.progress.end();
    result?;
    let Round { knows_bytes, census, .. } = round;
    Ok(Report { redis: redis.url.to_string(), prefix: redis.prefix.clone(), depth, knows_bytes, census })
}

/// One walk through all keys.
struct Round {
    layout: Layout,
    reading: Reading,
    depth: Depth,
    /// Until Redis refuses to tell.
    knows_bytes: bool,
    census: Census,
    progress: Progress,
}

/// A key with all that was found out about it; no facts if it went meanwhile.
type Examined = (Key, Option<(Facts, Verdict)>);

impl Round {
    async fn walk(&mut self) -> Result<(), ReadingError> {
        let (mut cursor, pattern) = (Some(b"0".to_vec()), self.layout.pattern());
        while let Some(from) = cursor {
            let page = self.reading.page(&from, &pattern).await?;
            self.progress.add(page.names.len() as u64);
            let ours = self.sort(&page.names);
            let batch = if self.depth == Depth::Deep { BATCH_DEEP } else { BATCH };
            for keys in ours.chunks(batch) {
                self.take_in(keys.to_vec()).await?;
            }
            cursor = page.next;
        }
        Ok(())
    }

    /// The keys of this cluster; others are counted as what they are.
    fn sort(&mut self, names: &[Vec<u8>]) -> Vec<Key> {
        let mut ours = Vec::new();
        for name in names {
            match self.layout.classify(name) {
                Sort::Ours(key) => ours.push(key),
                Sort::OtherLayout => self.census.stranger(Finding::OtherLayout, name),
                Sort::OtherDatabase => self.census.stranger(Finding::OtherDatabase, name),
                Sort::Unknown => self.census.stranger(Finding::Unknown, name),
            }
        }
        ours
    }

    async fn take_in(&mut self, keys: Vec<Key>) -> Result<(), ReadingError> {
        let mut suspects = Vec::new();
        for (key, examined) in self.examine(keys).await? {
            let Some((facts, verdict)) = examined else { continue };
            self.census.count(&key, &facts);
            let is_whole = self.depth == Depth::Deep && is_read_whole(key.class);
            self.census.unchecked += u64::from(is_whole && !facts.fits());
            if !verdict.is_clean() {
                suspects.push((key, verdict));
            }
        }
        let (keys, first): (Vec<_>, Vec<_>) = suspects.into_iter().unzip();
        for ((key, examined), first) in self.examine(keys).await?.into_iter().zip(first) {
            if let Some((_, second)) = examined {
                self.census.judge(&key, &first, second);
            }
        }
        Ok(())
    }

    async fn examine(&mut self, keys: Vec<Key>) -> Result<Vec<Examined>, ReadingError> {
        let facts = self.facts(&keys).await?;
        let asked = keys.iter().zip(&facts).map(|(key, facts)| {
            facts.as_ref().map_or(Vec::new(), |facts| questions(&self.layout, key, facts, self.depth))
        });
        let asked: Vec<Vec<Words>> = asked.collect();
        let lengths: Vec<_> = asked.iter().map(Vec::len).collect();
        let mut answers = self.reading.insist(asked.concat()).await?.into_iter();
        let mut examined = Vec::with_capacity(keys.len());
        for ((key, facts), length) in keys.into_iter().zip(facts).zip(lengths) {
            let answers: Vec<_> = answers.by_ref().take(length).collect();
            let verdict = facts.map(|facts| {
                let verdict = judge(&key, &facts, &answers);
                (facts, verdict)
            });
            examined.push((key, verdict));
        }
        Ok(examined)
    }

    /// What every key is asked; none for one that is not there any more.
    async fn facts(&mut self, keys: &[Key]) -> Result<Vec<Option<Facts>>, ReadingError> {
        let ask = |command: &'static str| keys.iter().map(move |key| words(&[command, &key.name]));
        let mut answers = self.reading.insist(ask("TYPE").chain(ask("PTTL")).collect()).await?;
        let lives = answers.split_off(keys.len());
        let sizes = self.sizes(keys).await?;
        let fields = self.fields(keys).await?;
        let known = answers.into_iter().zip(lives).zip(sizes).zip(fields);
        Ok(known.map(|(((kind, life), bytes), fields)| facts(kind, &life, bytes, fields)).collect())
    }

    async fn sizes(&mut self, keys: &[Key]) -> Result<Vec<Option<u64>>, ReadingError> {
        if !self.knows_bytes {
            return Ok(vec![None; keys.len()]);
        }
        let ask = keys.iter().map(|key| words(&["MEMORY", "USAGE", &key.name, "SAMPLES", SAMPLES]));
        let answers = self.reading.ask(ask.collect()).await?;
        self.knows_bytes = !answers.iter().any(|answer| matches!(answer, Reply::Error(_)));
        Ok(answers.iter().map(number).collect())
    }

    /// How many fields those have that would be read whole.
    async fn fields(&self, keys: &[Key]) -> Result<Vec<Option<u64>>, ReadingError> {
        let is_asked = |key: &Key| self.depth == Depth::Deep && is_read_whole(key.class);
        let asked = keys.iter().filter(|key| is_asked(key)).map(|key| words(&["HLEN", &key.name]));
        let mut answers = self.reading.insist(asked.collect()).await?.into_iter();
        Ok(keys.iter().map(|key| is_asked(key).then(|| number(&answers.next()?)).flatten()).collect())
    }
}

/// So many elements of a collection Redis weighs to know what all of them take.
const SAMPLES: &str = "5";

fn facts(kind: Reply, life: &Reply, bytes: Option<u64>, fields: Option<u64>) -> Option<Facts> {
    let Reply::Bytes(kind) = kind else { return None };
    let kind = String::from_utf8_lossy(&kind).into_owned();
    let is_gone = kind == "none" || *life == Reply::Number(-2);
    (!is_gone).then(|| Facts { kind, ttl: number(life), bytes, fields })
}

/// A count; none where Redis says something below 0, or nothing.
fn number(reply: &Reply) -> Option<u64> {
    if let Reply::Number(number) = reply { u64::try_from(*number).ok() } else { None }
}

/// Says on a terminal that the command is at work.
struct Progress {
    clock: Clock,
    /// When to say it next; never where nobody looks.
    next: Option<Moment>,
    keys: u64,
    has_spoken: bool,
}

/// Who waits longer wonders.
const QUIET: Duration = Duration::from_secs(1);
/// How often the number changes.
const PACE: Duration = Duration::from_millis(500);

impl Progress {
    fn start() -> Self {
        let clock = Clock::start();
        let next = std::io::stderr().is_terminal().then(|| clock.now() + QUIET);
        Self { clock, next, keys: 0, has_spoken: false }
    }

    fn add(&mut self, keys: u64) {
        self.keys += keys;
        let now = self.clock.now();
        if self.next.is_some_and(|next| next <= now) {
            self.next = Some(now + PACE);
            self.has_spoken = true;
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "\r{} keys so far", self.keys); // Whoever closed it does not want to know.
            let _ = stderr.flush();
        }
    }

    /// Takes the line away again.
    fn end(&self) {
        if self.has_spoken {
            let _ = write!(std::io::stderr(), "\r\x1b[K"); // The same.
        }
    }
}
