//! From a request's head to a peer or a status (behaviours E1, E2, E8, E10).

use super::*;
use crate::config::{Config, Flags};

/// A good handshake, which each test changes in one way.
const GOOD: [(&str, &str); 5] = [
    ("host", "node.example"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

struct Request {
    method: Method,
    target: String,
    version: Version,
    headers: HeaderMap,
    secure: bool,
}

impl Request {
    fn to(target: &str) -> Self {
        let headers = GOOD.map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("text")));
        let (method, version) = (Method::GET, Version::HTTP_11);
        Self {
            method,
            target: target.to_owned(),
            version,
            headers: headers.into_iter().collect(),
            secure: false,
        }
    }

    /// With a header line more, or in the place of the good one; without it if the value is empty.
    fn with(mut self, name: &'static str, value: &str) -> Self {
        let name = HeaderName::from_static(name);
        self.headers.remove(&name);
        if !value.is_empty() {
            self.headers.insert(name, value.parse().expect("header text"));
        }
        self
    }

    /// With one more line of the header.
    fn and(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), value.parse().expect("header text"));
        self
    }

    fn decide(&self, endpoints: &[Endpoint]) -> Result<Upgrade, Rejection> {
        let uri: Uri = self.target.parse().expect("a target");
        let Self { method, version, headers, secure, .. } = self;
        decide(endpoints, &Head { method, uri: &uri, version: *version, headers, secure: *secure })
    }

    /// The namespace, or the status and the reason.
    fn outcome(&self, endpoints: &[Endpoint]) -> Result<String, (u16, &'static str)> {
        match self.decide(endpoints) {
            Ok(upgrade) => Ok(upgrade.arrival.namespace.as_str().to_owned()),
            Err(rejection) => Err((rejection.status.as_u16(), rejection.reason)),
        }
    }
}

fn endpoints(toml: &str) -> Vec<Endpoint> {
    let flags = Flags { config: Some("dunlin.toml".into()), ..Flags::default() };
    Config::load(&flags, [], &|_| Ok(toml.to_owned())).expect("a good configuration").endpoints
}

fn one(keys: &str) -> Vec<Endpoint> {
    endpoints(&format!("[[endpoint]]\npath = \"/**\"\n{keys}"))
}

/// The value of a rejection's header line.
fn line<'a>(rejection: &'a Rejection, name: &HeaderName) -> Option<&'a str> {
    rejection.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

// E1
#[test]
fn the_first_endpoint_whose_path_matches_takes_the_request() {
    let endpoints = endpoints(
        r#"
        [[endpoint]]
        path = "/_ws"
        [[endpoint]]
        path = "/rooms/{room}"
        namespace = "room:{path.room}"
        [[endpoint]]
        path = "/rooms/lobby"
        [[endpoint]]
        path = "/api/**"
        "#,
    );
    for (target, expected) in [
        ("/_ws", Ok((0, "/_ws"))),
        ("/_ws?token=x", Ok((0, "/_ws"))),
        ("/rooms/7", Ok((1, "room:7"))),
        ("/rooms/lobby", Ok((1, "room:lobby"))),
        ("/api", Ok((3, "/api"))),
        ("/api/v1/x", Ok((3, "/api/v1/x"))),
        ("/", Err(404)),
        ("/_ws/", Err(404)),
        ("/rooms/", Err(404)),
        ("/rooms/7/8", Err(404)),
    ] {
        let decided = Request::to(target).decide(&endpoints);
        let outcome = decided
            .map(|upgrade| (upgrade.arrival.endpoint, upgrade.arrival.namespace.as_str().to_owned()))
            .map_err(|rejection| rejection.status.as_u16());
        assert_eq!(outcome, expected.map(|(index, name)| (index, name.to_owned())), "{target}");
    }
}

// E2
#[test]
fn the_namespace_is_the_path_as_it_was_sent() {
    let endpoints = one("");
    for path in
        ["/", "/a", "/a/", "/A", "/a%20b", "/a%2eb", "/caf%C3%A9", "/caf%c3%a9", "/a.b", "/..a", "/..."]
    {
        assert_eq!(Request::to(path).outcome(&endpoints), Ok(path.to_owned()));
        assert_eq!(Request::to(&format!("{path}?q=/../")).outcome(&endpoints), Ok(path.to_owned()));
    }
}

// E2
#[test]
fn paths_that_proxies_rewrite_are_refused() {
    let endpoints = one("");
    for path in [
        "//",
        "/a//b",
        "//a",
        "/a//",
        "/.",
        "/..",
        "/a/.",
        "/a/..",
        "/./a",
        "/a/../b",
        "/%2e",
        "/a/%2E%2e/b",
        "/.%2e",
        "/a%2Fb",
        "/a%2fb",
        "/a%00b",
    ] {
        assert_eq!(Request::to(path).outcome(&endpoints), Err((400, "path")), "{path}");
    }
}

// E3
#[test]
fn what_is_no_namespace_is_refused() {
    let endpoints = one("");
    let longest = format!("/{}", "x".repeat(254));
    assert_eq!(Request::to(&longest).outcome(&endpoints), Ok(longest.clone()));
    for path in [format!("{longest}x"), "/a\"b".to_owned(), "/{a}".to_owned(), "/a|b".to_owned()] {
        assert_eq!(Request::to(&path).outcome(&endpoints), Err((400, "namespace")), "{path}");
    }
}

// E2
#[test]
fn a_template_makes_the_namespace_of_path_and_query() {
    let endpoints = endpoints(
        r#"
        [[endpoint]]
        path = "/rooms/{room}"
        namespace = "r:{path.room}"
        [[endpoint]]
        path = "/**"
        namespace = "chat:{query.channel|general}"
        "#,
    );
    for (target, expected) in [
        ("/x", "chat:general"),
        ("/x?channel=", "chat:general"),
        ("/x?channel", "chat:general"),
        ("/x?channel=dev", "chat:dev"),
        ("/x?other=1&channel=dev&channel=second", "chat:dev"),
        ("/x?channel=a+b", "chat:a%20b"),
        ("/x?channel=a%20b", "chat:a%20b"),
        ("/x?channel=a:b", "chat:a%3Ab"),
        ("/x?channel=a%2Fb", "chat:a%2Fb"),
        ("/x?channel=%E2%82%AC", "chat:%E2%82%AC"),
        ("/x?channel=%", "chat:%25"),
        ("/x?channel=%zz", "chat:%25zz"),
        ("/x?channel=%+1", "chat:%25%201"),
        ("/x?%63hannel=dev", "chat:dev"),
        ("/rooms/7", "r:7"),
        ("/rooms/a:b", "r:a%3Ab"),
        ("/rooms/caf%C3%A9", "r:caf%C3%A9"),
    ] {
        assert_eq!(Request::to(target).outcome(&endpoints), Ok(expected.to_owned()), "{target}");
    }
    let long = format!("/x?channel={}", "%20".repeat(100));
    assert_eq!(Request::to(&long).outcome(&endpoints), Err((400, "namespace")));
    let needed = one("namespace = \"chat:{query.channel}\"");
    assert_eq!(Request::to("/x").outcome(&needed), Err((400, "namespace")));
}

// E1
#[test]
fn what_is_no_websocket_handshake_gets_the_status_that_helps() {
    let endpoints = one("");
    let good = || Request::to("/_ws");
    let plain = || good().with("upgrade", "").with("connection", "");
    for (name, request, status, reason) in [
        ("a plain GET", plain(), 426, "upgrade_required"),
        ("another upgrade", good().with("upgrade", "h2c"), 426, "upgrade_required"),
        ("POST", Request { method: Method::POST, ..good() }, 405, "method"),
        ("HEAD", Request { method: Method::HEAD, ..plain() }, 405, "method"),
        ("no Connection", good().with("connection", ""), 400, "handshake"),
        ("Connection: close", good().with("connection", "close"), 400, "handshake"),
        ("HTTP/1.0", Request { version: Version::HTTP_10, ..good() }, 400, "handshake"),
        ("no version", good().with("sec-websocket-version", ""), 426, "version"),
        ("version 8", good().with("sec-websocket-version", "8"), 426, "version"),
        ("two versions", good().and("sec-websocket-version", "8"), 426, "version"),
        ("no key", good().with("sec-websocket-key", ""), 400, "handshake"),
        ("a short key", good().with("sec-websocket-key", "dGhlIHNhbXBsZQ=="), 400, "handshake"),
        ("no base64", good().with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ="), 400, "handshake"),
        ("two keys", good().and("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), 400, "handshake"),
        ("no Host", good().with("host", ""), 400, "host"),
        ("two Hosts", good().and("host", "node.example"), 400, "host"),
    ] {
        assert_eq!(request.outcome(&endpoints), Err((status, reason)), "{name}");
    }
    let rejection = |request: Request| request.decide(&endpoints).expect_err("a fault");
    let other = rejection(Request { method: Method::PUT, ..good() });
    assert_eq!(line(&other, &header::ALLOW), Some("GET"));
    assert_eq!(line(&rejection(plain()), &header::UPGRADE), Some("websocket"));
    let version = rejection(good().with("sec-websocket-version", "8"));
    assert_eq!(line(&version, &header::SEC_WEBSOCKET_VERSION), Some("13"));
}

// RFC 6455 sections 1.3 and 4.2.1
#[test]
fn a_good_handshake_is_accepted_whatever_else_its_lists_hold() {
    let endpoints = one("");
    let good = || Request::to("/_ws");
    for (name, request) in [
        ("a plain one", good()),
        ("capitals", good().with("upgrade", "WebSocket").with("connection", "upgrade")),
        (
            "several tokens",
            good().with("connection", "keep-alive, Upgrade").with("upgrade", "h2c, websocket"),
        ),
        ("several lines", good().with("connection", "keep-alive").and("connection", "Upgrade")),
    ] {
        let upgrade = request.decide(&endpoints).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "{name}");
    }
}

// E8
#[test]
fn origins_are_judged_against_host_and_list() {
    let same_origin = one("");
    let listed = one("origins = [\"https://app.example\", \"https://*.pages.example\"]");
    let any = one("origins = [\"*\"]");
    for (origin, secure, expected) in [
        ("", false, [true, true, true]),
        ("http://node.example", false, [true, false, true]),
        ("https://node.example", true, [true, false, true]),
        ("http://node.example", true, [false, false, true]),
        ("http://node.example:8080", false, [false, false, true]),
        ("https://app.example", false, [false, true, true]),
        ("https://a.pages.example", false, [false, true, true]),
        ("https://a.b.pages.example", false, [false, false, true]),
        ("https://evil.example", false, [false, false, true]),
        ("null", false, [false, false, false]),
        ("file://", false, [false, false, false]),
        ("http://node.example, http://node.example", false, [false, false, false]),
    ] {
        let request = Request { secure, ..Request::to("/_ws").with("origin", origin) };
        let outcomes = [&same_origin, &listed, &any].map(|endpoints| request.outcome(endpoints));
        let wanted =
            expected.map(|allowed| if allowed { Ok("/_ws".to_owned()) } else { Err((403, "origin")) });
        assert_eq!(outcomes, wanted, "{origin:?}");
    }
    let twice = Request::to("/_ws").and("origin", "http://node.example").and("origin", "http://node.example");
    assert_eq!(twice.outcome(&any), Err((403, "origin")));
    let refused = Request::to("/_ws").with("origin", "https://evil.example").decide(&same_origin);
    let detail = refused.expect_err("refused").detail;
    assert!(detail.contains("https://evil.example") && detail.contains("origins"), "{detail}");
}

// E8
#[test]
fn without_configuration_only_this_machine_s_names_are_served() {
    let built_in = endpoints("");
    for (host, origin, expected) in [
        ("localhost:8080", "", None),
        ("127.0.0.1:8080", "http://localhost:5173", None),
        ("[::1]:8080", "http://127.0.0.1", None),
        ("localhost:8080", "https://evil.example", Some("origin")),
        ("evil.example:8080", "", Some("host")),
        ("evil.example:8080", "http://evil.example:8080", Some("host")),
    ] {
        let request = Request::to("/chat").with("host", host).with("origin", origin);
        let expected = expected.map_or(Ok("/chat".to_owned()), |reason| Err((403, reason)));
        assert_eq!(request.outcome(&built_in), expected, "{host} {origin}");
    }
}

// E10
#[test]
fn the_client_s_first_subprotocol_that_is_served_is_selected() {
    let topics = one("subprotocols = [\"chat.v2\"]");
    let raw = one("dialect = \"raw\"\nraw_topic = \"a\"\nsubprotocols = [\"mqtt\"]");
    let decided = |endpoints: &[Endpoint], offered: &str| {
        let request = Request::to("/_ws").with("sec-websocket-protocol", offered);
        let upgrade = request.decide(endpoints).map_err(|fault| (fault.status.as_u16(), fault.reason))?;
        Ok((upgrade.arrival.dialect, upgrade.subprotocol))
    };
    let selected = |dialect, name: &str| Ok((dialect, Some(name.to_owned())));
    let refused = Err((400, "subprotocol"));
    for (offered, expected) in [
        ("", Ok((Dialect::Plain, None))),
        ("dunlin.json.v1", selected(Dialect::JsonV1, "dunlin.json.v1")),
        ("dunlin.msgpack.v1", selected(Dialect::MsgpackV1, "dunlin.msgpack.v1")),
        ("soap, dunlin.msgpack.v1, dunlin.json.v1", selected(Dialect::MsgpackV1, "dunlin.msgpack.v1")),
        ("dunlin.json.v1, dunlin.msgpack.v1", selected(Dialect::JsonV1, "dunlin.json.v1")),
        ("dunlin.plain.v1", selected(Dialect::Plain, "dunlin.plain.v1")),
        ("dunlin.plain.v1, dunlin.json.v1", selected(Dialect::Plain, "dunlin.plain.v1")),
        ("unknown,dunlin.json.v1", selected(Dialect::JsonV1, "dunlin.json.v1")),
        ("chat.v2", selected(Dialect::Plain, "chat.v2")),
        ("dunlin.token.abc, dunlin.json.v1", selected(Dialect::JsonV1, "dunlin.json.v1")),
        ("dunlin.token.abc", refused.clone()),
        ("unknown", refused.clone()),
        ("DUNLIN.JSON.V1", refused.clone()),
        ("mqtt", refused.clone()),
    ] {
        assert_eq!(decided(&topics, offered), expected, "{offered}");
    }
    assert_eq!(decided(&raw, ""), Ok((Dialect::Raw, None)));
    assert_eq!(decided(&raw, "mqtt"), selected(Dialect::Raw, "mqtt"));
    assert_eq!(decided(&raw, "dunlin.json.v1"), refused);
    assert_eq!(decided(&raw, "dunlin.msgpack.v1"), refused);
}

// E10
#[test]
fn a_refused_subprotocol_names_those_served_and_no_token() {
    let request = Request::to("/_ws").with("sec-websocket-protocol", "mqtt, dunlin.token.secret");
    let rejection = request.decide(&one("subprotocols = [\"chat.v2\"]")).expect_err("refused");
    let served = "dunlin.json.v1, dunlin.msgpack.v1, dunlin.plain.v1, chat.v2";
    assert!(rejection.detail.contains(served), "{}", rejection.detail);
    assert!(!rejection.detail.contains("secret"));
}

// E10: several header lines are one list (RFC 6455 section 11.3.4).
#[test]
fn subprotocols_may_come_on_several_lines() {
    let request = Request::to("/_ws")
        .and("sec-websocket-protocol", "x")
        .and("sec-websocket-protocol", "dunlin.json.v1");
    let upgrade = request.decide(&one("")).expect("it is served");
    assert_eq!(upgrade.subprotocol.as_deref(), Some("dunlin.json.v1"));
}

// T6: variables are kept for the endpoints whose patterns use them.
#[test]
fn a_peer_keeps_its_variables_only_where_patterns_use_them() {
    let request = Request::to("/rooms/7?name=a");
    assert!(request.decide(&one("")).expect("upgraded").arrival.variables.is_none());
    let using =
        endpoints("[[endpoint]]\npath = \"/rooms/{room}\"\nsubscribe = [\"{path.room}:{query.name}\"]\n");
    let arrival = request.decide(&using).expect("upgraded").arrival;
    let variables = arrival.variables.expect("the patterns use them");
    assert!(using[0].subscribe[0].matches("7:a", &*variables));
}
