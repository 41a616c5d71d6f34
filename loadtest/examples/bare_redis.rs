//! The yardstick between nodes: what Redis alone takes from `PUBLISH` to a subscriber.
//!
//! Two plain connections (RESP2) and one thread that never sleeps, as the loadtest with `--spin`. Pace,
//! stamps, order check and percentiles are the loadtest's, so a latency here means what it means there:
//! from the moment a publication was meant to leave until the subscriber's socket was read.

use std::{net::SocketAddr, ops::Range, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use dunlin_loadtest::{
    clock::{self, Nanos, SECOND},
    duration,
    pacer::Pacer,
    sequence::{Faults, Ledger},
    stamp::{Finder, Stamp, blank_payload},
    statistics::{Latencies, Summary},
};
use serde::Serialize;

use self::wire::{Wire, array};

#[path = "redis/wire.rs"]
mod wire;

/// Measures a bare Redis round trip at a steady pace and prints it as JSON.
#[derive(Debug, Parser)]
#[command(name = "bare_redis")]
pub(crate) struct Options {
    /// The Redis, on this machine
    #[arg(long, default_value = "127.0.0.1:6379")]
    pub(crate) redis: SocketAddr,
    /// Publications per second
    #[arg(long, default_value_t = 1000.0)]
    pub(crate) rate: f64,
    /// Bytes of a whole payload
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// How long before anything is measured
    #[arg(long, default_value = "2s", value_parser = duration::parse)]
    pub(crate) warmup: Duration,
    /// How long to measure
    #[arg(long, default_value = "10s", value_parser = duration::parse)]
    pub(crate) duration: Duration,
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) intended_per_second: f64,
    /// Messages meant to leave while measuring that have arrived.
    pub(crate) deliveries: u64,
    pub(crate) latency: Summary,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    /// The furthest the client was behind its own pace.
    pub(crate) behind_ms: f64,
}

#[allow(dead_code, reason = "the tests include this file and run without its command line")]
fn main() -> Result<()> {
    let outcome = run(&Options::parse())?;
    println!("{}", serde_json::to_string_pretty(&outcome)?);
    Ok(())
}

/// Connects, warms up, measures and waits for the rest.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    ensure!(options.redis.ip().is_loopback(), "{} is not a loopback address", options.redis.ip());
    ensure!(options.rate > 0.0, "the rate must be above 0");
    let mut trip = RoundTrip::open(options)?;
    let start = clock::now();
    let from = start + options.warmup.as_nanos() as Nanos;
    let until = from + options.duration.as_nanos() as Nanos;
    trip.measured = from..until;
    let mut pacer = Pacer::new(start, options.rate);
    trip.publish_until(until, &mut pacer)?;
    trip.drain()?;
    let Faults { lost, duplicated, reordered } = trip.ledger.settle(|_| trip.sent);
    Ok(Outcome {
        intended_per_second: options.rate,
        deliveries: trip.deliveries,
        latency: trip.latencies.summary(),
        lost,
        duplicated,
        reordered,
        behind_ms: pacer.behind() as f64 / 1e6,
    })
}

/// Both connections and what came through them.
struct RoundTrip {
    publisher: Wire,
    subscriber: Wire,
    command: Vec<u8>,
    payload: Range<usize>,
    /// What every message starts with, up to its payload.
    message_head: Vec<u8>,
    finder: Finder,
    ledger: Ledger,
    latencies: Latencies,
    measured: Range<Nanos>,
    sent: u32,
    arrived: u32,
    deliveries: u64,
}

const CHANNEL: &[u8] = b"dunlin:bare";

/// What Redis answers to a `PUBLISH` that one connection hears.
const HEARD_BY_ONE: &[u8] = b":1\r\n";

/// How long nothing may come after the last publication before the rest counts as lost.
const DRAIN_QUIET: Nanos = 3 * SECOND;

/// How long the subscription may take.
const SUBSCRIBE_MAX: Nanos = 10 * SECOND;

impl RoundTrip {
    fn open(options: &Options) -> Result<Self> {
        let payload = blank_payload(options.size);
        let command = array(&[b"PUBLISH", CHANNEL, &payload]);
        let payload_of = |array: &[u8]| array.len() - 2 - payload.len()..array.len() - 2;
        let mut message_head = array(&[b"message", CHANNEL, &payload]);
        message_head.truncate(payload_of(&message_head).start);
        let mut trip = Self {
            publisher: Wire::connect(options.redis)?,
            subscriber: Wire::connect(options.redis)?,
            payload: payload_of(&command),
            command,
            message_head,
            finder: Finder::default(),
            ledger: Ledger::new(1),
            latencies: Latencies::new(),
            measured: 0..0,
            sent: 0,
            arrived: 0,
            deliveries: 0,
        };
        trip.subscribe()?;
        Ok(trip)
    }

    fn subscribe(&mut self) -> Result<()> {
        self.subscriber.outbox.extend(array(&[b"SUBSCRIBE", CHANNEL]));
        let mut answer = array(&[b"subscribe", CHANNEL]);
        answer[1] = b'3';
        answer.extend_from_slice(HEARD_BY_ONE);
        let deadline = clock::now() + SUBSCRIBE_MAX;
        while self.subscriber.unread.len() < answer.len() {
            ensure!(clock::now() < deadline, "redis did not answer SUBSCRIBE");
            self.subscriber.flush()?;
            self.subscriber.receive()?;
        }
        let unread = &mut self.subscriber.unread;
        ensure!(*unread == answer, "redis answered SUBSCRIBE with {}", unread.escape_ascii());
        unread.clear();
        Ok(())
    }

    fn publish_until(&mut self, until: Nanos, pacer: &mut Pacer) -> Result<()> {
        loop {
            let now = clock::now();
            // What was due is published, however late: what never leaves would be missing among the latencies.
            while let Some(intended) = pacer.take_before(now, until) {
                self.publish(intended);
            }
            if now >= until {
                return Ok(());
            }
            self.turn()?;
        }
    }

    fn publish(&mut self, intended: Nanos) {
        let stamp = Stamp { topic: 0, publisher: 0, sequence: self.sent, intended };
        stamp.write(&mut self.command[self.payload.clone()]);
        self.publisher.outbox.extend_from_slice(&self.command);
        self.sent += 1;
    }

    fn drain(&mut self) -> Result<()> {
        let (mut arrived, mut quiet_since) = (self.arrived, clock::now());
        while self.arrived < self.sent {
            let now = clock::now();
            if self.arrived != arrived {
                (arrived, quiet_since) = (self.arrived, now);
            }
            if now - quiet_since > DRAIN_QUIET {
                break;
            }
            self.turn()?;
        }
        Ok(())
    }

    /// Sends what is due and reads what has come.
    fn turn(&mut self) -> Result<()> {
        self.publisher.flush()?;
        self.publisher.receive()?;
        let mut answers = self.publisher.unread.chunks_exact(HEARD_BY_ONE.len());
        if let Some(other) = answers.find(|answer| *answer != HEARD_BY_ONE) {
            bail!("redis answered PUBLISH with {}", other.escape_ascii());
        }
        self.publisher.unread = answers.remainder().to_vec();
        self.subscriber.receive()?;
        self.hear(clock::now())
    }

    fn hear(&mut self, now: Nanos) -> Result<()> {
        let (head, payload) = (self.message_head.len(), self.payload.len());
        let mut messages = self.subscriber.unread.chunks_exact(head + payload + 2);
        for message in messages.by_ref() {
            ensure!(message.starts_with(&self.message_head), "redis sent {}", message.escape_ascii());
            let stamp = self.finder.find(message).context("a message has no stamp")?;
            self.ledger.note(0, stamp.sequence);
            self.arrived += 1;
            if self.measured.contains(&stamp.intended) {
                self.deliveries += 1;
                self.latencies.record(now.saturating_sub(stamp.intended));
            }
        }
        self.subscriber.unread = messages.remainder().to_vec();
        Ok(())
    }
}
