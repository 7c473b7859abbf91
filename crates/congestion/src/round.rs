//! What happened during one round trip.

use std::time::{Duration, Instant};

/// A round trip: it begins when the one before ends, and ends with the first acknowledgement of a packet that was
/// sent after it began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Round {
    /// How long it took.
    pub(crate) took: Duration,
    /// Bytes that were acknowledged.
    pub(crate) delivered: u64,
    /// Bytes that were found lost.
    pub(crate) lost: u64,
    /// The least round-trip time of a packet that was acknowledged.
    pub(crate) rtt_min: Duration,
    /// Whether as much was in flight as the window allows; if not, the application had no more to send.
    pub(crate) filled: bool,
}

/// Two packets.
const GAP_BYTES: u64 = 3000;

/// Collects what happens into rounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rounds {
    current: Option<Current>,
    packet_sent_last: u64,
    in_flight: u64,
}

#[derive(Debug, Clone)]
struct Current {
    began: Instant,
    /// The round ends when a later packet is acknowledged.
    packet_before: u64,
    delivered: u64,
    lost: u64,
    rtt_min: Duration,
    filled: bool,
}

impl Rounds {
    /// Notes that packets up to `packet` with `bytes` in all were sent with this window.
    pub(crate) fn sent(&mut self, bytes: u64, packet: u64, window: u64) {
        self.packet_sent_last = packet;
        self.in_flight += bytes;
        if let Some(current) = &mut self.current {
            // Packets that do not fit any more leave a gap, which is half of a very small window.
            let gap = (window / 5).max(GAP_BYTES);
            current.filled |= self.in_flight + gap >= window;
        }
    }

    /// Notes that a packet was acknowledged.
    pub(crate) fn acked(&mut self, bytes: u64, rtt: Duration) {
        if let Some(current) = &mut self.current {
            current.delivered += bytes;
            current.rtt_min = current.rtt_min.min(rtt);
        }
    }

    /// Notes that packets were found lost.
    pub(crate) fn lost(&mut self, bytes: u64) {
        if let Some(current) = &mut self.current {
            current.lost += bytes;
        }
    }

    /// Returns whether the window has been full in this round.
    pub(crate) fn filled(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.filled)
    }

    /// Notes that all acknowledgements of a datagram were counted and that so much is still in flight. Returns the
    /// round that has ended with it.
    pub(crate) fn acks_end(
        &mut self,
        now: Instant,
        in_flight: u64,
        packet_acked_largest: Option<u64>,
    ) -> Option<Round> {
        self.in_flight = in_flight;
        let largest = packet_acked_largest?;
        let ended = match &self.current {
            Some(current) if largest <= current.packet_before => return None,
            Some(current) if current.delivered == 0 => None,
            Some(current) => Some(Round {
                took: now.saturating_duration_since(current.began).max(current.rtt_min),
                delivered: current.delivered,
                lost: current.lost,
                rtt_min: current.rtt_min,
                filled: current.filled,
            }),
            None => None,
        };
        self.current = Some(Current {
            began: now,
            packet_before: self.packet_sent_last,
            delivered: 0,
            lost: 0,
            rtt_min: Duration::MAX,
            filled: false,
        });
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_window_of_four_packets_is_filled_by_three() {
        let mut rounds = Rounds::default();
        rounds.acks_end(Instant::now(), 0, Some(0));
        rounds.sent(1452, 1, 4 * 1452);
        assert!(!rounds.filled());
        rounds.sent(2 * 1452, 3, 4 * 1452);
        assert!(rounds.filled());
    }

    #[test]
    fn a_round_ends_with_the_first_packet_sent_after_it_began() {
        let start = Instant::now();
        let mut rounds = Rounds::default();
        rounds.sent(1000, 0, 40_000);
        rounds.acked(1000, 20 * MS);
        assert_eq!(rounds.acks_end(start, 0, Some(0)), None, "the first acknowledgement only begins a round");
        rounds.sent(1000, 1, 40_000);
        rounds.sent(1000, 2, 40_000);
        assert!(!rounds.filled());
        rounds.sent(32_000, 3, 40_000);
        assert!(rounds.filled());
        rounds.lost(1000);
        rounds.acked(3000, 25 * MS);
        let round = rounds.acks_end(start + 25 * MS, 0, Some(3));
        let expected = Round { took: 25 * MS, delivered: 3000, lost: 1000, rtt_min: 25 * MS, filled: true };
        assert_eq!(round, Some(expected));
        assert!(!rounds.filled());
        rounds.sent(1000, 4, 40_000);
        rounds.acked(1, 20 * MS);
        assert_eq!(rounds.acks_end(start + 26 * MS, 1000, Some(3)), None, "nothing newer than the round");
    }
}
