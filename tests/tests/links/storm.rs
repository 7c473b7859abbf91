//! A thousand clients lose their server at once. Slow: `just storm`.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "the numbers are worth reading; a test fails by panicking"
)]

use std::{fs, time::Duration};

use adit_core::limits::Timeouts;
use adit_node::settings::ServerSettings;
use adit_tests::{
    node::{ClientNode, ServerNode},
    settings::{self, GROUP},
    trust::Trust,
};
use tokio::time::{Instant, sleep, timeout};

const CLIENTS: usize = 1_000;

/// How long they may take to be back, all of them.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Settings with the waits of a real server.
fn server(trust: &Trust) -> ServerSettings {
    ServerSettings { timeouts: Timeouts { drain: Duration::ZERO, ..Timeouts::default() }, ..settings::server(trust) }
}

/// Returns how much CPU time this process has taken.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(')').next().expect("a name").split_whitespace().skip(11).take(2);
    // A hundredth of a second each, whatever the kernel's own ticks are (proc(5)).
    Duration::from_millis(10 * fields.map(|ticks| ticks.parse::<u64>().expect("a number")).sum::<u64>())
}

/// Waits until all clients are there, and says how many there were when.
async fn all_join(server: &ServerNode, what: &str) {
    let (start, cpu_before) = (Instant::now(), cpu());
    let joined = timeout(BACK_WITHIN, async {
        let mut quarter = 1;
        while server.clients(GROUP) < CLIENTS {
            if server.clients(GROUP) * 4 >= CLIENTS * quarter {
                println!("{what}: {quarter}/4 after {:.1} s", start.elapsed().as_secs_f64());
                quarter += 1;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    let there = joined.await.is_ok();
    let (took, cpu) = (start.elapsed().as_secs_f64(), (cpu() - cpu_before).as_secs_f64());
    println!("{what}: {} of {CLIENTS} after {took:.1} s, {cpu:.1} s of CPU for both sides", server.clients(GROUP));
    assert!(there, "{what}: only {} of {CLIENTS} within {BACK_WITHIN:?}", server.clients(GROUP));
}

#[tokio::test]
#[ignore = "a thousand clients take a minute"]
async fn a_thousand_clients_are_back_within_half_a_minute() {
    adit::life::raise_descriptor_limit();
    let trust = Trust::default();
    let mut running = ServerNode::start(server(&trust)).await;
    let address = running.tunnel;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut settings = settings::client(&trust, &format!("client-{number}"), address);
        settings.timeouts = Timeouts::default();
        clients.push(ClientNode::start(settings).await);
    }
    all_join(&running, "at first").await;
    for (gone, what) in [(Duration::ZERO, "restarted at once"), (Duration::from_secs(20), "gone for 20 s")] {
        // All of them hear it in the same moment.
        running.stop();
        running.stopped().await;
        sleep(gone).await;
        running = ServerNode::start_at(address, || server(&trust)).await;
        all_join(&running, what).await;
    }
    drop(clients);
}
