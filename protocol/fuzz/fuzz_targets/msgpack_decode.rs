//! Any bytes are a request or an error that can be answered, and our `MessagePack` grammar is the one of `rmpv`.
#![no_main]

use bytes::Bytes;
use dunlin_protocol::msgpack::{self, ValueError};
use dunlin_protocol::{ClientFrame, Kind, json};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

/// The byte that means nothing, which `rmpv` takes for nil.
const RESERVED: u8 = 0xc1;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    same_grammar(&bytes);
    let id = msgpack::request_id(&bytes);
    let mut out = Vec::new();
    match msgpack::decode(&bytes) {
        Ok(request) => {
            assert_eq!(request.id, id);
            if let ClientFrame::Publish { payload, .. } = request.frame {
                json::publication(&mut out, "topic", &payload, None);
                assert!(serde_json::from_slice::<&RawValue>(&out).is_ok());
            }
        }
        Err(error) => {
            assert_eq!(error.id, id);
            msgpack::frame(&mut out, &error.answer());
            assert!(matches!(unpack(&out), Some(rmpv::Value::Map(_))));
        }
    }
});

fn same_grammar(bytes: &Bytes) {
    match (msgpack::parse_value(bytes), unpack(bytes)) {
        (Ok(payload), Some(rmpv::Value::Binary(theirs))) => {
            assert_eq!((payload.kind, &payload.bytes[..]), (Kind::Binary, &theirs[..]));
        }
        (Ok(payload), Some(rmpv::Value::String(theirs))) => {
            assert_eq!((payload.kind, &payload.bytes[..]), (Kind::Text, theirs.as_bytes()));
        }
        (Ok(payload), Some(_)) => assert!(serde_json::from_slice::<&RawValue>(&payload.bytes).is_ok()),
        (Ok(payload), None) => panic!("{payload:?} is no value"),
        (Err(ValueError::Syntax { at }), Some(theirs)) => assert_eq!(bytes[at], RESERVED, "{theirs:?} is a value"),
        (Err(_), _) => {}
    }
}

fn unpack(mut bytes: &[u8]) -> Option<rmpv::Value> {
    let value = rmpv::decode::read_value(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}
