//! A shard that does not keep up with the bus (B-8): what is left out is counted and told, and harms nobody.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Envelope, GapReason, Namespace, Payload, Recipients, Topic};

use super::server::Server;
use super::{RedisBroker, fresh_prefix, join};
use crate::broker::{Broker as _, Command, Event};
use crate::history::Gap;
use crate::hub::{Reach, Tag};

/// More than twice what an inbox holds, in payloads of 256 KiB.
const PUBLICATIONS: u32 = 320;
const PAYLOAD_BYTES: usize = 256 * 1024;
const FLOODED: u64 = 1;
const QUIET: u64 = 2;

/// A shard that is woken, or is not listened to.
struct Shard {
    broker: Arc<RedisBroker>,
    number: usize,
    woken: Receiver<()>,
    waiting: VecDeque<Event>,
}

impl Shard {
    fn attach(broker: &Arc<RedisBroker>, joins: &[(u64, &str)]) -> Self {
        let (wake, woken) = sync_channel(1);
        let wake = Arc::new(move || {
            let _ = wake.try_send(()); // Woken twice before it looks is woken.
        });
        let number = broker.attach(wake);
        let mut shard = Self { broker: broker.clone(), number, woken, waiting: VecDeque::new() };
        for (tag, topic) in joins {
            shard.submit(Command::Join(Tag(*tag), namespace(), name(topic), None));
            while !matches!(shard.next(), Event::Joined(joined) if joined == Tag(*tag)) {}
        }
        shard
    }

    fn submit(&self, command: Command) {
        self.broker.submit(self.number, &mut vec![command]);
    }

    /// Publishes and waits for the answer.
    fn publish(&mut self, topic: &str, bytes: usize) {
        let payload = Payload::json(Bytes::from(vec![b'1'; bytes]));
        let to = Recipients::Topic(name(topic));
        let envelope = Envelope { origin: None, echo: false, at_us: 0, namespace: namespace(), to, payload };
        self.submit(Command::Publish(0, envelope));
        let outcome = loop {
            if let Event::Settled(0, outcome) = self.next() {
                break outcome;
            }
        };
        assert_eq!(outcome, Ok(Reach::Cluster));
    }

    fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return event;
            }
            self.broker.collect(self.number, &mut self.waiting);
            let waits = self.waiting.is_empty();
            assert!(!waits || self.woken.recv_timeout(Duration::from_secs(10)).is_ok(), "nothing came");
        }
    }
}

fn namespace() -> Namespace {
    Namespace::parse("/a").expect("good")
}

fn name(topic: &str) -> Topic {
    Topic::parse(topic).expect("good")
}

// B-8
#[test]
fn what_a_shard_can_not_take_is_counted_and_told_and_others_get_everything() {
    let prefix = fresh_prefix();
    let (here, there) = (join(Server::shared(), &prefix), join(Server::shared(), &prefix));
    let mut stuck = Shard::attach(&here, &[(FLOODED, "flooded"), (QUIET, "quiet")]);
    let mut keen = Shard::attach(&here, &[(FLOODED, "flooded")]);
    let mut speaker = Shard::attach(&there, &[]);
    let mut heard = 0;
    for _ in 0..PUBLICATIONS {
        speaker.publish("flooded", PAYLOAD_BYTES);
        while !matches!(keen.next(), Event::Publication(Tag(FLOODED), _)) {}
        heard += 1;
    }
    assert_eq!(heard, PUBLICATIONS, "who keeps up gets everything");

    let (mut got, mut told) = (0, 0);
    here.collect(stuck.number, &mut stuck.waiting);
    for event in stuck.waiting.drain(..) {
        match event {
            Event::Publication(..) => got += 1,
            Event::Missed(Tag(FLOODED), Gap { reason: GapReason::Lost, .. }) => told += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(got > 0 && got < PUBLICATIONS, "{got}");
    assert_eq!(told, 1, "once for the topic");

    // It keeps up again, and the links have been the same all the time.
    speaker.publish("quiet", 1);
    speaker.publish("flooded", 1);
    let next: HashSet<u64> = [stuck.next(), stuck.next()].iter().map(tag_of).collect();
    assert_eq!(next, HashSet::from([FLOODED, QUIET]));
    let dropped = here.exchange.metrics.dropped();
    assert_eq!(u64::from(PUBLICATIONS - got), dropped, "what did not come is counted");
    assert_eq!(here.status().trouble, None);
    assert_eq!(here.exchange.metrics.reconnects(), 0);
}

fn tag_of(event: &Event) -> u64 {
    match event {
        Event::Publication(tag, _) => tag.0,
        other => panic!("{other:?}"),
    }
}
