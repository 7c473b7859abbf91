//! Frames: a varint length, then one postcard message of exactly that length.
//!
//! The length is LEB128 in at most [`PREFIX_BYTES_MAX`] bytes and is checked against a limit before
//! anything is allocated for the message.

use bytes::{BufMut, BytesMut};
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

/// The most bytes a length prefix takes: frames stay below 2^28 bytes.
pub const PREFIX_BYTES_MAX: usize = 4;

/// Why a message could not be encoded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncodeError {
    /// The message is larger than its kind of frame may be.
    #[error("a message of more than {limit} bytes")]
    TooLong {
        /// The limit, in bytes of encoded message.
        limit: usize,
    },
    /// The message has more parts of one kind than its receiver reads.
    #[error("more than {max} {what}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// The message cannot be expressed in postcard.
    #[error("not encodable: {0}")]
    Unencodable(postcard::Error),
}

/// Why bytes from a peer are not a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The announced length is over the limit, or is no length at all.
    #[error("a frame over the limit of {limit} bytes was announced")]
    TooLong {
        /// The limit, in bytes of encoded message.
        limit: usize,
    },
    /// The bytes are no message of the expected type.
    #[error("malformed message: {0}")]
    Malformed(postcard::Error),
    /// Bytes are left over behind the message.
    #[error("{0} bytes behind the end of the message")]
    TrailingBytes(usize),
    /// The message is well-formed, but a value in it is not allowed.
    #[error("{0} is not valid")]
    Invalid(&'static str),
}

/// Appends `message` to `out` as one frame.
///
/// # Errors
///
/// When the message takes more than `limit` bytes. `out` is then as it was before.
pub fn encode<T: Serialize>(message: &T, limit: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    let start = out.len();
    // Most messages need one or two bytes of length; when the guess was wrong the message is moved once.
    let guess = 2;
    out.put_bytes(0, guess);
    let body = start + guess;
    let flavor = Append { end_max: body.saturating_add(limit), out };
    if let Err(error) = postcard::serialize_with_flavor(message, flavor) {
        out.truncate(start);
        let full = error == postcard::Error::SerializeBufferFull;
        return Err(if full { EncodeError::TooLong { limit } } else { EncodeError::Unencodable(error) });
    }
    let length = out.len() - body;
    let (prefix, used) = prefix(length).ok_or(EncodeError::TooLong { limit })?;
    if used > guess {
        out.put_bytes(0, used - guess);
    }
    if used != guess {
        out.copy_within(body..body + length, start + used);
        out.truncate(start + used + length);
    }
    out[start..start + used].copy_from_slice(&prefix[..used]);
    Ok(())
}

/// The length of a frame: how many bytes announce it, and how many follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLength {
    /// The bytes of the length prefix.
    pub prefix: usize,
    /// The bytes of the message.
    pub message: usize,
}

/// Reads the length prefix at the start of `bytes`.
///
/// Returns `None` while more bytes are needed to tell.
///
/// # Errors
///
/// When the announced length is more than `limit` or the prefix is not minimal.
pub fn frame_length(bytes: &[u8], limit: usize) -> Result<Option<FrameLength>, DecodeError> {
    let mut message = 0_usize;
    for (at, byte) in bytes.iter().enumerate().take(PREFIX_BYTES_MAX) {
        message |= usize::from(byte & 0x7f) << (7 * at);
        if message > limit {
            return Err(DecodeError::TooLong { limit });
        }
        if byte & 0x80 != 0 {
            continue;
        }
        if *byte == 0 && at > 0 {
            return Err(DecodeError::Invalid("a length with leading zeros"));
        }
        return Ok(Some(FrameLength { prefix: at + 1, message }));
    }
    if bytes.len() >= PREFIX_BYTES_MAX {
        return Err(DecodeError::TooLong { limit });
    }
    Ok(None)
}

/// Reads a whole message, which may borrow from `bytes`.
///
/// # Errors
///
/// When `bytes` are not exactly one message of type `T`.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(DecodeError::Malformed)?;
    if !rest.is_empty() {
        return Err(DecodeError::TrailingBytes(rest.len()));
    }
    Ok(message)
}

fn prefix(mut length: usize) -> Option<([u8; PREFIX_BYTES_MAX], usize)> {
    let mut bytes = [0; PREFIX_BYTES_MAX];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let low = u8::try_from(length & 0x7f).ok()?;
        length >>= 7;
        if length == 0 {
            *byte = low;
            return Some((bytes, at + 1));
        }
        *byte = low | 0x80;
    }
    None
}

/// Lets postcard write into a buffer that already holds something, up to a limit.
struct Append<'a> {
    out: &'a mut BytesMut,
    end_max: usize,
}

impl Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.out.len() + bytes.len() > self.end_max {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.out.put_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_frame_of_any_length_comes_back(message in prop::collection::vec(any::<u8>(), 0..40_000), before in 0..5_usize) {
            let mut out = BytesMut::new();
            out.put_bytes(7, before);
            encode(&message, 1 << 20, &mut out).unwrap();
            let frame = &out[before..];
            let length = frame_length(frame, 1 << 20).unwrap().unwrap();
            prop_assert_eq!(length.prefix + length.message, frame.len());
            let back = decode::<Vec<u8>>(&frame[length.prefix..]).unwrap();
            prop_assert_eq!(back, message);
        }

        #[test]
        fn any_bytes_are_a_length_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..12), limit in 0..1_000_000_usize) {
            match frame_length(&bytes, limit) {
                Ok(Some(length)) => prop_assert!(length.message <= limit),
                Ok(None) => prop_assert!(bytes.len() < PREFIX_BYTES_MAX),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_leaves_the_buffer_alone() {
        let mut out = BytesMut::from(&b"before"[..]);
        let result = encode(&vec![0_u8; 100], 50, &mut out);
        assert_eq!(result, Err(EncodeError::TooLong { limit: 50 }));
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_the_first_byte_that_tells() {
        assert_eq!(frame_length(&[0xff, 0x7f], 100), Err(DecodeError::TooLong { limit: 100 }));
        assert_eq!(frame_length(&[0x80, 0x80, 0x80, 0x80], 1 << 30), Err(DecodeError::TooLong { limit: 1 << 30 }));
    }

    #[test]
    fn bytes_behind_a_message_are_an_error() {
        assert_eq!(decode::<u8>(&[1, 2, 3]), Err(DecodeError::TrailingBytes(2)));
    }
}
