//! What is refused, and that the message says where, what and what instead.

use super::*;

/// A text, what its only problem starts with, and what that allows instead.
type Case = (&'static str, &'static str, &'static str);

pub(super) fn assert_refused(cases: &[Case], prefix: &str) {
    for (text, key, allowed) in cases {
        let error = from_file(&format!("{prefix}{text}")).expect_err(text);
        let [problem] = error.problems() else { panic!("{text}: {error}") };
        assert!(problem.starts_with(&format!("dunlin.toml: {key}")), "{text}: {problem}");
        assert!(problem.contains(allowed), "{text}: {problem}");
    }
}

#[test]
fn a_bad_value_names_its_key_and_what_is_allowed() {
    assert_refused(
        &[
            ("listen = 'localhost'", "listen: \"localhost\"", "127.0.0.1:8080"),
            ("listen = 8080", "listen: \"8080\"", "127.0.0.1:8080"),
            ("listen = ['127.0.0.1:1']", "listen: a list", "one value"),
            ("internal = ':1'", "internal: \":1\"", "127.0.0.1:8080"),
            ("drain = '30 potatoes'", "drain: \"30 potatoes\"", "30s"),
            ("drain = '11m'", "drain: \"11m\" is too long", "\"10m\""),
            ("shards = -1", "shards: \"-1\"", "1 to 256"),
            ("shards = 257", "shards: \"257\"", "1 to 256"),
            ("log = 'json'", "log: \"json\" is not a table", "[log]"),
            ("[log]\nformat = 'xml'", "log.format: \"xml\"", "`human` or `json`"),
            (
                "[log]\nlevel = 'loud'",
                "log.level: \"loud\"",
                "`error` or `warn` or `info` or `debug` or `trace`",
            ),
            ("[demo]\nenabled = 1", "demo.enabled: \"1\"", "`true` or `false`"),
            ("[session]\ntopic = '$me'", "session.topic: \"$me\" is reserved", "doesn't start with $"),
            ("[session]\ninterval = 100", "session.interval: \"100\"", "100ms"),
            ("[metrics]\nnamespaces = ['a b']", "metrics.namespaces[0]: \"a b\"", "' '"),
            ("[metrics]\nnamespaces = '/_ws'", "metrics.namespaces: \"/_ws\" is not a list", "[\"…\"]"),
            ("endpoint = '/_ws'", "endpoint: \"/_ws\" is not an array of tables", "[[endpoint]]"),
            ("endpoint = ['/_ws']", "endpoint[0]: \"/_ws\" is not a table", "[[endpoint]]"),
        ],
        "",
    );
}

#[test]
fn a_bad_limit_names_its_key_and_what_is_allowed() {
    // H5
    assert_refused(
        &[
            (
                "message = '64 potatoes'",
                "limits.message: \"64 potatoes\" is not a size",
                "use for example 64KiB",
            ),
            ("message = '64KB'", "limits.message: \"64KB\"", "64KiB"),
            (
                "message = '2MiB'",
                "limits.outbox: \"1MiB\" is below",
                "`limits.message`; use at least \"2MiB\"",
            ),
            ("message_time = '1'", "limits.message_time: \"1\"", "30s"),
            ("peers = 'many'", "limits.peers: \"many\"", "a whole number from 0"),
            ("peers = -1", "limits.peers: \"-1\"", "a whole number from 0"),
            ("frames_per_second = 1.5", "limits.frames_per_second: \"1.5\"", "a whole number from 0"),
            ("per_user = 'both'", "limits.per_user: \"both\"", "`refuse` or `replace`"),
            ("outbox_total = 'most'", "limits.outbox_total: \"most\"", "64KiB, 1MiB or 512B, or `auto`"),
            (
                "outbox_total = '1KiB'",
                "limits.outbox_total: \"1KiB\" is below",
                "`limits.outbox`; use at least",
            ),
            (
                "inbound_total = '1KiB'",
                "limits.inbound_total: \"1KiB\" is below",
                "`limits.message`; use at least",
            ),
            ("mesage = '1KiB'", "unknown key `limits.mesage`", "did you mean `message`?"),
        ],
        "[limits]\n",
    );
}

#[test]
fn a_bad_endpoint_names_its_key_and_what_is_allowed() {
    // E1, E2, E8, E10, T5, T6, W6
    assert_refused(
        &[
            ("path = 'ws'", "endpoint[0].path: \"ws\" is not a path", "/_ws, /rooms/{room} or /api/**"),
            ("self = true", "endpoint[0].path: is missing", "path = \"/_ws\""),
        ],
        "[[endpoint]]\n",
    );
    assert_refused(
        &[
            ("namespace = 'a b'", "endpoint[0].namespace: \"a b\"", "' '"),
            ("namespace = '{room}'", "endpoint[0].namespace: \"{room}\"", "path.X, query.X"),
            ("namespace = '{path.rom}'", "endpoint[0].namespace: {path.rom} is not in", "path.room"),
            ("namespace = '{user.id}'", "endpoint[0].namespace: {user.id} needs `auth`", "path.X or query.X"),
            ("namespace = '{claims.org|a}'", "endpoint[0].namespace: {claims.org} needs `auth`", "query.X"),
            ("subscribe = ['{path.rom}']", "endpoint[0].subscribe: {path.rom} is not in", "path.room"),
            ("publish = ['a{']", "endpoint[0].publish[0]: \"a{\" is not a pattern", "user:{user.id}"),
            ("dialect = 'grpc'", "endpoint[0].dialect: \"grpc\"", "`topics` or `raw`"),
            ("dialect = 'raw'", "endpoint[0].raw_topic: a raw endpoint has nowhere", "set raw_topic"),
            ("dialect = 'raw'\nraw_topic = 'session'", "endpoint[0].raw_topic: peers can't", "another"),
            ("raw_topic = 'a'", "endpoint[0].raw_topic: is only for", "dialect = \"raw\""),
            ("origins = ['a.example']", "endpoint[0].origins[0]: \"a.example\"", "https://*.example"),
            ("subprotocols = ['a b']", "endpoint[0].subprotocols[0]: \"a b\"", "letters, digits"),
            ("subprotocols = ['dunlin.json.v1']", "endpoint[0].subprotocols[0]: ", "without being listed"),
            ("internals = ['$a']", "endpoint[0].internals[0]: \"$a\"", "doesn't start with $"),
            ("defaults = ['']", "endpoint[0].defaults[0]: \"\"", "topic"),
            ("defaults = ['a', \"\\u0007\"]", "endpoint[0].defaults[1]: ", "control character"),
            ("on_unknown = 'close'", "endpoint[0].on_unknown: \"close\"", "`error` or `silent`"),
            ("misses = 0", "endpoint[0].misses: 0", "at least 1"),
            ("heartbeat = '1ms'", "endpoint[0].heartbeat: \"1ms\" is too short", "\"10ms\""),
            ("inactivity = 'never'", "endpoint[0].inactivity: \"never\"", "30s"),
            ("sself = true", "unknown key `endpoint[0].sself`", "did you mean `self`?"),
        ],
        "[[endpoint]]\npath = '/rooms/{room}'\n",
    );
}

#[test]
fn endpoints_and_listeners_that_contradict_each_other_are_refused() {
    let two = "[[endpoint]]\npath = '/a'\n[[endpoint]]\npath = '/a'";
    let many = "[limits]\nsubscriptions = 1\n[[endpoint]]\npath = '/a'\ndefaults = ['a', 'b']";
    assert_refused(
        &[
            (two, "endpoint: \"/a\" is the path of two endpoints", "never be reached"),
            (many, "endpoint[0].defaults: 2 with", "`limits.subscriptions` allows 1"),
            ("listen = '0.0.0.0:1'", "listen: 0.0.0.0:1 is open to other machines", "--insecure"),
            ("listen = '127.0.0.1:8081'", "internal: 127.0.0.1:8081 is taken", "ports of their own"),
            ("listen = '127.0.0.1:1'\ninternal = '0.0.0.0:1'", "internal: 0.0.0.0:1 is taken", "ports"),
        ],
        "",
    );
}

#[test]
fn tls_files_that_cant_be_used_are_refused() {
    assert_refused(
        &[
            ("certificate = 'cert.pem'", "tls.key: is missing", "`certificate` and `key`"),
            ("certificate = 'gone.pem'\nkey = 'key.pem'", "tls.certificate: gone.pem: ", "readable PEM file"),
            ("certificate = 'cert.pem'\nkey = 'text.pem'", "tls.key: text.pem is not a PEM file", "PEM"),
            ("certificate = 'cert.pem'\nkey = ''", "tls.key: \"\" is not the name of a file", "file"),
        ],
        "[tls]\n",
    );
}

#[test]
fn keys_of_the_contract_that_are_not_built_say_so() {
    for section in ["api", "auth", "presence", "users", "trust", "bridge.crossws"] {
        let error = from_file(&format!("[{section}]\nx = 1")).unwrap_err().to_string();
        let root = section.split('.').next().unwrap();
        assert_eq!(error, format!("dunlin.toml: `{root}` is not built yet in this version"));
    }
    for key in ["auth = 'none'", "ask = []", "compression = {}", "resume = {}", "webhook = {}"] {
        let error = from_file(&format!("[[endpoint]]\npath = '/a'\n{key}")).unwrap_err().to_string();
        let name = key.split(' ').next().unwrap();
        assert_eq!(error, format!("dunlin.toml: `endpoint[0].{name}` is not built yet in this version"));
    }
}

#[test]
fn an_unknown_key_lists_the_known_ones() {
    let error = from_file("lisen = '127.0.0.1:1'").unwrap_err().to_string();
    let allowed = "demo, drain, endpoint, internal, limits, listen, log, metrics, redis, resume, session, shards, tls, topic";
    let expected = format!("unknown key `lisen`; did you mean `listen`? allowed are {allowed}");
    assert_eq!(error, format!("dunlin.toml: {expected}"));
    let error = from_file("[log]\nzebra = 1").unwrap_err().to_string();
    assert_eq!(error, "dunlin.toml: unknown key `log.zebra`; allowed are format, level");
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    let error = from_file("listen = '127.0.0.1:1'\ndrain = ").unwrap_err().to_string();
    assert!(error.starts_with("dunlin.toml: TOML parse error at line 2"), "{error}");
    let error = from_file("drain = '1s'\ndrain = '2s'").unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("duplicate key"), "{error}");
}

#[test]
fn a_variable_that_names_nothing_is_refused() {
    let table = [
        ("DUNLIN__LISEN", "environment DUNLIN__LISEN: unknown key `lisen`; did you mean `listen`?"),
        ("DUNLIN__LIMITS__MESAGE", "environment DUNLIN__LIMITS__MESAGE: unknown key `limits.mesage`"),
        (
            "DUNLIN__ENDPOINT__0__PATH",
            "environment DUNLIN__ENDPOINT__0__PATH: `endpoint` is an array of tables",
        ),
        (
            "DUNLIN__LIMITS__",
            "environment DUNLIN__LIMITS__: names no key; use for example DUNLIN__LIMITS__MESSAGE",
        ),
        ("DUNLIN__LIMITS", "environment DUNLIN__LIMITS: limits: \"1\" is not a table"),
        ("DUNLIN__LISTEN__PORT", "environment DUNLIN__LISTEN__PORT: listen: a table stands where one value"),
    ];
    for (name, expected) in table {
        let error = load("", &[(name, "1")], &Flags::default()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let error =
        from_file("lisen = 1\ndrain = 'x'\n[limits]\npeers = 'x'\n[[endpoint]]\n[redis]").unwrap_err();
    assert_eq!(error.problems().len(), 5, "{error}");
    assert_eq!(error.to_string().lines().count(), 5);
}
