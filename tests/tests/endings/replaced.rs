//! Nodes that take the place of others while visitors ask: nobody notices.

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use adit_tests::{
    Upstream, eventually,
    message::Http,
    visitor::steady::{Habit, Steady, Tally},
};

use crate::process::{Home, free_udp};

/// How visitors ask: each way that there is to lose a request.
const HABITS: [Habit; 3] = [Habit::Kept(Http::Http1), Habit::Kept(Http::Http2), Habit::Fresh];

/// How long the long forms go on.
const LONG: Duration = Duration::from_secs(40);

/// Servers that stop without having waited for long.
const SHORT_WAITS: &str = "[timeouts]\ndrain_idle = \"500ms\"\n";

fn visitors(entry: SocketAddr, pause: Duration) -> Steady {
    Steady::start(entry, &HABITS, 4, pause)
}

async fn go_on(upstream: &Upstream, requests: usize) {
    let more = upstream.saw().requests() + requests;
    eventually("more requests", || upstream.saw().requests() >= more).await;
}

fn check(tally: &Tally) {
    assert_eq!(tally.failed, Vec::<String>::new());
    assert_eq!(tally.refused, 0);
}

/// Has servers replace each other at one entry, with two clients that know both addresses, until `enough`.
async fn hand_over(pause: Duration, mut enough: impl FnMut(usize) -> bool) -> (Tally, usize) {
    let (home, upstream, tunnels) = (Home::new(), Upstream::echo(), free_udp::<2>());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let entry = socket.local_addr().unwrap();
    let configs = ["one", "two"].into_iter().zip(tunnels);
    let configs: Vec<_> = configs.map(|(name, tunnel)| home.server(name, tunnel, entry, SHORT_WAITS)).collect();
    let mut server = home.start("server", &configs[0], &[&socket]);
    let config = home.client("client", &tunnels, upstream.address());
    let clients = [home.start("client", &config, &[]), home.start("client", &config, &[])];
    server.ready().await;
    let visitors = visitors(entry, pause);
    let mut handed_over = 0;
    while !enough(handed_over) {
        go_on(&upstream, 200).await;
        let next = home.start("server", &configs[(handed_over + 1) % 2], &[&socket]);
        next.ready().await;
        std::mem::replace(&mut server, next).stop().await;
        handed_over += 1;
        go_on(&upstream, 200).await;
    }
    let tally = visitors.tally().await;
    server.stop().await;
    for client in clients {
        client.stop().await;
    }
    (tally, handed_over)
}

/// Has three clients of a server start anew, one after another, until `enough`.
async fn roll(pause: Duration, mut enough: impl FnMut(usize) -> bool) -> (Tally, usize) {
    let (home, upstream, [tunnel]) = (Home::new(), Upstream::echo(), free_udp());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let entry = socket.local_addr().unwrap();
    let server = home.start("server", &home.server("server", tunnel, entry, SHORT_WAITS), &[&socket]);
    let config = home.client("client", &[tunnel], upstream.address());
    let mut clients = [(); 3].map(|()| home.start("client", &config, &[]));
    for client in &clients {
        client.ready().await;
    }
    server.ready().await;
    let visitors = visitors(entry, pause);
    let mut restarts = 0;
    while !enough(restarts) {
        go_on(&upstream, 200).await;
        let client = &mut clients[restarts % 3];
        let next = home.start("client", &config, &[]);
        // One stops before the next has its link.
        std::mem::replace(client, next).stop().await;
        client.ready().await;
        restarts += 1;
    }
    let tally = visitors.tally().await;
    for client in clients {
        client.stop().await;
    }
    server.stop().await;
    (tally, restarts)
}

#[tokio::test]
async fn a_server_takes_over_the_sockets_of_another_and_no_request_is_lost() {
    let (tally, _) = hand_over(Duration::from_millis(5), |times| times >= 2).await;
    check(&tally);
}

#[tokio::test]
async fn clients_start_anew_one_after_another_and_no_request_is_lost() {
    let (tally, _) = roll(Duration::from_millis(5), |times| times >= 3).await;
    check(&tally);
}

#[tokio::test]
#[ignore = "takes a minute; `just endings`"]
async fn long_servers_take_over_from_each_other() {
    let start = Instant::now();
    let (tally, times) = hand_over(Duration::from_millis(10), |_| start.elapsed() > LONG).await;
    report("server hand-overs", times, &tally, start);
}

#[tokio::test]
#[ignore = "takes a minute; `just endings`"]
async fn long_clients_start_anew_one_after_another() {
    let start = Instant::now();
    let (tally, times) = roll(Duration::from_millis(10), |_| start.elapsed() > LONG).await;
    report("client restarts", times, &tally, start);
}

fn report(what: &str, times: usize, tally: &Tally, start: Instant) {
    let Tally { answered, refused, failed } = tally;
    let seconds = start.elapsed().as_secs().max(1);
    let rate = u64::try_from(*answered).unwrap() / seconds;
    let line = format!(
        "{what}: {times} in {seconds} s; {answered} answered ({rate}/s), {} failed, {refused} refused\n",
        failed.len()
    );
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    check(tally);
}

#[tokio::test]
async fn a_socket_that_fits_nothing_keeps_a_server_from_starting() {
    let (home, [tunnel]) = (Home::new(), free_udp());
    let (entry, stray) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let config = home.server("server", tunnel, entry.local_addr().unwrap(), "");
    let said = home.start("server", &config, &[&entry, &stray]).failed().await;
    let expected =
        format!("descriptor 4, called \"\" and listening on {}, fits none of http", stray.local_addr().unwrap());
    assert!(said.contains(&expected), "{said}");
}
