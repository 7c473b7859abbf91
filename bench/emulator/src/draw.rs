//! Chance that can be repeated: the draw for a packet depends on the seed, the purpose and the packet's index, and
//! not on what was drawn before.

/// What a draw decides; two purposes never share a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Loss = 1,
    Jitter = 2,
    Reorder = 3,
    BurstEnd = 4,
}

/// A source of draws.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draws {
    seed: u64,
}

impl Draws {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self { seed: mix(seed ^ mix(stream)) }
    }

    /// Returns a number in `0.0..1.0`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    pub(crate) fn unit(self, purpose: Purpose, index: u64) -> f64 {
        let bits = mix(self.seed ^ mix(index) ^ mix(purpose as u64).rotate_left(17));
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
