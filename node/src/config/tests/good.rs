//! What good configurations mean, and that they print and load again.

use super::*;

/// Every built key of the contract, none at its default.
const FULL: &str = r#"
listen = "0.0.0.0:9000"
internal = "127.0.0.1:0"
drain = "1m"
shards = 3
[redis]
url = "rediss://me@redis.example:7000/3"
prefix = "blue"
lease = "1m"
[log]
format = "json"
level = "debug"
[demo]
enabled = false
[limits]
message = "1KiB"
message_time = "0s"
frames_per_second = 0
subscriptions = 7
peers = 0
per_user = "replace"
header_time = "1500ms"
outbox = 2048
outbox_total = "1GiB"
inbound_total = 0
[session]
topic = "online"
interval = "1s"
[metrics]
namespaces = ["/_ws", "chat:general"]
[tls]
certificate = "cert.pem"
key = "key.pem"
[[endpoint]]
path = "/rooms/{room}"
namespace = "room:{path.room}:{query.lang|en}"
self = true
origins = ["same-origin", "https://*.example", "app://local"]
subprotocols = ["chat.v1"]
internals = ["notifications"]
defaults = ["online", "a \"b\" \\ ü"]
subscribe = ["chat", "page:*", "user:{user.id}", "in:{path.room}"]
publish = ["chat"]
broadcast = true
on_unknown = "silent"
text_ping = false
heartbeat = "0s"
misses = 1
inactivity = "10m"
[[endpoint]]
path = "/raw/**"
dialect = "raw"
raw_topic = "lines"
defaults = ["lines", "more"]
[[topic]]
match = "ticker:*"
namespace = "/rooms/*"
mode = "relay"
slow = "drop"
[[topic]]
match = "ticker"
mode = "value"
ttl = "1h"
slow = "close"
rate = 5
[[topic]]
match = "log:*"
mode = "log"
limit = 7
max_bytes = "1KiB"
replay = 7
payload = "512B"
slow = "gap"
[[topic]]
match = "chat"
mode = "list"
set = { user = "$peer.id", "at \"now\"" = "$now", id = "$user.id", info = "$user.info", sum = "$$5", n = -1, f = 1.0, yes = true, "" = "x\u007f" }
schema = "chat.schema.json"
strip_unknown = true
on_invalid = "error"
[[topic]]
match = "state"
mode = "map"
[[topic]]
match = "*"
on_invalid = "close"
"#;

#[test]
fn nothing_configured_is_open_to_this_machine_only() {
    // E8 and interfaces "Command line"
    let config = from_file("").unwrap();
    assert!(config.is_zero_config() && config.demo && config.tls.is_none());
    assert_eq!((config.listen.to_string(), config.internal.port()), ("127.0.0.1:8080".to_owned(), 8081));
    let [endpoint] = &config.endpoints[..] else { panic!("one endpoint") };
    assert!(endpoint.path.matches("/any/path").is_some());
    assert_eq!((&endpoint.namespace, &endpoint.origins), (&NamespaceRule::Path, &Origins::Loopback));
    assert!(endpoint.subscribe[0].matches("anything", &()) && endpoint.publish[0].matches("anything", &()));
    assert_eq!(endpoint.defaults[0].as_str(), "session");
}

#[test]
fn an_insecure_node_beyond_loopback_asks_for_the_same_origin() {
    let flags = Flags { insecure: true, ..Flags::default() };
    let config = load("listen = '0.0.0.0:80'", &[], &flags).unwrap();
    assert!(config.is_zero_config() && config.insecure);
    assert!(config.endpoints[0].origins.allows_host("a.example"));
    assert!(!config.endpoints[0].origins.allows("http://b.example", "a.example", false));
}

#[test]
fn a_configured_endpoint_starts_closed() {
    let config = from_file("[[endpoint]]\npath = '/_ws'").unwrap();
    let endpoint = &config.endpoints[0];
    assert!(!config.is_zero_config() && !config.demo);
    assert!(endpoint.subscribe.is_empty() && endpoint.publish.is_empty() && !endpoint.broadcast);
    assert!(!endpoint.origins.allows("http://b.example", "a.example", false));
    assert!(endpoint.text_ping && !endpoint.echo && endpoint.misses == 3);
    assert_eq!((endpoint.heartbeat, endpoint.inactivity), (Duration::from_secs(25), Duration::ZERO));
}

#[test]
fn the_limits_have_the_defaults_of_the_contract_and_zero_lifts_them() {
    // H5
    let limits = Limits::default();
    assert_eq!((limits.message, limits.outbox, limits.inbound_total), (65536, 1 << 20, 256 << 20));
    assert_eq!((limits.frames_per_second, limits.topics_created_per_minute), (200, 60));
    assert_eq!((limits.subscriptions, limits.peers, limits.peers_per_user), (100, 100_000, usize::MAX));
    assert_eq!((limits.header, limits.headers, limits.fragments), (16384, 64, 1024));
    assert_eq!((limits.header_time, limits.outbox_total), (Some(Duration::from_secs(10)), OutboxTotal::Auto));
    let limits = from_file(FULL).unwrap().limits;
    assert_eq!((limits.message_time, limits.frames_per_second, limits.peers), (None, u32::MAX, usize::MAX));
}

#[test]
fn a_raw_endpoint_publishes_to_its_topic_or_its_first_default() {
    // W6
    let topic_and_defaults = |keys: &str| {
        let text = format!("[[endpoint]]\npath = '/r'\ndialect = 'raw'\n{keys}");
        let endpoint = from_file(&text).unwrap().endpoints.remove(0);
        let Dialect::Raw { topic } = endpoint.dialect else { panic!("not raw") };
        assert!(!endpoint.text_ping, "W2: raw endpoints answer a text ping only if switched on");
        (topic.to_string(), endpoint.defaults.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    };
    assert_eq!(topic_and_defaults("defaults = ['a', 'b']"), ("a".to_owned(), "a,b".to_owned()));
    assert_eq!(topic_and_defaults("defaults = ['session', 'b']"), ("b".to_owned(), "session,b".to_owned()));
    assert_eq!(topic_and_defaults("raw_topic = 'c'\ndefaults = ['a']"), ("c".to_owned(), "a".to_owned()));
    assert_eq!(topic_and_defaults("raw_topic = 'c'"), ("c".to_owned(), "c".to_owned()));
}

#[test]
fn the_session_topic_can_be_renamed_and_turned_off() {
    // C1
    let defaults = |text: &str| {
        let endpoint =
            from_file(&format!("{text}\n[[endpoint]]\npath = '/_ws'")).unwrap().endpoints.remove(0);
        endpoint.defaults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(defaults("session.topic = 'online'"), ["online"]);
    assert!(defaults("session.topic = ''").is_empty());
}

#[test]
fn a_topic_rule_is_about_topics_of_namespaces() {
    let config = from_file(FULL).unwrap();
    let slow = |namespace: &str, topic: &str| {
        let namespace = dunlin_protocol::Namespace::parse(namespace).unwrap();
        let topic = dunlin_protocol::Topic::parse(topic).unwrap();
        config.topics.iter().find(|rule| rule.matches(&namespace, &topic)).map(|rule| rule.slow)
    };
    assert_eq!(slow("/rooms/7", "ticker:eur"), Some(Slow::Drop));
    assert_eq!(slow("/_ws", "ticker:eur"), Some(Slow::Close));
    assert_eq!(slow("/rooms/7", "chat"), Some(Slow::Coalesce));
    assert_eq!(slow("/rooms/7", "other"), Some(Slow::Close));
}

#[test]
fn what_is_printed_loads_to_the_same_configuration() {
    let raw = "[[endpoint]]\npath = '/r'\ndialect = 'raw'\nraw_topic = 'c'";
    let rule = "[[topic]]\nmatch = 'a'";
    for text in ["", "[demo]\nenabled = false", "session.topic = ''", raw, rule, FULL] {
        let config = from_file(text).unwrap();
        let printed = config.to_toml();
        assert_eq!(from_file(&printed).as_ref(), Ok(&config), "{printed}");
    }
}

#[test]
fn every_default_is_printed() {
    let printed = from_file("[[endpoint]]\npath = '/_ws'").unwrap().to_toml();
    for line in ["shards = 0", "message = \"64KiB\"", "outbox_total = \"auto\"", "level = \"info\""] {
        assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
    }
    for line in
        ["origins = [\"same-origin\"]", "defaults = [\"session\"]", "heartbeat = \"25s\"", "drain = \"30s\""]
    {
        assert!(printed.lines().any(|printed| printed == line), "{line} in {printed}");
    }
}

#[test]
fn a_check_sums_up_in_one_line_and_warns_of_what_has_no_effect() {
    let summary = from_file(FULL).unwrap().summary();
    assert_eq!(
        summary,
        "ok: listen 0.0.0.0:9000 with TLS, internal 127.0.0.1:0, redis rediss://me@redis.example:7000/3, \
         2 endpoints, 6 topic rules\n\
         warning: limits.per_user has no effect yet in this version\n\
         warning: limits.inbound_total has no effect yet in this version"
    );
    let summary = from_file("").unwrap().summary();
    assert_eq!(
        summary,
        "ok: listen 127.0.0.1:8080, internal 127.0.0.1:8081, no endpoint configured, \
         0 topic rules and 2 built in"
    );
}
