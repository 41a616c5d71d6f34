//! Turns counters into what happened in each interval of a run.
//!
//! **Invariant:** it never waits. What costs time to find out (a Redis) is asked at one sample and read at
//! the next, and put where it belongs.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use crate::{
    clock::{self, Nanos, SECOND},
    process::{Beside, Cpu, Server},
    record::{Mark, Sample},
    redis::{Info, Redis},
    statistics::Latencies,
};

/// Runs shorter than this are sampled four times a second.
const SHORT: Duration = Duration::from_secs(30);

/// No run has many more samples: a plot is not wider.
const SAMPLES_MAX: u32 = 3600;

/// How often a run of this length is sampled.
pub fn interval_of(duration: Duration) -> Nanos {
    let interval = match duration {
        short if short < SHORT => Duration::from_millis(250),
        long => (long / SAMPLES_MAX).max(Duration::from_secs(1)),
    };
    interval.as_nanos() as Nanos
}

/// Where the run is. Deliveries, publications and faults are since the run's start; `behind` is the worst
/// of this interval.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Deliveries that came.
    pub deliveries: u64,
    /// Publications that left.
    pub publications: u64,
    /// Connected now.
    pub peers: u32,
    /// Whatever went wrong.
    pub faults: u64,
    /// Deliveries per second asked for.
    pub intended_per_second: Option<f64>,
    /// How late the latest publication left.
    pub behind: Nanos,
}

/// Takes samples.
#[derive(Debug)]
pub struct Sampler {
    start: Nanos,
    interval: Nanos,
    server: Option<Server>,
    beside: Vec<Beside>,
    redis: Option<Question>,
    /// Where the even distances between samples start.
    anchor: Nanos,
    due: Nanos,
    last: Reading,
    samples: Vec<Sample>,
    marks: Vec<Mark>,
}

/// What was read at an interval's start.
#[derive(Debug, Default)]
struct Reading {
    at: Nanos,
    counts: Counts,
    server: Option<Cpu>,
    beside: Vec<Option<Cpu>>,
}

/// A Redis, what it said last, and which sample is waiting for what it says next.
#[derive(Debug)]
struct Question {
    redis: Redis,
    last: (Nanos, Info),
    pending: Option<(Nanos, usize)>,
}

impl Sampler {
    /// Starts now; the first interval ends after `interval`.
    pub fn new(start: Nanos, interval: Nanos, server: Option<Server>, beside: Vec<Beside>) -> Self {
        let mut sampler = Self {
            start,
            interval: interval.max(1),
            server,
            beside,
            redis: None,
            anchor: start,
            due: start + interval.max(1),
            last: Reading::default(),
            samples: Vec::new(),
            marks: Vec::new(),
        };
        // A server that can't be read shows at the first sample, with its reason.
        sampler.last = sampler.read(start, Counts::default()).unwrap_or_default();
        sampler.last.at = start;
        sampler
    }

    /// Samples a Redis as well. Its first answer is waited for.
    pub fn with_redis(mut self, now: Nanos, redis: Option<Redis>) -> Result<Self> {
        if let Some(mut redis) = redis {
            let last = (now, redis.info()?);
            self.redis = Some(Question { redis, last, pending: None });
        }
        Ok(self)
    }

    /// When the next sample is.
    pub fn due(&self) -> Nanos {
        self.due
    }

    /// Ends an interval. `latencies` are those of this interval; the caller clears them afterwards.
    pub fn take(&mut self, now: Nanos, counts: Counts, latencies: Option<&Latencies>) -> Result<()> {
        self.read_redis(now);
        let reading = self.read(now, counts)?;
        let holdings = self.server.map(Server::holdings).transpose()?;
        let span_s = now.saturating_sub(self.last.at).max(1) as f64 / SECOND as f64;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / span_s;
        let cores = |now: Option<Cpu>, before: Option<Cpu>| Some(now? - before?);
        let server = cores(reading.server, self.last.server);
        let names = self.beside.iter().map(|beside| beside.name.clone());
        let beside = reading.beside.iter().zip(&self.last.beside).map(|(&now, &before)| cores(now, before));
        self.samples.push(Sample {
            at_s: self.since_start(now),
            span_s,
            intended_per_second: counts.intended_per_second,
            deliveries_per_second: rate(counts.deliveries, self.last.counts.deliveries),
            publications_per_second: rate(counts.publications, self.last.counts.publications),
            latency: latencies.filter(|latencies| latencies.count() > 0).map(Latencies::summary),
            peers: counts.peers,
            faults: counts.faults,
            behind_ms: counts.behind as f64 / 1e6,
            server_user: server.map(|cpu| cpu.user / span_s),
            server_system: server.map(|cpu| cpu.system / span_s),
            memory_kib: holdings.map(|holdings| holdings.anonymous_kib),
            descriptors: holdings.and_then(|holdings| holdings.descriptors),
            beside: names
                .zip(beside)
                .filter_map(|(name, cpu)| Some((name, cpu?.total() / span_s)))
                .collect::<BTreeMap<_, _>>(),
            redis_commands_per_second: None,
            redis_cpu: None,
        });
        self.last = reading;
        if now < self.due {
            // Whoever samples before it is due has a reason, and begins an interval there.
            self.anchor = now;
        }
        self.due = self.beat_after(now);
        self.ask_redis(now);
        Ok(())
    }

    /// Notes a moment.
    pub fn mark(&mut self, now: Nanos, text: impl Into<String>) {
        let at_s = self.since_start(now);
        self.marks.push(Mark { at_s, text: text.into() });
    }

    /// The samples so far.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Everything, with Redis' last answer.
    pub fn into_parts(mut self) -> (Vec<Sample>, Vec<Mark>) {
        if let Some(question) = &mut self.redis
            && let Some(pending) = question.pending.take()
            && let Ok(info) = question.redis.answer()
        {
            question.note(pending, info, &mut self.samples);
        }
        (self.samples, self.marks)
    }

    /// Samples end at even distances, however late one was taken. A beat that comes too soon after it is
    /// left out: a tick of the kernel's CPU accounting would look like a server gone wild.
    fn beat_after(&self, now: Nanos) -> Nanos {
        let left = self.interval - now.saturating_sub(self.anchor) % self.interval;
        now + if left < self.interval / 2 { left + self.interval } else { left }
    }

    /// How long ago it began, in nanoseconds.
    pub fn age(&self) -> Nanos {
        clock::now().saturating_sub(self.start)
    }

    fn since_start(&self, now: Nanos) -> f64 {
        now.saturating_sub(self.start) as f64 / SECOND as f64
    }

    /// A process beside the server that is gone costs nothing more; the server itself must be there.
    fn read(&self, at: Nanos, counts: Counts) -> Result<Reading> {
        let server = self.server.map(Server::cpu).transpose()?;
        let beside = self.beside.iter().map(|beside| beside.server.cpu().ok()).collect();
        Ok(Reading { at, counts, server, beside })
    }

    fn read_redis(&mut self, now: Nanos) {
        let Some(question) = &mut self.redis else { return };
        let Some(pending) = question.pending else { return };
        match question.redis.poll() {
            Ok(Some(info)) => {
                question.pending = None;
                question.note(pending, info, &mut self.samples);
            }
            Ok(None) => {}
            Err(error) => self.lose_redis(now, &error),
        }
    }

    fn ask_redis(&mut self, now: Nanos) {
        let Some(question) = &mut self.redis else { return };
        if question.pending.is_some() {
            return;
        }
        match question.redis.ask() {
            Ok(()) => question.pending = Some((now, self.samples.len() - 1)),
            Err(error) => self.lose_redis(now, &error),
        }
    }

    /// A Redis that goes is something to see, not the end of the run.
    fn lose_redis(&mut self, now: Nanos, error: &anyhow::Error) {
        self.redis = None;
        self.mark(now, format!("redis is no longer sampled: {error:#}"));
    }
}

impl Question {
    fn note(&mut self, (at, index): (Nanos, usize), info: Info, samples: &mut [Sample]) {
        let (before_at, before) = self.last;
        let span_s = at.saturating_sub(before_at).max(1) as f64 / SECOND as f64;
        let commands = info.commands.saturating_sub(before.commands);
        samples[index].redis_commands_per_second = Some(commands as f64 / span_s);
        samples[index].redis_cpu = Some(((info.main_thread - before.main_thread).total() / span_s).max(0.0));
        self.last = (at, info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    fn counts(deliveries: u64) -> Counts {
        Counts { deliveries, publications: deliveries / 10, peers: 7, ..Counts::default() }
    }

    #[test]
    fn an_interval_has_what_came_in_it() {
        let mut sampler = Sampler::new(5 * SECOND, 250 * MS, None, Vec::new());
        assert_eq!(sampler.due(), 5250 * MS);
        sampler.take(5250 * MS, counts(1000), None).unwrap();
        sampler.take(5500 * MS, counts(1500), None).unwrap();
        let rates: Vec<_> = sampler.samples().iter().map(|sample| sample.deliveries_per_second).collect();
        assert_eq!(rates, [4000.0, 2000.0]);
        assert_eq!((sampler.samples()[1].at_s, sampler.samples()[1].peers), (0.5, 7));
    }

    #[test]
    fn a_late_sample_is_longer_and_the_next_is_due_where_it_was() {
        let mut sampler = Sampler::new(0, 250 * MS, None, Vec::new());
        sampler.take(600 * MS, counts(600), None).unwrap();
        assert_eq!(sampler.due(), 750 * MS);
        let sample = &sampler.samples()[0];
        assert_eq!((sample.span_s, sample.deliveries_per_second), (0.6, 1000.0));
        sampler.take(750 * MS, counts(600), None).unwrap();
        assert_eq!(sampler.due(), 1000 * MS, "a sample in time ends at the next beat");
    }

    #[test]
    fn a_sample_before_it_is_due_begins_an_interval_and_a_very_late_one_does_not_shorten_the_next() {
        let mut sampler = Sampler::new(0, 250 * MS, None, Vec::new());
        sampler.take(240 * MS, counts(1), None).unwrap();
        assert_eq!(sampler.due(), 490 * MS);
        sampler.take(730 * MS, counts(1), None).unwrap();
        assert_eq!(sampler.due(), 990 * MS, "10 ms would be too short");
    }

    #[test]
    fn latencies_are_those_of_the_interval_and_none_without_deliveries() {
        let mut sampler = Sampler::new(0, 250 * MS, None, Vec::new());
        let mut latencies = Latencies::new();
        latencies.record(300 * MS);
        sampler.take(250 * MS, counts(1), Some(&latencies)).unwrap();
        latencies.clear();
        sampler.take(500 * MS, counts(1), Some(&latencies)).unwrap();
        let [slow, quiet] = sampler.samples() else { panic!("two samples") };
        assert!(slow.latency.unwrap().max_ms >= 300.0);
        assert_eq!(quiet.latency, None);
    }

    #[test]
    fn a_process_is_sampled_and_one_that_is_gone_ends_the_run() {
        let this = Server::new(std::process::id());
        let beside = vec![Beside { name: "this".to_owned(), server: this }];
        let mut sampler = Sampler::new(0, SECOND, Some(this), beside);
        sampler.take(SECOND, counts(1), None).unwrap();
        let sample = &sampler.samples()[0];
        assert!(sample.server_user.is_some() && sample.memory_kib.unwrap() > 0);
        assert!(sample.descriptors.unwrap() > 0 && sample.beside.contains_key("this"));
        let mut gone = Sampler::new(0, SECOND, Some(Server::new(u32::MAX)), Vec::new());
        assert!(gone.take(SECOND, counts(1), None).is_err());
    }

    #[test]
    fn a_moment_is_marked_since_the_start() {
        let mut sampler = Sampler::new(SECOND, SECOND, None, Vec::new());
        sampler.mark(3 * SECOND, "cut");
        assert_eq!(sampler.into_parts().1, [Mark { at_s: 2.0, text: "cut".to_owned() }]);
    }

    #[test]
    fn runs_are_sampled_about_as_often_as_a_plot_can_show() {
        let of = |seconds| interval_of(Duration::from_secs(seconds));
        assert_eq!((of(10), of(30), of(3600)), (250 * MS, SECOND, SECOND));
        assert_eq!(of(36_000), 10 * SECOND);
    }
}
