//! Any bytes are refused or an envelope that comes back as it was.
#![no_main]

use bytes::Bytes;
use dunlin_protocol::Envelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((id, envelope)) = Envelope::decode(Bytes::copy_from_slice(bytes)) {
        let mut out = Vec::new();
        envelope.encode(id, &mut out);
        assert_eq!(Envelope::decode(out.into()).expect("we wrote it"), (id, envelope));
    }
});
