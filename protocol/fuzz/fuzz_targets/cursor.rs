//! Any text is no cursor of a topic, or the one text of a position there.
#![no_main]

use dunlin_protocol::{Namespace, Position, Topic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let namespace = Namespace::parse("/_ws").expect("a namespace");
    let topic = Topic::parse("chat").expect("a topic");
    if let Ok(position) = Position::parse(text, &namespace, &topic) {
        assert_eq!(position.cursor(&namespace, &topic).as_str(), text);
    }
});
