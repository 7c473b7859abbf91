//! What a process does when it is told to stop, and told again.

use adit_tests::{Upstream, body::by_hand, eventually, message::expect, visitor::Visitor, within};
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::resources::Tunnel;

#[tokio::test]
async fn one_signal_lets_a_server_finish_and_a_second_ends_it_at_once() {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::start_to(upstream, |_| ()).await;
    let mut visitor = Visitor::http1(tunnel.entry).await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    let (chunks, body) = by_hand();
    calls.next().await.answer(body);
    let mut answer = pending.body().await;
    let [server, _client] = tunnel.processes();
    server.signal(Signal::TERM);
    within("the entry to be closed", async { while TcpStream::connect(tunnel.entry).await.is_ok() {} }).await;
    chunks.send("still served").await;
    expect(&mut answer, "still served").await;
    server.signal(Signal::INT);
    eventually("the server to say so", || server.said().contains("stopping at once")).await;
    let said = tunnel.server_failed().await;
    assert!(said.contains("stopping; once more to stop at once"), "{said}");
    chunks.unwanted().await;
}
