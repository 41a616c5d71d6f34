//! Answers of a broker that come when the test says so, or are no good ones.

use std::sync::Arc;

use dunlin_protocol::{Epoch, GapReason, Mark, Namespace, Payload, Position, Topic};

use super::remembering::MODES;
use super::wire::Socket;
use super::world::{arrival, settings, subscribe};
use crate::history::{CommitError, Gap, Place, Recovery};
use crate::hub::{Effect, Hub, Message, Moment, PeerKey, Tag};
use crate::publication::{Dialect, Publication};

const NOW: Moment = Moment::from_millis(1_700_000_000_000);

/// A hub with one peer, whose broker is the test.
struct Script {
    hub: Hub,
    peer: PeerKey,
    socket: Socket,
    /// Questions and topics of the broker, in order.
    recoveries: Vec<(u32, Tag)>,
}

fn at(offset: u64) -> Position {
    Position { epoch: Epoch([1; 8]), offset, mark: Mark(1) }
}

fn stored(topic: &str, offset: u64) -> Arc<Publication> {
    let namespace = Namespace::parse("/ws").expect("a namespace");
    let place = Place { namespace, topic: Topic::parse(topic).expect("a topic") };
    Arc::new(Publication::stored(place.envelope(Payload::json(offset.to_string()), 0), at(offset)))
}

fn recovery(topic: &str, offset: u64) -> Recovery {
    let position = Some(at(offset));
    if topic == "log" {
        return Recovery { position, ..Recovery::default() };
    }
    Recovery { position, state: Some(stored(topic, offset)), ..Recovery::default() }
}

impl Script {
    fn new(endpoint: u16, dialect: Dialect) -> Self {
        let mut hub = Hub::new(Arc::new(settings(MODES)), 0, NOW, 1);
        let peer = hub.open(NOW, arrival(endpoint, dialect)).expect("there is room");
        let mut script = Self { hub, peer, socket: Socket::default(), recoveries: Vec::new() };
        script.obey();
        script
    }

    fn obey(&mut self) {
        let mut effects = Vec::new();
        self.hub.take_effects(&mut effects);
        for effect in effects {
            match effect {
                Effect::Join { tag, .. } => self.hub.joined(tag),
                Effect::Count { tag, .. } => self.hub.counted(tag, 0),
                Effect::Recover(ticket, tag, _) => self.recoveries.push((ticket, tag)),
                _ => {}
            }
        }
    }

    fn say(&mut self, text: &str) {
        self.hub.receive(NOW, self.peer, Message::Text(text.to_owned().into()));
        self.obey();
    }

    /// What the peer got but for its welcome, without the cursors.
    fn heard(&mut self) -> Vec<String> {
        while self.hub.has_work() {
            self.obey();
            let socket = &mut self.socket;
            self.hub.flush(|_, write| socket.write(write));
        }
        let frames = self.socket.frames().into_iter().filter(|frame| !frame.contains("welcome"));
        frames.map(|frame| frame.split(r#","cursor""#).next().unwrap_or_default().to_owned()).collect()
    }
}

// W5: states of all automatic topics, then live, also where live comes between them.
#[test]
fn an_opening_keeps_what_comes_before_its_last_state() {
    let mut script = Script::new(1, Dialect::JsonV1);
    let [(list_ticket, list), (log_ticket, log)] = script.recoveries[..] else { panic!("two topics") };
    script.hub.recovered(log_ticket, Ok(recovery("log", 4)));
    script.hub.deliver(log, &stored("log", 5));
    script.hub.deliver(log, &stored("log", 6));
    script.hub.deliver(list, &stored("list", 1));
    assert_eq!(script.heard(), Vec::<String>::new());
    assert!(!script.hub.may_be_read(script.peer));
    script.hub.recovered(list_ticket, Ok(recovery("list", 2)));
    script.hub.deliver(log, &stored("log", 7));
    assert!(script.hub.may_be_read(script.peer));
    let frames = [("list", 2), ("log", 5), ("log", 6), ("log", 7)];
    assert_eq!(
        script.heard(),
        frames.map(|(topic, number)| format!(r#"{{"topic":"{topic}","payload":{number}"#))
    );
}

// T9: nothing live before the state, and the state once.
#[test]
fn nothing_is_heard_before_the_state() {
    let mut script = Script::new(0, Dialect::JsonV1);
    script.say(r#"{"type":"subscribe","topic":"list","id":1}"#);
    let (ticket, list) = script.recoveries[0];
    script.hub.deliver(list, &stored("list", 1));
    assert!(script.heard().is_empty());
    script.hub.recovered(ticket, Ok(recovery("list", 2)));
    script.hub.deliver(list, &stored("list", 3));
    assert_eq!(script.heard(), [r#"{"type":"ok","id":1,"topic":"list""#, r#"{"topic":"list","payload":3"#]);
}

// R3, T7: an unreachable broker subscribes all the same, an unusable topic does not.
#[test]
fn a_topic_that_can_not_be_had_is_refused_and_one_that_can_not_be_asked_for_is_not() {
    let unavailable =
        r#"{"type":"ok","id":1,"topic":"log","recovered":false,"reason":"unavailable","publications":[]}"#;
    for (error, answer, subscriptions) in [
        (CommitError::Unavailable, unavailable, 1),
        (CommitError::Mode, r#"{"type":"error","code":"invalid_topic""#, 0),
        (CommitError::Broken, r#"{"type":"error","code":"internal""#, 0),
    ] {
        let mut script = Script::new(0, Dialect::JsonV1);
        script.say(r#"{"type":"subscribe","topic":"log","since":"x","id":1}"#);
        script.hub.recovered(script.recoveries[0].0, Err(error));
        let heard = script.heard();
        assert!(heard.len() == 1 && heard[0].starts_with(answer), "{error:?}: {heard:?}");
        assert_eq!(script.hub.subscription_count(), subscriptions, "{error:?}");
    }
}

// W3, W5: every id is answered, and an opening is complete without what can't be had.
#[test]
fn an_error_answers_all_who_wait_and_ends_no_opening() {
    let mut script = Script::new(0, Dialect::Plain);
    script.say(r#"{"type":"subscribe","topic":"map","id":1}"#);
    script.say(r#"{"type":"subscribe","topic":"map","id":2}"#);
    let tickets: Vec<u32> = script.recoveries.iter().map(|(ticket, _)| *ticket).collect();
    script.hub.recovered(tickets[0], Err(CommitError::Mode));
    script.hub.recovered(tickets[1], Err(CommitError::Mode));
    let heard = script.heard();
    assert!(
        heard.len() == 2 && heard[0].contains(r#""id":1"#) && heard[1].contains(r#""id":2"#),
        "{heard:?}"
    );
    let mut script = Script::new(1, Dialect::Plain);
    for (ticket, _) in std::mem::take(&mut script.recoveries) {
        script.hub.recovered(ticket, Err(CommitError::Mode));
    }
    assert!(script.hub.may_be_read(script.peer));
}

// R1, H6: after a gap comes what there is; who was blocked gets only that.
#[test]
fn a_reset_takes_the_place_of_what_was_heard() {
    for (dialect, blocked, frames) in [
        (
            Dialect::JsonV1,
            false,
            &[r#"{"topic":"list","payload":1"#, "gap", r#"{"type":"reset","topic":"list""#][..],
        ),
        (
            Dialect::JsonV1,
            true,
            &[r#"{"topic":"list","payload":1"#, "gap", r#"{"type":"reset","topic":"list""#],
        ),
        (Dialect::Plain, false, &[r#"{"topic":"list","payload":1"#, r#"{"topic":"list","payload":9"#]),
        (Dialect::Plain, true, &[r#"{"topic":"list","payload":1"#, r#"{"topic":"list","payload":9"#]),
    ] {
        let mut script = Script::new(0, dialect);
        script.say(&subscribe("list"));
        let (ticket, list) = script.recoveries[0];
        script.hub.recovered(ticket, Ok(Recovery { position: Some(at(0)), ..Recovery::default() }));
        script.heard();
        script.socket.room = if blocked { 3 } else { usize::MAX };
        for offset in 1..=2 {
            script.hub.deliver(list, &stored("list", offset));
            if offset == 1 || blocked {
                let socket = &mut script.socket;
                script.hub.flush(|_, write| socket.write(write));
            }
            if !blocked {
                break;
            }
        }
        let gap = Gap { from: Some(at(1)), to: Some(at(9)), reason: GapReason::Forked };
        script.hub.missed(list, gap);
        script.hub.reset(list, at(9), Some(stored("list", 9)));
        script.socket.room = usize::MAX;
        let (socket, peer) = (&mut script.socket, script.peer);
        script.hub.flush_one(peer, |_, write| socket.write(write));
        let heard = script.heard();
        let is_like = |(frame, part): (&String, &&str)| frame.contains(part);
        assert_eq!(heard.len(), frames.len(), "{dialect:?} {blocked}: {heard:?}");
        assert!(heard.iter().zip(frames).all(is_like), "{dialect:?} {blocked}: {heard:?}");
    }
}
