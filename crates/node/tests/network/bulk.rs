//! Long transfers.

use adit_node::settings::Congestion;
use bench_network::{Network, run};
use tokio::time::sleep;

use crate::traffic::{Ends, MS, SECOND, SENDER, percentile};

/// What came through, and what it did to the path.
struct Seen {
    mbits: f64,
    queued_max_ms: u128,
    /// The share of packets that found the queue full, from the first one on.
    overflowed: f64,
}

async fn transfer(network: &Network, streams: usize) -> Seen {
    let ends = Ends::new(network, Congestion::Adaptive).await;
    let flow = ends.flow(streams).await;
    sleep(3 * SECOND).await;
    network.take_queued_max(SENDER);
    let mbits = flow.mbits(10 * SECOND).await;
    let counts = network.counts(SENDER);
    let queued_max_ms = network.take_queued_max(SENDER).as_millis();
    Seen { mbits, queued_max_ms, overflowed: counts.overflowed as f64 / counts.sent as f64 }
}

fn fills(rtt_ms: u64) {
    for loss in ["0%", "0.5%", "1%", "2%"] {
        for streams in [1, 8] {
            let spec = format!("delay={}us loss={loss} rate=100mbit queue=50ms", rtt_ms * 500);
            let Seen { mbits, queued_max_ms, overflowed } =
                run(spec.parse().unwrap(), 1, async |network| transfer(&network, streams).await);
            println!("{spec}, {streams}: {mbits:.1} Mbit/s, queue {queued_max_ms} ms, overflowed {overflowed:.4}");
            assert!(mbits >= 90.0, "{spec}, {streams} streams: {mbits:.1} Mbit/s");
            assert!(queued_max_ms <= u128::from(rtt_ms), "{spec}, {streams} streams: {queued_max_ms} ms queued");
            assert!(overflowed <= 0.01, "{spec}, {streams} streams: {overflowed} overflowed");
        }
    }
}

#[test]
fn a_path_of_20_ms_is_filled_and_its_queue_is_not() {
    fills(20);
}

#[test]
fn a_path_of_60_ms_is_filled_and_its_queue_is_not() {
    fills(60);
}

#[test]
fn a_path_of_150_ms_is_filled_and_its_queue_is_not() {
    fills(150);
}

#[test]
fn a_shallow_queue_is_not_overflowed_for_long() {
    for queue in ["1ms", "2ms", "5ms"] {
        let spec = format!("delay=10ms rate=100mbit queue={queue}");
        run(spec.parse().unwrap(), 1, async |network| {
            let ends = Ends::new(&network, Congestion::Adaptive).await;
            let flow = ends.flow(1).await;
            sleep(3 * SECOND).await;
            let before = network.counts(SENDER);
            let mbits = flow.mbits(10 * SECOND).await;
            let after = network.counts(SENDER);
            let overflowed = (after.overflowed - before.overflowed) as f64 / (after.sent - before.sent) as f64;
            println!("{spec}: {mbits:.1} Mbit/s, overflowed {overflowed:.4}");
            assert!(mbits >= 80.0, "{spec}: {mbits:.1} Mbit/s");
            assert!(overflowed <= 0.01, "{spec}: {overflowed} overflowed");
        });
    }
}

#[test]
fn small_requests_beside_32_transfers_take_less_than_twice_as_long() {
    run("delay=10ms rate=100mbit queue=50ms".parse().unwrap(), 1, async |network| {
        let ends = Ends::new(&network, Congestion::Adaptive).await;
        ends.serve(2048);
        let alone = percentile(&ends.ask(1, 50.0, 5 * SECOND).await, 99);
        let beside = Ends { answering: ends.answering.clone(), asking: ends.asking.clone() };
        let _flow = beside.flow(32).await;
        sleep(2 * SECOND).await;
        let mut took = Vec::new();
        for _ in 0..200 {
            let start = tokio::time::Instant::now();
            ends.exchange(0).await;
            took.push(start.elapsed());
            sleep(20 * MS).await;
        }
        took.sort();
        let with = percentile(&took, 99);
        println!("alone {alone:?}, beside 32 transfers {with:?}");
        assert!(with <= alone * 2, "{with:?} instead of {alone:?}");
    });
}
