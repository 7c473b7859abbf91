//! What is known about a path.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{best::Best, round::Round};

/// How long a round-trip time, and the rate of a link that was not filled, stay true.
const MEMORY: Duration = Duration::from_secs(10);

/// How long a round-trip time stays true while a queue that does not empty hides it.
const MEMORY_HIDDEN: Duration = Duration::from_secs(60);

/// How many rounds a rate stays true that the path itself has set.
const RATE_ROUNDS: usize = 4;

/// How much the shortest round-trip times of two rounds differ without a queue.
const NOISE: Duration = Duration::from_micros(500);

/// The shortest queue that is one.
const QUEUE: Duration = Duration::from_millis(2);

/// How much a round counts in the share of losses.
const LOSS_WEIGHT: f64 = 0.25;

/// Rate, base and loss of a path.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    base: Best<Duration>,
    base_seen_at: Option<Instant>,
    /// Bytes per second of the last rounds that filled the window, oldest first.
    rates: VecDeque<f64>,
    /// The best rate of any round.
    used: Best<f64>,
    /// When a full window met a queue: the rate is the path's.
    limited_at: Option<Instant>,
    now: Option<Instant>,
    loss: f64,
}

impl Path {
    pub(crate) fn new() -> Self {
        Self {
            base: Best::new(MEMORY, |a, b| a < b),
            base_seen_at: None,
            rates: VecDeque::with_capacity(RATE_ROUNDS),
            used: Best::new(MEMORY, |a, b| a > b),
            limited_at: None,
            now: None,
            loss: 0.0,
        }
    }

    /// Takes in one round. While a queue hides the base, what was seen before stays true for longer.
    pub(crate) fn learn(&mut self, now: Instant, round: &Round, is_hidden: bool) {
        self.now = Some(now);
        let known = self.base.get();
        if known.is_none_or(|base| round.rtt_min <= base + base / 32 + NOISE) {
            self.base_seen_at = Some(now);
        }
        let keeps = is_hidden && self.base_unseen() < MEMORY_HIDDEN;
        self.base.add(now, round.rtt_min.min(known.filter(|_| keeps).unwrap_or(Duration::MAX)));
        let rate = rate(round);
        self.used.add(now, rate);
        // A round that the application left empty shows what the path can do at least.
        if round.filled || rate > self.rate() {
            if self.rates.len() == RATE_ROUNDS {
                self.rates.pop_front();
            }
            self.rates.push_back(rate);
        }
        if round.filled && self.queued(round.rtt_min) > QUEUE {
            self.limited_at = Some(now);
        }
    }

    /// Takes in what was lost in a round without a queue: that is the path's, and not of this link's making.
    pub(crate) fn learn_loss(&mut self, round: &Round) {
        self.loss += LOSS_WEIGHT * (loss(round) - self.loss);
    }

    /// Forgets how fast the path was, after so long a silence that it may be another one.
    pub(crate) fn doubt(&mut self) {
        self.rates.clear();
        self.used.clear();
        self.limited_at = None;
        self.loss = 0.0;
    }

    /// Takes a round-trip time for the base, although there was a shorter one.
    pub(crate) fn rebase(&mut self, now: Instant, rtt: Duration) {
        self.base.clear();
        self.base.add(now, rtt);
        self.base_seen_at = Some(now);
    }

    /// Returns the rate that the path delivers, in bytes per second.
    pub(crate) fn rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    /// Returns the highest rate that was used lately, in bytes per second.
    pub(crate) fn rate_used(&self) -> f64 {
        self.used.get().unwrap_or(0.0)
    }

    /// Returns whether the rate is as much as the path can carry, and not as much as was sent.
    pub(crate) fn is_limit_known(&self) -> bool {
        self.now.zip(self.limited_at).is_some_and(|(now, at)| now - at < MEMORY)
    }

    /// Returns the round-trip time without a queue, once there was a round.
    pub(crate) fn base(&self) -> Option<Duration> {
        self.base.get()
    }

    /// Returns how long ago a packet took as short as the base.
    pub(crate) fn base_unseen(&self) -> Duration {
        self.now.zip(self.base_seen_at).map_or(Duration::ZERO, |(now, at)| now - at)
    }

    /// Returns how much longer a packet took than it would without a queue.
    pub(crate) fn queued(&self, rtt: Duration) -> Duration {
        self.base().map_or(Duration::ZERO, |base| rtt.saturating_sub(base))
    }

    /// Returns the share of bytes that the path loses.
    pub(crate) fn loss(&self) -> f64 {
        self.loss
    }
}

/// Returns what a round delivered, in bytes per second.
#[expect(clippy::cast_precision_loss, reason = "nobody needs a rate to the byte")]
pub(crate) fn rate(round: &Round) -> f64 {
    round.delivered as f64 / round.took.as_secs_f64().max(1e-6)
}

/// Returns what share of its bytes a round lost.
#[expect(clippy::cast_precision_loss, reason = "nobody needs a share to the byte")]
pub(crate) fn loss(round: &Round) -> f64 {
    round.lost as f64 / (round.lost + round.delivered).max(1) as f64
}

/// The most that may be in flight: more than any path holds, less than makes sums overflow.
const BYTES_MAX: f64 = 1024.0 * 1024.0 * 1024.0;

/// Returns a number of bytes as one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
pub(crate) fn whole(bytes: f64) -> u64 {
    bytes.clamp(0.0, BYTES_MAX) as u64
}
