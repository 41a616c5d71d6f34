//! The bytes on the wire are a contract: each file in `golden/` is one frame, and a changed byte fails here.
//! Those in `golden/msgpack/` are the same frames as Python's `msgpack` writes them.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use dunlin_protocol::{
    ClientFrame, Envelope, Epoch, ErrorCode, GapReason, Incarnation, Kind, Mark, Namespace, Payload, PeerId,
    Position, PublicationId, Recipients, Request, RequestId, ResumeTopic, ServerFrame, StoredPublication,
    Topic, Unrecovered, json, msgpack,
};

/// The directory, and what of it was compared.
#[derive(Default)]
struct Golden {
    compared: BTreeSet<String>,
}

impl Golden {
    /// A file's bytes without the newline at its end.
    fn read(&mut self, name: &str) -> Vec<u8> {
        self.compared.insert(name.to_owned());
        let mut bytes =
            std::fs::read(directory().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bytes.pop(), Some(b'\n'), "{name}");
        bytes
    }

    fn written(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&self.read(name)), "{name}");
    }

    /// A frame as `MessagePack`, in hex digits.
    fn packed(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(hex(&out), String::from_utf8_lossy(&self.read(&packed(name))), "{name}");
    }

    fn frame(&mut self, name: &str, frame: &ServerFrame<'_>) {
        self.written(&format!("{name}.json"), |out| json::frame(out, frame));
        self.packed(name, |out| msgpack::frame(out, frame));
    }

    fn publication(&mut self, name: &str, topic: &str, payload: &Payload, cursor: Option<&str>) {
        let written = |out: &mut Vec<u8>| json::publication(out, topic, payload, cursor);
        self.written(&format!("{name}.json"), written);
        self.packed(name, |out| msgpack::publication(out, topic, payload, cursor));
    }

    fn message(&mut self, name: &str, payload: &Payload) {
        self.written(&format!("{name}.json"), |out| json::message(out, payload));
        self.packed(name, |out| msgpack::message(out, payload));
    }

    /// A client's frame that means the same in JSON and in `MessagePack`.
    fn decoded(&mut self, name: &str, id: impl Into<Option<RequestId>>, frame: ClientFrame) {
        self.decoded_each(name, id, frame.clone(), frame);
    }

    fn decoded_each(
        &mut self,
        name: &str,
        id: impl Into<Option<RequestId>>,
        from_json: ClientFrame,
        from_msgpack: ClientFrame,
    ) {
        let id = id.into();
        let text = Bytes::from(self.read(&format!("{name}.json")));
        assert_eq!(json::decode(&text), Ok(Request { id: id.clone(), frame: from_json }), "{name}");
        assert_eq!(json::request_id(&text), id, "{name}");
        self.decoded_packed(name, id.as_ref(), from_msgpack);
    }

    fn decoded_packed(&mut self, name: &str, id: Option<&RequestId>, frame: ClientFrame) {
        let bytes = Bytes::from(unhex(&self.read(&packed(name))));
        assert_eq!(msgpack::decode(&bytes), Ok(Request { id: id.cloned(), frame }), "{name}");
        assert_eq!(msgpack::request_id(&bytes).as_ref(), id, "{name}");
    }

    fn envelope(&mut self, name: &str, envelope: &Envelope) {
        let mut out = Vec::new();
        let id = PublicationId { incarnation: Incarnation(3), lane: 1, sequence: 258 };
        envelope.encode(id, &mut out);
        assert_eq!(hex(&out), String::from_utf8_lossy(&self.read(name)), "{name}");
        assert_eq!(Envelope::decode(out.into()).unwrap(), (id, envelope.clone()), "{name}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(digits: &[u8]) -> Vec<u8> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// The file of a frame as `MessagePack`.
fn packed(name: &str) -> String {
    format!("msgpack/{name}.hex")
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

fn topic(text: &str) -> Topic {
    Topic::parse(text).unwrap()
}

fn publish(to: Recipients, payload: Payload) -> ClientFrame {
    ClientFrame::Publish { to, payload, echo: None, key: None }
}

fn to_chat() -> Recipients {
    Recipients::Topic(topic("chat"))
}

fn binary() -> Payload {
    Payload::binary(vec![0, 255, 16])
}

/// White space and digits as a publisher wrote them.
fn verbatim() -> Payload {
    Payload::json(r#"{"text": "hi", "n":1.50}"#)
}

fn peer() -> PeerId {
    PeerId::new(Incarnation(3), 2)
}

#[test]
fn every_frame_and_envelope_has_the_golden_bytes() {
    let mut golden = Golden::default();
    publish_frames(&mut golden);
    other_client_frames(&mut golden);
    publications(&mut golden);
    server_frames(&mut golden);
    frames_of_memory(&mut golden);
    envelopes(&mut golden);
    let files: BTreeSet<_> = files_in("").chain(files_in("msgpack/")).collect();
    assert_eq!(files, golden.compared, "a file nobody compares proves nothing");
}

fn files_in(folder: &str) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(directory().join(folder)).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(move |file| format!("{folder}{}", file.file_name().into_string().unwrap()))
}

fn publish_frames(golden: &mut Golden) {
    let all =
        |payload| ClientFrame::Publish { to: to_chat(), payload, echo: Some(true), key: Some("k1".into()) };
    let anew = Payload::json(r#"{"text":"hi","n":1.5}"#);
    golden.decoded_each("client-publish", RequestId::Number(-7), all(verbatim()), all(anew));
    let (json, text) = (Payload::json(r#""hi""#), Payload::text("hi"));
    golden.decoded_each("client-publish-plain", None, publish(to_chat(), json), publish(to_chat(), text));
    let topics = Recipients::Topics(vec![topic("b"), topic("a")]);
    golden.decoded("client-publish-topics", None, publish(topics, Payload::json("0")));
    let nobody = publish(Recipients::Topics(vec![]), Payload::json("false"));
    golden.decoded("client-publish-rooms", None, nobody);
    golden.decoded("client-publish-binary", None, publish(to_chat(), binary()));
    golden.decoded_packed("client-publish-base64", None, publish(to_chat(), binary()));
    golden.decoded("client-broadcast", None, publish(Recipients::Namespace, Payload::null()));
}

fn other_client_frames(golden: &mut Golden) {
    let chat = topic("chat");
    let since: Option<Box<str>> = Some("AQID".into());
    let subscribe = |since, replay, presence, token| ClientFrame::Subscribe {
        topic: topic("chat"),
        since,
        replay,
        presence,
        token,
    };
    let full = subscribe(since.clone(), Some(10), true, Some("eyJ.e30.sig".into()));
    golden.decoded("client-subscribe", RequestId::Number(1), full);
    golden.decoded("client-subscribe-plain", None, subscribe(None, None, false, None));
    let unsubscribe = ClientFrame::Unsubscribe { topic: chat.clone() };
    golden.decoded("client-unsubscribe", RequestId::Text("u-1".into()), unsubscribe);
    let history = ClientFrame::History {
        topic: chat.clone(),
        since: since.clone(),
        before: Some("AQIE".into()),
        limit: 100,
    };
    golden.decoded("client-history", RequestId::Number(2), history);
    let info = Some(Payload::json(r#"{"mood":"calm"}"#));
    let presence =
        ClientFrame::Presence { topic: chat.clone(), info, after: Some("m9".into()), limit: Some(50) };
    golden.decoded("client-presence", RequestId::Number(3), presence);
    let topics = vec![ResumeTopic { topic: chat, since }, ResumeTopic { topic: topic("news"), since: None }];
    golden.decoded("client-resume", RequestId::Number(4), ClientFrame::Resume { grant: "g1".into(), topics });
    golden.decoded("client-auth", RequestId::Number(5), ClientFrame::Auth { token: "eyJ.e30.sig".into() });
    golden.decoded("client-hello", RequestId::Number(6), ClientFrame::Hello);
    golden.decoded("client-ping", RequestId::Number(7), ClientFrame::Ping);
}

fn publications(golden: &mut Golden) {
    golden.publication("publication-json", "chat", &verbatim(), None);
    golden.publication("publication-null", "chat", &Payload::null(), None);
    golden.publication("publication-cursor", "chat", &Payload::json("[1]"), Some("AQID"));
    let text = Payload::text("line\nquote \" tab\t bell\u{7} del\u{7f}");
    golden.publication("publication-text", "say \"hi\" \\ ä🐦", &text, None);
    golden.publication("publication-binary", "chat", &binary(), None);
    golden.message("message-json", &Payload::json("[1,2]"));
    golden.message("message-text", &Payload::text("hi"));
    golden.message("message-binary", &binary());
    golden.written("alone-json.json", |out| json::payload_alone(out, &verbatim()));
    golden.written("alone-text.json", |out| json::payload_alone(out, &Payload::text("say \"hi\"")));
    golden.written("session.json", |out| json::payload_alone(out, &json::session(3)));
}

fn server_frames(golden: &mut Golden) {
    let (one, text, six) = (RequestId::Number(1), RequestId::Text("u-1".into()), RequestId::Number(6));
    let (chat, payload, binary) = (topic("chat"), Payload::json(r#"{"a":1}"#), binary());
    let welcome =
        |user| ServerFrame::Welcome { peer: peer(), node: "n1", ping_ms: 25_000, grant: None, user };
    golden.frame("server-welcome", &welcome(None));
    golden.frame("server-welcome-user", &welcome(Some("alice")));
    golden.frame(
        "server-ok",
        &ServerFrame::Ok { id: &one, topic: None, cursor: None, payload: None, local: false },
    );
    let all =
        ServerFrame::Ok { id: &text, topic: Some(&chat), cursor: None, payload: Some(&payload), local: true };
    golden.frame("server-ok-all", &all);
    let bytes = ServerFrame::Ok { id: &one, topic: None, cursor: None, payload: Some(&binary), local: false };
    golden.frame("server-ok-binary", &bytes);
    let namespace = Namespace::parse("/_ws").unwrap();
    let (session, none) = ([topic("session"), chat.clone()], []);
    let hello = |user, topics| ServerFrame::Hello {
        id: &six,
        peer: peer(),
        user,
        node: "n1",
        namespace: &namespace,
        topics,
        local: false,
    };
    golden.frame("server-hello", &hello(Some("alice"), &session));
    golden.frame("server-hello-anonymous", &hello(None, &none));
    let ServerFrame::Hello { id, peer, user, node, namespace, topics, .. } = hello(None, &none) else {
        unreachable!("it is a hello")
    };
    let alone = ServerFrame::Hello { id, peer, user, node, namespace, topics, local: true };
    golden.frame("server-hello-alone", &alone);
    let error = "type \"x\" is unknown";
    let bare = ServerFrame::Error { code: ErrorCode::UnknownType, error, id: None, topic: None };
    golden.frame("server-error", &bare);
    let id = RequestId::Number(-7);
    let full =
        ServerFrame::Error { code: ErrorCode::Forbidden, error: "no", id: Some(&id), topic: Some(&chat) };
    golden.frame("server-error-all", &full);
    for reason in [GapReason::Forked, GapReason::Lost, GapReason::Link, GapReason::Slow, GapReason::Reset] {
        let name = format!("server-gap-{}", reason.as_str());
        golden.frame(&name, &ServerFrame::Gap { topic: &chat, from: None, to: None, reason });
    }
}

/// Frames about topics that remember, and about sessions that go on.
fn frames_of_memory(golden: &mut Golden) {
    let (id, chat, namespace) = (RequestId::Number(1), topic("chat"), Namespace::parse("/_ws").unwrap());
    let at = |offset| {
        Position { epoch: Epoch(*b"12345678"), offset, mark: Mark(0xdead_beef) }.cursor(&namespace, &chat)
    };
    let (payload, binary, topic) = (Payload::json(r#"{"a":1}"#), binary(), &chat);
    let (id, cursor, state) = (&id, Some(at(5)), Some(&payload));
    let grant = Some("g1");
    let welcome = ServerFrame::Welcome { peer: peer(), node: "n1", ping_ms: 25_000, grant, user: None };
    golden.frame("server-welcome-grant", &welcome);
    let ok = ServerFrame::Ok { id, topic: None, cursor, payload: None, local: false };
    golden.frame("server-ok-cursor", &ok);
    let ok = ServerFrame::Remembered { id, topic, cursor, recovered: None, state, publications: None };
    golden.frame("server-ok-state", &ok);
    let publications = [
        StoredPublication { cursor: at(5), payload: &payload, at_ms: 1_700_000_000_123 },
        StoredPublication { cursor: at(128), payload: &binary, at_ms: 0 },
    ];
    let (cursor, recovered, publications) = (Some(at(128)), Some(Ok(())), Some(&publications[..]));
    let ok = ServerFrame::Remembered { id, topic, cursor, recovered, state: None, publications };
    golden.frame("server-ok-recovered", &ok);
    let (recovered, publications) = (Some(Err(Unrecovered::Unavailable)), Some(&[][..]));
    let ok = ServerFrame::Remembered { id, topic, cursor: None, recovered, state: None, publications };
    golden.frame("server-ok-unrecovered", &ok);
    let (from, to, cursor) = (Some(at(5)), Some(at(128)), Some(at(5)));
    golden.frame("server-gap-from-to", &ServerFrame::Gap { topic, from, to, reason: GapReason::Slow });
    golden.frame("server-reset", &ServerFrame::Reset { topic, cursor, state });
    golden.frame("server-reset-nothing", &ServerFrame::Reset { topic, cursor, state: None });
    golden.frame("server-moved", &ServerFrame::Moved { topic, cursor: at(5) });
    golden.frame("server-grant", &ServerFrame::Grant { grant: "g1" });
}

fn envelopes(golden: &mut Golden) {
    let relayed = Envelope {
        origin: Some(peer()),
        echo: true,
        at_us: 1_700_000_000_000_000,
        namespace: Namespace::parse("/_ws").unwrap(),
        to: to_chat(),
        payload: verbatim(),
    };
    golden.envelope("envelope-topic.hex", &relayed);
    let to = Recipients::Topics(vec![topic("b"), topic("ä")]);
    let text = Envelope { to, payload: Payload::text("hi"), ..relayed.clone() };
    golden.envelope("envelope-topics.hex", &text);
    let empty = Payload { kind: Kind::Binary, bytes: Bytes::new() };
    let to = Recipients::Namespace;
    let server = Envelope { origin: None, echo: false, at_us: 0, to, payload: empty, ..relayed };
    golden.envelope("envelope-broadcast.hex", &server);
}
