//! `connect`: what arriving and leaving costs.

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::{Answers, Topics, fanout::CpuPer, has, stage::Patience};
use crate::{
    clock::{self, Nanos, SECOND},
    fleet::{Fleet, Listener, Next, Peer, Rest},
    frame, limits,
    process::Server,
    target::Target,
};

/// How many connect, and how.
#[derive(Debug, Clone)]
pub struct Arrivals {
    /// The measured server's address.
    pub target: Target,
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
pub fn run(arrivals: &Arrivals) -> Result<Connects> {
    ensure!(arrivals.count > 0 && arrivals.concurrency > 0, "there must be a connection");
    limits::make_room_for(arrivals.count.into())?;
    let mut visit = Visit::new(arrivals, Stay::Held)?;
    let connect = visit.part(|visit| visit.until(|visit| visit.fleet.tally().opened))?;
    let close = visit.part(|visit| {
        (0..visit.arrivals.count).try_for_each(|peer| visit.fleet.leave(peer))?;
        visit.until(|visit| visit.fleet.tally().closed)
    })?;
    let mut cycles = Visit::new(arrivals, Stay::Subscribes)?;
    let cycle = cycles.part(|visit| visit.until(|visit| visit.fleet.tally().closed))?;
    Ok(Connects {
        count: arrivals.count,
        connect,
        close,
        cycle,
        retried: visit.fleet.tally().retried + cycles.fleet.tally().retried,
        abrupt: visit.guests.abrupt + cycles.guests.abrupt,
    })
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
        fleet.add(&arrivals.target, arrivals.count);
        let guests = Guests {
            stay,
            topics: arrivals.topics.clone(),
            answers: arrivals.answers,
            abrupt: 0,
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
    fn until(&mut self, counted: impl Fn(&Self) -> u32) -> Result<()> {
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
        }
        Ok(())
    }
}

/// Hears the guests.
#[derive(Debug)]
struct Guests {
    stay: Stay,
    topics: Topics,
    answers: Answers,
    abrupt: u32,
    complaint: Option<String>,
}

impl Listener for Guests {
    fn opened(&mut self, peer: Peer, outbox: &mut Vec<u8>) -> Next {
        if self.stay == Stay::Held {
            return Next::Stay;
        }
        frame::push_text(outbox, self.topics.subscribe_frame(self.topics.of(peer)).as_bytes());
        match self.answers {
            Answers::Ok => Next::Stay,
            Answers::Nothing => Next::Leave,
        }
    }

    fn message(&mut self, _peer: Peer, _now: Nanos, body: &[u8]) -> Next {
        if has(body, br#""type":"error""#) {
            self.complaint.get_or_insert_with(|| String::from_utf8_lossy(body).into_owned());
        }
        if self.stay == Stay::Subscribes && has(body, br#""type":"ok""#) { Next::Leave } else { Next::Stay }
    }

    fn closed(&mut self, _peer: Peer, code: u16) {
        self.abrupt += u32::from(code == 1006);
    }
}
