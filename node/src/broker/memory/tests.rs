use std::time::Duration;

use dunlin_protocol::Position;

use super::*;
use crate::history::{Asked, Since};

/// A broker with one shard, and the time.
struct World {
    broker: MemoryBroker,
    now: Moment,
}

impl World {
    fn new() -> Self {
        let broker = MemoryBroker::default();
        broker.attach(Arc::new(|| {}));
        Self { broker, now: Moment::from_millis(1_700_000_000_000) }
    }

    fn submit(&mut self, command: Command) -> VecDeque<Event> {
        self.broker.submit_at(self.now, 0, &mut vec![command]);
        let mut events = VecDeque::new();
        self.broker.collect(0, &mut events);
        events
    }

    fn join(&mut self, tag: u64, topic: &str) {
        let Place { namespace, topic } = place(topic);
        self.submit(Command::Join(Tag(tag), namespace, topic, Some(Arc::default())));
    }

    fn leave(&mut self, tag: u64, topic: &str) {
        let Place { namespace, topic } = place(topic);
        self.submit(Command::Leave(Tag(tag), namespace, topic));
    }

    fn position(&mut self, tag: u64) -> Option<Position> {
        let asked = Asked { since: Since::Nothing, replay: None };
        match self.submit(Command::Recover(1, Tag(tag), asked)).pop_front() {
            Some(Event::Recovered(1, answer)) => answer.ok().and_then(|recovery| recovery.position),
            other => panic!("only the answer is expected, not {other:?}"),
        }
    }
}

fn place(topic: &str) -> Place {
    Place { namespace: Namespace::parse("/a").expect("good"), topic: Topic::parse(topic).expect("good") }
}

// redis 3.5b
#[test]
fn a_topic_keeps_its_position_while_any_tag_has_joined_it() {
    let mut world = World::new();
    world.join(1, "t");
    let position = world.position(1);
    assert!(position.is_some());
    world.join(2, "t");
    world.leave(1, "t");
    world.now = world.now + Duration::from_hours(1000);
    assert_eq!(world.position(2), position);
    world.leave(2, "t");
    world.now = world.now + Duration::from_hours(1000);
    world.join(3, "t");
    assert_ne!(world.position(3), position, "nobody was there, so it began anew");
}

#[test]
fn what_was_left_or_never_joined_can_not_be_recovered() {
    let mut world = World::new();
    world.join(1, "t");
    world.leave(1, "t");
    assert_eq!([world.position(1), world.position(2)], [None, None]);
    assert!(world.broker.lock().remembering.is_empty());
}

#[test]
fn two_lives_of_a_node_number_apart() {
    let born = |seed| {
        let mut world = World { broker: MemoryBroker::new(seed, Clock::start(), 1), ..World::new() };
        world.broker.attach(Arc::new(|| {}));
        world.join(1, "t");
        world.position(1)
    };
    assert_eq!(born(1), born(1));
    assert_ne!(born(1), born(2));
}
