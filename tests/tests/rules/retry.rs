//! What is tried again on another client, and what is not.

use std::time::Duration;

use adit_core::{
    budget::RetryTerms,
    wire::exchange::{BodyKind, Reply, ReplyHead},
};
use adit_tests::{
    Upstream, Visitor,
    body::{full, noise},
    node::{ClientNode, ServerNode},
    peer::Peer,
    settings::{self, GROUP, everything_to, group},
    trust::Trust,
    upstream::nobody,
    visitor::Pending,
};
use http::{HeaderMap, StatusCode};
use tokio::time::timeout;

/// A server with two clients, the first of which has no upstream behind its rule.
struct Halved {
    server: ServerNode,
    upstream: Upstream,
    _clients: [ClientNode; 2],
    _port: tokio::net::TcpSocket,
}

impl Halved {
    async fn start() -> Self {
        Self::with(RetryTerms::default()).await
    }

    async fn with(retry_budget: RetryTerms) -> Self {
        let (trust, upstream) = (Trust::default(), Upstream::echo());
        let mut settings = settings::public_server(&trust);
        settings.groups.get_mut(&group(GROUP)).unwrap().terms.retry_budget = retry_budget;
        let server = ServerNode::start(settings).await;
        let (port, address) = nobody();
        let mut broken = settings::client(&trust, "web-1", server.tunnel);
        broken.egress = everything_to(settings::url("http", address));
        let mut whole = settings::client(&trust, "web-2", server.tunnel);
        whole.egress = everything_to(upstream.http());
        let clients = [ClientNode::start(broken).await, ClientNode::start(whole).await];
        server.has_clients(GROUP, 2).await;
        Self { server, upstream, _clients: clients, _port: port }
    }
}

#[tokio::test]
async fn what_never_reached_an_upstream_goes_to_the_other_client() {
    let halved = Halved::start().await;
    let mut visitor = Visitor::http1(halved.server.entry()).await;
    for number in 0..50 {
        let answer = visitor.post("/", full(number.to_string())).await;
        assert_eq!((answer.failure(), answer.text()), ((200, ""), &*number.to_string()));
    }
    assert_eq!(halved.upstream.saw().requests(), 50);
}

#[tokio::test]
async fn what_is_beyond_the_retry_budget_fails_as_it_failed_first() {
    let none = RetryTerms { share: 0.0, per_second: 0 };
    let halved = Halved::with(none).await;
    let mut visitor = Visitor::http1(halved.server.entry()).await;
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..100 {
        match visitor.get("/").await.failure() {
            (200, "") => answered += 1,
            (502, "upstream-refused") => refused += 1,
            other => unreachable!("{other:?}"),
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
    let retries = halved.server.retries(GROUP);
    assert_eq!((retries.granted(), retries.refused()), (0, refused));
}

#[tokio::test]
async fn what_is_tried_again_is_counted() {
    let halved = Halved::start().await;
    let mut visitor = Visitor::http1(halved.server.entry()).await;
    for _ in 0..100 {
        assert_eq!(visitor.get("/").await.failure(), (200, ""));
    }
    assert!(halved.server.retries(GROUP).granted() > 0);
    assert_eq!(halved.server.retries(GROUP).refused(), 0);
}

#[tokio::test]
async fn a_body_too_large_to_be_kept_is_sent_once() {
    let halved = Halved::start().await;
    let (mut refused, mut whole) = (0, 0);
    let large = noise(512 * 1024);
    for _ in 0..40 {
        let mut visitor = Visitor::http1(halved.server.entry()).await;
        let answer = visitor.post("/", full(large.clone())).await;
        match answer.failure() {
            (200, "") => {
                assert_eq!(answer.body, large);
                whole += 1;
            }
            // It had gone too far to be taken back.
            (502, "upstream-refused") => refused += 1,
            other => unreachable!("{other:?}"),
        }
    }
    assert!(whole > 0, "{refused} refused");
}

/// Two clients, of which the one that is asked vanishes without an answer. Returns the other one, the visitor,
/// and the answer to come.
async fn asked_one_vanishes(server: &ServerNode, trust: &Trust, method: &str) -> (Peer, Visitor, Pending) {
    let first = Peer::join_as("client-1", server.tunnel, trust).await;
    let second = Peer::join_as("client-2", server.tunnel, trust).await;
    let mut visitor = Visitor::http1(server.entry()).await;
    let request = visitor.request(method, "/").body(full("once"));
    let pending = visitor.start(request).await;
    let (asked, other) = tokio::select! {
        _ = first.accept() => (first, second),
        _ = second.accept() => (second, first),
    };
    drop(asked);
    (other, visitor, pending)
}

#[tokio::test]
async fn a_lost_link_is_no_reason_to_do_a_thing_twice() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::public_server(&trust)).await;
    let (other, _visitor, pending) = asked_one_vanishes(&server, &trust, "POST").await;
    assert_eq!(pending.whole().await.failure(), (502, "link-lost"));
    assert!(timeout(Duration::from_millis(50), other.quic.accept_bi()).await.is_err(), "it was asked twice");
}

#[tokio::test]
async fn what_may_be_done_twice_goes_to_the_other_client_with_its_body() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::public_server(&trust)).await;
    let (other, _visitor, pending) = asked_one_vanishes(&server, &trust, "PUT").await;
    let mut stream = other.accept().await;
    let head = stream.request().await;
    assert_eq!((head.method.as_str(), head.body), ("PUT", BodyKind::Length(4)));
    let reply =
        Reply::Head(ReplyHead { status: StatusCode::CREATED, reason: None, headers: HeaderMap::new() }, BodyKind::None);
    stream.answer(&reply, []).await;
    assert_eq!(pending.whole().await.failure(), (201, ""));
}
