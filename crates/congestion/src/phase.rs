//! What a link is doing about a path, and what it has seen of it meanwhile.

use std::time::{Duration, Instant};

use crate::{best::Best, cubic::Cubic, path::whole};

/// Packets that are always allowed, so that acknowledgements keep coming.
pub(crate) const PACKETS_MIN: f64 = 4.0;

/// How much longer than the base a packet takes when there is a queue. RFC 9406 §4.2 waits for an eighth of the base, and
/// meanwhile the window doubles.
pub(crate) const QUEUE_SEEN: Duration = Duration::from_millis(3);

/// How long a queue is, beyond what links like this one make, that somebody else fills.
pub(crate) const QUEUE_FOREIGN: Duration = Duration::from_millis(4);

/// Rounds in which the window doubled and the rate did not rise, after which the path is full.
const ROUNDS_FLAT: u8 = 3;

/// For how long a rate counts for what a link that competes keeps.
const COMPETE_MEMORY: Duration = Duration::from_secs(10);

/// Rounds between a test that failed and the next one.
const TEST_AGAIN: u32 = 16;

/// A rate that fell by so much while the queue did not empty went to somebody else.
const YIELDING: f64 = 0.8;

/// How much the rate has to rise in a round in which the window doubles (BBR, draft-ietf-ccwg-bbr §5.3.1.2).
const DOUBLING: f64 = 1.25;

/// Round-trip times of which the least counts, so that one late acknowledgement is no queue (RFC 9406 §4.3).
const SAMPLES: u32 = 8;

/// What is going on.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// No limit has been met: twice as much every round.
    Grow(Grow),
    /// The path is full, and its queue almost empty.
    Cruise(Cruise),
    /// The queue is long: less for a moment, to see whose it is.
    Test(Test),
    /// Somebody else fills the queue.
    Compete(Compete),
}

/// Growing until there is a limit.
#[derive(Debug, Clone)]
pub(crate) struct Grow {
    rate_best: f64,
    rounds_flat: u8,
    rtt_min: Duration,
    samples: u32,
    /// Whether a queue was seen.
    pub(crate) is_over: bool,
}

/// Keeping a path full.
#[derive(Debug, Clone)]
pub(crate) struct Cruise {
    pub(crate) round: u32,
    pub(crate) rounds_rising: u8,
    pub(crate) rounds_crowded: u8,
    /// Whether the queue did not empty when it was this link's turn to let it.
    pub(crate) is_left_full: bool,
    /// The best rate since it last did.
    rate_best: f64,
    /// What the window was when packets were sent that are acknowledged in this round, and in the next.
    pub(crate) sent_at: [Level; 2],
    /// What share is lost when the window is not drained.
    pub(crate) loss_full: f64,
    /// The tests that failed since the queue last emptied.
    pub(crate) tests_failed: u8,
    /// The window at the first of them.
    pub(crate) bytes_yielded: u64,
}

/// How large the window is in a round of cruising.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// What the path holds, and a little of its queue.
    Full,
    /// What the path holds: the queue empties.
    Drained,
}

/// Looking whose the queue is.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    pub(crate) rounds_left: u8,
    pub(crate) bytes_before: u64,
    pub(crate) rtt_before: Duration,
    pub(crate) queued_before: Duration,
    /// Whether the round-trip time has not moved since.
    pub(crate) is_still: bool,
    pub(crate) before: Before,
}

/// What was going on when the test began.
#[derive(Debug, Clone)]
pub(crate) enum Before {
    Cruised(Cruise),
    Competed(Compete),
}

/// Taking a part of a queue that somebody else fills.
#[derive(Debug, Clone)]
pub(crate) struct Compete {
    pub(crate) cubic: Cubic,
    pub(crate) packets: f64,
    /// What was delivered lately, in bytes per second.
    pub(crate) rate: Best<f64>,
    pub(crate) round: u32,
    /// The next round may still show losses of before the cut.
    pub(crate) was_cut: bool,
    pub(crate) queued_max: Duration,
    pub(crate) tests_empty: u8,
}

impl Phase {
    pub(crate) fn grow(rate_best: f64) -> Self {
        Self::Grow(Grow { rate_best, rounds_flat: 0, rtt_min: Duration::MAX, samples: 0, is_over: false })
    }
}

impl Grow {
    /// Takes in a round-trip time. Returns whether it is the one that shows a queue.
    pub(crate) fn meets_queue(&mut self, rtt: Duration, base: Option<Duration>) -> bool {
        self.rtt_min = self.rtt_min.min(rtt);
        self.samples += 1;
        if self.samples < SAMPLES {
            return false;
        }
        let is_queue = base.is_some_and(|base| self.rtt_min > base + QUEUE_SEEN);
        self.rtt_min = Duration::MAX;
        self.samples = 0;
        let is_first = is_queue && !self.is_over;
        self.is_over |= is_queue;
        is_first
    }

    /// Takes in what a round delivered. Returns whether more in flight brings no more.
    pub(crate) fn is_flat(&mut self, rate: f64) -> bool {
        if rate >= self.rate_best * DOUBLING {
            self.rate_best = rate;
            self.rounds_flat = 0;
        } else {
            self.rounds_flat += 1;
        }
        self.rounds_flat >= ROUNDS_FLAT
    }
}

impl Cruise {
    /// Begins with a round that empties the queue.
    pub(crate) fn new(rate: f64, loss: f64) -> Self {
        Self {
            round: 0,
            rounds_rising: 0,
            rounds_crowded: 0,
            is_left_full: false,
            rate_best: rate,
            sent_at: [Level::Full, Level::Drained],
            loss_full: loss,
            tests_failed: 0,
            bytes_yielded: 0,
        }
    }

    /// Goes on after a test that failed.
    pub(crate) fn resume(&mut self, rate: f64) {
        self.round = 0;
        self.rounds_crowded = 0;
        self.rate_best = rate;
        self.sent_at = [Level::Full; 2];
    }

    /// Takes in how long the queue was when it was this link's turn to let it empty.
    pub(crate) fn drained(&mut self, queued: Duration, rate: f64) {
        self.rounds_rising = 0;
        self.is_left_full = queued > QUEUE_FOREIGN;
        if !self.is_left_full {
            self.rate_best = rate;
            self.tests_failed = 0;
            self.bytes_yielded = 0;
        }
    }

    /// Returns whether somebody else takes what this link leaves.
    pub(crate) fn yields(&self, rate: f64) -> bool {
        self.is_left_full && rate < self.rate_best * YIELDING
    }

    /// Returns whether the last test is long enough ago.
    pub(crate) fn may_test(&self) -> bool {
        self.tests_failed == 0 || self.round >= TEST_AGAIN
    }
}

impl Compete {
    pub(crate) fn new(now: Instant, packets: f64) -> Self {
        let cubic = Cubic::new(now, packets);
        let rate = Best::new(COMPETE_MEMORY, |a, b| a > b);
        Self { cubic, packets, rate, round: 0, was_cut: false, queued_max: Duration::ZERO, tests_empty: 0 }
    }

    #[expect(clippy::cast_precision_loss, reason = "the size of a packet")]
    pub(crate) fn cut(&mut self, now: Instant, mtu: u64, least: u64) -> u64 {
        self.was_cut = true;
        let least = least as f64 / mtu as f64;
        self.packets = self.cubic.cut(now, self.packets).max(least).max(PACKETS_MIN);
        whole(self.packets * mtu as f64)
    }
}
