//! RFC 6455 from the bytes of a client (behaviours H3, H4, H5).

use super::*;

/// A client's frame: the first byte as given, the payload masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = header(first, 0x80, payload.len() as u64);
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn header(first: u8, masked: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(masked | length as u8),
        126..=0xffff => {
            bytes.push(masked | 0x7e);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(masked | 0x7f);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// The same without FIN.
const TEXT_BEGINS: u8 = 0x01;
const CONTINUES: u8 = 0x00;
const ENDS: u8 = 0x80;

const MESSAGE_MAX: usize = 1_000;
const FRAGMENTS_MAX: usize = 4;

fn websocket() -> WebSocket {
    WebSocket::new(&Limits { message: MESSAGE_MAX, fragments: FRAGMENTS_MAX, ..Limits::default() })
}

/// What came of bytes, in words, and what was replied.
fn take(websocket: &mut WebSocket, bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut received, mut replies) = (Vec::new(), Vec::new());
    websocket.receive(bytes, &mut replies, |each| received.push(in_words(&each)));
    (received, frames(&replies))
}

fn in_words(received: &Received) -> String {
    match received {
        Received::Message(Message::Text(text)) => format!("text {}", String::from_utf8_lossy(text)),
        Received::Message(Message::Binary(bytes)) => format!("binary {bytes:?}"),
        Received::Heard => "heard".to_owned(),
        Received::Closed(code) => format!("closed {}", code.0),
        Received::Failed(failure) => format!("failed {}", failure.code().0),
    }
}

/// A server's control frames, in words.
fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        let (payload, rest) = rest.split_at(usize::from(*length));
        frames.push(match (first, payload) {
            (0x8a, payload) => format!("pong {}", String::from_utf8_lossy(payload)),
            (0x88, []) => "close".to_owned(),
            (0x88, [high, low, reason @ ..]) => {
                let code = u16::from_be_bytes([*high, *low]);
                format!("close {code} {}", String::from_utf8_lossy(reason)).trim_end().to_owned()
            }
            other => panic!("{other:?} is no control frame"),
        });
        bytes = rest;
    }
    frames
}

fn failed(code: u16, reason: &str) -> (Vec<String>, Vec<String>) {
    (vec![format!("failed {code}")], vec![format!("close {code} {reason}")])
}

// H4
#[test]
fn what_is_against_the_protocol_closes_with_1002() {
    let unmasked = [header(TEXT, 0, 2), b"hi".to_vec()].concat();
    for (name, bytes) in [
        ("an unmasked frame", unmasked),
        ("rsv1", frame(0xc1, b"hi")),
        ("rsv2", frame(0xa1, b"hi")),
        ("rsv3", frame(0x91, b"hi")),
        ("rsv1 on a ping", frame(0xc9, b"")),
        ("opcode 3", frame(0x83, b"")),
        ("opcode 7", frame(0x87, b"")),
        ("opcode 11", frame(0x8b, b"")),
        ("opcode 15", frame(0x8f, b"")),
        ("a fragmented ping", frame(0x09, b"")),
        ("a fragmented close", frame(0x08, b"")),
        ("a ping of 126 bytes", frame(PING, &[b'x'; 126])),
        ("a close of 126 bytes", frame(0x88, &[b'x'; 126])),
        ("a continuation of nothing", frame(ENDS, b"hi")),
        ("a continuation that goes on", frame(CONTINUES, b"hi")),
        ("text within a message", [frame(TEXT_BEGINS, b"a"), frame(TEXT, b"b")].concat()),
        ("a close of one byte", frame(0x88, &[3])),
    ] {
        assert_eq!(take(&mut websocket(), &bytes), failed(1002, "against RFC 6455"), "{name}");
    }
}

// H4
#[test]
fn text_that_is_no_utf8_closes_with_1007() {
    let euro = "€".as_bytes();
    for (name, bytes) in [
        ("a stray byte", frame(TEXT, &[b'a', 0xff])),
        ("an overlong slash", frame(TEXT, &[0xc0, 0xaf])),
        ("a surrogate", frame(TEXT, &[0xed, 0xa0, 0x80])),
        ("beyond unicode", frame(TEXT, &[0xf4, 0x90, 0x80, 0x80])),
        ("an end within a character", frame(TEXT, &euro[..2])),
        ("over two fragments", [frame(TEXT_BEGINS, &euro[..1]), frame(ENDS, b"x")].concat()),
        ("a reason", frame(0x88, &[3, 232, 0xff])),
    ] {
        assert_eq!(take(&mut websocket(), &bytes), failed(1007, "text is not UTF-8"), "{name}");
    }
    let split = [frame(TEXT_BEGINS, &euro[..1]), frame(CONTINUES, &euro[1..2]), frame(ENDS, &euro[2..])];
    assert_eq!(take(&mut websocket(), &split.concat()).0, ["text €"]);
}

// H5
#[test]
fn a_message_over_the_limit_closes_with_1009_before_its_bytes_came() {
    for (name, bytes) in [
        ("one byte more", header(BINARY, 0x80, MESSAGE_MAX as u64 + 1)),
        ("64 KiB", header(TEXT, 0x80, 65_536)),
        ("as much as can be said", header(TEXT, 0x80, u64::MAX)),
        ("half of that", header(TEXT, 0x80, u64::MAX >> 1)),
        ("its fragments together", [frame(TEXT_BEGINS, &[b'x'; 600]), frame(ENDS, &[b'x'; 401])].concat()),
    ] {
        // The mask belongs to the header.
        let bytes = [bytes, vec![0; 4]].concat();
        assert_eq!(take(&mut websocket(), &bytes), failed(1009, "message too big"), "{name}");
    }
    let longest = frame(TEXT, &[b'x'; MESSAGE_MAX]);
    assert_eq!(take(&mut websocket(), &longest).0, [format!("text {}", "x".repeat(MESSAGE_MAX))]);
    let halves = [frame(TEXT_BEGINS, &[b'x'; 500]), frame(ENDS, &[b'x'; 500])].concat();
    assert_eq!(take(&mut websocket(), &halves).0, [format!("text {}", "x".repeat(MESSAGE_MAX))]);
}

// H5
#[test]
fn more_fragments_than_allowed_close_with_1009() {
    let fragments = |count: usize| {
        let middle = frame(CONTINUES, b"x").repeat(count - 2);
        [frame(TEXT_BEGINS, b""), middle, frame(ENDS, b"")].concat()
    };
    let allowed = take(&mut websocket(), &fragments(FRAGMENTS_MAX).repeat(3)).0;
    assert_eq!(allowed, ["text xx", "text xx", "text xx"]);
    for (count, payload) in [(1, ""), (1, "x"), (2, ""), (9, "x")] {
        let more = [frame(CONTINUES, payload.as_bytes()).repeat(count), frame(ENDS, b"")].concat();
        let begun = [frame(TEXT_BEGINS, b""), frame(CONTINUES, b"").repeat(FRAGMENTS_MAX - 1), more];
        assert_eq!(take(&mut websocket(), &begun.concat()), failed(1009, "too many fragments"));
    }
}

// H1, H4
#[test]
fn a_ping_is_answered_with_its_payload_also_within_a_message() {
    let bytes = [frame(TEXT_BEGINS, b"a"), frame(PING, b"are you there"), frame(ENDS, b"b")].concat();
    let (received, replies) = take(&mut websocket(), &bytes);
    assert_eq!(received, ["heard", "text ab"]);
    assert_eq!(replies, ["pong are you there"]);
    assert_eq!(take(&mut websocket(), &frame(PONG, b"")), (vec!["heard".to_owned()], vec![]));
    let longest = "x".repeat(125);
    assert_eq!(take(&mut websocket(), &frame(PING, longest.as_bytes())).1, [format!("pong {longest}")]);
}

// H1
#[test]
fn many_pings_at_once_are_answered_each_in_order() {
    let pings: Vec<u8> = (0..50).flat_map(|number| frame(PING, format!("{number}").as_bytes())).collect();
    let expected: Vec<_> = (0..50).map(|number| format!("pong {number}")).collect();
    assert_eq!(take(&mut websocket(), &pings).1, expected);
}

// H3, L2
#[test]
fn a_close_is_answered_with_its_code() {
    let allowed = (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]);
    for code in allowed {
        let (received, replies) = take(&mut websocket(), &close_frame(code, "bye"));
        assert_eq!(received, [format!("closed {code}")]);
        let reason = if code == 1014 { "" } else { " bye" };
        assert_eq!(replies, [format!("close {code}{reason}")]);
    }
    assert_eq!(
        take(&mut websocket(), &frame(0x88, b"")),
        (vec!["closed 1005".to_owned()], vec!["close".to_owned()])
    );
    let longest = "x".repeat(123);
    assert_eq!(take(&mut websocket(), &close_frame(1000, &longest)).1, [format!("close 1000 {longest}")]);
}

// H3
#[test]
fn a_close_with_a_code_nobody_may_send_is_answered_with_1002() {
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let (received, replies) = take(&mut websocket(), &close_frame(code, ""));
        assert_eq!(received, ["closed 1002"], "{code}");
        assert!(replies.len() == 1 && replies[0].starts_with("close 1002"), "{code}: {replies:?}");
    }
}

// H4
#[test]
fn messages_mean_the_same_wherever_they_are_split() {
    let stream = [
        frame(TEXT, "caf\u{e9} 🐦".as_bytes()),
        frame(PING, b"p"),
        frame(TEXT_BEGINS, "🐦".as_bytes().split_at(2).0),
        frame(PONG, b""),
        frame(ENDS, "🐦".as_bytes().split_at(2).1),
        frame(BINARY, &[0; 300]),
        frame(TEXT, b""),
        close_frame(1000, "bye"),
    ]
    .concat();
    let whole = take(&mut websocket(), &stream);
    assert_eq!(whole.0.len(), 7);
    for at in 0..=stream.len() {
        let mut websocket = websocket();
        let (mut received, mut replies) = take(&mut websocket, &stream[..at]);
        let rest = take(&mut websocket, &stream[at..]);
        received.extend(rest.0);
        replies.extend(rest.1);
        assert_eq!((received, replies), whole, "split at {at}");
    }
    let mut bytewise = websocket();
    let parts: Vec<_> = stream.chunks(1).map(|byte| take(&mut bytewise, byte)).collect();
    let received: Vec<_> = parts.iter().flat_map(|part| part.0.clone()).collect();
    let replies: Vec<_> = parts.iter().flat_map(|part| part.1.clone()).collect();
    assert_eq!((received, replies), whole);
}

// H4
#[test]
fn what_comes_after_a_close_is_ignored() {
    let nothing = (vec![], vec![]);
    let after = [frame(TEXT, b"late"), frame(PING, b""), close_frame(1001, "")].concat();
    let mut websocket = websocket();
    let bytes = [close_frame(1000, ""), after.clone()].concat();
    assert_eq!(take(&mut websocket, &bytes).0, ["closed 1000"]);
    assert_eq!(take(&mut websocket, &after), nothing);
}

// H4
#[test]
fn what_comes_after_a_failure_is_ignored() {
    let late = [frame(TEXT, b"late"), frame(PING, b""), close_frame(1001, "")].concat();
    let many_fragments = [frame(TEXT_BEGINS, b""), frame(CONTINUES, b"").repeat(FRAGMENTS_MAX)].concat();
    for broken in [frame(0x83, b""), frame(TEXT, &[0xff]), header(TEXT, 0x80, 70_000), many_fragments] {
        let mut websocket = websocket();
        let bytes = [broken, vec![0; 4]].concat();
        assert_eq!(take(&mut websocket, &bytes).0.len(), 1);
        for _ in 0..3 {
            assert_eq!(take(&mut websocket, &late), (vec![], vec![]));
        }
    }
}

// L2
#[test]
fn our_close_is_sent_once_and_then_the_peer_s_is_awaited() {
    let mut websocket = websocket();
    let mut replies = Vec::new();
    websocket.close(CloseCode::GOING_AWAY, "moving", &mut replies);
    websocket.close(CloseCode::NORMAL, "again", &mut replies);
    assert_eq!(frames(&replies), ["close 1001 moving"]);
    let answer = close_frame(1001, "moving");
    assert_eq!(take(&mut websocket, &answer), (vec!["closed 1001".to_owned()], vec![]));
    assert_eq!(take(&mut websocket, &frame(TEXT, b"late")), (vec![], vec![]));
}

// H5: what the clock of a message's time goes by.
#[test]
fn a_message_is_under_way_until_its_last_byte() {
    let mut websocket = websocket();
    let bytes = [frame(TEXT_BEGINS, b"a"), frame(PING, b""), frame(ENDS, b"b")].concat();
    assert!(!websocket.is_within_message());
    for byte in &bytes[..bytes.len() - 1] {
        take(&mut websocket, std::slice::from_ref(byte));
        assert!(websocket.is_within_message());
    }
    take(&mut websocket, &bytes[bytes.len() - 1..]);
    assert!(!websocket.is_within_message());
}
