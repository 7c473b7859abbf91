//! Frames: where one ends.

use adit_core::wire::codec::{self, PREFIX_BYTES_MAX, frame_length};
use bytes::BytesMut;
use serde::{Serialize, Serializer, ser::SerializeTuple};

/// Four bytes of limit, then a stream of frames: each length is within the limit, is told as soon as it can be and
/// never differently, and is how the message would be framed again.
pub fn frames(data: &[u8]) {
    let Some((limit, mut rest)) = data.split_first_chunk() else { return };
    let limit = u32::from_le_bytes(*limit) as usize;
    loop {
        let told = frame_length(rest, limit);
        for end in 0..rest.len().min(PREFIX_BYTES_MAX) {
            let early = frame_length(&rest[..end], limit);
            assert!(early == Ok(None) || early == told, "{early:?}, then {told:?}");
        }
        let Ok(Some(length)) = told else {
            assert!(told.is_err() || rest.len() < PREFIX_BYTES_MAX, "no length after {PREFIX_BYTES_MAX} bytes");
            return;
        };
        assert!(length.message <= limit);
        let Some((frame, behind)) = rest.split_at_checked(length.prefix + length.message) else { return };
        let mut again = BytesMut::new();
        codec::encode(&Exactly(&frame[length.prefix..]), limit, &mut again).expect("a message within the limit");
        assert_eq!(again, frame);
        rest = behind;
    }
}

/// Bytes that are a message as they stand.
struct Exactly<'a>(&'a [u8]);

impl Serialize for Exactly<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            bytes.serialize_element(byte)?;
        }
        bytes.end()
    }
}
