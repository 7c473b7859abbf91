//! Small requests on a path that loses packets: adit's first reason to exist.

use std::time::Duration;

use adit_node::settings::Congestion;
use bench_network::run;

use crate::traffic::{Ends, MS, SECOND, median, percentile};

const RESPONSE_BYTES: usize = 10 * 1024;

/// Packets of a request of 1 KiB and of its response.
const PACKETS: [u32; 2] = [1, 8];

/// Returns the 99th percentile of 200 requests a second.
fn p99(congestion: Congestion, rtt_ms: u64, loss: &str, seed: u64) -> Duration {
    let spec = format!("delay={}us {loss} rate=100mbit queue=50ms", rtt_ms * 500).parse().unwrap();
    run(spec, seed, async |network| {
        let ends = Ends::new(&network, congestion).await;
        ends.serve(RESPONSE_BYTES);
        ends.ask(seed, 200.0, SECOND).await;
        percentile(&ends.ask(seed + 1000, 200.0, 20 * SECOND).await, 99)
    })
}

fn p99_median(rtt_ms: u64, loss: &str) -> Duration {
    median((1..=5).map(|seed| p99(Congestion::Adaptive, rtt_ms, loss, seed)).collect())
}

/// Returns the 99th percentile if every loss were known one round trip after it was sent: the best that can be done
/// without sending anything twice.
fn bound(rtt_ms: u64, loss: f64) -> Duration {
    let rtt = Duration::from_millis(rtt_ms);
    // The response's packets leave one after the other.
    let sending = Duration::from_micros(900);
    let mut random = fastrand::Rng::with_seed(7);
    let mut lost_rounds = |packets: u32| (0..packets).map(|_| tries_lost(&mut random, loss)).max().unwrap_or(0);
    let mut took: Vec<_> =
        (0..100_000).map(|_| rtt + sending + rtt * PACKETS.map(&mut lost_rounds).iter().sum::<u32>()).collect();
    took.sort();
    percentile(&took, 99)
}

fn tries_lost(random: &mut fastrand::Rng, loss: f64) -> u32 {
    let mut tries = 0;
    while random.f64() < loss {
        tries += 1;
    }
    tries
}

fn is_within(rtt_ms: u64, share: f64) {
    for (text, loss) in [("loss=0.5%", 0.005), ("loss=1%", 0.01), ("loss=2%", 0.02), ("loss=5%", 0.05)] {
        let (seen, bound) = (p99_median(rtt_ms, text), bound(rtt_ms, loss));
        println!("{rtt_ms} ms, {text}: p99 {seen:.1?}, bound {bound:.1?}, {:.2}", seen.div_duration_f64(bound));
        assert!(seen <= bound.mul_f64(share), "{text}: {seen:?} is over {share} × {bound:?}");
    }
}

#[test]
fn at_20_ms_a_request_waits_little_longer_than_it_must() {
    is_within(20, 1.15);
}

#[test]
fn at_60_ms_a_request_waits_little_longer_than_it_must() {
    is_within(60, 1.1);
}

#[test]
fn bursts_of_losses_cost_a_few_round_trips() {
    for rtt_ms in [20, 60] {
        let seen = p99_median(rtt_ms, "burst=1%/30%");
        println!("{rtt_ms} ms: {seen:?}");
        assert!(seen <= Duration::from_millis(rtt_ms) * 7 / 2, "{seen:?}");
    }
}

/// That the tests above can fail.
#[test]
fn cubic_waits_far_longer() {
    let seen = p99(Congestion::Cubic, 20, "loss=2%", 1);
    assert!(seen > bound(20, 0.02) * 10, "{seen:?}");
}

#[test]
fn the_last_packet_is_missed_without_a_probe_timeout() {
    let run = |seed| {
        run("delay=30ms loss=2% rate=100mbit".parse().unwrap(), seed, async |network| {
            let ends = Ends::new(&network, Congestion::Adaptive).await;
            ends.serve(RESPONSE_BYTES);
            percentile(&ends.ask(seed, 10.0, 100 * SECOND).await, 99)
        })
    };
    let seen = median((1..=5).map(run).collect());
    println!("{seen:?}");
    // Two round trips, and an eighth until a loss is declared; three without probes.
    assert!(seen <= 135 * MS, "{seen:?}");
}
