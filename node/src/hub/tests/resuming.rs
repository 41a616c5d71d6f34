//! Sessions that are taken up again (redis 2.10).

use std::sync::Arc;

use super::remembering::MODES;
use super::world::{Who, World, arrival, arrival_in, publish, subscribe};
use crate::grant::Keys;
use crate::hub::Hub;
use crate::publication::Dialect;

const SECRET: &str = "\n[resume]\nsecret = \"0123456789abcdef0123456789abcdef\"\nttl = \"1h\"\n";

fn toml() -> String {
    MODES.replace("[session]", &format!("{SECRET}[session]"))
}

/// A v1 peer and the grant it was welcomed with.
fn welcomed(world: &mut World) -> (Who, String) {
    let who = world.arrive(0, arrival(0, Dialect::JsonV1));
    world.settle();
    let welcome: serde_json::Value = serde_json::from_str(&world.heard(who)[0]).expect("JSON");
    (who, welcome["grant"].as_str().expect("a grant").to_owned())
}

fn resume(grant: &str, topics: &str) -> String {
    format!(r#"{{"type":"resume","grant":"{grant}","topics":[{topics}],"id":9}}"#)
}

#[test]
fn a_session_goes_on_where_it_was() {
    let mut world = World::new(&toml());
    let (peer, grant) = welcomed(&mut world);
    let sender = world.join(0);
    world.answers(peer, &subscribe("log"));
    world.answers(sender, &publish("log", "1"));
    let first: serde_json::Value = serde_json::from_str(&world.heard(peer)[0]).expect("JSON");
    world.lose(peer);
    world.answers(sender, &publish("log", "2"));
    let (back, _) = welcomed(&mut world);
    let topics =
        format!(r#"{{"topic":"log","since":{}}},{{"topic":"other"}},{{"topic":"$no"}}"#, first["cursor"]);
    let answers = world.answers(back, &resume(&grant, &topics));
    let find = |part: &str| answers.iter().filter(|answer| answer.contains(part)).count();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(find(r#""id":9,"topic":"log","#) + find(r#""id":9,"topic":"other""#), 2, "{answers:?}");
    assert_eq!((find(r#""recovered":true"#), find(r#""code":"forbidden""#)), (1, 1), "{answers:?}");
    let again = world.answers(back, &resume(&grant, ""));
    assert!(again[0].contains(r#""code":"malformed""#), "{again:?}");
    world.end();
}

#[test]
fn a_grant_is_good_for_its_holder_and_its_time_only() {
    let mut world = World::new(&toml());
    let (_, grant) = welcomed(&mut world);
    let elsewhere = world.arrive(0, arrival_in("/other", 0, Dialect::JsonV1));
    let other_endpoint = world.arrive(0, arrival(1, Dialect::JsonV1));
    world.settle();
    for who in [elsewhere, other_endpoint] {
        world.heard(who);
        let answer = world.answers(who, &resume(&grant, ""));
        assert!(answer[0].contains(r#""code":"unauthenticated","error":"no such grant""#), "{answer:?}");
    }
    let (late, fresh) = welcomed(&mut world);
    assert_eq!(world.answers(late, &resume(&fresh, "")), [r#"{"type":"ok","id":9}"#]);
    world.pass_ms(3_600_000);
    let (later, _) = welcomed(&mut world);
    let answer = world.answers(later, &resume(&grant, ""));
    assert!(answer[0].contains(r#""code":"unauthenticated""#), "{answer:?}");
}

#[test]
fn who_came_before_the_first_key_is_given_a_grant_and_nobody_later_a_second_one() {
    let mut world = World::new(MODES);
    let early = world.join_as(0, 0, Dialect::JsonV1);
    let plain = world.join(0);
    let keys = |byte| Arc::new(Keys { current: [byte; 32], previous: None });
    let set = |hub: &mut Hub, byte| hub.set_keys(keys(byte));
    set(world.hub(early), 1);
    world.settle();
    let granted = world.heard(early);
    assert!(granted.len() == 1 && granted[0].starts_with(r#"{"type":"grant","grant":""#), "{granted:?}");
    assert!(world.heard(plain).is_empty());
    set(world.hub(early), 2);
    world.settle();
    assert!(world.heard(early).is_empty());
    world.end();
}

// H5: a resume costs one subscribe, whatever it names; what exceeds a peer's subscriptions is refused.
#[test]
fn a_resume_is_one_subscribe_and_keeps_to_the_limit() {
    let few = toml().replace("subscribes_per_second = 0", "subscribes_per_second = 2\n    subscriptions = 3");
    let mut world = World::new(&few);
    let (peer, grant) = welcomed(&mut world);
    let topics: Vec<_> = (0..5).map(|number| format!(r#"{{"topic":"t{number}"}}"#)).collect();
    let answers = world.answers(peer, &resume(&grant, &topics.join(",")));
    let limits = answers.iter().filter(|answer| answer.contains(r#""code":"limit""#)).count();
    assert_eq!((answers.len(), limits), (5, 2), "{answers:?}");
    assert!(world.answers(peer, r#"{"type":"subscribe","topic":"t0","id":1}"#)[0].contains("ok"));
}
