//! What the pure core costs without sockets: a delivery, a round of small topics, a publish on its whole way.
//!
//! Every figure is for one round; `Throughput` gives deliveries or publications a second.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dunlin::broker::{Broker, Command, Event, MemoryBroker};
use dunlin::config::{Config, Flags};
use dunlin::exchange;
use dunlin::hub::{Arrival, Effect, Hub, Message, Moment, PeerKey, Settings, Tally, Write, Wrote};
use dunlin::publication::Dialect;
use dunlin_protocol::{Incarnation, Namespace};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Moment = Moment::from_millis(1_000_000);

/// A hub and its broker, as a shard drives them.
struct Shard {
    hub: Hub,
    broker: MemoryBroker,
    effects: Vec<Effect>,
    commands: Vec<Command>,
    events: VecDeque<Event>,
    tally: Tally,
}

impl Shard {
    fn new() -> Self {
        let broker = MemoryBroker::default();
        broker.attach(Arc::new(|| {}));
        let hub = Hub::new(Arc::new(settings()), 0, NOW, 1);
        let (effects, commands, events) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { hub, broker, effects, commands, events, tally: Tally::default() }
    }

    /// A peer that subscribes to a topic, if one is named.
    fn enter(&mut self, topic: Option<usize>) -> PeerKey {
        let namespace = Namespace::parse("/ws").expect("a namespace");
        let arrival = Arrival { endpoint: 0, namespace, dialect: Dialect::Plain, variables: None };
        let key = self.hub.open(NOW, arrival).expect("there is room");
        self.exchange();
        if let Some(topic) = topic {
            let subscribe = format!(r#"{{"type":"subscribe","topic":"t{topic:07}"}}"#);
            self.hub.receive(NOW, key, Message::Text(subscribe.into()));
            self.exchange();
        }
        key
    }

    fn publish(&mut self, publisher: PeerKey, topic: usize) {
        let payload = "x".repeat(126);
        let publish = format!(r#"{{"type":"publish","topic":"t{topic:07}","payload":"{payload}"}}"#);
        self.hub.receive(NOW, publisher, Message::Text(publish.into()));
    }

    /// Carries everything between hub and broker until both are at rest.
    fn exchange(&mut self) {
        loop {
            self.hub.take_effects(&mut self.effects);
            self.commands.extend(self.effects.drain(..).filter_map(|effect| exchange::command(effect).ok()));
            self.broker.submit(0, &mut self.commands);
            self.broker.collect(0, &mut self.events);
            if self.events.is_empty() {
                return;
            }
            for event in self.events.drain(..) {
                exchange::tell(&mut self.hub, event);
            }
        }
    }

    /// Writes all that is owed into sockets that take everything.
    fn flush(&mut self) {
        while self.hub.owed() > 0 {
            self.hub.flush(|_, write| match black_box(write) {
                Write::Contiguous(bytes) => Wrote::Bytes(bytes.len()),
                Write::Vectored(slices) => Wrote::Bytes(slices.iter().map(|slice| slice.len()).sum()),
            });
        }
        self.hub.take_tally(&mut self.tally);
        self.tally.delivered.clear();
    }
}

fn settings() -> Settings {
    let toml = "[session]\ntopic = \"\"\n[limits]\nframes_per_second = 0\npublishes_per_second = 0\n\
                [[endpoint]]\npath = \"/**\"\nsubscribe = [\"*\"]\npublish = [\"*\"]\ndefaults = []\n";
    let flags = Flags { config: Some("dunlin.toml".into()), ..Flags::default() };
    let config = Config::load(&flags, [], &|_| Ok(toml.to_owned())).expect("a good configuration");
    Settings {
        outbox_total: config.limits.outbox_total.bytes(),
        endpoints: config.endpoints,
        limits: config.limits,
        session: config.session,
        topics: config.topics,
        resume: config.resume,
        node: "node".to_owned(),
        incarnation: Incarnation(1),
    }
}

/// A shard with so many topics of so many peers, and a publisher who hears nothing.
fn crowd(topics: usize, audience: usize) -> (Shard, PeerKey) {
    let mut shard = Shard::new();
    let publisher = shard.enter(None);
    for peer in 0..topics * audience {
        shard.enter(Some(peer % topics));
    }
    (shard, publisher)
}

/// One round: `publications` over all topics in turn, then everybody is written once.
fn round(criterion: &mut Criterion, name: &str, topics: usize, audience: usize, publications: usize) {
    let (mut shard, publisher) = crowd(topics, audience);
    let mut group = criterion.benchmark_group("round");
    group.throughput(Throughput::Elements((publications * audience) as u64));
    let mut next = 0;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            for _ in 0..publications {
                shard.publish(publisher, next % topics);
                next += 1;
            }
            shard.exchange();
            shard.flush();
        });
    });
    group.finish();
}

fn hub(criterion: &mut Criterion) {
    round(criterion, "1 topic x 1000, one publication", 1, 1000, 1);
    round(criterion, "1 topic x 1000, 64 publications", 1, 1000, 64);
    round(criterion, "1000 topics x 10, one publication each", 1000, 10, 1000);
    round(criterion, "1000 topics x 10, ten publications each", 1000, 10, 10_000);
    round(criterion, "1 topic, nobody listens, 1000 publications", 1, 0, 1000);
}

criterion_group!(benches, hub);
criterion_main!(benches);
