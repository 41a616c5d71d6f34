//! What peers are told when the way to the other nodes is down (behaviours T2, T12).

use dunlin_protocol::GapReason;

use super::world::{World, publish, subscribe};
use crate::history::Gap;
use crate::hub::{Effect, Message, PublishError, Reach, Tag, UNAWAITED};
use crate::publication::Dialect;

const OPEN: &str = r#"
    [session]
    topic = ""
    [[endpoint]]
    path = "/ws"
    subscribe = ["*"]
    publish = ["*"]
"#;
const PUBLISH: &str = r#"{"type":"publish","topic":"a","payload":1,"id":7}"#;
const HELLO: &str = r#"{"type":"hello","id":8}"#;

// T12
#[test]
fn a_publication_that_only_this_node_has_is_answered_so() {
    let mut world = World::new(OPEN);
    let who = world.join_as(0, 0, Dialect::JsonV1);
    world.settle();
    world.heard(who);
    world.say(who, PUBLISH);
    world.hub(who).settled(0, Ok(Reach::Node));
    world.settle();
    assert_eq!(world.heard(who), [r#"{"type":"ok","id":7,"local":true}"#]);
}

// B-9: only then may its shard be left asleep.
#[test]
fn success_is_unawaited_exactly_where_no_id_asks_for_it() {
    let mut world = World::new(OPEN);
    let who = world.join_as(0, 0, Dialect::JsonV1);
    world.settle();
    let (now, key) = (world.now, world.key(who));
    for (text, unawaited) in [(PUBLISH.to_owned(), false), (publish("a", "1"), true)] {
        let mut effects = Vec::new();
        world.hub(who).receive(now, key, Message::Text(text.into()));
        world.hub(who).take_effects(&mut effects);
        let [Effect::Publish { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
        assert_eq!(ticket & UNAWAITED != 0, unawaited);
    }
}

#[test]
fn a_publish_that_the_broker_refuses_is_an_error_that_says_whose() {
    for (error, code) in [(PublishError::Unavailable, "unavailable"), (PublishError::Refused, "internal")] {
        let mut world = World::new(OPEN);
        let who = world.join_as(0, 0, Dialect::Plain);
        world.settle();
        world.say(who, PUBLISH);
        world.hub(who).settled(0, Err(error));
        world.settle();
        let heard = world.heard(who);
        assert!(
            heard[0].contains(&format!(r#""code":"{code}""#)) && heard[0].contains(r#""id":7"#),
            "{heard:?}"
        );
    }
}

// T12
#[test]
fn a_hello_says_whether_only_this_node_is_reached() {
    let mut world = World::new(OPEN);
    let who = world.join_as(0, 0, Dialect::JsonV1);
    world.settle();
    world.heard(who);
    for (reach, says_so) in [(Reach::Cluster, false), (Reach::Node, true), (Reach::Cluster, false)] {
        world.hub(who).reached(reach);
        let answers = world.answers(who, HELLO);
        assert_eq!(answers[0].contains(r#""local":true"#), says_so, "{answers:?}");
    }
}

// T2
#[test]
fn who_understands_it_is_told_that_publications_may_be_missing() {
    let mut world = World::new(OPEN);
    let [told, plain, elsewhere] =
        [Dialect::JsonV1, Dialect::Plain, Dialect::JsonV1].map(|dialect| world.join_as(0, 0, dialect));
    world.settle();
    for (who, topic) in [(told, "a"), (plain, "a"), (elsewhere, "b")] {
        world.say(who, &subscribe(topic));
    }
    world.settle();
    for who in [told, plain, elsewhere] {
        world.heard(who);
    }
    let hub = world.hub(told);
    let topic = (0..3).find(|index| hub.topics[*index].name.as_str() == "a").expect("it is there");
    let tag: Tag = hub.topics.tag(topic);
    hub.missed(tag, Gap::of(GapReason::Link));
    let [told, plain, elsewhere] = world.all_heard([told, plain, elsewhere]);
    assert_eq!(told, [r#"{"type":"gap","topic":"a","reason":"link"}"#]);
    assert!(plain.is_empty() && elsewhere.is_empty());
}
