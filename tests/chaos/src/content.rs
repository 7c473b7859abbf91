//! Bodies of which every byte is known: a function of a seed and an offset.

use bytes::{Bytes, BytesMut};

/// Returns the seed of what `who` says about the request with this id.
pub(crate) fn seed(id: u64, who: &str) -> u64 {
    who.bytes().fold(mix(id), |seed, byte| mix(seed ^ u64::from(byte)))
}

/// Returns `length` bytes of the content from `offset` on.
pub(crate) fn slice(seed: u64, offset: u64, length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(length + 16);
    let skipped = offset % 8;
    let mut word = offset / 8;
    while bytes.len() < length + 8 {
        bytes.extend_from_slice(&mix(seed.wrapping_add(mix(word))).to_le_bytes());
        word += 1;
    }
    let _before = bytes.split_to(usize::try_from(skipped).unwrap_or(0));
    bytes.truncate(length);
    bytes.freeze()
}

/// Returns whether these bytes are the content from `offset` on.
pub(crate) fn matches(seed: u64, offset: u64, bytes: &[u8]) -> bool {
    slice(seed, offset, bytes.len()) == bytes
}

/// The finaliser of SplitMix64: a bijection, so no two seeds give the same words in step.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_however_it_is_cut() {
        let whole = slice(5, 0, 1000);
        for (offset, length) in [(0, 1), (1, 7), (7, 9), (8, 8), (13, 500), (999, 1), (1000, 0)] {
            assert_eq!(slice(5, offset, length), whole.slice(usize::try_from(offset).unwrap()..).slice(..length));
        }
    }

    #[test]
    fn a_wrong_byte_a_shift_and_another_request_are_seen() {
        let mut bytes = slice(5, 64, 1000).to_vec();
        assert!(matches(5, 64, &bytes));
        assert!(!matches(5, 65, &bytes));
        assert!(!matches(6, 64, &bytes));
        bytes[700] ^= 1;
        assert!(!matches(5, 64, &bytes));
    }

    #[test]
    fn two_backends_say_different_things_of_one_request() {
        assert_ne!(slice(seed(1, "web"), 0, 64), slice(seed(1, "solo"), 0, 64));
        assert_ne!(slice(seed(1, "web"), 0, 64), slice(seed(2, "web"), 0, 64));
    }
}
