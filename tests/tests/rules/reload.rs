//! New settings for a node that runs.

use adit_core::http::edit::FieldEdits;
use adit_node::settings::{GroupSettings, ServerSettings};
use adit_tests::{
    Direction, Tunnel, Upstream, Visitor,
    body::full,
    node::{ClientNode, ServerNode},
    settings::{self, GROUP, everything_to, group},
    trust::Trust,
    upstream::{echo, response},
};

fn marking(trust: &Trust, mark: &str) -> ServerSettings {
    let mut settings = settings::public_server(trust);
    settings.ingress[0].options.response_headers = FieldEdits::new([], [("x-mark", mark)], []).unwrap();
    settings
}

async fn start(trust: &Trust, upstream: &Upstream) -> (ServerNode, ClientNode) {
    let server = ServerNode::start(marking(trust, "old")).await;
    let mut settings = settings::client(trust, "client", server.tunnel);
    settings.egress = everything_to(upstream.http());
    let client = ClientNode::start(settings).await;
    server.has_clients(GROUP, 1).await;
    (server, client)
}

#[tokio::test]
async fn a_connected_visitor_sees_the_new_rules_with_its_next_request() {
    let (upstream, trust) = (Upstream::echo(), Trust::default());
    let (server, _client) = start(&trust, &upstream).await;
    let mut visitor = Visitor::http1(server.entry()).await;
    assert_eq!(visitor.get("/").await.values("x-mark"), ["old"]);
    server.reload(marking(&trust, "new"));
    assert_eq!(visitor.get("/").await.values("x-mark"), ["new"]);
    assert_eq!(server.clients(GROUP), 1);
}

#[tokio::test]
async fn a_request_in_flight_ends_by_the_rules_it_began_with() {
    let ((upstream, mut calls), trust) = (Upstream::by_hand(), Trust::default());
    let (server, client) = start(&trust, &upstream).await;
    let mut visitor = Visitor::http1(server.entry()).await;
    let request = visitor.request("GET", "/").empty();
    let pending = visitor.start(request).await;
    let call = calls.next().await;
    server.reload(marking(&trust, "new"));
    client.reload(settings::client(&trust, "client", server.tunnel));
    call.answer_with(response(200, &[], full("late")));
    let answer = pending.whole().await;
    assert_eq!((answer.failure(), answer.text(), answer.values("x-mark")), ((200, ""), "late", vec!["old"]));
}

#[tokio::test]
async fn a_clients_upstream_changes_without_a_new_link() {
    let (first, second, trust) = (Upstream::echo(), Upstream::answering(echo), Trust::default());
    let (server, client) = start(&trust, &first).await;
    let mut visitor = Visitor::http1(server.entry()).await;
    assert_eq!(visitor.get("/").await.failure(), (200, ""));
    let mut settings = settings::client(&trust, "client", server.tunnel);
    settings.egress = everything_to(second.http());
    assert!(client.reload(settings).is_empty());
    assert_eq!(visitor.get("/").await.failure(), (200, ""));
    assert_eq!((first.saw().requests(), second.saw().requests()), (1, 1));
}

#[tokio::test]
async fn what_cannot_change_is_named() {
    let (upstream, trust) = (Upstream::echo(), Trust::default());
    let tunnel = Tunnel::to(upstream.http()).start(Direction::Reverse).await;
    let mut settings = settings::public_server(&trust);
    settings.http = None;
    settings.tunnel.listen.set_port(1);
    assert_eq!(tunnel.server.reload(settings), ["tunnel.listen", "http.listen", "https.listen"]);
    let mut settings = settings::client(&trust, "client", tunnel.server.tunnel);
    settings.tunnel.connect[0].port = 1;
    settings.limits.connections_max = 1;
    assert_eq!(tunnel.client.reload(settings), ["tunnel.connect", "limits.connections_max"]);
}

#[tokio::test]
async fn a_client_that_may_stay_no_longer_is_shown_out() {
    let (upstream, trust) = (Upstream::echo(), Trust::default());
    let (server, client) = start(&trust, &upstream).await;
    let mut settings = settings::public_server(&trust);
    let others = GroupSettings::new(["other-*"]);
    settings.groups.insert(group(GROUP), others);
    server.reload(settings);
    server.has_clients(GROUP, 0).await;
    drop(client);
}
