//! What a server pushes to the clients of a group.

use std::collections::BTreeMap;

use adit_core::wire::config::{EgressRule, GroupConfig, Upstream as PushedUpstream};
use adit_node::settings::{ServerSettings, ServerUrl};
use adit_tests::{
    Upstream, Visitor, eventually,
    node::{ClientNode, ServerNode},
    settings::{self, GROUP, everything_to, group, pattern},
    trust::Trust,
};

/// A configuration in which everything goes to one server.
fn config(server: &ServerUrl) -> GroupConfig {
    let rule = EgressRule { upstream: "app".to_owned(), ..EgressRule::default() };
    let upstream = PushedUpstream { servers: vec![server.to_string()], ..PushedUpstream::default() };
    GroupConfig { egress: vec![rule], upstreams: BTreeMap::from([("app".to_owned(), upstream)]) }
}

fn pushing(trust: &Trust, server: &ServerUrl) -> ServerSettings {
    let mut settings = settings::public_server(trust);
    settings.groups.get_mut(&group(GROUP)).unwrap().push = Some(config(server).push().unwrap());
    settings
}

/// A server that pushes `pushed`, and a client without rules that may dial `allowed`.
async fn start(trust: &Trust, pushed: &Upstream, allowed: &[&Upstream]) -> (ServerNode, ClientNode) {
    let server = ServerNode::start(pushing(trust, &pushed.http())).await;
    let mut settings = settings::client(trust, "client", server.tunnel);
    for upstream in allowed {
        settings.tunnel.allow.add(&upstream.address().to_string()).unwrap();
    }
    let client = ClientNode::start(settings).await;
    server.has_clients(GROUP, 1).await;
    (server, client)
}

/// Asks until the answer is the expected one: pushes arrive after the link is up.
async fn answers(server: &ServerNode, expected: (u16, &str), upstream: Option<&Upstream>) {
    let mut visitor = Visitor::http1(server.entry()).await;
    let mut seen = 0;
    for _ in 0..500 {
        let before = upstream.map(|upstream| upstream.saw().requests());
        let answer = visitor.get("/").await;
        let reached = upstream.is_none_or(|upstream| Some(upstream.saw().requests()) > before);
        if answer.failure() == expected && reached {
            return;
        }
        seen += 1;
        tokio::task::yield_now().await;
    }
    unreachable!("{seen} answers, none of them {expected:?}");
}

#[tokio::test]
async fn a_client_without_rules_of_its_own_serves_what_is_pushed() {
    let (upstream, trust) = (Upstream::echo(), Trust::default());
    let (server, _client) = start(&trust, &upstream, &[&upstream]).await;
    answers(&server, (200, ""), Some(&upstream)).await;
}

#[tokio::test]
async fn what_the_client_does_not_allow_is_not_dialled() {
    let (upstream, other, trust) = (Upstream::echo(), Upstream::echo(), Trust::default());
    let (server, _client) = start(&trust, &upstream, &[&other]).await;
    for _ in 0..20 {
        assert_eq!(Visitor::http1(server.entry()).await.get("/").await.failure(), (404, "no-route"));
    }
    assert_eq!(upstream.saw().connections(), 0);
}

#[tokio::test]
async fn a_change_is_pushed_at_once_and_a_refused_one_leaves_the_old_in_force() {
    let (first, second, third, trust) = (Upstream::echo(), Upstream::echo(), Upstream::echo(), Trust::default());
    let (server, _client) = start(&trust, &first, &[&first, &second]).await;
    answers(&server, (200, ""), Some(&first)).await;
    assert_eq!(server.reload(pushing(&trust, &second.http())), ["tunnel.listen", "http.listen"][..0]);
    answers(&server, (200, ""), Some(&second)).await;
    server.reload(pushing(&trust, &third.http()));
    for _ in 0..20 {
        answers(&server, (200, ""), Some(&second)).await;
    }
    assert_eq!(third.saw().connections(), 0);
}

#[tokio::test]
async fn a_clients_own_rules_come_first() {
    let (pushed, own, trust) = (Upstream::echo(), Upstream::echo(), Trust::default());
    let server = ServerNode::start(pushing(&trust, &pushed.http())).await;
    let mut settings = settings::client(&trust, "client", server.tunnel);
    settings.tunnel.allow.add(&pushed.address().to_string()).unwrap();
    settings.egress = everything_to(own.http());
    settings.egress.rules[0].pattern = pattern(None, Some("/own"));
    let _client = ClientNode::start(settings).await;
    server.has_clients(GROUP, 1).await;
    answers(&server, (200, ""), Some(&pushed)).await;
    let before = pushed.saw().requests();
    assert_eq!(Visitor::http1(server.entry()).await.get("/own/x").await.failure(), (200, ""));
    assert_eq!((own.saw().requests(), pushed.saw().requests()), (1, before));
}

#[tokio::test]
async fn pushed_rules_outlive_the_link() {
    let (upstream, trust) = (Upstream::echo(), Trust::default());
    let (server, client) = start(&trust, &upstream, &[&upstream]).await;
    answers(&server, (200, ""), Some(&upstream)).await;
    let tunnel = server.tunnel;
    drop(server);
    eventually("the client to notice", || client.servers() == 0).await;
    let server = ServerNode::start_at(tunnel, || settings::public_server(&trust)).await;
    server.has_clients(GROUP, 1).await;
    answers(&server, (200, ""), Some(&upstream)).await;
}
