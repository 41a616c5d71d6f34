//! This node's proof of life, and what it knows of the others' (redis.md 5.2).

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use dunlin_protocol::Incarnation;

use crate::hub::Moment;

/// How long a node may take to reap before another one takes over.
pub const CLAIM: Duration = Duration::from_secs(3);

/// A part of what a dead node wrote, being taken away.
#[derive(Debug, Default)]
pub struct Visit {
    /// Answers that have not come.
    pub awaited: usize,
    /// Items that are done with.
    pub done: Vec<Vec<u8>>,
}

/// What the lease is about to do.
#[derive(Debug)]
pub struct Lease {
    /// The life it proves; another one after each time it was lost.
    pub incarnation: Incarnation,
    /// When to prove it next.
    pub tick_at: Moment,
    /// The registry's life.
    pub epoch: Option<String>,
    /// The version of `live` that is known.
    pub version: String,
    /// Dead nodes being reaped by this one.
    pub reaping: BTreeMap<Incarnation, Visit>,
    /// Sums may not be the whole before this.
    pub hold_until: Option<Moment>,
    /// When the hold began.
    pub held_since: Moment,
    /// Who lived when the hold began.
    pub awaited: HashSet<Incarnation>,
    /// When keys were given their lifetime again.
    pub renewed_at: Option<Moment>,
    /// Whether the node is leaving, and has left.
    pub leaving: Leaving,
    whole: Duration,
    live: HashSet<Incarnation>,
    good_at: Option<Moment>,
}

/// How far a node's leaving is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It stays.
    No,
    /// Redis is being told.
    Asked,
    /// Redis knows.
    Done,
}

impl Lease {
    /// A lease that was never proven.
    pub fn new(incarnation: Incarnation, whole: Duration) -> Self {
        Self {
            incarnation,
            tick_at: Moment::default(),
            epoch: None,
            version: String::new(),
            reaping: BTreeMap::new(),
            hold_until: None,
            held_since: Moment::default(),
            awaited: HashSet::new(),
            renewed_at: None,
            leaving: Leaving::No,
            whole,
            live: HashSet::new(),
            good_at: None,
        }
    }

    /// The whole lease.
    pub fn whole(&self) -> Duration {
        self.whole
    }

    /// How long it holds once it was proven.
    pub fn ttl(&self) -> Duration {
        self.whole * 2 / 3
    }

    /// How often it is proven.
    pub fn period(&self) -> Duration {
        self.whole / 12
    }

    /// Nodes that live, this one included.
    pub fn nodes(&self) -> usize {
        self.live.len().max(1)
    }

    /// Who lives, this node included, as texts.
    pub fn live(&self) -> Vec<String> {
        let own = std::iter::once(&self.incarnation).filter(|own| !self.live.contains(own));
        self.live.iter().chain(own).map(Incarnation::to_string).collect()
    }

    /// Whether it is known to hold.
    pub fn is_fresh(&self, now: Moment) -> bool {
        self.good_at.is_some_and(|good| now.since(good) <= self.ttl())
    }

    /// It was proven by a tick sent then.
    pub fn proven(&mut self, sent_at: Moment) {
        self.good_at = Some(sent_at);
    }

    /// Takes the list of who lives.
    pub fn set_live(&mut self, live: HashSet<Incarnation>) {
        self.live = live;
    }

    /// Another life.
    pub fn begin_again(&mut self, now: Moment, incarnation: Incarnation) {
        self.live.remove(&self.incarnation);
        self.awaited.remove(&self.incarnation);
        self.incarnation = incarnation;
        self.good_at = None;
        self.renewed_at = None;
        self.version.clear();
        self.tick_at = now;
    }

    /// What Redis says may not be the whole for a while: all nodes have to say again what they have (redis 5.8).
    pub fn hold(&mut self, now: Moment) {
        if self.hold_until.is_none() {
            self.awaited = self.live.clone();
        }
        self.held_since = now;
        self.hold_until = Some(now + self.ttl());
    }

    /// Whether sums may not be the whole yet.
    pub fn is_holding(&self) -> bool {
        self.hold_until.is_some()
    }

    /// Whether the hold is over now. Who lived before it has two leases to come back (C2).
    pub fn end_hold(&mut self, now: Moment) -> bool {
        if self.hold_until.is_none_or(|until| now < until) {
            return false;
        }
        let all_are_back = self.awaited.iter().all(|each| self.live.contains(each));
        let latest = self.held_since + self.whole * 2;
        if all_are_back && self.is_fresh(now) || now >= latest {
            self.hold_until = None;
            return true;
        }
        self.hold_until = Some(latest.min(now + self.period()));
        false
    }
}
