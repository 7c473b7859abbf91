//! What a transport that repeats lost packets cannot beat.
//!
//! Every loss is known to the sender exactly one round trip after the packet was sent, and the packet is repeated at
//! once. A packet that is lost k times then arrives k round trips later, where k is geometric; the request is there
//! when its only packet is, and the response when its last one is. Nothing waits for another request, and sending
//! takes what the rate of the path makes it take. Only redundancy would be faster.

use crate::cell::{Cell, RATE_MBIT};

/// Packets of the request: head and 1 KiB.
const REQUEST_PACKETS: i32 = 1;

/// Packets of the response: head and 10 KiB.
const RESPONSE_PACKETS: i32 = 8;

/// What both take on the wire, heads of HTTP and of packets included.
const WIRE_BYTES: u32 = 1024 + 10 * 1024 + 9 * 64;

/// More losses in a row than ever count: at 10 % loss the rest is less than one in 10^30.
const ROUNDS_MAX: i32 = 32;

/// Returns the latency in milliseconds within which `quantile` of all requests can be answered.
pub(crate) fn quantile_ms(cell: Cell, quantile: f64) -> f64 {
    let loss = cell.loss_permille.probability();
    let rounds = (0..ROUNDS_MAX).find(|rounds| within(*rounds, loss) >= quantile).unwrap_or(ROUNDS_MAX);
    f64::from(cell.rtt_ms) * f64::from(1 + rounds) + service_ms()
}

/// Returns the share of requests that need at most `rounds` round trips more than one.
fn within(rounds: i32, loss: f64) -> f64 {
    (0..=rounds)
        .map(|request| {
            let exactly = all_within(request, loss, REQUEST_PACKETS) - all_within(request - 1, loss, REQUEST_PACKETS);
            exactly * all_within(rounds - request, loss, RESPONSE_PACKETS)
        })
        .sum()
}

/// Returns how likely it is that each of `packets` is lost at most `times` times.
fn all_within(times: i32, loss: f64, packets: i32) -> f64 {
    if times < 0 { 0.0 } else { (1.0 - loss.powi(times + 1)).powi(packets) }
}

fn service_ms() -> f64 {
    f64::from(WIRE_BYTES * 8) / f64::from(RATE_MBIT * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Loss;

    fn cell(rtt_ms: u32, permille: u32) -> Cell {
        Cell { rtt_ms, loss_permille: Loss(permille) }
    }

    #[test]
    fn without_loss_a_request_takes_a_round_trip_and_its_service() {
        let bound = quantile_ms(cell(20, 0), 0.999);
        assert!((bound - 20.95).abs() < 0.05, "{bound}");
    }

    #[test]
    fn the_tail_takes_a_round_trip_more_for_each_loss_in_a_row() {
        let rounds = |cell: Cell, quantile| (quantile_ms(cell, quantile) / f64::from(cell.rtt_ms)).floor();
        assert_eq!(rounds(cell(60, 20), 0.5), 1.0);
        assert_eq!(rounds(cell(60, 20), 0.99), 2.0);
        assert_eq!(rounds(cell(60, 50), 0.99), 3.0);
    }

    #[test]
    fn the_bound_is_what_a_simulation_of_single_packets_shows() {
        let mut random = fastrand::Rng::with_seed(7);
        for permille in [5, 10, 20, 50] {
            let cell = cell(100, permille);
            let loss = cell.loss_permille.probability();
            let mut lost_times = || std::iter::from_fn(|| (random.f64() < loss).then_some(())).count();
            let mut rounds: Vec<usize> = (0..200_000)
                .map(|_| 1 + lost_times() + (0..RESPONSE_PACKETS).map(|_| lost_times()).max().unwrap())
                .collect();
            rounds.sort_unstable();
            for (quantile, index) in [(0.5, 100_000), (0.9, 180_000), (0.99, 198_000), (0.999, 199_800)] {
                let simulated = 100.0 * f64::from(u32::try_from(rounds[index]).unwrap()) + service_ms();
                assert!((quantile_ms(cell, quantile) - simulated).abs() < 1e-6, "{permille} {quantile} {simulated}");
            }
        }
    }
}
