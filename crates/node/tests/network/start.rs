//! The first megabyte.

use std::time::Duration;

use adit_node::settings::Congestion;
use bench_network::run;
use tokio::time::{Instant, sleep};

use crate::traffic::{Ends, SECOND};

const MEBIBYTE: usize = 1024 * 1024;

/// Returns how long the first megabyte takes, after so many seconds of small requests.
fn first_megabyte(congestion: Congestion, rtt_ms: u64, small: u32) -> Duration {
    let spec = format!("delay={}us rate=100mbit queue=50ms", rtt_ms * 500).parse().unwrap();
    run(spec, 1, async |network| {
        let ends = Ends::new(&network, congestion).await;
        ends.serve_as_asked();
        for _ in 0..small * 10 {
            sleep(SECOND / 10).await;
            assert_eq!(ends.fetch(2048).await, 2048);
        }
        let start = Instant::now();
        assert_eq!(ends.fetch(MEBIBYTE).await, MEBIBYTE);
        start.elapsed()
    })
}

fn is_as_fast_as_cubic(small: u32) {
    for rtt_ms in [20, 60, 150] {
        let ours = first_megabyte(Congestion::Adaptive, rtt_ms, small);
        let cubic = first_megabyte(Congestion::Cubic, rtt_ms, small);
        println!("{rtt_ms} ms after {small} s: {ours:?}, CUBIC {cubic:?}");
        assert!(ours <= cubic.mul_f64(1.5), "{rtt_ms} ms: {ours:?} instead of {cubic:?}");
    }
}

#[test]
fn a_fresh_link_starts_as_fast_as_with_cubic() {
    is_as_fast_as_cubic(0);
}

#[test]
fn a_link_of_small_requests_starts_as_fast_as_with_cubic() {
    is_as_fast_as_cubic(30);
}
