//! Several links over one path. How a link shares with TCP is the lab's to say.

use adit_node::settings::Congestion;
use bench_network::run;
use tokio::time::sleep;

use crate::traffic::{Ends, SECOND};

/// Returns what a link and another one that starts two seconds later carry, in Mbit/s, after they have settled.
fn rates(path: &str, seed: u64, other: Congestion) -> (f64, f64) {
    run(path.parse().unwrap(), seed, async |network| {
        let first = Ends::new(&network, Congestion::Adaptive).await.flow(1).await;
        sleep(2 * SECOND).await;
        let second = Ends::new(&network, other).await.flow(1).await;
        sleep(10 * SECOND).await;
        tokio::join!(first.mbits(20 * SECOND), second.mbits(20 * SECOND))
    })
}

#[test]
fn two_links_share_evenly() {
    for path in ["delay=10ms rate=100mbit queue=50ms", "delay=30ms rate=100mbit queue=50ms"] {
        let (first, second) = rates(path, 1, Congestion::Adaptive);
        println!("{path}: {first:.1} and {second:.1} Mbit/s");
        assert!((0.8..=1.25).contains(&(first / second)), "{path}: {first:.1} and {second:.1} Mbit/s");
        assert!(first + second >= 90.0, "{path}: {first:.1} and {second:.1} Mbit/s");
    }
}

#[test]
fn a_link_and_cubic_leave_each_other_room() {
    let paths = [
        "delay=10ms rate=100mbit queue=20ms",
        "delay=10ms rate=100mbit queue=50ms",
        "delay=30ms rate=100mbit queue=50ms",
    ];
    for path in paths {
        let seen: Vec<_> = (1..=5).map(|seed| rates(path, seed, Congestion::Cubic)).collect();
        println!("{path}: {seen:.1?} Mbit/s");
        let mut ours: Vec<_> = seen.iter().map(|(ours, _)| *ours).collect();
        ours.sort_by(f64::total_cmp);
        // Of 50, its half.
        assert!((20.0..=75.0).contains(&ours[2]), "{path}: {seen:.1?} Mbit/s");
        assert!(ours[0] >= 15.0, "{path}: {seen:.1?} Mbit/s");
    }
}
