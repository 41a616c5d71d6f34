//! A node's side of the cluster as a value: what shards want and what Redis says go in; what Redis is to be
//! sent and what shards are to hear come out (redis.md 0.5 to 0.7, 4, 5, 7).
//!
//! No socket, no runtime, no clock: the simulation runs many of these in one thread from one seed.
//!
//! Inputs: [`Machine::submit`] from the shards; [`Machine::connected`], [`Machine::receive`] and
//! [`Machine::lost`] from the connections; [`Machine::timeout`] from time. Outputs: [`Machine::take_output`],
//! [`Machine::next_action`], [`Machine::staged`], [`Machine::next_timeout`].
//!
//! **Invariant:** both connections are up together or not at all, and what one of them says after they were
//! given up is never heard.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dunlin_protocol::{Incarnation, Namespace};
use slab::Slab;

use super::channels::{Carries, Channels, Ear};
use super::lanes::Lane;
use super::lease::Lease;
use super::link::{Link, Which};
use super::names::Names;
use super::pairing::{Audit, Phase};
use super::reading::Question;
use super::script::Script;
use super::space::Space;
use super::tally::Tally;
use super::window::Windows;
use super::writers::Writers;
use crate::broker::{ClusterPeers, Command, Event, Status, inbox};
use crate::config::Secret;
use crate::feed::{Rules, Said};
use crate::grant::Keys;
use crate::history::Reading;
use crate::hub::Bucket;
use crate::hub::{Chance, Moment, Reach, Tag};

/// What a machine is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What keys and channels are called.
    pub names: Names,
    /// The node's life, part of the ids of its publications.
    pub incarnation: Incarnation,
    /// After how long a dead node's peers are gone everywhere (C2).
    pub lease: Duration,
    /// The least time between two counts of a namespace.
    pub interval: Duration,
    /// Namespaces whose count every node knows, for metrics.
    pub named: Vec<Namespace>,
    /// Who to be at Redis: user and password.
    pub login: Option<(String, Secret)>,
    /// Which database.
    pub database: u32,
    /// What grants are signed with, if no node has said so yet.
    pub secret: [u8; 32],
    /// Which rules feeds keep.
    pub rules: Rules,
}

/// What the driver is to do about connections.
#[derive(Debug)]
pub enum Action {
    /// Open both.
    Connect,
    /// Close both at once, unsent bytes included.
    Disconnect,
    /// Read stored publications over the third one.
    Read {
        /// Who asks.
        shard: usize,
        /// Under which ticket.
        ticket: u32,
        /// What.
        reading: Box<Reading>,
    },
}

/// What waits to be handed to a shard.
#[derive(Debug, Default)]
pub struct Staged {
    /// In order.
    pub events: VecDeque<Event>,
    /// What they cost its inbox, in bytes.
    pub bytes: usize,
    /// What waited in its inbox already, in bytes, at most.
    level: usize,
    /// Topics that something was left out of since its inbox was last seen half empty.
    overflowed: HashSet<Tag>,
}

/// A node's side of the cluster.
pub struct Machine {
    pub(super) settings: Arc<Settings>,
    pub(super) chance: Chance,
    pub(super) phase: Phase,
    pub(super) bus: Link,
    pub(super) work: Link,
    pub(super) actions: VecDeque<Action>,
    pub(super) attempts: u32,
    pub(super) trouble: Option<String>,
    /// The work connection over which publications were sent last: its id and address, as Redis sees it.
    pub(super) identity: Option<(String, String)>,
    pub(super) fence_against: Option<(String, String)>,
    pub(super) audit: Audit,
    pub(super) reach: Reach,
    pub(super) channels: Channels,
    pub(super) lanes: Vec<Lane>,
    pub(super) windows: Windows,
    pub(super) spaces: Slab<Space>,
    pub(super) space_serial: u32,
    pub(super) space_by_name: HashMap<Option<Namespace>, usize>,
    /// The count of everything.
    pub(super) everything: usize,
    /// Spaces to look at, and when.
    pub(super) due: BTreeSet<(Moment, usize)>,
    /// Namespaces of dead nodes whose new sum is owed.
    pub(super) owed: BTreeMap<Moment, Vec<Option<Namespace>>>,
    pub(super) unregistered: Vec<usize>,
    /// Counts whose answer is awaited.
    pub(super) unanswered_counts: usize,
    /// When the count that was put off last is to be looked at.
    pub(super) put_off_at: Moment,
    pub(super) lease: Lease,
    pub(super) staged: Vec<Staged>,
    /// Room for a channel's name, and for an envelope.
    pub(super) scratch: Vec<u8>,
    pub(super) encoded: Vec<u8>,
    /// Topics that remember and are written to.
    pub(super) writers: Writers,
    /// Batches sent so far.
    pub(super) batches: u64,
    pub(super) echoes: Bucket,
    /// The channels that carry topics that remember, and where each ear's topic is.
    pub(super) listeners: BTreeSet<usize>,
    pub(super) ears: HashMap<Ear, usize>,
    pub(super) serial: u32,
    /// Room for what a feed says.
    pub(super) said: Vec<Said>,
    /// Questions that wait, how many of the larger ones are out, and what is to be looked at when.
    pub(super) questions: VecDeque<Question>,
    pub(super) reading: usize,
    pub(super) later: BTreeSet<(Moment, usize)>,
    /// Topics that a shard was left out of.
    pub(super) behind: BTreeSet<usize>,
    /// When the next feeds are to be compared, from which channel on.
    pub(super) sweep_at: Moment,
    pub(super) swept: usize,
    /// What grants are signed with.
    pub(super) keys: Option<Arc<Keys>>,
    /// The scripts' texts, and their names at Redis.
    pub(super) bodies: [String; Script::ALL.len()],
    pub(super) scripts: [String; Script::ALL.len()],
    /// What Redis does not allow, since the links came up.
    pub(super) refused: Option<String>,
    pub(super) tally: Tally,
    pub(super) turned_at: Moment,
}

impl Machine {
    /// A machine without a link. `seed` decides what is left to chance.
    pub fn new(settings: Settings, now: Moment, seed: u64) -> Self {
        let incarnation = settings.incarnation;
        let mut machine = Self {
            lease: Lease::new(incarnation, settings.lease),
            settings: Arc::new(settings),
            chance: Chance::new(seed),
            phase: Phase::Resting { until: now },
            bus: Link::default(),
            work: Link::default(),
            actions: VecDeque::new(),
            attempts: 0,
            trouble: Some("redis was not reached yet".to_owned()),
            identity: None,
            fence_against: None,
            audit: Audit::default(),
            reach: Reach::Cluster,
            channels: Channels::default(),
            lanes: Vec::new(),
            windows: Windows::default(),
            spaces: Slab::new(),
            space_serial: 0,
            space_by_name: HashMap::new(),
            everything: 0,
            due: BTreeSet::new(),
            owed: BTreeMap::new(),
            unregistered: Vec::new(),
            unanswered_counts: 0,
            put_off_at: now,
            staged: Vec::new(),
            scratch: Vec::new(),
            encoded: Vec::new(),
            writers: Writers::default(),
            batches: 0,
            echoes: Bucket::default(),
            listeners: BTreeSet::new(),
            ears: HashMap::new(),
            serial: 0,
            said: Vec::new(),
            questions: VecDeque::new(),
            reading: 0,
            later: BTreeSet::new(),
            behind: BTreeSet::new(),
            sweep_at: now,
            swept: 0,
            keys: None,
            bodies: Script::ALL.map(|script| script.body().to_owned()),
            scripts: Default::default(),
            refused: None,
            tally: Tally::default(),
            turned_at: now,
        };
        machine.begin();
        machine
    }

    /// What this node hears whether or not it has peers: itself, and the counts that metrics name.
    fn begin(&mut self) {
        let heartbeat = self.settings.names.heartbeat_channel(self.settings.incarnation);
        let heartbeat = self.channels.open(heartbeat.as_bytes(), || Carries::Heartbeat);
        self.channels.pin(heartbeat);
        self.everything = self.open_space(None);
        let named = self.settings.named.clone();
        let mut pinned = vec![self.everything];
        pinned.extend(named.into_iter().map(|name| self.open_space(Some(name))));
        for space in pinned {
            self.spaces[space].pinned = true;
            let channel = self.spaces[space].channel;
            self.channels.pin(channel);
        }
    }

    /// There is one more shard.
    pub fn attach(&mut self) {
        self.lanes.push(Lane::default());
        self.staged.push(Staged::default());
        if self.reach == Reach::Node {
            self.stage(self.staged.len() - 1, Event::Reached(Reach::Node));
        }
        if let Some(keys) = self.keys.clone() {
            self.stage(self.staged.len() - 1, Event::Keys(keys));
        }
    }

    /// Says what waits in the shards' inboxes, in bytes, before anything else is put in.
    pub fn set_levels(&mut self, levels: impl Iterator<Item = usize>) {
        for (staged, level) in self.staged.iter_mut().zip(levels) {
            staged.level = level;
            if level <= inbox::INBOX_MAX / 2 {
                staged.overflowed.clear();
            }
        }
    }

    /// Whether an inbox is so full that it matters what its shard has taken out since.
    pub fn is_crowded(&self) -> bool {
        self.staged.iter().any(|staged| staged.level + staged.bytes > inbox::INBOX_MAX / 2)
    }

    /// Takes what shards want, in order.
    pub fn submit(&mut self, now: Moment, commands: impl Iterator<Item = (usize, Command)>) {
        for (shard, command) in commands {
            match command {
                Command::Join(tag, namespace, topic, retention) => {
                    self.join((shard, tag), namespace, topic, retention);
                }
                Command::Leave(tag, namespace, topic) => self.leave(now, shard, tag, &namespace, &topic),
                Command::Count(tag, namespace, peers) => self.count(now, (shard, tag), &namespace, peers),
                Command::Publish(ticket, envelope) => self.publish(now, shard, ticket, envelope),
                Command::Commit(ticket, commit) => self.commit(now, shard, ticket, commit),
                Command::Recover(ticket, tag, asked) => self.recover(now, shard, ticket, tag, asked),
                Command::Read(ticket, reading) => {
                    self.actions.push_back(Action::Read { shard, ticket, reading });
                }
            }
        }
        self.go_on(now);
    }

    /// What follows from whatever happened.
    pub(super) fn go_on(&mut self, now: Moment) {
        self.subscribe(now);
        self.pump(now);
        self.pump_commits(now);
        self.advance_due(now);
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Moment) {
        self.note_stall(now);
        self.advance_pair(now);
        self.deliver_overdue(now);
        self.advance_writers(now);
        self.advance_feeds(now);
        self.advance_lease(now);
        self.go_on(now);
    }

    /// When to call [`Machine::timeout`] next.
    pub fn next_timeout(&mut self) -> Moment {
        let flights = self.lanes.iter_mut().filter_map(Lane::deadline).min();
        let spaces = self.due.first().map(|(at, _)| *at);
        let owed = self.owed.first_key_value().map(|(at, _)| *at);
        // Without a link nobody can be told that a channel is wanted no more.
        let channels = self.channels.deadline().filter(|_| self.may_subscribe());
        let feeds = self.later.first().map(|(at, _)| *at);
        let sweep = (self.is_up() && !self.listeners.is_empty()).then_some(self.sweep_at);
        let deadlines = [
            feeds,
            self.writers.deadline(),
            sweep,
            flights,
            spaces,
            owed.filter(|_| self.is_up()),
            channels,
            self.lease_deadline(),
        ];
        deadlines.into_iter().flatten().fold(self.pair_deadline(), Moment::min)
    }

    /// What is to be done about the connections, in order.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Bytes to be written to a connection.
    pub fn take_output(&mut self, which: Which) -> &mut Vec<u8> {
        match which {
            Which::Bus => &mut self.bus.out,
            Which::Work => &mut self.work.out,
        }
    }

    /// What waits for the shards, by number.
    pub fn staged(&mut self) -> &mut [Staged] {
        &mut self.staged
    }

    /// What was counted since the last call.
    pub fn take_tally(&mut self, into: &mut Tally) {
        std::mem::swap(&mut self.tally, into);
    }

    /// Whether both links are up.
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// A namespace, for a test that has to say what went wrong.
    #[cfg(test)]
    pub fn space(&self, name: &Namespace) -> Option<&Space> {
        self.space_by_name.get(&Some(name.clone())).map(|index| &self.spaces[*index])
    }

    /// How many topics shards have joined.
    pub fn topics(&self) -> usize {
        self.channels.topics()
    }

    /// How things stand, but for what only `bulk` knows.
    pub fn status(&self, now: Moment) -> Status {
        let sum = |space: usize| self.spaces[space].users().unwrap_or_default();
        let named = self.settings.named.iter();
        let named =
            named.map(|name| self.space_by_name.get(&Some(name.clone())).map_or(0, |space| sum(*space)));
        Status {
            trouble: self.trouble_at(now),
            nodes: self.lease.nodes(),
            peers: Some(ClusterPeers { named: named.collect(), all: sum(self.everything) }),
        }
    }

    /// Puts an event in front of a shard.
    pub(super) fn stage(&mut self, shard: usize, event: Event) {
        let staged = &mut self.staged[shard];
        staged.bytes += inbox::event_cost(&event);
        staged.events.push_back(event);
    }

    /// Tells all shards how far publications get, if that is news.
    pub(super) fn set_reach(&mut self, reach: Reach) {
        if self.reach != reach {
            self.reach = reach;
            (0..self.staged.len()).for_each(|shard| self.stage(shard, Event::Reached(reach)));
        }
    }
}

impl Staged {
    /// Whether there is room for a publication that costs so much.
    pub(super) fn has_room(&self, cost: usize) -> bool {
        self.level + self.bytes + cost <= inbox::INBOX_MAX
    }

    /// Whether its shard keeps up again.
    pub(super) fn is_relaxed(&self) -> bool {
        self.level <= inbox::INBOX_MAX / 2
    }

    /// Notes that something of a topic was left out; true if that is news.
    pub(super) fn overflow(&mut self, tag: Tag) -> bool {
        self.overflowed.insert(tag)
    }
}
