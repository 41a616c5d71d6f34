//! Failovers on a real master and replica: what was written to the old master after the promotion never becomes
//! history, and everybody who saw some of it is told.
//!
//! Two nodes reach Redis by a way that is led to the promoted server for one at once, for the other later, so that for
//! a while both histories go on. The model listens to both servers: which item was put behind which.

mod pair;
mod play;
mod rows;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use dunlin_protocol::{Position, Recipients};

use self::pair::Pair;
use self::play::Play;
use super::simulation::{Seed, seeds};
use super::switch::Switch;
use super::{fresh_prefix, join_by, server};
use crate::broker::Broker;
use crate::broker::contract::Shard;
use crate::broker::contract::remembering::Kept;
use crate::broker::redis::names::Names;
use crate::broker::redis::reading::parse_head;
use crate::broker::redis::resp::Reply;
use crate::feed::Rules;

/// Two nodes, each with its own way to the pair, and a shard of each that has joined some topics.
struct Scene {
    pair: Pair,
    switches: [Switch; 2],
    shards: [Shard; 2],
    topics: Vec<Followed>,
    prefix: String,
}

/// A topic that both shards have joined, under its number.
struct Followed {
    kept: Kept,
    channel: Vec<u8>,
    head: Vec<u8>,
    list: Vec<u8>,
}

impl Scene {
    fn new(rules: Rules, topics: impl IntoIterator<Item = Kept>) -> Self {
        let prefix = fresh_prefix();
        let topics: Vec<Followed> = topics.into_iter().map(|kept| Followed::new(kept, &prefix)).collect();
        let channels: Vec<Vec<u8>> = topics.iter().map(|topic| topic.channel.clone()).collect();
        let pair = Pair::start(&channels);
        let switches = [(); 2].map(|()| Switch::to(pair.port()));
        let shards = [0, 1].map(|node: usize| {
            let broker = join_by(&server::url(switches[node].port()), &prefix, rules);
            let mut shard = Shard::attach(&(broker as Arc<dyn Broker>));
            (0..).zip(&topics).for_each(|(tag, topic)| shard.follow(tag, &topic.kept));
            shard
        });
        Self { pair, switches, shards, topics, prefix }
    }

    /// Leads a node to the master.
    fn switch(&self, node: usize) {
        self.switches[node].turn(self.pair.port());
    }

    /// Where the master says that a topic is.
    fn head(&mut self, topic: usize) -> Option<Position> {
        let Followed { kept, head, .. } = &self.topics[topic];
        match self.pair.ask(&[b"GET", head]) {
            Reply::Text(head) => Some(parse_head(kept.retention.mode, &head).expect("a head")),
            _ => None,
        }
    }
}

impl Followed {
    fn new(kept: Kept, prefix: &str) -> Self {
        let names = Names::new(prefix, 0);
        let place = kept.publish("0").envelope;
        let Recipients::Topic(topic) = &place.to else { unreachable!("it is of one topic") };
        let mut channel = Vec::new();
        names.topic_channel(&mut channel, &place.namespace, topic);
        let key = |kind| names.topic_key(&place.namespace, topic, kind);
        Self { channel, head: key("h"), list: key("s"), kept }
    }
}

/// A seed plays this many failovers.
const ROUNDS: usize = 8;

// T8, R1, R2, redis 2.1, 2.5, 2.6
#[test]
fn nobody_skips_a_publication_in_silence_whatever_a_failover_forgets() {
    for number in seeds(2) {
        let seed = Seed("failovers", number);
        let mut play = Play::new(seed.1, Rules::ALL);
        (0..ROUNDS).for_each(|_| play.round());
        play.show_that_something_happened();
    }
}

// redis 2.1
#[test]
fn without_marks_failovers_are_silent() {
    let goes_wrong = || {
        let mut play = Play::new(1, Rules { marks: false });
        (0..ROUNDS * 2).for_each(|_| play.round());
    };
    let panic = catch_unwind(AssertUnwindSafe(goes_wrong)).expect_err("something is skipped");
    let why = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert!(why.contains("in silence"), "{why}");
}
