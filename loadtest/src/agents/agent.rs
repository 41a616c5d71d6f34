//! One agent: a part of a cast in a process of its own, told by a coordinator what to do.
//!
//! **Invariant:** it ends when its stdin does, whatever it is doing, so it never outlives its coordinator.

use std::{
    io::{BufRead, Write, stdin, stdout},
    process,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread,
};

use anyhow::{Context, Result, bail};

use super::words::{Order, Start, Tick, Word};
use crate::{
    clock::{self, Nanos, SECOND},
    sampler::Counts,
    scenario::{
        Moment,
        fanout::Plan,
        follower::{Follower, Look, Stretch},
        stage::Stage,
    },
    statistics::Latencies,
};

/// How long an agent may be deaf while it waits for orders and its peers live on.
const ATTEND: Nanos = SECOND / 200;

/// How often it tells how many peers are connected.
const CONNECTED_EVERY: Nanos = SECOND / 4;

/// Orders that may wait. There is never more than one, but the thread that reads must not be held up.
const ORDERS_MAX: usize = 16;

/// Serves a coordinator on stdin and stdout until stdin ends. What goes wrong is told there.
pub fn serve() -> Result<()> {
    let orders = listen()?;
    attend(&orders).inspect_err(|error| {
        // Nobody is left to tell if the coordinator is gone.
        let _ = say(&Word::Failed(format!("{error:#}")));
    })
}

fn attend(orders: &Receiver<Order>) -> Result<()> {
    let Order::Open(cast) = orders.recv().context("the coordinator said nothing")? else {
        bail!("the coordinator didn't say whom to connect")
    };
    let mut stage = Stage::new(*cast)?;
    stage.settle(&mut Arriving { due: 0 })?;
    say(&Word::Settled)?;
    // Other agents' subscribers may still need this one's probes.
    let mut probes = true;
    loop {
        match next_order(orders, &mut stage, probes)? {
            Order::Settled => probes = false,
            Order::Run(start) => run(orders, &mut stage, start)?,
            other => bail!("the coordinator said {other:?} at the wrong time"),
        }
    }
}

fn run(orders: &Receiver<Order>, stage: &mut Stage, start: Start) -> Result<()> {
    stage.set_skew(start.skew);
    let mut ticker = Ticker { start, due: start.at + start.interval };
    let run = stage.publish(start.plan, start.at, &mut ticker)?;
    say(&Word::Published(stage.publishes().then(|| stage.sent().to_vec())))?;
    let Order::Conclude(sent) = next_order(orders, stage, false)? else {
        bail!("the coordinator didn't say what was published")
    };
    let share = stage.conclude(run, &sent, &mut ticker)?;
    say(&Word::Share(Box::new(share)))
}

/// Waits for an order while the peers live on.
fn next_order(orders: &Receiver<Order>, stage: &mut Stage, probes: bool) -> Result<Order> {
    loop {
        match orders.try_recv() {
            Ok(order) => return Ok(order),
            Err(TryRecvError::Disconnected) => bail!("the coordinator's orders ended"),
            Err(TryRecvError::Empty) => {}
        }
        let now = clock::now();
        if probes {
            stage.probe_if_due(now)?;
        }
        stage.hold(now + ATTEND)?;
    }
}

/// Reads orders on a thread of its own, which answers at once what time it is, and ends the process when
/// there can't be any more.
fn listen() -> Result<Receiver<Order>> {
    let (sender, receiver) = sync_channel(ORDERS_MAX);
    thread::Builder::new().name("orders".to_owned()).spawn(move || hear(&sender))?;
    Ok(receiver)
}

fn hear(sender: &SyncSender<Order>) {
    for line in stdin().lock().lines() {
        let order = line.map_err(anyhow::Error::from).and_then(|line| Ok(serde_json::from_str(&line)?));
        let done = match order {
            Ok(Order::Time) => say(&Word::Time(clock::now())),
            Ok(order) => sender.send(order).context("the agent is over"),
            Err(error) => {
                let _ = say(&Word::Failed(format!("an order can't be read: {error:#}")));
                Err(error)
            }
        };
        if done.is_err() {
            break;
        }
    }
    process::exit(1)
}

fn say(word: &Word) -> Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    let mut stdout = stdout().lock();
    stdout.write_all(&line)?;
    Ok(stdout.flush()?)
}

/// Tells how many are connected.
struct Arriving {
    due: Nanos,
}

impl Follower for Arriving {
    fn phase(&mut self, _text: &str, _stretch: Stretch) {}

    fn due(&self) -> Nanos {
        self.due
    }

    fn look(&mut self, now: Nanos, counts: Counts, _latencies: Option<&Latencies>) -> Result<Look> {
        self.due = now + CONNECTED_EVERY;
        say(&Word::Connected(counts.peers))?;
        Ok(Look::Glance)
    }

    fn moment(&mut self, _moment: Moment, _counts: Counts, _latencies: &Latencies) -> Result<()> {
        Ok(())
    }
}

/// Tells where a run is, at the same moments as all other agents.
struct Ticker {
    start: Start,
    due: Nanos,
}

impl Ticker {
    fn tick(at: Nanos, counts: Counts, latencies: Option<&Latencies>) -> Result<()> {
        let Counts { deliveries, publications, peers, faults, behind, .. } = counts;
        let latencies = latencies.cloned().unwrap_or_default();
        say(&Word::Tick(Tick { at, deliveries, publications, faults, peers, behind, latencies }))
    }
}

impl Follower for Ticker {
    fn phase(&mut self, _text: &str, _stretch: Stretch) {}

    fn due(&self) -> Nanos {
        self.due
    }

    fn look(&mut self, now: Nanos, counts: Counts, latencies: Option<&Latencies>) -> Result<Look> {
        Self::tick(self.due - self.start.at, counts, latencies)?;
        let missed = (now - self.due) / self.start.interval;
        self.due += (missed + 1) * self.start.interval;
        Ok(Look::Sample)
    }

    fn moment(&mut self, moment: Moment, counts: Counts, latencies: &Latencies) -> Result<()> {
        let Plan { warmup, duration, .. } = self.start.plan;
        let at = match moment {
            Moment::Measuring => warmup,
            Moment::Measured => warmup + duration,
        };
        Self::tick(at.as_nanos() as Nanos, counts, Some(latencies))
    }
}
