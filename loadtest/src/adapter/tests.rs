//! Each protocol's frames, both ways, from bytes to what they mean.

use super::*;
use crate::{
    frame::{self, Format},
    scenario::Topics,
};

const TOPICS: u32 = 3;
const STAMP: Stamp = Stamp { topic: 2, publisher: 1, sequence: 7, intended: 99 };

/// Two subscribers, then two publishers.
fn roll(protocol: Protocol) -> Roll {
    let topics = Topics::of_relay("load", TOPICS);
    Roll { topics, first: 1, peers: 2, publishers: 2, binding: protocol.binding() }
}

/// The bodies in an outbox of short masked frames.
fn unmask(outbox: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut rest, mut bodies) = (outbox, Vec::new());
    while let [first, length, tail @ ..] = rest {
        let (length, tail) = match (length & 0x7f, tail) {
            (126, [high, low, tail @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), tail),
            (short, tail) => (usize::from(short), tail),
        };
        let (mask, tail) = tail.split_at(4);
        let (body, tail) = tail.split_at(length);
        bodies.push((*first, body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()));
        rest = tail;
    }
    bodies
}

/// What a peer says at its opening.
fn opening(protocol: Protocol, peer: Peer) -> Vec<(u8, Vec<u8>)> {
    let mut outbox = Vec::new();
    Adapter::new(protocol, None).open(&roll(protocol), peer, &mut outbox);
    unmask(&outbox)
}

/// What messages mean to a peer, and what it says to them. The words of objections are left out.
fn hear(protocol: Protocol, peer: Peer, messages: &[&[u8]]) -> (Vec<Heard<'static>>, Vec<(u8, Vec<u8>)>) {
    let mut adapter = Adapter::new(protocol, None);
    let (mut all, mut outbox) = (Vec::new(), Vec::new());
    for message in messages {
        if let Some(stamp) = adapter.delivery(message) {
            all.push(Heard::Delivery(stamp));
            continue;
        }
        adapter.hear(&roll(protocol), peer, message, &mut outbox, &mut |heard| {
            all.push(match heard {
                Heard::Objection(_) => Heard::Objection(b""),
                Heard::Delivery(stamp) => Heard::Delivery(stamp),
                Heard::Ready => Heard::Ready,
                Heard::Answer { local } => Heard::Answer { local },
            });
        });
    }
    (all, unmask(&outbox))
}

fn heard(protocol: Protocol, peer: Peer, message: &[u8]) -> Vec<Heard<'static>> {
    let (heard, said) = hear(protocol, peer, &[message]);
    assert_eq!(said, []);
    heard
}

fn publication(protocol: Protocol, asks: bool) -> (Format, Vec<u8>) {
    let mut template = protocol.template(&roll(protocol), 64, asks).unwrap();
    let (format, body) = template.fill(&STAMP);
    (format, body.to_vec())
}

fn payload() -> String {
    let mut payload = crate::stamp::blank_payload(64);
    STAMP.write(&mut payload);
    String::from_utf8(payload).unwrap()
}

const OBJECTION: Heard<'_> = Heard::Objection(b"");
const SUBSCRIBER: Peer = 1;
const PUBLISHER: Peer = 2;

#[test]
fn every_protocol_has_a_name() {
    for (name, protocol) in Protocol::ALL {
        assert_eq!((Protocol::parse(name).unwrap(), protocol.name()), (protocol, name));
    }
}

#[test]
fn plain_is_json_in_text() {
    let subscribe = br#"{"type":"subscribe","topic":"load0000002","id":1}"#.to_vec();
    assert_eq!(opening(Protocol::Plain, SUBSCRIBER), [(0x81, subscribe)]);
    assert_eq!(opening(Protocol::Plain, PUBLISHER), []);
    let publish = format!(r#"{{"type":"publish","topic":"load0000002","payload":{}"#, payload());
    assert_eq!(publication(Protocol::Plain, false), (Format::Text, format!("{publish}}}").into_bytes()));
    let asking = format!("{publish},\"id\":1}}").into_bytes();
    assert_eq!(publication(Protocol::Plain, true), (Format::Text, asking));
    let delivery = format!(r#"{{"topic":"load0000002","payload":{}}}"#, payload());
    assert_eq!(heard(Protocol::Plain, SUBSCRIBER, delivery.as_bytes()), [Heard::Delivery(STAMP)]);
    assert_eq!(heard(Protocol::Plain, SUBSCRIBER, br#"{"type":"ok","id":1}"#), [Heard::Ready]);
    let answers: [(&[u8], bool); 2] =
        [(br#"{"type":"ok","id":1}"#, false), (br#"{"type":"ok","id":1,"local":true}"#, true)];
    for (answer, local) in answers {
        assert_eq!(heard(Protocol::Plain, PUBLISHER, answer), [Heard::Answer { local }]);
    }
    assert_eq!(heard(Protocol::Plain, SUBSCRIBER, br#"{"type":"error","code":"rate"}"#), [OBJECTION]);
    assert_eq!(heard(Protocol::Plain, SUBSCRIBER, br#"{"topic":"session","payload":{"users":1}}"#), []);
}

#[test]
fn msgpack_is_the_same_maps_in_binary() {
    let subscribe = b"\x83\xa4type\xa9subscribe\xa5topic\xabload0000002\xa2id\x01".to_vec();
    assert_eq!(opening(Protocol::DunlinMsgpack, SUBSCRIBER), [(0x82, subscribe)]);
    assert_eq!(opening(Protocol::DunlinMsgpack, PUBLISHER), []);
    let text = payload();
    let text = text.trim_matches('"').as_bytes();
    let body = [b"\xa4type\xa7publish\xa5topic\xabload0000002\xa7payload\xd9\x3e", text].concat();
    let publish = [b"\x83", body.as_slice()].concat();
    assert_eq!(publication(Protocol::DunlinMsgpack, false), (Format::Binary, publish));
    let asking = [b"\x84", body.as_slice(), b"\xa2id\x01"].concat();
    assert_eq!(publication(Protocol::DunlinMsgpack, true), (Format::Binary, asking));
    let delivery = [b"\x82\xa5topic\xabload0000002\xa7payload\xd9\x3e", text].concat();
    assert_eq!(heard(Protocol::DunlinMsgpack, SUBSCRIBER, &delivery), [Heard::Delivery(STAMP)]);
    let ok: &[u8] = b"\x82\xa4type\xa2ok\xa2id\x01";
    assert_eq!(heard(Protocol::DunlinMsgpack, SUBSCRIBER, ok), [Heard::Ready]);
    assert_eq!(heard(Protocol::DunlinMsgpack, PUBLISHER, ok), [Heard::Answer { local: false }]);
    let local = b"\x83\xa4type\xa2ok\xa2id\x01\xa5local\xc3";
    assert_eq!(heard(Protocol::DunlinMsgpack, PUBLISHER, local), [Heard::Answer { local: true }]);
    let error = b"\x83\xa4type\xa5error\xa4code\xa4rate\xa5error\xa4slow";
    assert_eq!(heard(Protocol::DunlinMsgpack, SUBSCRIBER, error), [OBJECTION]);
    assert_eq!(heard(Protocol::DunlinMsgpack, SUBSCRIBER, b"\x82\xa4type\xa7welcome\xa4node\xa1n"), []);
}

#[test]
fn msgpack_lengths_take_as_many_bytes_as_they_need() {
    for (size, head) in [(300, &b"\xda\x01\x2a"[..]), (70_002, &b"\xdb\x00\x01\x11\x70"[..])] {
        let mut template = msgpack::template(&roll(Protocol::Plain).topics, size, false);
        let (_, body) = template.fill(&STAMP);
        let at = body.windows(8).position(|eight| eight == b"\xa7payload").unwrap() + 8;
        assert!(body[at..].starts_with(head), "{:x?}", &body[at..at + 5]);
        assert_eq!(body.len() - at - head.len(), size - 2);
    }
}

#[test]
fn raw_has_a_path_for_each_topic_and_nothing_else() {
    let roll = roll(Protocol::Raw);
    let path = |base, peer| Protocol::Raw.path(base, &roll, peer);
    assert_eq!(path("/room", SUBSCRIBER), "/room/load0000002");
    assert_eq!(path("/room/?key=1", 0), "/room/load0000001?key=1");
    assert_eq!(path("/a/{topic}/b", PUBLISHER), "/a/load0000000/b");
    assert_eq!(path("/", PUBLISHER + 1), "/load0000001");
    assert_eq!(opening(Protocol::Raw, SUBSCRIBER), []);
    assert_eq!(publication(Protocol::Raw, false), (Format::Text, payload().into_bytes()));
    assert_eq!(heard(Protocol::Raw, SUBSCRIBER, payload().as_bytes()), [Heard::Delivery(STAMP)]);
    assert!(roll.overhears(PUBLISHER) && !roll.overhears(SUBSCRIBER));
    assert!(Protocol::Raw.template(&roll, 64, true).is_err());
}

#[test]
fn nchan_has_paths_for_both_sides_and_answers_publications() {
    let roll = roll(Protocol::Nchan);
    assert_eq!(Protocol::Nchan.path("/load", &roll, SUBSCRIBER), "/sub/load0000002");
    assert_eq!(Protocol::Nchan.path("/load", &roll, PUBLISHER + 4), "/pub/load0000001");
    assert_eq!(publication(Protocol::Nchan, true), (Format::Text, payload().into_bytes()));
    assert_eq!(heard(Protocol::Nchan, SUBSCRIBER, payload().as_bytes()), [Heard::Delivery(STAMP)]);
    let status = b"queued messages: 1\r\nlast requested: 0 sec. ago\r\nactive subscribers: 2";
    assert_eq!(heard(Protocol::Nchan, PUBLISHER, status), [Heard::Answer { local: false }]);
}

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\n";

#[test]
fn nats_says_hello_and_is_ready_at_the_pong() {
    let subscriber = format!("{CONNECT}SUB load0000002 1\r\nPING\r\n").into_bytes();
    assert_eq!(opening(Protocol::Nats, SUBSCRIBER), [(0x82, subscriber)]);
    assert_eq!(opening(Protocol::Nats, PUBLISHER), [(0x82, format!("{CONNECT}PING\r\n").into_bytes())]);
    let publish = format!("PUB load0000002 64\r\n{}\r\n", payload()).into_bytes();
    assert_eq!(publication(Protocol::Nats, false), (Format::Binary, publish));
    assert!(Protocol::Nats.template(&roll(Protocol::Nats), 64, true).is_err());
    assert_eq!(heard(Protocol::Nats, PUBLISHER, b"INFO {\"server_id\":\"x\"}\r\nPONG\r\n"), [Heard::Ready]);
    assert_eq!(heard(Protocol::Nats, PUBLISHER, b"-ERR 'Authorization Violation'\r\n"), [OBJECTION]);
    let (heard, said) = hear(Protocol::Nats, SUBSCRIBER, &[b"PING\r\n"]);
    assert_eq!((heard, said), (vec![], vec![(0x82, b"PONG\r\n".to_vec())]));
}

#[test]
fn an_operation_of_nats_that_never_ends_is_an_objection() {
    let endless = vec![b'x'; frame::FRAME_BYTES_MAX as usize];
    let messages: [&[u8]; 3] = [b"MSG", &endless, b"\r\nPONG\r\n"];
    assert_eq!(hear(Protocol::Nats, SUBSCRIBER, &messages).0, [OBJECTION, Heard::Ready]);
}

#[test]
fn a_stream_of_nats_means_the_same_however_it_is_cut() {
    let text = payload();
    let stream = format!(
        "INFO {{}}\r\nPING\r\nPONG\r\nMSG load0000002 1 64\r\n{text}\r\n\
         MSG load0000002 1 answer.to 64\r\n{text}\r\n-ERR 'slow'\r\nMSG load0000002 1 5\r\nMSG \n\r\n\
         +OK\r\nMSG load0000002 1 64\r\n{text}\r\n"
    );
    let delivery = Heard::Delivery(STAMP);
    let expected = [Heard::Ready, delivery, delivery, OBJECTION, delivery];
    for piece in (1..30).chain([64, 65, 66, 1000]) {
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(piece).collect();
        let (heard, said) = hear(Protocol::Nats, SUBSCRIBER, &pieces);
        assert_eq!(heard, expected, "pieces of {piece}");
        assert_eq!(said, [(0x82, b"PONG\r\n".to_vec())], "pieces of {piece}");
    }
}

#[test]
fn streams_of_nats_don_t_mix() {
    let (message, roll) = (format!("MSG load0000002 1 64\r\n{}\r\n", payload()), roll(Protocol::Nats));
    let (start, end) = message.as_bytes().split_at(30);
    let mut adapter = Adapter::new(Protocol::Nats, None);
    let mut heard = Vec::new();
    for (peer, piece) in [(0, start), (1, start), (1, end), (0, end)] {
        adapter.hear(&roll, peer, piece, &mut Vec::new(), &mut |one| {
            assert_eq!(one, Heard::Delivery(STAMP));
            heard.push(peer);
        });
    }
    assert_eq!(heard, [1, 0]);
}

#[test]
fn a_message_of_nats_without_a_length_is_an_objection() {
    for line in ["MSG a 1 x\r\n", "MSG a 1 -1\r\n", "MSG a 1 99999999999\r\n", "MSG \r\n"] {
        assert_eq!(heard(Protocol::Nats, SUBSCRIBER, line.as_bytes()), [OBJECTION], "{line}");
    }
}

#[test]
fn socket_io_shakes_hands_before_it_subscribes_or_publishes() {
    let text = |words: &str| (0x81, words.as_bytes().to_vec());
    assert_eq!(opening(Protocol::SocketIo, SUBSCRIBER), []);
    let messages: [&[u8]; 4] = [br#"0{"sid":"x","pingInterval":25000}"#, br#"40{"sid":"y"}"#, b"430[]", b"2"];
    let (heard, said) = hear(Protocol::SocketIo, SUBSCRIBER, &messages);
    assert_eq!(heard, [Heard::Ready]);
    assert_eq!(said, [text("40"), text(r#"420["subscribe","load0000002"]"#), text("3")]);
    let (heard, said) = hear(Protocol::SocketIo, PUBLISHER, &messages[..2]);
    assert_eq!((heard, said), (vec![Heard::Ready], vec![text("40")]));
}

#[test]
fn socket_io_packets_start_with_their_kind() {
    let publish = format!(r#"["publish","load0000002",{}]"#, payload());
    assert_eq!(publication(Protocol::SocketIo, false), (Format::Text, format!("42{publish}").into_bytes()));
    assert_eq!(publication(Protocol::SocketIo, true), (Format::Text, format!("421{publish}").into_bytes()));
    let delivery = format!(r#"42["message","load0000002",{}]"#, payload());
    assert_eq!(heard(Protocol::SocketIo, SUBSCRIBER, delivery.as_bytes()), [Heard::Delivery(STAMP)]);
    assert_eq!(heard(Protocol::SocketIo, PUBLISHER, b"431[]"), [Heard::Answer { local: false }]);
    assert_eq!(heard(Protocol::SocketIo, SUBSCRIBER, br#"42["news",1]"#), []);
    for refusal in [&br#"44{"message":"no"}"#[..], b"41", b"1"] {
        assert_eq!(heard(Protocol::SocketIo, SUBSCRIBER, refusal), [OBJECTION]);
    }
    let path = |base| Protocol::SocketIo.path(base, &roll(Protocol::SocketIo), SUBSCRIBER);
    assert_eq!(path("/load"), "/socket.io/?EIO=4&transport=websocket");
    assert_eq!(path("/x/?EIO=4&transport=websocket"), "/x/?EIO=4&transport=websocket");
}

#[test]
fn a_publication_with_its_cursor_is_one_and_an_answer_that_brings_stored_ones_is_none() {
    let delivery = format!(r#"{{"topic":"log:load0000002","payload":{},"cursor":"Aa-_9"}}"#, payload());
    assert_eq!(heard(Protocol::Plain, SUBSCRIBER, delivery.as_bytes()), [Heard::Delivery(STAMP)]);
    let answer = format!(r#"{{"type":"ok","id":1,"cursor":"Aa-_9","state":{}}}"#, payload());
    assert_eq!(heard(Protocol::Plain, SUBSCRIBER, answer.as_bytes()), [Heard::Ready]);
    let mut stored = b"\x83\xa4type\xa2ok\xa2id\x01\xa5state\xd9\x3e".to_vec();
    stored.extend_from_slice(payload().trim_matches('"').as_bytes());
    assert_eq!(heard(Protocol::DunlinMsgpack, SUBSCRIBER, &stored), [Heard::Ready]);
}

#[test]
fn a_map_is_given_objects() {
    let topics = Topics::of_relay("load", TOPICS).that_remember(Mode::Map);
    let roll = Roll { topics, ..roll(Protocol::Plain) };
    let mut template = Protocol::Plain.template(&roll, 64, true).unwrap();
    let frame: serde_json::Value = serde_json::from_slice(template.fill(&STAMP).1).unwrap();
    assert_eq!((&frame["topic"], &frame["id"]), (&"map:load0000002".into(), &1.into()));
    assert_eq!(frame["payload"]["newest"].as_str().map(str::len), Some(62));
    let mut packed = Protocol::DunlinMsgpack.template(&roll, 64, false).unwrap();
    assert!(has(packed.fill(&STAMP).1, b"\xa7payload\x81\xa6newest\xd9\x3e"));
}

#[test]
fn of_a_list_the_newest_publication_is_heard() {
    let mut adapter = Adapter::new(Protocol::Plain, None).reading(Mode::List);
    let older = payload().replace(&payload()[9..17], "baaaaaaa");
    let list = format!(r#"{{"topic":"list:load0000002","payload":[{older},{}],"cursor":"Aa"}}"#, payload());
    assert_eq!(adapter.delivery(list.as_bytes()), Some(STAMP));
}
