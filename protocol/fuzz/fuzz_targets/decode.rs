//! Any text is a request or an error that can be answered, and our JSON grammar is the one of `serde_json`.
#![no_main]

use bytes::Bytes;
use dunlin_protocol::{ClientFrame, DEPTH_MAX, Payload, PayloadError, json};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;

fuzz_target!(|text: &str| {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    same_grammar(&bytes, text);
    let mut out = Vec::new();
    match json::decode(&bytes) {
        Ok(request) => {
            assert!(serde_json::from_str::<&RawValue>(text).is_ok());
            if let ClientFrame::Publish { payload, .. } = request.frame {
                json::publication(&mut out, "topic", &payload, Some(text));
                assert!(serde_json::from_slice::<&RawValue>(&out).is_ok());
                assert!(json::check_depth(&out, DEPTH_MAX + 1));
            }
        }
        Err(error) => {
            json::frame(&mut out, &error.answer());
            serde_json::from_slice::<Value>(&out).expect("an answer is json");
        }
    }
});

fn same_grammar(bytes: &Bytes, text: &str) {
    let theirs = serde_json::from_str::<&RawValue>(text);
    match (Payload::parse_json(bytes), theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours.bytes, theirs.get()),
        (Err(PayloadError::Depth), _) => assert!(!json::check_depth(bytes, DEPTH_MAX)),
        (ours, theirs) => assert_eq!(ours.is_ok(), theirs.is_ok()),
    }
}
