//! Addresses that a node does not dial, whatever a rule or a resolver says.

use std::net::{Ipv4Addr, SocketAddr};

use adit_node::settings::{ClientSettings, HttpEntry, ServerSettings};
use adit_tests::{
    Direction, Tunnel, Upstream, Visitor, both_directions,
    node::{ClientNode, ServerNode},
    settings::{self, CLIENT, GROUP, everything_to, url},
    trust::Trust,
};

both_directions! {
    a_name_that_leads_to_a_denied_address_is_forbidden_and_not_shown,
    a_name_leads_where_allow_lets_it,
}

fn everywhere() -> HttpEntry {
    HttpEntry::new((Ipv4Addr::UNSPECIFIED, 0).into())
}

fn on(port: u16, host: impl std::fmt::Display) -> adit_node::settings::ServerUrl {
    url("http", format!("{host}:{port}"))
}

async fn a_name_that_leads_to_a_denied_address_is_forbidden_and_not_shown(direction: Direction) {
    let upstream = Upstream::echo();
    let mut egress = everything_to(on(upstream.http().address.port, "localhost"));
    egress.dial.deny = vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
    let tunnel = Tunnel::with(egress).start(direction).await;
    let answer = tunnel.http1().await.get("/").await;
    assert_eq!(answer.failure(), (502, "upstream-forbidden"));
    let told = format!("{:?} {}", answer.headers, answer.text());
    assert!(!told.contains("127.0.0.1") && !told.contains("localhost"), "{told}");
    assert_eq!(upstream.saw().requests(), 0);
}

async fn a_name_leads_where_allow_lets_it(direction: Direction) {
    let upstream = Upstream::echo();
    for (allow, expected) in [("10.0.0.0/8", (502, "upstream-forbidden")), ("127.0.0.0/8", (200, ""))] {
        let mut egress = everything_to(on(upstream.http().address.port, "localhost"));
        egress.dial.allow = vec![allow.parse().unwrap()];
        let tunnel = Tunnel::with(egress).start(direction).await;
        assert_eq!(tunnel.http1().await.get("/").await.failure(), expected, "{allow}");
    }
}

#[tokio::test]
async fn a_client_whose_own_entry_is_on_every_address_does_not_dial_it() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::public_server(&trust)).await;
    let settings =
        |egress| ClientSettings { http: Some(everywhere()), egress, ..settings::client(&trust, CLIENT, server.tunnel) };
    let client = ClientNode::start(settings(Default::default())).await;
    server.has_clients(GROUP, 1).await;
    let port = client.entry().port();
    for host in ["127.0.0.1", "127.1.2.3", "localhost"] {
        client.reload(settings(everything_to(on(port, host))));
        assert_eq!(Visitor::http1(server.entry()).await.get("/").await.failure(), (508, "loop"), "{host}");
    }
}

#[tokio::test]
async fn a_server_whose_own_entry_is_on_every_address_does_not_dial_it() {
    let (trust, upstream) = (Trust::default(), Upstream::echo());
    let settings = |egress| ServerSettings { http: Some(everywhere()), egress, ..settings::public_server(&trust) };
    let server = ServerNode::start(settings(Default::default())).await;
    let client = ClientSettings {
        http: Some(settings::entry()),
        egress: everything_to(upstream.http()),
        ..settings::client(&trust, CLIENT, server.tunnel)
    };
    let client = ClientNode::start(client).await;
    client.has_servers(1).await;
    server.reload(settings(everything_to(on(server.entry().port(), "localhost"))));
    let entry: SocketAddr = client.entry();
    assert_eq!(Visitor::http1(entry).await.get("/").await.failure(), (508, "loop"));
    assert_eq!(upstream.saw().requests(), 0);
}
