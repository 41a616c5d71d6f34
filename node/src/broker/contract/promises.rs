//! What each promise comes to.

use std::thread;
use std::time::Duration;

use super::{
    Command, Event, Factory, PATIENCE, Payload, Recipients, Shard, count, counts, envelope, join, leave,
    publications, publish, topic,
};
use crate::hub::{PublishError, Reach};

fn heard(tag: u64, topic: &str, payload: &str) -> (u64, String, String) {
    (tag, topic.to_owned(), payload.to_owned())
}

pub fn b1_a_join_is_answered_once_with_its_tag(make: Factory<'_>) {
    let broker = make();
    let (mut one, mut two) = (Shard::attach(&broker), Shard::attach(&broker));
    assert_eq!((one.number, two.number), (0, 1));
    one.submit([join(7, "/a", "t"), join(8, "/a", "u"), leave(7, "/a", "t"), join(9, "/a", "t")]);
    two.submit([join(7, "/a", "t")]);
    let joined = |events: Vec<Event>| -> Vec<u64> {
        let tags = events.iter().filter_map(|event| match event {
            Event::Joined(tag) => Some(tag.0),
            _ => None,
        });
        tags.collect()
    };
    let (mut ones, mut twos) = (Vec::new(), Vec::new());
    while !ones.contains(&8) || !ones.contains(&9) || twos.is_empty() {
        ones.extend(joined(one.up_to_a_mark()));
        twos.extend(joined(two.up_to_a_mark()));
    }
    ones.sort_unstable();
    assert!(
        ones == [7, 8, 9] || ones == [8, 9],
        "the first may have been left before it was answered: {ones:?}"
    );
    assert_eq!(twos, [7]);
}

pub fn b2_what_is_accepted_after_the_answer_arrives_once_until_the_shard_leaves(make: Factory<'_>) {
    let broker = make();
    let (mut one, mut two) = (Shard::attach(&broker), Shard::attach(&broker));
    one.join(1, "/a", "t");
    two.join(2, "/a", "t");
    two.submit([publish(0, "/a", "t", "1"), publish(1, "/a", "t", "2")]);
    let both = |tag| [heard(tag, "t", "1"), heard(tag, "t", "2")];
    assert_eq!(publications(&two.up_to_a_mark()), both(2), "the publishing shard hears it, too");
    assert_eq!(publications(&one.up_to_a_mark()), both(1));

    one.submit([leave(1, "/a", "t")]);
    one.up_to_a_mark();
    two.submit([publish(2, "/a", "t", "3")]);
    assert_eq!(publications(&two.up_to_a_mark()), [heard(2, "t", "3")]);
    assert_eq!(publications(&one.up_to_a_mark()), []);

    one.join(3, "/a", "t");
    two.submit([publish(3, "/a", "t", "4")]);
    two.up_to_a_mark();
    assert_eq!(publications(&one.up_to_a_mark()), [heard(3, "t", "4")], "under the new tag only");
}

/// Publications that all threads of the order's test put in together.
const MANY: usize = 100_000;
/// Publications of one thread that may be under way.
const AHEAD: usize = 256;

pub fn b3_every_shard_hears_a_topic_in_one_order(make: Factory<'_>) {
    let broker = make();
    let mut shards: Vec<Shard> = (0..4).map(|_| Shard::attach(&broker)).collect();
    for shard in &mut shards {
        shard.join(1, "/a", "t");
    }
    let each = MANY / shards.len();
    let orders: Vec<Vec<String>> = thread::scope(|scope| {
        let running: Vec<_> = shards
            .iter_mut()
            .map(|shard| scope.spawn(move || hear_while_publishing(shard, each, MANY)))
            .collect();
        running.into_iter().map(|thread| thread.join().expect("no thread fails")).collect()
    });
    let mut sorted = orders[0].clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), MANY, "none is lost, none comes twice");
    assert!(orders.iter().all(|order| *order == orders[0]), "all hear one order");
    for shard in 0..shards.len() {
        let prefix = format!("{shard}:");
        let own = orders[0].iter().filter_map(|payload| payload.strip_prefix(&prefix));
        let own: Vec<usize> = own.map(|number| number.parse().expect("a number")).collect();
        assert!(own.is_sorted(), "what one shard publishes keeps its order");
    }
}

/// Publishes so many and listens until all have been heard.
fn hear_while_publishing(shard: &mut Shard, own: usize, all: usize) -> Vec<String> {
    let (mut sent, mut settled, mut order) = (0, 0, Vec::with_capacity(all));
    while order.len() < all || settled < own {
        while sent < own && sent - settled < AHEAD {
            let payload = format!("{}:{sent:06}", shard.number);
            shard.submit([publish(sent as u32, "/a", "t", &payload)]);
            sent += 1;
        }
        match shard.next() {
            Event::Publication(_, publication) => {
                order.push(String::from_utf8_lossy(&publication.envelope.payload.bytes).into_owned());
            }
            Event::Settled(_, outcome) => {
                outcome.expect("nobody falls behind so far");
                settled += 1;
            }
            _ => {}
        }
    }
    order
}

pub fn b4_every_publish_is_settled_once_also_where_nothing_was_joined(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    shard.submit([publish(5, "/a", "t", "1"), publish(3, "/b", "u", "2")]);
    shard.submit([Command::Publish(9, envelope("/a", Recipients::Namespace, Payload::null()))]);
    let settled: Vec<_> = shard.up_to_a_mark();
    let tickets = settled.iter().map(|event| match event {
        Event::Settled(ticket, Ok(Reach::Cluster)) => *ticket,
        other => panic!("only answers are expected, not {other:?}"),
    });
    assert_eq!(tickets.collect::<Vec<_>>(), [5, 3, 9]);
}

pub fn b5_a_publish_to_several_topics_is_a_copy_for_each_that_is_joined(make: Factory<'_>) {
    let broker = make();
    let (mut one, mut two) = (Shard::attach(&broker), Shard::attach(&broker));
    one.join(1, "/a", "t");
    one.join(2, "/a", "v");
    two.join(3, "/a", "u");
    let listed = vec![topic("v"), topic("nobody"), topic("t"), topic("u")];
    let payload = Payload::json(&b"1"[..]);
    one.submit([Command::Publish(0, envelope("/a", Recipients::Topics(listed.clone()), payload))]);
    let (first, second) = (one.up_to_a_mark(), two.up_to_a_mark());
    assert_eq!(publications(&first), [heard(2, "v", "1"), heard(1, "t", "1")], "in the list's order");
    assert_eq!(publications(&second), [heard(3, "u", "1")]);
    let named = second.iter().find_map(|event| match event {
        Event::Publication(_, publication) => Some(publication.earlier_topics().to_vec()),
        _ => None,
    });
    assert_eq!(named.as_deref(), Some(&listed[..3]), "the copy names the topics before its own");
}

pub fn b5_a_publish_without_a_topic_reaches_who_counted_peers(make: Factory<'_>) {
    let broker = make();
    let mut shards: Vec<Shard> = (0..3).map(|_| Shard::attach(&broker)).collect();
    shards[0].submit([count(1, "/a", 1)]);
    shards[1].submit([count(2, "/a", 5), count(3, "/b", 1)]);
    shards[2].submit([count(4, "/a", 1), join(5, "/a", "t"), count(4, "/a", 0)]);
    shards[0].up_to_a_count(1, 5);
    shards[1].up_to_a_count(2, 1);
    let everybody = envelope("/a", Recipients::Namespace, Payload::json(&b"1"[..]));
    shards[0].submit([Command::Publish(0, everybody)]);
    let all: Vec<_> = shards.iter_mut().map(|shard| publications(&shard.up_to_a_mark())).collect();
    assert_eq!(all, [vec![heard(1, "", "1")], vec![heard(2, "", "1")], vec![]]);
}

pub fn b6_the_first_count_is_answered_and_later_changes_are_told(make: Factory<'_>) {
    let broker = make();
    let (mut one, mut two) = (Shard::attach(&broker), Shard::attach(&broker));
    one.submit([count(1, "/a", 3)]);
    assert_eq!(counts(&one.up_to_a_count(1, 0), 1), [0]);
    two.submit([count(2, "/a", 4)]);
    assert_eq!(counts(&two.up_to_a_count(2, 3), 2), [3]);
    assert_eq!(counts(&one.up_to_a_count(1, 4), 1), [4]);

    one.submit([count(1, "/a", 5)]);
    two.up_to_a_count(2, 5);

    // However many changes there are, the last one is told.
    for peers in 6..500 {
        one.submit([count(1, "/a", peers)]);
    }
    assert!(counts(&two.up_to_a_count(2, 499), 2).is_sorted());

    one.submit([count(1, "/a", 0)]);
    two.up_to_a_count(2, 0);
    two.submit([count(2, "/a", 9)]);
    two.up_to_a_mark();
    assert!(counts(&one.up_to_a_mark(), 1).is_empty(), "who counted 0 is told no more");
}

pub fn b7_names_that_differ_in_one_byte_never_meet(make: Factory<'_>) {
    let broker = make();
    let (mut listener, mut speaker) = (Shard::attach(&broker), Shard::attach(&broker));
    let names =
        [("/a", "t"), ("/A", "t"), ("/a/", "t"), ("/a", "T"), ("/a", "t "), ("/a", "t:"), ("/at", "t")];
    for (tag, (namespace, topic)) in names.into_iter().enumerate() {
        listener.join(tag as u64, namespace, topic);
    }
    for (tag, (namespace, _)) in names.into_iter().enumerate() {
        listener.submit([count(100 + tag as u64, namespace, 1)]);
    }
    let mut counted = 0;
    while counted < names.len() {
        counted += usize::from(matches!(listener.next(), Event::Counted(..)));
    }
    for (tag, (namespace, topic)) in names.into_iter().enumerate() {
        speaker.submit([publish(0, namespace, topic, "1")]);
        speaker.up_to_a_mark();
        assert_eq!(publications(&listener.up_to_a_mark()), [heard(tag as u64, topic, "1")]);
    }
    let everybody = envelope("/A", Recipients::Namespace, Payload::null());
    speaker.submit([Command::Publish(0, everybody)]);
    speaker.up_to_a_mark();
    assert_eq!(publications(&listener.up_to_a_mark()), [heard(101, "", "null")]);
}

pub fn b8_what_exceeds_the_bound_is_refused_and_reaches_nobody(make: Factory<'_>) {
    let broker = make();
    let (mut stuck, mut other, mut speaker) =
        (Shard::attach(&broker), Shard::attach(&broker), Shard::attach(&broker));
    stuck.join(1, "/a", "t");
    other.join(2, "/a", "t");
    let large = "1".repeat(1024 * 1024);
    let mut accepted = 0;
    let refused = loop {
        assert!(accepted < 4096, "4 GiB wait for a shard that does not collect");
        speaker.submit([publish(7, "/a", "t", &large)]);
        match speaker.next() {
            Event::Settled(7, Ok(Reach::Cluster)) => accepted += 1,
            Event::Settled(7, Err(PublishError::Unavailable)) => {
                break publications(&other.up_to_a_mark()).len();
            }
            event => panic!("only answers are expected, not {event:?}"),
        }
        if accepted % 8 == 0 {
            assert_eq!(publications(&other.up_to_a_mark()).len(), 8);
        }
    };
    assert_eq!(refused, accepted % 8, "what is refused reaches nobody");
    assert_eq!(publications(&stuck.up_to_a_mark()).len(), accepted, "what was accepted is not lost");
    speaker.submit([publish(8, "/a", "t", &large)]);
    assert!(matches!(speaker.next(), Event::Settled(8, Ok(_))), "there is room again");
}

pub fn b9_a_shard_is_woken_when_something_waits(make: Factory<'_>) {
    let broker = make();
    let (mut one, two) = (Shard::attach(&broker), Shard::attach(&broker));
    one.join(1, "/a", "t");
    one.collect();
    while one.is_woken(Duration::ZERO) {}
    for round in 0..100 {
        two.submit([publish(0, "/a", "t", "1"), publish(1, "/a", "t", "2")]);
        assert!(one.is_woken(PATIENCE), "round {round}");
        let mut events = one.collect();
        while publications(&events).len() < 2 {
            assert!(one.is_woken(PATIENCE), "round {round}");
            events.extend(one.collect());
        }
        while one.is_woken(Duration::ZERO) {}
    }
    one.submit([publish(0, "/a", "t", "1")]);
    let mut events = Vec::new();
    while events.len() < 2 {
        assert!(one.is_woken(PATIENCE), "also by its own commands");
        events.extend(one.collect());
    }
}

pub fn b10_topics_that_are_joined_are_counted_once_each(make: Factory<'_>) {
    let broker = make();
    let (mut one, mut two) = (Shard::attach(&broker), Shard::attach(&broker));
    let marks = broker.topics();
    assert_eq!(marks, 2, "each shard has joined one of its own");
    one.join(1, "/a", "t");
    two.join(2, "/a", "t");
    two.join(3, "/a", "u");
    two.join(4, "/b", "t");
    assert_eq!(broker.topics() - marks, 3);
    two.submit([leave(2, "/a", "t"), leave(3, "/a", "u"), leave(4, "/b", "t")]);
    two.up_to_a_mark();
    assert_eq!(broker.topics() - marks, 1);
    one.submit([leave(1, "/a", "t")]);
    one.up_to_a_mark();
    assert_eq!(broker.topics() - marks, 0);
}
