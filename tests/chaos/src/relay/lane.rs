//! What happens to packets on their way in one direction.

use std::time::Duration;

use bench_emulator::{Direction, Fate, Path, PathSpec};
use bytes::Bytes;

/// What a path does to packets in one direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Condition {
    /// Loss, delay and order.
    pub(crate) path: PathSpec,
    /// The share that arrives twice.
    pub(crate) duplicate: f64,
    /// The share that arrives with another byte in it.
    pub(crate) corrupt: f64,
}

/// One direction of a path.
#[derive(Debug)]
pub(super) struct Lane {
    path: Path,
    random: fastrand::Rng,
    condition: Condition,
}

impl Lane {
    pub(super) fn new(seed: u64, direction: Direction) -> Self {
        let condition = Condition::default();
        let path = Path::new(condition.path.clone(), seed, direction);
        Self { path, random: fastrand::Rng::with_seed(seed ^ direction as u64), condition }
    }

    pub(super) fn set(&mut self, condition: Condition) {
        self.path.set(condition.path.clone());
        self.condition = condition;
    }

    /// Returns what arrives of a packet sent at `now`, and when.
    pub(super) fn send(&mut self, now: Duration, packet: &Bytes) -> Vec<(Duration, Bytes)> {
        let copies = if self.random.f64() < self.condition.duplicate { 2 } else { 1 };
        let mut arriving = Vec::with_capacity(copies);
        for _ in 0..copies {
            let packet = if self.random.f64() < self.condition.corrupt { self.damage(packet) } else { packet.clone() };
            match self.path.send(now, packet.len()) {
                Fate::Arrives(at) => arriving.push((at, packet)),
                Fate::Lost => {}
                Fate::Overflowed => {}
            }
        }
        arriving
    }

    fn damage(&mut self, packet: &Bytes) -> Bytes {
        let mut damaged = packet.to_vec();
        if let Some(byte) = self.random.choice(&mut damaged) {
            *byte ^= self.random.u8(1..);
        }
        damaged.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arriving(condition: Condition) -> Vec<Bytes> {
        let mut lane = Lane::new(1, Direction::There);
        lane.set(condition);
        (0..1000).flat_map(|_| lane.send(Duration::ZERO, &Bytes::from_static(&[7; 100]))).map(|(_, it)| it).collect()
    }

    #[test]
    fn nothing_happens_to_packets_unless_told() {
        let arriving = arriving(Condition::default());
        assert_eq!(arriving, vec![Bytes::from_static(&[7; 100]); 1000]);
    }

    #[test]
    fn a_black_hole_lets_nothing_through() {
        let path = "loss=100%".parse().unwrap();
        assert!(arriving(Condition { path, ..Condition::default() }).is_empty());
    }

    #[test]
    fn packets_are_doubled_and_damaged() {
        let doubled = arriving(Condition { duplicate: 0.2, ..Condition::default() });
        assert!((1100..1300).contains(&doubled.len()), "{}", doubled.len());
        let damaged = arriving(Condition { corrupt: 0.2, ..Condition::default() });
        let whole = damaged.iter().filter(|packet| ***packet == [7; 100]).count();
        assert!((700..900).contains(&whole), "{whole}");
        let bytes_that_differ = |packet: &Bytes| packet.iter().filter(|byte| **byte != 7).count();
        assert!(damaged.iter().all(|packet| bytes_that_differ(packet) <= 1));
    }
}
