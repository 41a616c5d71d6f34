//! Any bytes are refused or an item that comes back as it was, but for what a later version may have put into it.
#![no_main]

use bytes::Bytes;
use dunlin_protocol::{Heard, Item};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(item) = Item::decode(&bytes) {
        let mut out = Vec::new();
        item.encode(&mut out);
        assert_eq!(Item::decode(&out.into()).expect("we wrote it"), item);
    }
    match Heard::decode(&bytes) {
        Some(Heard::Echo(position)) => {
            let mut out = Vec::new();
            Heard::encode_echo(position, &mut out);
            assert_eq!(Heard::decode(&out.into()), Some(Heard::Echo(position)));
        }
        Some(Heard::Commit { items, .. }) => assert!(!items.is_empty()),
        None => {}
    }
});
