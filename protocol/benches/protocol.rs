//! The hot path's own costs: each of these runs once per publish or once per publication and node.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dunlin_protocol::{
    ClientFrame, DEPTH_MAX, Envelope, Incarnation, Namespace, Pattern, Payload, PeerId, PublicationId,
    Recipients, Topic, json, msgpack,
};
use rmpv::Value;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A publish frame with a payload of 128 bytes, as the load tests send it.
fn publish_text() -> Bytes {
    let payload = format!(r#"{{"sequence":123456,"at":1700000000000,"text":"{}"}}"#, "x".repeat(80));
    assert_eq!(payload.len(), 128);
    Bytes::from(format!(r#"{{"type":"publish","topic":"page:home","payload":{payload}}}"#))
}

fn payload() -> Payload {
    let ClientFrame::Publish { payload, .. } = json::decode(&publish_text()).expect("a good frame").frame
    else {
        unreachable!("it is a publish")
    };
    payload
}

const ID: PublicationId = PublicationId { incarnation: Incarnation(7), lane: 1, sequence: 1_000_000 };

fn envelope() -> Envelope {
    Envelope {
        origin: Some(PeerId::new(Incarnation(7), 42)),
        echo: false,
        at_us: 1_700_000_000_000_000,
        namespace: Namespace::parse("/_ws").expect("a namespace"),
        to: Recipients::Topic(Topic::parse("page:home").expect("a topic")),
        payload: payload(),
    }
}

/// What a general parser would be asked for instead of our own walk.
#[derive(Deserialize)]
struct Yardstick<'a> {
    r#type: &'a str,
    topic: &'a str,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Yardstick<'_> {
    fn is_publish(&self) -> bool {
        self.r#type == "publish" && !self.topic.is_empty() && !self.payload.get().is_empty()
    }
}

fn frames(criterion: &mut Criterion) {
    let text = publish_text();
    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("decode publish 128 B", |bench| bench.iter(|| json::decode(black_box(&text))));
    group.bench_function("serde_json on the same, without names and depth", |bench| {
        bench.iter(|| {
            serde_json::from_slice::<Yardstick<'_>>(black_box(&text)).is_ok_and(|frame| frame.is_publish())
        });
    });
    let payload = payload();
    let mut out = Vec::with_capacity(1024);
    group.bench_function("encode publication 128 B", |bench| {
        bench.iter(|| {
            out.clear();
            json::publication(&mut out, black_box("page:home"), black_box(&payload), None);
            out.len()
        });
    });
    let chars = Payload::text("x".repeat(128));
    group.bench_function("encode text publication 128 B", |bench| {
        bench.iter(|| {
            out.clear();
            json::publication(&mut out, black_box("page:home"), black_box(&chars), None);
            out.len()
        });
    });
    group
        .bench_function("check depth", |bench| bench.iter(|| json::check_depth(black_box(&text), DEPTH_MAX)));
    let deep = Bytes::from(format!(r#"{{"type":"publish","payload":{}"#, "[".repeat(30_000)));
    group.bench_function("refuse 30000 levels", |bench| bench.iter(|| json::decode(black_box(&deep))));
    group.finish();
}

/// A chat message of so many bytes as JSON; about as long in `MessagePack`.
fn chat_json(bytes: usize) -> String {
    let around = r#"{"sequence":123456,"at":1700000000000.5,"to":["ann","ben",null],"text":""}"#.len();
    let text = "x".repeat(bytes - around);
    format!(r#"{{"sequence":123456,"at":1700000000000.5,"to":["ann","ben",null],"text":"{text}"}}"#)
}

/// The same, as an implementation that is not ours writes it.
fn chat_msgpack(bytes: usize) -> Value {
    let text = &chat_json(bytes)[73..bytes - 2];
    let to = Value::Array(vec!["ann".into(), "ben".into(), Value::Nil]);
    let pairs =
        [("sequence", 123_456.into()), ("at", 1_700_000_000_000.5.into()), ("to", to), ("text", text.into())];
    Value::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn pack(value: &Value) -> Bytes {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("memory takes it");
    out.into()
}

fn publish_msgpack(payload: Value) -> Bytes {
    let pairs = [("type", "publish".into()), ("topic", "page:home".into()), ("payload", payload)];
    pack(&Value::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()))
}

/// `MessagePack` beside JSON: what a publish costs when it comes, and a publication once for each node.
fn dialects(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("msgpack");
    for bytes in [128, 1024] {
        let (json, packed) = (chat_json(bytes), chat_msgpack(bytes));
        assert_eq!(json.len(), bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        let text = Bytes::from(format!(r#"{{"type":"publish","topic":"page:home","payload":{json}}}"#));
        group.bench_function(format!("json: decode publish {bytes} B"), |bench| {
            bench.iter(|| json::decode(black_box(&text)).expect("a good frame"));
        });
        let frame = publish_msgpack(packed.clone());
        group.bench_function(format!("decode publish {bytes} B, made json"), |bench| {
            bench.iter(|| msgpack::decode(black_box(&frame)).expect("a good frame"));
        });
        let frame = publish_msgpack(Value::Binary(vec![7; bytes]));
        group.bench_function(format!("decode publish bin {bytes} B"), |bench| {
            bench.iter(|| msgpack::decode(black_box(&frame)).expect("a good frame"));
        });
        let payload = Payload::json(json);
        let mut out = Vec::with_capacity(2048);
        group.bench_function(format!("json: encode publication {bytes} B"), |bench| {
            bench.iter(|| {
                out.clear();
                json::publication(&mut out, black_box("page:home"), black_box(&payload), None);
                out.len()
            });
        });
        group.bench_function(format!("encode publication {bytes} B, made of json"), |bench| {
            bench.iter(|| {
                out.clear();
                msgpack::publication(&mut out, black_box("page:home"), black_box(&payload), None);
                out.len()
            });
        });
        let value = pack(&packed);
        group.bench_function(format!("rmpv and serde_json on the same payload {bytes} B"), |bench| {
            bench.iter(|| {
                let value = rmpv::decode::read_value(&mut black_box(&value[..])).expect("a value");
                serde_json::to_string(&value_as_json(&value)).expect("memory takes it").len()
            });
        });
    }
    for (name, json) in worst_json() {
        group.throughput(Throughput::Bytes(json.len() as u64));
        let (payload, mut out) = (Payload::json(json), Vec::new());
        group.bench_function(format!("64 KiB of {name}, made of json"), |bench| {
            bench.iter(|| {
                out.clear();
                msgpack::publication(&mut out, "page:home", black_box(&payload), None);
                out.len()
            });
        });
    }
    group.finish();
}

/// What a general parser would be asked for instead.
fn value_as_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Integer(number) => number.as_i64().into(),
        Value::F64(number) => (*number).into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(elements) => elements.iter().map(value_as_json).collect(),
        Value::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), value_as_json(value)))
            .collect(),
        _ => unreachable!("the sample has no such value"),
    }
}

/// Messages that cost most for their length.
fn worst_json() -> [(&'static str, String); 4] {
    let filled = |open: &str, piece: &str| {
        let mut text = open.to_owned();
        while text.len() + piece.len() + 70 < 64 * 1024 {
            text.push_str(piece);
        }
        text.truncate(text.len() - 1);
        text + &"]".repeat(open.len())
    };
    [
        ("empty arrays", filled("[", "[],")),
        ("wide arrays", filled(&"[".repeat(50), "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,")),
        ("escapes", format!("\"{}\"", "\\n".repeat(32_000))),
        // Twenty digits of the middle between two floats.
        ("numbers hard to round", filled("[", "1.2345678000000000289E-300,")),
    ]
}

fn envelopes(criterion: &mut Criterion) {
    let envelope = envelope();
    let mut out = Vec::with_capacity(1024);
    criterion.bench_function("envelope/encode 128 B", |bench| {
        bench.iter(|| {
            out.clear();
            black_box(&envelope).encode(ID, &mut out);
            out.len()
        });
    });
    let mut bytes = Vec::new();
    envelope.encode(ID, &mut bytes);
    let bytes = Bytes::from(bytes);
    criterion.bench_function("envelope/decode 128 B", |bench| {
        bench.iter(|| Envelope::decode(black_box(&bytes).clone()));
    });
}

fn patterns(criterion: &mut Criterion) {
    for text in ["chat", "page:*", "*:news:*:end"] {
        let pattern = Pattern::parse(text).expect("a pattern");
        criterion.bench_function(&format!("pattern/{text}"), |bench| {
            bench.iter(|| pattern.matches(black_box("page:news:today:end"), &()));
        });
    }
}

criterion_group!(benches, frames, dialects, envelopes, patterns);
criterion_main!(benches);
