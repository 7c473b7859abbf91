//! More requests than may be in flight: who waits, and for whom.

use std::{net::Ipv4Addr, time::Duration};

use adit_core::limits::Limits;
use adit_core::route::RuleOptions;
use adit_node::settings::GroupSettings;
use adit_node::settings::IngressRule;
use adit_tests::{
    Direction, Tunnel, Upstream, Visitor,
    body::{by_hand, empty},
    eventually,
    message::expect,
    node::{ClientNode, ServerNode},
    settings::{self, GROUP, everything_to, group, pattern},
    trust::Trust,
    visitor::Pending,
};

const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn start(visitor: &mut Visitor, path: &str) -> Pending {
    visitor.start(visitor.request("GET", path).empty()).await
}

#[tokio::test]
async fn a_flood_of_one_visitor_delays_another_by_one_request() {
    let (upstream, mut calls) = Upstream::by_hand();
    let limits = Limits { exchanges_per_link_max: 1, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(Direction::Reverse).await;
    let (mut flood, mut other) = (tunnel.http2().await, Visitor::http2_from(OTHER, tunnel.entry()).await);
    let mut flooding = vec![start(&mut flood, "/flood").await];
    let first = calls.next().await;
    for _ in 0..50 {
        flooding.push(start(&mut flood, "/flood").await);
    }
    eventually("the flood to wait", || tunnel.server.waiting(GROUP) == 50).await;
    let pending = start(&mut other, "/other").await;
    eventually("the other to wait", || tunnel.server.waiting(GROUP) == 51).await;
    first.answer(empty());
    let second = calls.next().await;
    assert_eq!(second.head.uri.path(), "/flood");
    second.answer(empty());
    let third = calls.next().await;
    assert_eq!(third.head.uri.path(), "/other");
    third.answer(empty());
    assert_eq!(pending.head().await.status(), 200);
    flood.hang_up();
    drop(flooding);
    eventually("the flood to be over", || tunnel.server.waiting(GROUP) == 0).await;
}

/// A server with the groups `red`, which may have so many requests at once, and `blue`.
async fn red_and_blue(
    exchanges_max: u32,
    timeout: Option<Duration>,
    upstreams: [&Upstream; 2],
) -> (ServerNode, Vec<ClientNode>) {
    let trust = Trust::default();
    let mut settings = settings::public_server(&trust);
    let names = ["red", "blue"];
    settings.groups = names.map(|name| (group(name), GroupSettings::new(["*"]))).into();
    if let Some(red) = settings.groups.get_mut(&group("red")) {
        red.terms.exchanges_max = Some(exchanges_max);
    }
    settings.ingress = names
        .map(|name| IngressRule {
            pattern: pattern(None, Some(&format!("/{name}"))),
            group: group(name),
            options: RuleOptions { timeout, ..RuleOptions::default() },
        })
        .into();
    let server = ServerNode::start(settings).await;
    let mut clients = Vec::new();
    for (name, upstream) in names.into_iter().zip(upstreams) {
        let mut settings = settings::client(&trust, name, server.tunnel);
        settings.tunnel.group = group(name);
        settings.egress = everything_to(upstream.http());
        clients.push(ClientNode::start(settings).await);
        server.has_clients(name, 1).await;
    }
    (server, clients)
}

#[tokio::test]
async fn a_group_that_has_as_many_as_it_may_have_takes_nothing_from_another() {
    let ((red, mut calls), blue) = (Upstream::by_hand(), Upstream::echo());
    let (server, _clients) = red_and_blue(2, None, [&red, &blue]).await;
    let mut flood = Visitor::http2(server.entry()).await;
    let mut flooding = Vec::new();
    for _ in 0..50 {
        flooding.push(start(&mut flood, "/red").await);
    }
    let mut held = vec![calls.next().await, calls.next().await];
    eventually("the rest to wait", || server.waiting("red") == 48).await;
    let mut visitor = Visitor::http1(server.entry()).await;
    for _ in 0..100 {
        assert_eq!(visitor.get("/blue").await.failure(), (200, ""));
    }
    assert!(calls.is_empty() && server.waiting("red") == 48 && server.waiting("blue") == 0);
    for answered in 0..50 {
        assert_eq!(red.saw().requests(), (answered + 2).min(50));
        held.remove(0).answer(empty());
        if answered < 48 {
            held.push(calls.next().await);
        }
    }
    for pending in flooding {
        assert_eq!(pending.head().await.status(), 200);
    }
}

#[tokio::test]
async fn whoever_waits_for_a_full_group_is_told_so_at_the_deadline() {
    let ((red, mut calls), blue) = (Upstream::by_hand(), Upstream::echo());
    let (server, _clients) = red_and_blue(1, Some(Duration::from_secs(2)), [&red, &blue]).await;
    let mut visitor = Visitor::http2(server.entry()).await;
    let pending = start(&mut visitor, "/red").await;
    let (chunks, body) = by_hand();
    calls.next().await.answer(body);
    // As long as the response goes on, the exchange is in flight.
    let mut going_on = pending.body().await;
    assert_eq!(visitor.get("/red").await.failure(), (503, "overloaded"));
    chunks.send("still here").await;
    expect(&mut going_on, "still here").await;
    drop((chunks, going_on));
    let next = start(&mut visitor, "/red").await;
    calls.next().await.answer(empty());
    assert_eq!(next.head().await.status(), 200);
}
