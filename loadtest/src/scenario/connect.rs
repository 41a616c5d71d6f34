//! `connect`: what arriving and leaving costs.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::{Answers, Topics, fanout::CpuPer, stage::Patience};
use crate::{
    adapter::{Adapter, Heard, Protocol},
    clock::{self, Nanos, SECOND},
    fleet::{Fleet, Listener, Next, Peer, Rest},
    limits,
    process::Server,
    progress::{Progress, glance},
    record::{Figure, Record, Verdict},
    roll::Roll,
    sampler::{Counts, Sampler},
    target::Target,
};

/// How many connect, and how.
#[derive(Debug, Clone)]
pub struct Arrivals {
    /// The measured server's address.
    pub target: Target,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Its process, if its costs are wanted.
    pub server: Option<Server>,
    /// How many connect in each part.
    pub count: u32,
    /// Upgrades under way at a time.
    pub concurrency: u32,
    /// What the second part subscribes to.
    pub topics: Topics,
    /// Whether a subscription is answered before its peer leaves.
    pub answers: Answers,
}

/// What arriving and leaving came to.
#[derive(Debug, Serialize)]
pub struct Connects {
    /// How many connected in each part.
    pub count: u32,
    /// Upgrades only; everybody stays.
    pub connect: Part,
    /// The closing handshakes of all those.
    pub close: Part,
    /// Connect, subscribe and close, one after the other for each peer.
    pub cycle: Part,
    /// Upgrades answered 429 and tried again.
    pub retried: u32,
    /// Connections that ended without a Close frame from the server.
    pub abrupt: u32,
    /// Connections that the server ended of its own accord, by close code.
    pub thrown_out: BTreeMap<u16, u32>,
}

/// A part's pace and price.
#[derive(Debug, Serialize)]
pub struct Part {
    /// How many were done per second.
    pub per_second: f64,
    /// Server CPU for each; none without its process.
    pub cpu: Option<CpuPer>,
}

/// Measures both parts.
pub fn run(arrivals: &Arrivals, progress: &mut dyn Progress) -> Result<(Connects, Record)> {
    ensure!(arrivals.count > 0 && arrivals.concurrency > 0, "there must be a connection");
    limits::make_room_for(arrivals.count.into())?;
    let record = Record::begin("connect", format!("{} peers come and leave, twice", arrivals.count));
    let mut watch = Watch::new(arrivals, progress);
    let mut visit = Visit::new(arrivals, Stay::Held)?;
    watch.begin("connecting");
    let connect = visit.part(|visit| visit.until(&mut watch, |visit| visit.fleet.tally().opened))?;
    watch.begin("closing");
    let close = visit.part(|visit| {
        (0..visit.arrivals.count).try_for_each(|peer| visit.fleet.leave(peer))?;
        visit.until(&mut watch, |visit| visit.fleet.tally().closed)
    })?;
    watch.begin("cycling");
    let mut cycles = Visit::new(arrivals, Stay::Subscribes)?;
    let cycle = cycles.part(|visit| visit.until(&mut watch, |visit| visit.fleet.tally().closed))?;
    let record = record.with_samples(watch.sampler);
    let mut thrown_out = visit.guests.thrown_out;
    for (code, count) in cycles.guests.thrown_out {
        *thrown_out.entry(code).or_default() += count;
    }
    let connects = Connects {
        count: arrivals.count,
        connect,
        close,
        cycle,
        retried: visit.fleet.tally().retried + cycles.fleet.tally().retried,
        abrupt: visit.guests.abrupt + cycles.guests.abrupt,
        thrown_out,
    };
    let (figures, verdict) = (connects.figures(), Verdict::from_reasons(&connects.reasons()));
    Ok((connects, Record { verdict, figures, ..record }))
}

impl Connects {
    /// All that is not as it must be, for people.
    pub fn reasons(&self) -> Vec<String> {
        let codes = self.thrown_out.iter();
        codes.map(|(code, count)| format!("{count} peers were closed by the server with {code}")).collect()
    }

    fn figures(&self) -> Vec<Figure> {
        let parts = [("connect", &self.connect), ("close", &self.close), ("cycle", &self.cycle)];
        let parts = parts.into_iter().flat_map(|(name, part)| {
            let cpu = part.cpu.map(|cpu| cpu.total_us);
            [
                Figure::new(name, part.per_second, "/s"),
                Figure::new(format!("server CPU per {name}"), cpu, "µs"),
            ]
        });
        let counts = [
            Figure::new("connections", f64::from(self.count), ""),
            Figure::new("retried after 429", f64::from(self.retried), ""),
            Figure::new("ended without a Close frame", f64::from(self.abrupt), ""),
            Figure::new("closed by the server", f64::from(self.thrown_out.values().sum::<u32>()), ""),
        ];
        parts.chain(counts).collect()
    }
}

/// Samples all parts in a row and says how far each is.
struct Watch<'a> {
    sampler: Sampler,
    progress: &'a mut dyn Progress,
    count: u32,
}

impl<'a> Watch<'a> {
    fn new(arrivals: &Arrivals, progress: &'a mut dyn Progress) -> Self {
        // A part takes seconds.
        let sampler = Sampler::new(clock::now(), SECOND / 4, arrivals.server, Vec::new());
        Self { sampler, progress, count: arrivals.count }
    }

    fn begin(&mut self, part: &str) {
        self.sampler.mark(clock::now(), part);
        self.progress.phase(part, Some(self.count.into()));
    }

    fn look(&mut self, now: Nanos, done: u32, fleet: &Fleet) -> Result<()> {
        if now >= self.sampler.due() {
            let peers = fleet.tally().opened - fleet.tally().closed;
            self.sampler.take(now, Counts { peers, ..Counts::default() }, None)?;
            let seen = self.sampler.samples().last().map(glance).unwrap_or_default();
            self.progress.at(done.into(), &seen);
        }
        Ok(())
    }
}

/// How long a guest stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// Until told to leave.
    Held,
    /// Until its subscription has taken effect.
    Subscribes,
}

/// A fleet of guests.
struct Visit<'a> {
    arrivals: &'a Arrivals,
    fleet: Fleet,
    guests: Guests,
}

impl<'a> Visit<'a> {
    fn new(arrivals: &'a Arrivals, stay: Stay) -> Result<Self> {
        let mut fleet = Fleet::new(arrivals.concurrency, Rest::Sleep)?;
        let (target, protocol) = (&arrivals.target, arrivals.protocol);
        let topics = arrivals.topics.clone();
        let roll =
            Roll { topics, first: 0, peers: arrivals.count, publishers: 0, binding: protocol.binding() };
        for peer in 0..arrivals.count {
            fleet.add(&target.at(protocol.path(&target.path, &roll, peer)), 1);
        }
        let guests = Guests {
            stay,
            roll,
            adapter: Adapter::new(protocol, None),
            answers: arrivals.answers,
            abrupt: 0,
            thrown_out: BTreeMap::new(),
            complaint: None,
        };
        Ok(Self { arrivals, fleet, guests })
    }

    /// Measures what `work` costs for each guest.
    fn part(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<Part> {
        let cpu = |server: Option<Server>| server.map(Server::cpu).transpose();
        let (start, before) = (clock::now(), cpu(self.arrivals.server)?);
        work(self)?;
        let (end, after) = (clock::now(), cpu(self.arrivals.server)?);
        let count = self.arrivals.count;
        Ok(Part {
            per_second: f64::from(count) * SECOND as f64 / (end - start) as f64,
            cpu: before.zip(after).map(|(before, after)| CpuPer::new(after - before, count.into())),
        })
    }

    /// Turns until all guests are counted.
    fn until(&mut self, watch: &mut Watch<'_>, counted: impl Fn(&Self) -> u32) -> Result<()> {
        let mut patience = Patience::new(clock::now());
        while counted(self) < self.arrivals.count {
            let now = clock::now();
            if patience.ends(now, self.fleet.tally().opened + self.fleet.tally().closed) {
                bail!("nothing happens any more: {} of {} are done", counted(self), self.arrivals.count);
            }
            if let Some(complaint) = &self.guests.complaint {
                bail!("the server objected: {complaint}");
            }
            self.fleet.turn(now + SECOND / 10, &mut self.guests)?;
            watch.look(clock::now(), counted(self), &self.fleet)?;
        }
        Ok(())
    }
}

/// Hears the guests.
#[derive(Debug)]
struct Guests {
    stay: Stay,
    roll: Roll,
    adapter: Adapter,
    answers: Answers,
    abrupt: u32,
    thrown_out: BTreeMap<u16, u32>,
    complaint: Option<String>,
}

impl Listener for Guests {
    fn opened(&mut self, peer: Peer, outbox: &mut Vec<u8>) -> Next {
        if self.stay == Stay::Held {
            return Next::Stay;
        }
        self.adapter.open(&self.roll, peer, outbox);
        match self.answers {
            Answers::Ok => Next::Stay,
            Answers::Nothing => Next::Leave,
        }
    }

    fn message(&mut self, peer: Peer, _now: Nanos, body: &[u8], outbox: &mut Vec<u8>) -> Next {
        if self.stay == Stay::Held {
            return Next::Stay;
        }
        let Self { roll, adapter, complaint, .. } = self;
        let mut next = Next::Stay;
        adapter.hear_any(roll, peer, body, outbox, &mut |heard| match heard {
            Heard::Ready => next = Next::Leave,
            Heard::Objection(words) => {
                complaint.get_or_insert_with(|| String::from_utf8_lossy(words).into_owned());
            }
            Heard::Delivery(_) | Heard::Answer { .. } => {}
        });
        next
    }

    fn closed(&mut self, _peer: Peer, code: u16) {
        match code {
            // What answers a goodbye, with or without its code (RFC 6455 section 5.5.1).
            1000 | 1005 => {}
            1006 => self.abrupt += 1,
            _ => *self.thrown_out.entry(code).or_default() += 1,
        }
    }
}
