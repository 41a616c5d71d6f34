//! The hot path's own costs: each of these runs once per publish or once per publication and node.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dunlin_protocol::{
    ClientFrame, DEPTH_MAX, Envelope, Incarnation, Namespace, Pattern, Payload, PeerId, PublicationId,
    Recipients, Topic, json,
};
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

criterion_group!(benches, frames, envelopes, patterns);
criterion_main!(benches);
