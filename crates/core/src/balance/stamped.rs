//! An average and when it was last moved, in one number.

use std::time::Duration;

/// A number of seconds as it was at a time. Times are since any fixed start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stamped {
    pub(super) seconds: f32,
    /// When it was so, in milliseconds, modulo 2³².
    at_ms: u32,
}

impl Stamped {
    pub(super) fn new(seconds: f32, now: Duration) -> Self {
        Self { seconds, at_ms: wrapped_ms(now) }
    }

    pub(super) fn elapsed(self, now: Duration) -> Duration {
        let elapsed = wrapped_ms(now).wrapping_sub(self.at_ms);
        // Two threads may read the clock in one order and come here in the other.
        Duration::from_millis(if elapsed > u32::MAX / 2 { 0 } else { elapsed.into() })
    }

    /// Returns it as one number, so that one atomic can hold it; never 0, which stands for "unknown".
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.seconds.max(f32::MIN_POSITIVE).to_bits()) << 32 | u64::from(self.at_ms)
    }

    /// Returns what [`Stamped::to_bits`] made the number of; `None` for 0.
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        let low = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        (bits != 0).then(|| Self { seconds: f32::from_bits(low(bits >> 32)), at_ms: low(bits) })
    }
}

fn wrapped_ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis() & u128::from(u32::MAX)).unwrap_or(u32::MAX)
}
