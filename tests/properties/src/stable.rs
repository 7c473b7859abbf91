//! What is decoded, encoded and decoded again.

use std::fmt::Debug;

use adit_core::wire::codec::{EncodeError, frame_length};
use bytes::{Bytes, BytesMut};

/// Checks that a message which was decoded from at most `limit` bytes encodes as a frame within the limit, and that
/// the frame decodes to the same message and encodes to the same bytes. Returns what came back.
///
/// # Panics
///
/// When it does not.
pub fn comes_back<T: Debug + PartialEq, E: Debug>(
    message: &T,
    limit: usize,
    encode: impl Fn(&T, &mut BytesMut) -> Result<(), EncodeError>,
    decode: impl Fn(&Bytes) -> Result<T, E>,
) -> T {
    let frame = |message: &T| {
        let mut out = BytesMut::new();
        encode(message, &mut out).expect("what was decoded encodes");
        out.freeze()
    };
    let first = frame(message);
    let length = frame_length(&first, limit).expect("a length within the limit").expect("a whole length");
    assert_eq!(length.prefix + length.message, first.len());
    let back = decode(&first.slice(length.prefix..)).expect("what was encoded decodes");
    assert_eq!(back, *message);
    assert_eq!(frame(&back), first);
    back
}
