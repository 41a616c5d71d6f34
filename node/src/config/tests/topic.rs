//! `[[topic]]`: what rules mean, which are built in, and what is refused.

use super::bad::assert_refused;
use super::*;
use crate::shaping::Source;

fn rule(keys: &str) -> TopicRule {
    let text = format!("[[endpoint]]\npath = '/a'\n[[topic]]\nmatch = 'a'\n{keys}");
    from_file(&text).unwrap_or_else(|error| panic!("{keys}: {error}")).topics.remove(0)
}

fn retention(keys: &str) -> Retention {
    Retention::clone(rule(keys).retention.as_deref().expect("it remembers"))
}

#[test]
fn a_rule_has_the_defaults_of_the_contract() {
    // T7
    let relay = rule("");
    assert!(relay.retention.is_none() && relay.shape.is_none());
    assert_eq!((relay.slow, relay.payload, relay.rate), (Slow::Close, 64 << 10, 0));
    assert_eq!((relay.on_invalid, rule("mode = 'relay'")), (OnInvalid::Silent, relay));
    let table = [
        ("value", Mode::Value, Slow::Coalesce),
        ("log", Mode::Log, Slow::Close),
        ("list", Mode::List, Slow::Coalesce),
        ("map", Mode::Map, Slow::Coalesce),
    ];
    for (word, mode, slow) in table {
        let keys = format!("mode = '{word}'");
        let (limit, ttl) = (200, Duration::from_hours(7 * 24));
        assert_eq!(retention(&keys), Retention { mode, limit, max_bytes: 256 << 10, ttl, replay: 0 });
        assert_eq!(rule(&keys).slow, slow, "{word}");
    }
}

#[test]
fn the_ends_of_what_is_allowed_are_allowed() {
    for keys in
        ["limit = 1", "limit = 100000", "ttl = '1s'", "ttl = '3650d'", "replay = 200", "max_bytes = '512KiB'"]
    {
        retention(&format!("mode = 'log'\n{keys}"));
    }
    for (mode, slows) in [
        ("relay", &["close", "drop"][..]),
        ("value", &["coalesce", "close"]),
        ("log", &["close", "drop", "gap"]),
        ("list", &["coalesce", "close"]),
        ("map", &["coalesce", "close"]),
    ] {
        for slow in slows {
            rule(&format!("mode = '{mode}'\nslow = '{slow}'"));
        }
    }
    assert_eq!(rule("payload = '1B'").payload, 1);
    assert_eq!(rule("payload = '64KiB'\nrate = 4294967295").rate, u32::MAX);
}

#[test]
fn smaller_limits_make_smaller_defaults() {
    let limits = "[limits]\nmessage = '1KiB'\noutbox = '8KiB'\n[[topic]]\nmatch = 'b'\nmode = 'list'";
    let config = from_file(limits).unwrap();
    for rule in &config.topics {
        assert_eq!((rule.payload, rule.retention.as_ref().unwrap().max_bytes), (1 << 10, 4 << 10));
    }
    // Without a bound on outboxes there is none on what is remembered, either.
    let text = "[limits]\noutbox = 0\n[[topic]]\nmatch = 'a'\nmode = 'list'\nmax_bytes = '1GiB'";
    assert_eq!(from_file(text).unwrap().topics[0].retention.as_ref().unwrap().max_bytes, 1 << 30);
}

#[test]
fn the_demos_topics_remember_behind_what_is_configured() {
    let mode = |text: &str, topic: &str| {
        let config = from_file(text).unwrap();
        let namespace = dunlin_protocol::Namespace::parse("/_ws").unwrap();
        let topic = dunlin_protocol::Topic::parse(topic).unwrap();
        let rule = config.topics.into_iter().find(|rule| rule.matches(&namespace, &topic))?;
        rule.retention.map(|retention| retention.mode)
    };
    assert_eq!(
        (mode("", "chat"), mode("", "chat:a"), mode("", "chats")),
        (Some(Mode::List), Some(Mode::Log), None)
    );
    let own = "[[topic]]\nmatch = 'chat'\nmode = 'map'";
    assert_eq!((mode(own, "chat"), mode(own, "chat:a")), (Some(Mode::Map), Some(Mode::Log)));
    assert_eq!(mode("[[endpoint]]\npath = '/a'", "chat"), None);
}

#[test]
fn built_in_rules_are_printed_as_comments_and_every_default_of_a_rule() {
    let printed = from_file("").unwrap().to_toml();
    let built_in = "\n# Behind these, while there is no [[endpoint]]:\n# [[topic]]\n# match = \"chat\"\n";
    assert!(printed.contains(built_in), "{printed}");
    assert!(!printed.contains("\n[[topic]]"), "{printed}");
    let printed =
        from_file("[[endpoint]]\npath = '/a'\n[[topic]]\nmatch = 'a'\nmode = 'log'").unwrap().to_toml();
    let expected = "[[topic]]\nmatch = \"a\"\nnamespace = \"*\"\nmode = \"log\"\nlimit = 200\nmax_bytes = \"256KiB\"\n\
                    ttl = \"7d\"\nreplay = 0\nset = {}\nstrip_unknown = false\npayload = \"64KiB\"\nrate = 0\n\
                    on_invalid = \"silent\"\nslow = \"close\"\n";
    assert!(printed.ends_with(expected), "{printed}");
}

#[test]
fn set_fields_keep_their_order_and_their_case() {
    // T10
    let keys = "set = { userId = '$peer.id', at = '$now', Z = '$$x', b = 1, a = true, info = '$user.info', id = '$user.id' }";
    let shape = rule(keys).shape.unwrap();
    let text = |value: &str| Source::Constant(value.into());
    let expected = [
        ("userId", Source::PeerId),
        ("at", Source::Now),
        ("Z", text("$x")),
        ("b", Source::Constant(1.into())),
        ("a", Source::Constant(true.into())),
        ("info", Source::UserInfo),
        ("id", Source::UserId),
    ];
    let found: Vec<_> = shape.set().iter().map(|field| (field.name(), field.source().clone())).collect();
    assert_eq!(found, expected);
    assert!(rule("set = {}").shape.is_none());
    assert_eq!(rule("[topic.set]\na = 'x'").shape.unwrap().set().len(), 1);
}

#[test]
fn a_schema_is_looked_for_beside_the_configuration() {
    let config = |file: &str, schema: &str| {
        let flags = Flags { config: Some(file.into()), ..Flags::default() };
        load(&format!("[[topic]]\nmatch = 'a'\nschema = '{schema}'"), &[], &flags)
    };
    assert!(config("dunlin.toml", "chat.schema.json").is_ok());
    assert!(config("etc/dunlin.toml", "sub/chat.schema.json").is_ok());
    assert!(config("etc/dunlin.toml", "/abs/chat.schema.json").is_ok());
    let error = config("etc/dunlin.toml", "chat.schema.json").unwrap_err().to_string();
    assert!(error.starts_with("etc/dunlin.toml: topic[0].schema: etc/chat.schema.json: "), "{error}");
}

#[test]
fn a_bad_topic_rule_names_its_key_and_what_is_allowed() {
    assert_refused(&[("slow = 'close'", "topic[0].match: is missing", "match = \"chat:*\"")], "[[topic]]\n");
    let modes = "use `relay` or `value` or `log` or `list` or `map`";
    let slows = "use `close` or `drop` or `coalesce` or `gap`";
    assert_refused(
        &[
            ("mode = 'heap'", "topic[0].mode: \"heap\" is not allowed", modes),
            ("slow = 'later'", "topic[0].slow: \"later\" is not allowed", slows),
            ("namespace = '{user.id}'", "topic[0].namespace: \"{user.id}\" has a variable", "chat:*"),
            (
                "payload = '65KiB'",
                "topic[0].payload: \"65KiB\" is above `limits.message`",
                "at most \"64KiB\"",
            ),
            ("payload = 0", "topic[0].payload: \"0B\" would refuse everything", "at least \"1B\""),
            ("payload = 'big'", "topic[0].payload: \"big\" is not a size", "64KiB"),
            ("rate = -1", "topic[0].rate: \"-1\"", "a whole number from 0"),
            ("on_invalid = 'kick'", "topic[0].on_invalid: \"kick\"", "`silent` or `error` or `close`"),
            ("presence = true", "`topic[0].presence` is not built yet", "in this version"),
            ("grace = '1s'", "`topic[0].grace` is not built yet", "in this version"),
            ("modes = 'relay'", "unknown key `topic[0].modes`", "did you mean `mode`?"),
        ],
        "[[topic]]\nmatch = 'a'\n",
    );
}

#[test]
fn what_topics_that_forget_cant_have_is_refused() {
    let remember = "is only for topics that remember; choose mode = \"value\", \"log\", \"list\" or \"map\"";
    assert_refused(
        &[
            ("limit = 1", "topic[0].limit: ", remember),
            ("max_bytes = '1KiB'", "topic[0].max_bytes: ", remember),
            ("ttl = '1d'", "topic[0].ttl: ", remember),
            ("replay = 0", "topic[0].replay: ", remember),
            ("slow = 'coalesce'", "topic[0].slow: `coalesce` is not for mode `relay`", "`close` or `drop`"),
            ("slow = 'gap'", "topic[0].slow: `gap` is not for mode `relay`", "`close` or `drop`"),
            ("mode = 'relay'\nlimit = 1", "topic[0].limit: ", remember),
        ],
        "[[topic]]\nmatch = 'a'\n",
    );
}

#[test]
fn what_topics_that_remember_cant_have_is_refused() {
    assert_refused(
        &[
            ("mode = 'list'\nlimit = 0", "topic[0].limit: 0 is out of range", "use 1 to 100000"),
            ("mode = 'map'\nlimit = 100001", "topic[0].limit: 100001 is out of range", "use 1 to 100000"),
            ("mode = 'log'\nttl = '999ms'", "topic[0].ttl: \"999ms\" is too short", "\"1s\" to \"3650d\""),
            ("mode = 'log'\nttl = 0", "topic[0].ttl: \"0s\" is too short", "\"1s\" to \"3650d\""),
            ("mode = 'log'\nttl = '3651d'", "topic[0].ttl: \"3651d\" is too long", "at most 3650d"),
            (
                "mode = 'value'\nmax_bytes = 1023",
                "topic[0].max_bytes: \"1023B\" is too small",
                "at least \"1KiB\"",
            ),
            ("mode = 'value'\nmax_bytes = 0", "topic[0].max_bytes: \"0B\" is too small", "at least \"1KiB\""),
            (
                "mode = 'list'\nmax_bytes = '513KiB'",
                "topic[0].max_bytes: \"513KiB\" is more than half of `limits.outbox`",
                "at most \"512KiB\"",
            ),
            ("mode = 'list'\nreplay = 1", "topic[0].replay: is only for mode = \"log\"", "remove it"),
            (
                "mode = 'log'\nlimit = 5\nreplay = 6",
                "topic[0].replay: 6 is more than `limit` keeps",
                "0 to 5",
            ),
            (
                "mode = 'log'\nslow = 'coalesce'",
                "topic[0].slow: `coalesce` is not for mode `log`",
                "or `gap`",
            ),
            (
                "mode = 'map'\nslow = 'drop'",
                "topic[0].slow: `drop` is not for mode `map`",
                "`coalesce` or `close`",
            ),
            (
                "mode = 'list'\nslow = 'gap'",
                "topic[0].slow: `gap` is not for mode `list`",
                "`coalesce` or `close`",
            ),
        ],
        "[[topic]]\nmatch = 'a'\n",
    );
    let tiny = "[limits]\nmessage = '1KiB'\noutbox = '2047B'\n[[topic]]\nmatch = 'a'\nmode = 'log'";
    assert_refused(
        &[(tiny, "topic[0].max_bytes: may be half of `limits.outbox`, too little", "\"2KiB\"")],
        "",
    );
}

#[test]
fn what_cant_be_set_is_refused() {
    let variables = "`$peer.id` or `$user.id` or `$user.info` or `$now`";
    assert_refused(
        &[
            ("set = 'user'", "topic[0].set: \"user\" is not a table", "{ name = \"value\" }"),
            ("set = { a = '$peer' }", "topic[0].set.a: \"$peer\" is unknown", variables),
            ("set = { a = '$' }", "topic[0].set.a: \"$\" is unknown", "\"$$\" for the text itself"),
            ("set = { a = '$NOW' }", "topic[0].set.a: \"$NOW\" is unknown", "\"$$NOW\" for the text itself"),
            ("set = { a = [1] }", "topic[0].set.a: a list can't be set", variables),
            ("set = { a = { b = 1 } }", "topic[0].set.a: a table can't be set", variables),
            ("set = { a = inf }", "topic[0].set.a: inf is no number of JSON", "a finite one"),
        ],
        "[[topic]]\nmatch = 'a'\n",
    );
}

#[test]
fn a_schema_that_cant_be_used_is_refused() {
    assert_refused(
        &[
            ("schema = 'gone.json'", "topic[0].schema: gone.json: ", "a readable file with a JSON Schema"),
            ("schema = ''", "topic[0].schema: \"\" is not the name of a file", "file"),
            ("schema = 'text.pem'", "topic[0].schema: text.pem: not JSON", "line 1"),
            ("schema = 'wrong.schema.json'", "topic[0].schema: wrong.schema.json: no JSON Schema", "/type"),
            (
                "schema = 'remote.schema.json'",
                "topic[0].schema: remote.schema.json: ",
                "inside it, for example",
            ),
            (
                "schema = 'pattern.schema.json'",
                "topic[0].schema: pattern.schema.json: \"(?=a)b\"",
                "linear time",
            ),
            ("strip_unknown = true", "topic[0].strip_unknown: needs a `schema`", "set one"),
        ],
        "[[topic]]\nmatch = 'a'\n",
    );
}
