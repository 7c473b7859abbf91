//! Bodies that show whether they arrived as they were sent: pseudo-random, grown from a seed.
//!
//! The seed of a response is the digest of its request, so a response that fits has had the right request.

use bytes::{Bytes, BytesMut};

/// Endless bytes from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    state: u64,
    rest: [u8; 8],
    left: usize,
}

impl Content {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, rest: [0; 8], left: 0 }
    }

    /// Returns the next bytes.
    pub(crate) fn next(&mut self, length: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(length);
        let taken = self.left.min(length);
        bytes.extend_from_slice(&self.rest[8 - self.left..8 - self.left + taken]);
        self.left -= taken;
        while bytes.len() + 8 <= length {
            bytes.extend_from_slice(&self.word());
        }
        if bytes.len() < length {
            self.rest = self.word();
            let missing = length - bytes.len();
            bytes.extend_from_slice(&self.rest[..missing]);
            self.left = 8 - missing;
        }
        bytes.freeze()
    }

    /// Whether these are the next bytes.
    pub(crate) fn expects(&mut self, bytes: &[u8]) -> bool {
        self.next(bytes.len()) == bytes
    }

    /// SplitMix64: a bijection of a counter, so no two seeds give the same words in step.
    fn word(&mut self) -> [u8; 8] {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).to_le_bytes()
    }
}

/// Returns the seed of the response to a request with this body (FNV-1a).
pub(crate) fn digest(body: &[u8]) -> u64 {
    body.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_however_it_is_cut() {
        let whole = Content::new(5).next(1000);
        for cut in [1, 3, 7, 8, 9, 64, 999] {
            let mut content = Content::new(5);
            assert!(whole.chunks(cut).all(|chunk| content.expects(chunk)), "cut every {cut} bytes");
        }
    }

    #[test]
    fn one_wrong_byte_is_seen() {
        let mut bytes = Content::new(5).next(1000).to_vec();
        bytes[700] ^= 1;
        assert!(!Content::new(5).expects(&bytes));
        assert_ne!(digest(&bytes), digest(&Content::new(5).next(1000)));
    }

    #[test]
    fn another_seed_gives_other_bytes() {
        assert_ne!(Content::new(5).next(64), Content::new(6).next(64));
    }
}
