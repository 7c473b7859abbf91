//! Every bound of a node, with its default.
//!
//! A limit is checked before the memory it bounds is spent.

/// The largest control frame, in bytes of encoded message.
pub const CONTROL_FRAME_BYTES_MAX: usize = 64 * 1024;

/// The largest piece of a body that is written to a stream at once, in bytes.
///
/// Larger writes would let one bulk transfer delay the small exchanges beside it: quinn takes turns
/// between streams, but within a turn it sends what one write queued.
pub const CHUNK_BYTES_MAX: usize = 32 * 1024;

/// Room for what stands in a head frame besides the head of the visitor: kinds, lengths, addresses and the
/// fields that adit adds.
const HEAD_FRAME_SLACK_BYTES: usize = 4 * 1024;

/// What a node allows. Both sides of a link have their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request or response head, in bytes of names and values.
    pub head_bytes_max: usize,
    /// The most header fields in one head.
    pub head_fields_max: usize,
    /// The most exchanges in flight on one link, each way; more wait for their turn.
    pub exchanges_per_link_max: u32,
    /// The most visitor connections an entry holds at once; more wait in the listen queue.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 64 * 1024,
            head_fields_max: 256,
            exchanges_per_link_max: 1_000,
            connections_max: 16_384,
        }
    }
}

impl Limits {
    /// The largest frame that carries a head or trailers, in bytes of encoded message.
    pub fn head_frame_bytes_max(&self) -> usize {
        self.head_bytes_max + HEAD_FRAME_SLACK_BYTES
    }
}
