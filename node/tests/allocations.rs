//! A delivery allocates nothing that grows with its audience (style 13: encode once, share the bytes).

use std::sync::Arc;

use allocation_counter::AllocationInfo;
use dunlin::config::{Config, Flags};
use dunlin::history::Recovery;
use dunlin::hub::{Arrival, Effect, Hub, Message, Moment, Settings, Tag, Tally, Write, Wrote};
use dunlin::publication::{Dialect, Publication};
use dunlin_protocol::{Envelope, Epoch, Incarnation, Mark, Namespace, Payload, Position, Recipients, Topic};

/// Deliveries before anything is counted: buffers have found their size by then.
const WARM_UP: usize = 20;

fn settings(mode: &str) -> Settings {
    let toml = format!(
        "[session]\ntopic = \"\"\n[[endpoint]]\npath = \"/**\"\nsubscribe = [\"*\"]\n\
         [[topic]]\nmatch = \"a\"\nmode = \"{mode}\"\n"
    );
    let flags = Flags { config: Some("dunlin.toml".into()), ..Flags::default() };
    let config = Config::load(&flags, [], &|_| Ok(toml.clone())).expect("a good configuration");
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

/// Answers what the hub asks of its broker; says the tag of the topic it joined.
fn answer(hub: &mut Hub) -> Option<Tag> {
    let (mut effects, mut topic) = (Vec::new(), None);
    hub.take_effects(&mut effects);
    for effect in effects {
        match effect {
            Effect::Join { tag, .. } => {
                hub.joined(tag);
                topic = Some(tag);
            }
            Effect::Count { tag, .. } => hub.counted(tag, 0),
            Effect::Recover(ticket, ..) => hub.recovered(ticket, Ok(Recovery::default())),
            _ => {}
        }
    }
    topic
}

/// The dialects whose peers subscribe, with the frame that does it.
const DIALECTS: [(Dialect, fn() -> Message); 3] = [
    (Dialect::Plain, || Message::Text(r#"{"type":"subscribe","topic":"a"}"#.into())),
    (Dialect::JsonV1, || Message::Text(r#"{"type":"subscribe","topic":"a"}"#.into())),
    (Dialect::MsgpackV1, || Message::Binary(b"\x82\xa4type\xa9subscribe\xa5topic\xa1a".as_slice().into())),
];

/// A hub with so many peers of every dialect that subscribe to one topic.
fn audience(mode: &str, peers: usize) -> (Hub, Tag) {
    let now = Moment::from_millis(1_000_000);
    let mut hub = Hub::new(Arc::new(settings(mode)), 0, now, 1);
    let namespace = Namespace::parse("/ws").expect("a namespace");
    let mut topic = None;
    for number in 0..peers {
        let (dialect, subscribe) = DIALECTS[number % DIALECTS.len()];
        let arrival = Arrival { endpoint: 0, namespace: namespace.clone(), dialect, variables: None };
        let key = hub.open(now, arrival).expect("there is room");
        answer(&mut hub);
        hub.receive(now, key, subscribe());
        topic = answer(&mut hub).or(topic);
    }
    assert_eq!(hub.subscription_count(), peers);
    (hub, topic.expect("the first peer joined it"))
}

fn publication(mode: &str, offset: u64, payload: Payload) -> Arc<Publication> {
    let envelope = Envelope {
        origin: None,
        echo: false,
        at_us: 0,
        namespace: Namespace::parse("/ws").expect("a namespace"),
        to: Recipients::Topic(Topic::parse("a").expect("a topic")),
        payload,
    };
    if mode == "relay" {
        return Arc::new(Publication::new(Arc::new(envelope), 0));
    }
    let position = Position { epoch: Epoch([1; 8]), offset, mark: Mark(1) };
    Arc::new(Publication::stored(envelope, position))
}

/// What delivering one publication and writing it to every socket takes, once all is warm.
fn cost(mode: &str, peers: usize, payload: &Payload) -> AllocationInfo {
    let (mut hub, topic) = audience(mode, peers);
    let mut tally = Tally::default();
    let mut cost = AllocationInfo::default();
    for offset in 0..=WARM_UP {
        hub.take_tally(&mut tally);
        let publication = publication(mode, offset as u64 + 1, payload.clone());
        let mut writes = 0;
        cost = allocation_counter::measure(|| {
            hub.deliver(topic, &publication);
            while hub.owed() > 0 || hub.has_work() {
                hub.flush(|_, write| {
                    writes += 1;
                    match write {
                        Write::Contiguous(bytes) => Wrote::Bytes(bytes.len()),
                        Write::Vectored(slices) => Wrote::Bytes(slices.iter().map(|slice| slice.len()).sum()),
                    }
                });
            }
        });
        assert_eq!(writes, peers);
        assert_eq!(hub.owed(), 0);
    }
    cost
}

#[test]
fn a_delivery_to_a_thousand_peers_allocates_as_often_as_one_to_ten() {
    for payload in [
        Payload::json(&br#"{"text":"hello"}"#[..]),
        Payload::json(&br#"{"list":[[],{},1,2,3,4,5,6,7,8,9,10,11,12,13,14,"\n"]}"#[..]),
        Payload::binary(vec![7; 1_000]),
        Payload::json(format!("\"{}\"", "x".repeat(40_000))),
    ] {
        for mode in ["relay", "log", "list"] {
            let (few, many) = (cost(mode, 10, &payload), cost(mode, 1_000, &payload));
            assert_eq!(many.count_total, few.count_total, "{mode}, {} bytes", payload.bytes.len());
            assert!((1..25).contains(&few.count_total), "{mode}: {few:?}");
        }
    }
}
