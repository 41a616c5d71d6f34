//! Any text is one `MessagePack` value, and what was JSON is the same after there and back again.
#![no_main]

use bytes::Bytes;
use dunlin_protocol::{Kind, Payload, msgpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let json = Bytes::copy_from_slice(text.as_bytes());
    let once = packed(&Payload::json(json.clone()));
    let mut rest = &once[..];
    let value = rmpv::decode::read_value(&mut rest).expect("one value");
    assert!(rest.is_empty());
    if Payload::parse_json(&json).is_err() {
        return assert_eq!(value.as_str(), Some(text));
    }
    let payload = msgpack::parse_value(&once.clone().into()).expect("what JSON can say");
    assert_ne!(payload.kind, Kind::Binary);
    assert_eq!(packed(&payload), once);
});

fn packed(payload: &Payload) -> Vec<u8> {
    let mut out = Vec::new();
    msgpack::value(&mut out, payload);
    out
}
