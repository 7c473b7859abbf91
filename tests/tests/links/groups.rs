//! The clients of a group share its requests, and only its requests.

use adit_core::route::RuleOptions;
use adit_node::settings::{GroupSettings, IngressRule};
use adit_tests::{
    Direction, Tunnel, Upstream, Visitor,
    body::full,
    node::{ClientNode, ServerNode},
    peer::Peer,
    settings::{self, GROUP, everything_to, group, pattern},
    trust::Trust,
    upstream::echo,
    visitor::raw,
};
use tokio::task::JoinSet;

/// A server, and two clients of one group with an upstream each.
pub(super) struct Shared {
    pub(super) server: ServerNode,
    clients: [ClientNode; 2],
    pub(super) upstreams: [Upstream; 2],
}

impl Shared {
    async fn start() -> Self {
        Self::with([Upstream::echo(), Upstream::echo()]).await
    }

    pub(super) async fn with(upstreams: [Upstream; 2]) -> Self {
        let trust = Trust::default();
        let server = ServerNode::start(settings::public_server(&trust)).await;
        let start = async |name, upstream: &Upstream| {
            let mut settings = settings::client(&trust, name, server.tunnel);
            settings.egress = everything_to(upstream.http());
            ClientNode::start(settings).await
        };
        let clients = [start("web-1", &upstreams[0]).await, start("web-2", &upstreams[1]).await];
        server.has_clients(GROUP, 2).await;
        Self { server, clients, upstreams }
    }

    pub(super) async fn visitor(&self) -> Visitor {
        Visitor::http1(self.server.entry()).await
    }

    /// Asks that many times, one after another, and returns how many each upstream got.
    async fn ask(&self, count: usize) -> [usize; 2] {
        let before = self.upstreams.each_ref().map(|upstream| upstream.saw().requests());
        let mut visitor = self.visitor().await;
        for number in 0..count {
            let answer = visitor.post("/", full(number.to_string())).await;
            assert_eq!((answer.failure(), answer.text()), ((200, ""), &*number.to_string()));
        }
        let after = self.upstreams.each_ref().map(|upstream| upstream.saw().requests());
        [after[0] - before[0], after[1] - before[1]]
    }
}

#[tokio::test]
async fn two_clients_share_the_requests_of_their_group() {
    let shared = Shared::start().await;
    let [first, second] = shared.ask(100).await;
    assert!(first > 0 && second > 0, "{first} and {second}");
    assert_eq!(first + second, 100);
}

#[tokio::test]
async fn exchanges_that_last_are_spread_evenly() {
    let ((first, mut first_calls), (second, mut second_calls)) = (Upstream::by_hand(), Upstream::by_hand());
    let shared = Shared::with([first, second]).await;
    let mut visitor = Visitor::http2(shared.server.entry()).await;
    // Nobody gets an answer, so each link carries what it got.
    let (mut pending, mut unanswered) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        pending.push(visitor.start(visitor.request("GET", "/").empty()).await);
        pending.push(visitor.start(visitor.request("GET", "/").empty()).await);
        unanswered.extend([first_calls.next().await, second_calls.next().await]);
    }
    assert!(unanswered.iter().all(|call| !call.is_abandoned()));
}

#[tokio::test]
async fn when_one_client_stops_the_other_takes_all_and_no_request_is_lost() {
    let shared = Shared::start().await;
    let mut visitors = JoinSet::new();
    for _ in 0..8 {
        let mut visitor = shared.visitor().await;
        visitors.spawn(async move {
            for number in 0..100 {
                let answer = visitor.post("/", full(number.to_string())).await;
                assert_eq!((answer.failure(), answer.text()), ((200, ""), &*number.to_string()));
            }
        });
    }
    shared.ask(20).await;
    let [first, _] = &shared.clients;
    first.stop();
    let mut finished = 0;
    while let Some(visitor) = visitors.join_next().await {
        assert!(visitor.is_ok(), "a visitor was refused while one of two clients stopped");
        finished += 1;
    }
    assert_eq!(finished, 8);
    shared.server.has_clients(GROUP, 1).await;
    assert_eq!(shared.ask(50).await, [0, 50]);
    let Shared { clients: [first, second], .. } = shared;
    first.stopped().await;
    assert!(second.runs());
}

#[tokio::test]
async fn when_one_client_is_killed_the_other_takes_all() {
    let mut shared = Shared::start().await;
    shared.ask(10).await;
    let trust = Trust::default();
    // Anything that is no client of this server takes its place.
    let nowhere = settings::client(&trust, "web-3", shared.server.tunnel);
    drop(std::mem::replace(&mut shared.clients[0], ClientNode::start(nowhere).await));
    shared.server.has_clients(GROUP, 1).await;
    assert_eq!(shared.ask(50).await, [0, 50]);
}

#[tokio::test]
async fn a_returning_client_replaces_the_link_that_it_had() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let stale = Peer::join(server.tunnel, &trust).await;
    let _fresh = Peer::join(server.tunnel, &trust).await;
    assert_eq!(stale.closed().await, "replaced by a newer link of the same client");
    server.has_clients(GROUP, 1).await;
}

#[tokio::test]
async fn every_group_gets_the_requests_of_its_own_rules() {
    let trust = Trust::default();
    let mut settings = settings::public_server(&trust);
    let names = ["red", "blue"];
    settings.groups = names.map(|name| (group(name), GroupSettings::new(["*"]))).into();
    settings.ingress = names
        .map(|name| IngressRule {
            pattern: pattern(Some(&format!("{name}.example")), None),
            group: group(name),
            options: RuleOptions::default(),
        })
        .into();
    let server = ServerNode::start(settings).await;
    let mut clients = Vec::new();
    for name in names {
        let upstream = Upstream::answering(move |_| async move { http::Response::new(full(name)) });
        let mut settings = settings::client(&trust, name, server.tunnel);
        settings.tunnel.group = group(name);
        settings.egress = everything_to(upstream.http());
        clients.push((ClientNode::start(settings).await, upstream));
        server.has_clients(name, 1).await;
    }
    for name in names {
        let request = format!("GET / HTTP/1.1\r\nHost: {name}.example\r\nConnection: close\r\n\r\n");
        let answer = raw::ask(server.entry(), request).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{name}")), "{answer}");
    }
}

#[tokio::test]
async fn an_egress_rule_of_another_group_is_no_rule() {
    let upstream = Upstream::answering(echo);
    for (groups, expected) in
        [(vec!["other"], (404, "no-route")), (vec!["other", GROUP], (200, "")), (vec![], (404, "no-route"))]
    {
        let mut egress = everything_to(upstream.http());
        egress.rules[0].groups = Some(groups.iter().map(|name| group(name)).collect());
        let tunnel = Tunnel::with(egress).start(Direction::Forward).await;
        assert_eq!(tunnel.http1().await.get("/").await.failure(), expected, "{groups:?}");
    }
}
