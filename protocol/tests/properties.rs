//! What holds for all payloads, frames and envelopes, and for any bytes instead of them.

use bytes::Bytes;
use dunlin_protocol::{
    ClientFrame, Envelope, EnvelopeError, ErrorCode, Incarnation, Kind, Namespace, Payload, PeerId,
    PublicationId, Recipients, RequestId, ServerFrame, Topic, json,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

fn topic() -> impl Strategy<Value = Topic> {
    r#"[a-z"\\/äß🐦$ ]{1,30}"#.prop_map(|text| Topic::parse(&text).unwrap())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map(".{0,4}", inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        json_value().prop_map(|value| Payload::json(value.to_string())),
        any::<String>().prop_map(Payload::text),
        vec(any::<u8>(), 0..200).prop_map(Payload::binary),
    ]
}

fn recipients() -> impl Strategy<Value = Recipients> {
    prop_oneof![
        Just(Recipients::Namespace),
        topic().prop_map(Recipients::Topic),
        vec(topic(), 0..20).prop_map(|topics| Recipients::several(topics).unwrap()),
    ]
}

prop_compose! {
    fn envelope()(
        origin in proptest::option::of(any::<(u64, u64)>()),
        echo: bool,
        at_us: u64,
        namespace in "[A-Za-z0-9._~:@!$&'()*+,;=%/-]{1,255}",
        to in recipients(),
        payload in payload(),
    ) -> Envelope {
        Envelope {
            origin: origin.map(|(incarnation, entropy)| PeerId::new(Incarnation(incarnation), entropy)),
            echo,
            at_us,
            namespace: Namespace::parse(&namespace).unwrap(),
            to,
            payload,
        }
    }
}

/// What the samples travel under.
const ID: PublicationId = PublicationId { incarnation: Incarnation(1), lane: 2, sequence: 3 };

fn encode(envelope: &Envelope) -> Vec<u8> {
    let mut out = Vec::new();
    envelope.encode(ID, &mut out);
    out
}

/// A payload as the one who parses a frame sees it.
fn seen(frame: &Value) -> Payload {
    match (&frame["base64"], &frame["payload"]) {
        (Value::String(text), Value::Null) => {
            use base64::Engine as _;
            Payload::binary(base64::engine::general_purpose::STANDARD.decode(text).unwrap())
        }
        (_, value) => Payload::json(value.to_string()),
    }
}

/// The same in the form [`seen`] gives: text is a JSON string, JSON has no white space.
fn meant(payload: &Payload) -> Payload {
    match payload.kind {
        Kind::Binary => payload.clone(),
        Kind::Text => Payload::json(Value::from(std::str::from_utf8(&payload.bytes).unwrap()).to_string()),
        Kind::Json => Payload::json(serde_json::from_slice::<Value>(&payload.bytes).unwrap().to_string()),
    }
}

/// Text that is nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        " ",
        "\n",
        "\"a\"",
        "\"\\u00e4\"",
        "\"\\\"",
        "\"",
        "\\",
        "0",
        "-1",
        "1.5e3",
        "01",
        "-",
        ".",
        "e",
        "true",
        "false",
        "null",
        "nul",
        "ä",
        "\t",
        "{}",
        "[]",
        "\"a\":1",
        "\u{1}",
        "\\ud800",
    ];
    vec(proptest::sample::select(tokens.to_vec()), 0..12).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn a_publication_is_json_with_its_topic_and_payload(topic in topic(), payload in payload(), cursor in ".{0,9}") {
        for cursor in [None, Some(&*cursor)] {
            let mut out = b"before".to_vec();
            json::publication(&mut out, topic.as_str(), &payload, cursor);
            let frame: Value = serde_json::from_slice(out.strip_prefix(b"before").unwrap()).unwrap();
            prop_assert_eq!(&frame["topic"], topic.as_str());
            prop_assert_eq!(seen(&frame), meant(&payload));
            prop_assert_eq!(frame["cursor"].as_str(), cursor);
            prop_assert_eq!(frame.as_object().unwrap().len(), 2 + usize::from(cursor.is_some()));
        }
    }

    #[test]
    fn what_serde_json_writes_is_read_as_it_was_meant(topic in topic(), value in json_value(), id: i64) {
        let payload = value.to_string();
        let name = Value::from(topic.as_str());
        let text = format!(r#"{{"id":{id},"payload":{payload},"type":"publish","topic":{name}}}"#);
        let request = json::decode(&Bytes::from(text)).unwrap();
        let to = Recipients::Topic(topic);
        prop_assert_eq!(request.id, Some(RequestId::Number(id)));
        let meant = ClientFrame::Publish { to, payload: Payload::json(payload), echo: None, key: None };
        prop_assert_eq!(request.frame, meant);
    }

    #[test]
    fn any_error_text_is_json(error: String, id: String) {
        let (code, id) = (ErrorCode::Internal, RequestId::Text(id.into()));
        let mut out = Vec::new();
        json::frame(&mut out, &ServerFrame::Error { code, error: &error, id: Some(&id), topic: None });
        let frame: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(&frame["error"], &error);
        prop_assert_eq!(RequestId::Text(frame["id"].as_str().unwrap().into()), id);
    }

    #[test]
    fn any_text_is_a_request_or_an_answer(text in prop_oneof![".{0,60}", nearly_json()]) {
        if let Err(error) = json::decode(&Bytes::from(text)) {
            let mut out = Vec::new();
            json::frame(&mut out, &error.answer());
            prop_assert!(serde_json::from_slice::<Value>(&out).is_ok());
        }
    }

    #[test]
    fn an_envelope_comes_back_as_it_was(envelope in envelope(), id: [u8; 16]) {
        let mut bytes = Vec::new();
        envelope.encode(PublicationId::from_bytes(id), &mut bytes);
        prop_assert_eq!(Envelope::decode(bytes.into()).unwrap(), (PublicationId::from_bytes(id), envelope));
    }

    #[test]
    fn an_envelope_cut_in_its_header_is_refused(envelope in envelope(), at: proptest::sample::Index) {
        let bytes = Bytes::from(encode(&envelope));
        let header_end = bytes.len() - envelope.payload.bytes.len();
        prop_assert!(Envelope::decode(bytes.slice(..at.index(header_end))).is_err());
    }

    #[test]
    fn a_changed_envelope_is_refused_or_still_one(
        envelope in envelope(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&envelope);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok((id, changed)) = Envelope::decode(bytes.into()) {
            let mut again = Vec::new();
            changed.encode(id, &mut again);
            prop_assert_eq!(Envelope::decode(again.into()).unwrap(), (id, changed));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn our_json_grammar_is_the_one_of_serde_json(text in nearly_json()) {
        let ours = Payload::parse_json(&Bytes::from(text.clone()));
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}", text);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(&ours.bytes, theirs.get());
        }
    }
}

fn sample() -> Envelope {
    Envelope {
        origin: None,
        echo: false,
        at_us: 4,
        namespace: Namespace::parse("/a").unwrap(),
        to: Recipients::Topic(Topic::parse("t").unwrap()),
        payload: Payload::json("[1]"),
    }
}

/// The sample with its header changed and the header's length made to fit.
fn with_header(change: impl FnOnce(&mut Vec<u8>)) -> Result<Envelope, EnvelopeError> {
    let bytes = encode(&sample());
    let (head, payload) = bytes.split_at(bytes.len() - sample().payload.bytes.len());
    let mut header = head[5..].to_vec();
    change(&mut header);
    let length = u32::try_from(header.len()).unwrap();
    Envelope::decode([&[1][..], &length.to_be_bytes(), &header, payload].concat().into())
        .map(|(_, envelope)| envelope)
}

#[test]
fn another_version_is_told_apart_from_garbage() {
    let mut bytes = encode(&sample());
    bytes[0] = 2;
    let error = Envelope::decode(bytes.into()).unwrap_err();
    assert_eq!(error.to_string(), "envelope version 2 is unknown, this node reads version 1");
    assert_eq!(Envelope::decode(Bytes::new()).unwrap_err().to_string(), "envelope ends after 0 bytes");
}

#[test]
fn fields_a_later_version_appends_are_skipped() {
    let appended = with_header(|header| {
        header[0] = 0x99;
        header.extend_from_slice(&[0x92, 1, 0xa1, b'x', 0xc0]);
    });
    assert_eq!(appended.unwrap(), sample());
}

#[test]
fn a_header_with_a_field_less_is_refused() {
    let error = with_header(|header| {
        header[0] = 0x96;
        header.pop();
    });
    assert_eq!(error.unwrap_err().to_string(), "envelope header: a kind is missing");
}

#[test]
fn an_announced_length_allocates_nothing() {
    let error = with_header(|header| {
        header.truncate(header.len() - 3);
        header.extend_from_slice(&[0xdd, 0xff, 0xff, 0xff, 0xff]);
    });
    assert!(matches!(error, Err(EnvelopeError::Header(_))));
}

// E3
#[test]
fn names_are_checked_again() {
    let at = |header: &[u8], byte| header.iter().rposition(|found| *found == byte).unwrap();
    let error = with_header(|header| {
        let at = at(header, b't');
        header[at] = b'\n';
    });
    assert_eq!(error.unwrap_err().to_string(), "envelope header: topic holds a control character at byte 0");
    let error = with_header(|header| {
        let at = at(header, b'/');
        header[at] = b'#';
    });
    assert!(matches!(error, Err(EnvelopeError::Name(_))));
}

#[test]
fn a_text_payload_of_no_characters_is_refused() {
    for (kind, fine) in [(Kind::Json, false), (Kind::Text, false), (Kind::Binary, true)] {
        let payload = Payload { kind, bytes: Bytes::from_static(b"\xff") };
        let decoded = Envelope::decode(encode(&Envelope { payload, ..sample() }).into());
        assert_eq!(decoded.is_ok(), fine, "{kind:?}");
    }
}

#[test]
fn a_decoded_payload_is_not_a_copy() {
    let bytes = Bytes::from(encode(&sample()));
    let memory = bytes.as_ptr_range();
    assert!(memory.contains(&Envelope::decode(bytes).unwrap().1.payload.bytes.as_ptr()));
}
