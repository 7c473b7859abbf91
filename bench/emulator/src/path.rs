//! What becomes of each packet.

use std::time::Duration;

use crate::{
    draw::{Draws, Purpose},
    spec::{Loss, PathSpec},
};

/// Which way packets go; the two ways of a path draw apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first end to the second.
    There,
    /// From the second end to the first.
    Back,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The path lost it.
    Lost,
    /// The queue had no room.
    Overflowed,
    /// It arrives at this time since the start.
    Arrives(Duration),
}

/// What became of the packets so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that the path lost.
    pub lost: u64,
    /// Packets that found the queue full.
    pub overflowed: u64,
    /// Bytes of packets that arrive.
    pub bytes: u64,
}

/// One direction of a path.
///
/// Two paths of the same spec, seed and direction lose the packets with the same indices, whenever these are sent.
#[derive(Debug, Clone)]
pub struct Path {
    spec: PathSpec,
    draws: Draws,
    /// When the last packet that was queued is sent off.
    free_at: Duration,
    /// When the last packet in order arrives.
    last_arrival: Duration,
    in_burst: bool,
    counts: Counts,
}

impl Path {
    /// Returns an empty path.
    pub fn new(spec: PathSpec, seed: u64, direction: Direction) -> Self {
        let draws = Draws::new(seed, direction as u64);
        let (free_at, last_arrival) = (Duration::ZERO, Duration::ZERO);
        Self { spec, draws, free_at, last_arrival, in_burst: false, counts: Counts::default() }
    }

    /// Changes what the path does to packets from now on; those under way arrive as they would have.
    pub fn set(&mut self, spec: PathSpec) {
        self.spec = spec;
    }

    /// Returns what the path does.
    pub fn spec(&self) -> &PathSpec {
        &self.spec
    }

    /// Returns what became of the packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns how long a packet sent now would wait for its turn.
    pub fn queued(&self, now: Duration) -> Duration {
        self.free_at.saturating_sub(now)
    }

    /// Sends a packet at `now`, which never goes back.
    pub fn send(&mut self, now: Duration, bytes: usize) -> Fate {
        let index = self.counts.sent;
        self.counts.sent += 1;
        // Drawn for every packet, so that a full queue does not shift which ones are lost.
        let lost = self.is_lost(index);
        if let Some(rate) = self.spec.rate {
            if self.queued(now) > self.spec.queue {
                self.counts.overflowed += 1;
                return Fate::Overflowed;
            }
            self.free_at = self.free_at.max(now) + serialisation(bytes, rate);
        } else {
            self.free_at = now;
        }
        if lost {
            self.counts.lost += 1;
            return Fate::Lost;
        }
        self.counts.bytes += bytes as u64;
        Fate::Arrives(self.arrival(index))
    }

    fn is_lost(&mut self, index: u64) -> bool {
        let draw = self.draws.unit(Purpose::Loss, index);
        match self.spec.loss {
            Loss::Random(chance) => draw < chance,
            Loss::Burst { begin, end } => {
                let lost = self.in_burst || draw < begin;
                self.in_burst = lost && self.draws.unit(Purpose::BurstEnd, index) >= end;
                lost
            }
        }
    }

    fn arrival(&mut self, index: u64) -> Duration {
        let jitter = self.spec.jitter.mul_f64(self.draws.unit(Purpose::Jitter, index));
        let in_order = (self.free_at + self.spec.delay + jitter).max(self.last_arrival);
        self.last_arrival = in_order;
        let arrival = match self.spec.reorder {
            Some(reorder) if self.draws.unit(Purpose::Reorder, index) < reorder.share => in_order + reorder.by,
            Some(_) | None => in_order,
        };
        next_batch(arrival, self.spec.batch)
    }
}

fn serialisation(bytes: usize, rate: u64) -> Duration {
    Duration::from_nanos((bytes as u64).saturating_mul(8_000_000_000) / rate)
}

fn next_batch(arrival: Duration, batch: Duration) -> Duration {
    if batch.is_zero() {
        return arrival;
    }
    let batches = arrival.as_nanos().div_ceil(batch.as_nanos());
    u32::try_from(batches).map_or(arrival, |batches| batch * batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn path(spec: &str, seed: u64) -> Path {
        Path::new(spec.parse().expect("a path"), seed, Direction::There)
    }

    fn lost(mut path: Path, packets: u64) -> Vec<u64> {
        (0..packets).filter(|_| path.send(Duration::ZERO, 100) == Fate::Lost).collect()
    }

    #[test]
    fn the_same_seed_loses_the_same_packets() {
        let first = lost(path("loss=2%", 7), 10_000);
        assert!((150..250).contains(&first.len()), "{} of 10,000", first.len());
        assert_eq!(first, lost(path("loss=2%", 7), 10_000));
        assert_ne!(first, lost(path("loss=2%", 8), 10_000));
        let back = Path::new("loss=2%".parse().expect("a path"), 7, Direction::Back);
        assert_ne!(first, lost(back, 10_000));
    }

    #[test]
    fn a_full_queue_does_not_shift_what_is_lost() {
        let mut narrow = path("loss=2% rate=1mbit queue=10ms", 7);
        let free = lost(path("loss=2%", 7), 10_000);
        let mut seen = Vec::new();
        for index in 0..10_000_u64 {
            // Faster than the path: most overflow.
            if narrow.send(MS * u32::try_from(index / 10).expect("small"), 1000) == Fate::Lost {
                seen.push(index);
            }
        }
        assert!(narrow.counts().overflowed > 5_000);
        assert!(!seen.is_empty());
        assert!(seen.iter().all(|index| free.contains(index)));
    }

    #[test]
    fn packets_queue_for_the_rate_and_overflow() {
        // 1,000 bytes take 8 ms.
        let mut path = path("delay=10ms rate=1mbit queue=20ms", 1);
        assert_eq!(path.send(Duration::ZERO, 1000), Fate::Arrives(18 * MS));
        assert_eq!(path.send(Duration::ZERO, 1000), Fate::Arrives(26 * MS));
        assert_eq!(path.send(Duration::ZERO, 1000), Fate::Arrives(34 * MS));
        assert_eq!(path.queued(Duration::ZERO), 24 * MS);
        assert_eq!(path.send(Duration::ZERO, 1000), Fate::Overflowed);
        assert_eq!(path.send(4 * MS, 1000), Fate::Arrives(42 * MS));
        assert_eq!(path.send(100 * MS, 1000), Fate::Arrives(118 * MS));
    }

    #[test]
    fn bursts_are_as_long_as_they_should_be() {
        let lost = lost(path("burst=1%/30%", 3), 100_000);
        let bursts = lost.chunk_by(|a, b| a + 1 == *b).count();
        let share = lost.len() as f64 / 100_000.0;
        let length = lost.len() as f64 / bursts as f64;
        // A burst has 1/0.3 packets; one begins every 100 packets.
        assert!((0.028..0.036).contains(&share), "{share}");
        assert!((3.1..3.6).contains(&length), "{length}");
    }

    #[test]
    fn only_late_packets_leave_the_order() {
        let mut path = path("delay=10ms jitter=3ms reorder=2%/5ms", 5);
        let arrivals: Vec<_> = (0..10_000_u32)
            .map(|index| match path.send(MS * index / 10, 100) {
                Fate::Arrives(at) => at,
                fate @ (Fate::Lost | Fate::Overflowed) => panic!("{fate:?}"),
            })
            .collect();
        let late = arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!((150..250).contains(&late), "{late}");
    }

    #[test]
    fn batches_arrive_together() {
        let mut path = path("delay=1ms batch=5ms", 1);
        assert_eq!(path.send(Duration::ZERO, 100), Fate::Arrives(5 * MS));
        assert_eq!(path.send(4 * MS, 100), Fate::Arrives(5 * MS));
        assert_eq!(path.send(5 * MS, 100), Fate::Arrives(10 * MS));
    }
}
