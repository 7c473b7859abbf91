//! Paths that change, and paths that mislead.

use adit_node::settings::Congestion;
use bench_network::{Network, run};
use tokio::time::sleep;

use crate::traffic::{Ends, Flow, MS, SECOND, SENDER};

const FAST: &str = "delay=10ms rate=100mbit queue=50ms";

/// Runs one transfer over a path that begins as `FAST`.
fn transfer(scenario: impl AsyncFn(&Network, &Flow)) {
    run(FAST.parse().unwrap(), 1, async |network| {
        let ends = Ends::new(&network, Congestion::Adaptive).await;
        let flow = ends.flow(1).await;
        sleep(3 * SECOND).await;
        scenario(&network, &flow).await;
    });
}

async fn mbits_are(flow: &Flow, least: f64, when: &str) {
    let mbits = flow.mbits(2 * SECOND).await;
    println!("{when}: {mbits:.1} Mbit/s");
    assert!(mbits >= least, "{when}: {mbits:.1} Mbit/s");
}

#[test]
fn the_rate_drops_and_comes_back() {
    for queue in ["50ms", "500ms"] {
        transfer(async |network, flow| {
            network.set(&format!("delay=10ms rate=10mbit queue={queue}").parse().unwrap());
            sleep(3 * SECOND).await;
            network.take_queued_max(SENDER);
            mbits_are(flow, 9.0, "at 10 Mbit/s").await;
            let queued = network.take_queued_max(SENDER);
            assert!(queued <= 20 * MS, "{queued:?} queued at 10 Mbit/s");
            network.set(&FAST.parse().unwrap());
            sleep(2 * SECOND).await;
            mbits_are(flow, 90.0, "back at 100 Mbit/s").await;
        });
    }
}

#[test]
fn a_black_out_of_2_s_is_over_when_it_ends() {
    transfer(async |network, flow| {
        network.set(&format!("{FAST} loss=100%").parse().unwrap());
        sleep(2 * SECOND).await;
        network.set(&FAST.parse().unwrap());
        // The next probe may be as far away as the silence was long.
        sleep(3 * SECOND).await;
        mbits_are(flow, 90.0, "after the black-out").await;
    });
}

#[test]
fn a_move_to_a_longer_path_and_back_is_followed() {
    transfer(async |network, flow| {
        network.set(&"delay=75ms rate=100mbit queue=50ms".parse().unwrap());
        sleep(5 * SECOND).await;
        mbits_are(flow, 85.0, "at 150 ms").await;
        network.set(&FAST.parse().unwrap());
        sleep(3 * SECOND).await;
        mbits_are(flow, 90.0, "back at 20 ms").await;
    });
}

#[test]
fn late_packets_are_not_congestion() {
    transfer(async |network, flow| {
        network.set(&format!("{FAST} reorder=2%/5ms").parse().unwrap());
        sleep(SECOND).await;
        mbits_are(flow, 85.0, "reordering").await;
    });
}

#[test]
fn acknowledgements_in_lumps_do_not_mislead() {
    transfer(async |network, flow| {
        network.set(&format!("{FAST} batch=5ms").parse().unwrap());
        sleep(3 * SECOND).await;
        let before = network.counts(SENDER);
        mbits_are(flow, 85.0, "in lumps of 5 ms").await;
        let overflowed = network.counts(SENDER).overflowed - before.overflowed;
        assert_eq!(overflowed, 0, "packets overflowed");
    });
}
