//! What a commit of publications to a log costs Redis, beside a plain `PUBLISH` of the same bytes.
//!
//! One plain connection (RESP2) calls the script with which a node commits, in batches of several sizes, and
//! `PUBLISH`, in turns. What it costs is the CPU that Redis says it used between two moments at which nothing
//! was under way, divided by what was called between them.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use dunlin_loadtest::{
    clock::{self, Nanos, SECOND},
    duration,
    pacer::Pacer,
    redis::Redis,
    stamp::blank_payload,
};
use serde::Serialize;

use self::wire::{Wire, array};

#[path = "redis/wire.rs"]
mod wire;

/// Measures commits beside plain publishes and prints what they cost Redis as JSON.
#[derive(Debug, Clone, Parser)]
#[command(name = "commit_cost")]
pub(crate) struct Options {
    /// The Redis, on this machine
    #[arg(long, default_value = "127.0.0.1:6379")]
    pub(crate) redis: SocketAddr,
    /// Publications per commit, each a turn of its own: 1 to 64
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64])]
    pub(crate) batches: Vec<usize>,
    /// Publications per second; 0 is as fast as answers come
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// With rate 0: calls on their way at a time
    #[arg(long, default_value_t = 32)]
    pub(crate) pipeline: u64,
    /// Logs that take turns
    #[arg(long, default_value_t = 1)]
    pub(crate) topics: usize,
    /// Publications that a log remembers
    #[arg(long, default_value_t = 200)]
    pub(crate) limit: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// One more connection hears everything, as a node with subscribers does
    #[arg(long)]
    pub(crate) heard: bool,
    /// How often each has its turn
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// How long a turn is; a tenth of it more goes before, unmeasured
    #[arg(long, default_value = "2s", value_parser = duration::parse_some)]
    pub(crate) duration: Duration,
}

/// What all turns of a call came to: medians of the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    /// `PUBLISH`, or `commit of N`.
    pub(crate) call: String,
    pub(crate) publications_per_second: f64,
    /// Redis commands for a call, those of its script included.
    pub(crate) commands_per_call: f64,
    /// Redis' main thread.
    pub(crate) cpu_us_per_call: f64,
    pub(crate) cpu_us_per_publication: f64,
    /// That, divided by what a `PUBLISH` took.
    pub(crate) to_a_publish: f64,
}

#[allow(dead_code, reason = "the tests include this file and run without its command line")]
fn main() -> Result<()> {
    println!("{}", serde_json::to_string_pretty(&run(&Options::parse())?)?);
    Ok(())
}

/// Gives every call its turns.
pub(crate) fn run(options: &Options) -> Result<Vec<Cost>> {
    ensure!(options.redis.ip().is_loopback(), "{} is not a loopback address", options.redis.ip());
    ensure!(options.rate >= 0.0 && options.rate.is_finite(), "a rate is a number from 0");
    ensure!(options.batches.iter().all(|batch| (1..=64).contains(batch)), "a batch is 1 to 64 publications");
    ensure!(options.topics > 0 && options.pipeline > 0 && options.rounds > 0, "nothing to measure");
    let mut bench = Bench::open(options)?;
    let calls = bench.calls()?;
    let mut turns: Vec<Vec<Turn>> = calls.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (call, turns) in calls.iter().zip(&mut turns) {
            bench.carry(call, options.duration / 10)?;
            turns.push(bench.carry(call, options.duration)?);
        }
    }
    bench.tidy_up()?;
    let mut costs: Vec<_> = calls.iter().zip(&turns).map(|(call, turns)| Cost::of(call, turns)).collect();
    let publish = costs.first().map_or(f64::NAN, |cost| cost.cpu_us_per_publication);
    for cost in &mut costs {
        cost.to_a_publish = cost.cpu_us_per_publication / publish;
    }
    Ok(costs)
}

/// One kind of call.
struct Call {
    name: String,
    publications: usize,
    /// The same call for each topic.
    commands: Vec<Vec<u8>>,
    /// What every good answer begins with.
    answer: &'static [u8],
}

/// A turn of a call.
#[derive(Debug, Clone, Copy)]
struct Turn {
    calls: f64,
    seconds: f64,
    commands: f64,
    cpu_us: f64,
}

impl Cost {
    fn of(call: &Call, turns: &[Turn]) -> Self {
        let publications = call.publications as f64;
        let cpu_us_per_call = median(turns, |turn| turn.cpu_us / turn.calls);
        Self {
            call: call.name.clone(),
            publications_per_second: median(turns, |turn| turn.calls * publications / turn.seconds),
            commands_per_call: median(turns, |turn| turn.commands / turn.calls),
            cpu_us_per_call,
            cpu_us_per_publication: cpu_us_per_call / publications,
            to_a_publish: f64::NAN,
        }
    }
}

fn median(turns: &[Turn], figure: impl Fn(&Turn) -> f64) -> f64 {
    let mut figures: Vec<_> = turns.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) }
}

/// The connections: one calls, one hears, one asks what it cost.
struct Bench<'a> {
    options: &'a Options,
    caller: Wire,
    hearer: Option<Wire>,
    asker: Redis,
}

/// The script with which nodes commit.
const COMMIT: &[u8] = include_bytes!("../../node/src/broker/redis/scripts/commit.lua");

/// How long an answer may take.
const PATIENCE: Nanos = 10 * SECOND;

/// What is written lives so many seconds if nobody tidies up.
const LIFE: &[u8] = b"600";

impl<'a> Bench<'a> {
    fn open(options: &'a Options) -> Result<Self> {
        let mut bench = Self {
            options,
            caller: Wire::connect(options.redis)?,
            hearer: None,
            asker: Redis::connect(&options.redis.to_string())?,
        };
        if options.heard {
            let mut hearer = Wire::connect(options.redis)?;
            for topic in 0..options.topics {
                hearer.outbox.extend(array(&[b"SUBSCRIBE", &key(topic, 'l')]));
            }
            hearer.flush()?;
            bench.hearer = Some(hearer);
        }
        Ok(bench)
    }

    /// `PUBLISH`, then a commit of each size.
    fn calls(&mut self) -> Result<Vec<Call>> {
        let script = self.load_script()?;
        let topics = 0..self.options.topics;
        let item = item(self.options.size);
        let publish = |topic| array(&[b"PUBLISH", &key(topic, 'l'), &item]);
        let mut calls = vec![Call {
            name: "PUBLISH".to_owned(),
            publications: 1,
            commands: topics.clone().map(publish).collect(),
            answer: b":",
        }];
        for &batch in &self.options.batches {
            let commit = |topic| self.commit(&script, topic, &item, batch);
            calls.push(Call {
                name: format!("commit of {batch}"),
                publications: batch,
                commands: topics.clone().map(commit).collect(),
                answer: b"*2\r\n$2\r\nOK\r\n",
            });
        }
        Ok(calls)
    }

    /// A call as nodes make it, of a first attempt that doesn't renew the list's life.
    fn commit(&self, script: &[u8], topic: usize, item: &[u8], batch: usize) -> Vec<u8> {
        let (head, list, channel) = (key(topic, 'h'), key(topic, 's'), key(topic, 'l'));
        let limit = self.options.limit.to_string().into_bytes();
        let mut words: Vec<&[u8]> = vec![b"EVALSHA", script, b"2", &head, &list, b"PUBLISH", &channel, b"l"];
        words.extend([&limit[..], LIFE, LIFE, b"0", b"8 bytes.", b"", b"300", b"mark", b""]);
        words.extend((0..batch).map(|_| item));
        array(&words)
    }

    fn load_script(&mut self) -> Result<Vec<u8>> {
        let answer = self.ask(&[b"SCRIPT", b"LOAD", COMMIT])?;
        let digest = answer.strip_prefix(b"$40\r\n").and_then(|rest| rest.get(..40));
        Ok(digest
            .with_context(|| format!("redis answered SCRIPT LOAD with {}", answer.escape_ascii()))?
            .to_vec())
    }

    fn tidy_up(&mut self) -> Result<()> {
        for topic in 0..self.options.topics {
            self.ask(&[b"DEL", &key(topic, 'h'), &key(topic, 's')])?;
        }
        Ok(())
    }

    fn ask(&mut self, words: &[&[u8]]) -> Result<Vec<u8>> {
        self.caller.outbox.extend(array(words));
        let deadline = clock::now() + PATIENCE;
        loop {
            if let Some(length) = reply_length(&self.caller.unread)? {
                return Ok(self.caller.unread.drain(..length).collect());
            }
            ensure!(clock::now() < deadline, "redis does not answer");
            self.turn()?;
        }
    }

    /// Calls for so long, waits for the last answer, and reads what that cost.
    fn carry(&mut self, call: &Call, length: Duration) -> Result<Turn> {
        let before = self.asker.info()?;
        let start = clock::now();
        let until = start + length.as_nanos() as Nanos;
        let mut pacer = Pacer::new(start, self.options.rate / call.publications as f64);
        let (mut called, mut answered) = (0, 0);
        while clock::now() < until {
            while self.may_call(&mut pacer, until, called - answered) {
                let command = &call.commands[called as usize % call.commands.len()];
                self.caller.outbox.extend_from_slice(command);
                called += 1;
            }
            self.turn()?;
            answered += self.count_answers(call)?;
        }
        let deadline = clock::now() + PATIENCE;
        while answered < called {
            ensure!(clock::now() < deadline, "redis does not answer");
            self.turn()?;
            answered += self.count_answers(call)?;
        }
        let seconds = (clock::now() - start) as f64 / SECOND as f64;
        let after = self.asker.info()?;
        ensure!(called > 0, "nothing was called: the rate is too low for a turn");
        Ok(Turn {
            calls: called as f64,
            seconds,
            commands: after.commands.saturating_sub(before.commands) as f64,
            cpu_us: (after.main_thread - before.main_thread).total() * 1e6,
        })
    }

    fn may_call(&self, pacer: &mut Pacer, until: Nanos, on_their_way: u64) -> bool {
        if self.options.rate > 0.0 {
            pacer.take_before(clock::now(), until).is_some()
        } else {
            on_their_way < self.options.pipeline
        }
    }

    /// Takes the whole answers that have come.
    fn count_answers(&mut self, call: &Call) -> Result<u64> {
        let (mut answered, mut from) = (0, 0);
        let unread = &self.caller.unread;
        while let Some(length) = reply_length(&unread[from..])? {
            let answer = &unread[from..from + length];
            ensure!(
                answer.starts_with(call.answer),
                "redis answered {} with {}",
                call.name,
                answer.escape_ascii()
            );
            (answered, from) = (answered + 1, from + length);
        }
        self.caller.unread.drain(..from);
        Ok(answered)
    }

    fn turn(&mut self) -> Result<()> {
        self.caller.flush()?;
        self.caller.receive()?;
        if let Some(hearer) = &mut self.hearer {
            hearer.flush()?;
            hearer.receive()?;
            hearer.unread.clear();
        }
        Ok(())
    }
}

/// A key of a log, or its channel, as nodes call them.
fn key(topic: usize, kind: char) -> Vec<u8> {
    format!("dunlin-cost:1:{{t|/load|log:{topic:07}}}:{kind}").into_bytes()
}

/// A publication as a node stores it: length, mark, id, flags, time, length of the header, publisher, payload.
fn item(size: usize) -> Vec<u8> {
    let payload = blank_payload(size);
    let length = 4 + 4 + 16 + 1 + 6 + 1 + 16 + payload.len();
    let mut item = (length as u32).to_be_bytes().to_vec();
    item.extend_from_slice(b"mark0123456789abcdef");
    item.extend_from_slice(&[1 << 2, 0, 0, 0, 0, 0, 0, 16]);
    item.extend_from_slice(b"0123456789abcdef");
    item.extend_from_slice(&payload);
    item
}

/// The length of the first answer; none if it isn't whole. An error ends the run.
fn reply_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(line_end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let number = || std::str::from_utf8(&bytes[1..line_end]).ok().and_then(|text| text.parse::<usize>().ok());
    let mut length = line_end + 2;
    match (bytes[0], number()) {
        (b':' | b'+', _) => {}
        (b'$', Some(size)) => length += size + 2,
        (b'*', Some(count)) => {
            for _ in 0..count {
                let Some(part) = reply_length(bytes.get(length..).unwrap_or_default())? else {
                    return Ok(None);
                };
                length += part;
            }
        }
        _ => bail!("redis says {}", bytes[..line_end].escape_ascii()),
    }
    Ok((length <= bytes.len()).then_some(length))
}
