//! Clients that have a token.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use adit_core::{
    admission::{Grant, Tokens},
    group::{Carrier, Health},
    token::Token,
    wire::control::StreamOpenResponse,
};
use adit_node::settings::{ClientProof, ClientSettings, GroupSettings, ServerSettings};
use adit_tests::{
    Upstream, Visitor, eventually,
    node::{ClientNode, ServerNode},
    peer::Peer,
    settings::{self, CLIENT, GROUP, everything_to, group},
    trust::Trust,
    upstream::echo,
};

fn token(seed: u8) -> Token {
    Token::from_secret([seed; 32])
}

fn grant(name: &str, seed: u8, groups: &[&str]) -> Grant {
    Grant { name: name.into(), hash: token(seed).hash(), groups: groups.iter().map(|name| group(name)).collect() }
}

/// A server that knows these tokens; whoever has a certificate may join as well.
fn server(trust: &Trust, grants: &[Grant]) -> ServerSettings {
    let mut settings = settings::public_server(trust);
    settings.tunnel.tokens = Some(Tokens::new(grants.to_vec()));
    settings
}

fn client(trust: &Trust, seed: u8, server: &ServerNode) -> ClientSettings {
    let mut settings = settings::client(trust, CLIENT, server.tunnel);
    settings.tunnel.proof = ClientProof::Token(token(seed));
    settings
}

/// Connects without a certificate, and asks to join with a token.
async fn ask(server: &ServerNode, trust: &Trust, name: &str, shown: Option<Token>) -> Option<StreamOpenResponse> {
    let mut peer = connect(server, trust).await;
    peer.register_with("client-peer", name, shown).await
}

async fn connect(server: &ServerNode, trust: &Trust) -> Peer {
    let proof = ClientProof::Token(token(0));
    Peer::try_connect_with(server.tunnel, &proof, trust).await.expect("a connection")
}

fn reason(answer: Option<StreamOpenResponse>) -> String {
    let Some(StreamOpenResponse::Denied { reason }) = answer else { unreachable!("{answer:?}") };
    reason
}

#[tokio::test]
async fn a_client_with_a_token_serves_its_group() {
    let (upstream, trust) = (Upstream::answering(echo), Trust::default());
    let server = ServerNode::start(server(&trust, &[grant("web-1", 1, &[GROUP])])).await;
    let mut settings = client(&trust, 1, &server);
    settings.egress = everything_to(upstream.http());
    let _client = ClientNode::start(settings).await;
    server.has_clients(GROUP, 1).await;
    assert_eq!(Visitor::http1(server.entry()).await.get("/").await.failure(), (200, ""));
}

#[tokio::test]
async fn certificates_and_tokens_work_side_by_side() {
    let trust = Trust::default();
    let server = ServerNode::start(server(&trust, &[grant("web-1", 1, &[GROUP])])).await;
    let _by_token = ClientNode::start(client(&trust, 1, &server)).await;
    let _by_certificate = ClientNode::start(settings::client(&trust, "web-2", server.tunnel)).await;
    server.has_clients(GROUP, 2).await;
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_denied() {
    let trust = Trust::default();
    let server = ServerNode::start(server(&trust, &[grant("web-1", 1, &[GROUP])])).await;
    assert_eq!(reason(ask(&server, &trust, GROUP, Some(token(2))).await), "the token is not valid here");
    assert_eq!(server.clients(GROUP), 0);
}

#[tokio::test]
async fn a_client_that_shows_nothing_is_denied() {
    let trust = Trust::default();
    let server = ServerNode::start(server(&trust, &[grant("web-1", 1, &[GROUP])])).await;
    assert_eq!(reason(ask(&server, &trust, GROUP, None).await), "a certificate or a token is needed");
}

#[tokio::test]
async fn a_client_that_could_be_either_of_two_is_denied() {
    let trust = Trust::default();
    let server = ServerNode::start(server(&trust, &[grant("web-1", 1, &[GROUP])])).await;
    let mut peer = Peer::connect(server.tunnel, &trust).await;
    let answer = peer.register_with("client-peer", GROUP, Some(token(1))).await;
    assert_eq!(reason(answer), "show a certificate or a token, and not both");
}

#[tokio::test]
async fn a_token_opens_what_it_is_for_and_lists_its_name_and_nothing_tells_what_else_is_there() {
    let trust = Trust::default();
    let mut settings = server(&trust, &[grant("web-1", 1, &[GROUP, "listless", "gone"])]);
    settings.groups.insert(group("listless"), GroupSettings::new(["other"]));
    settings.groups.insert(group("db"), GroupSettings::new(["*"]));
    let server = ServerNode::start(settings).await;
    let accepted = ask(&server, &trust, GROUP, Some(token(1))).await;
    assert!(matches!(accepted, Some(StreamOpenResponse::Accepted { .. })), "{accepted:?}");
    for name in ["listless", "gone", "db", "nowhere"] {
        let said = reason(ask(&server, &trust, name, Some(token(1))).await);
        assert_eq!(said, format!("web-1 may not join the group {name}, or there is no such group"));
    }
}

#[tokio::test]
async fn a_server_that_takes_tokens_only_takes_no_certificate() {
    let trust = Trust::default();
    let mut settings = server(&trust, &[grant("web-1", 1, &[GROUP])]);
    settings.tunnel.client_roots = None;
    let server = ServerNode::start(settings).await;
    let mut peer = Peer::connect(server.tunnel, &trust).await;
    assert_eq!(reason(peer.register(GROUP).await), "a certificate or a token is needed");
    let _client = ClientNode::start(client(&trust, 1, &server)).await;
    server.has_clients(GROUP, 1).await;
}

#[tokio::test]
async fn a_server_without_tokens_takes_none() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::public_server(&trust)).await;
    let mut peer = Peer::connect(server.tunnel, &trust).await;
    let answer = peer.register_with("client-peer", GROUP, Some(token(1))).await;
    assert_eq!(reason(answer), "show a certificate or a token, and not both");
}

#[tokio::test]
async fn a_revoked_token_cuts_its_links_and_no_others() {
    let trust = Trust::default();
    let [first, second] = [grant("web-1", 1, &[GROUP]), grant("web-2", 2, &[GROUP])];
    let server_of = |grants: &[Grant]| server(&trust, grants);
    let server = ServerNode::start(server_of(&[first, second.clone()])).await;
    let (mut revoked, mut kept) = (connect(&server, &trust).await, connect(&server, &trust).await);
    for (peer, seed) in [(&mut revoked, 1), (&mut kept, 2)] {
        let answer = peer.register_with(&format!("client-{seed}"), GROUP, Some(token(seed))).await;
        assert!(matches!(answer, Some(StreamOpenResponse::Accepted { .. })), "{answer:?}");
    }
    server.has_clients(GROUP, 2).await;
    server.reload(server_of(&[second]));
    assert_eq!(revoked.closed().await, "denied");
    server.has_clients(GROUP, 1).await;
    assert!(kept.quic.close_reason().is_none());
    assert_eq!(reason(ask(&server, &trust, GROUP, Some(token(1))).await), "the token is not valid here");
}

#[tokio::test]
async fn a_token_and_a_certificate_of_one_name_do_not_disturb_each_other() {
    let trust = Trust::default();
    let server = ServerNode::start(server(&trust, &[grant(CLIENT, 1, &[GROUP])])).await;
    let by_certificate = Peer::join_as("client-same", server.tunnel, &trust).await;
    let mut by_token = connect(&server, &trust).await;
    let answer = by_token.register_with("client-same", GROUP, Some(token(1))).await;
    assert!(matches!(answer, Some(StreamOpenResponse::Accepted { .. })), "{answer:?}");
    eventually("both to be in", || server.members(GROUP) == 2).await;
    // A link that is suspect is so until it is next heard.
    assert!(server.links(GROUP).iter().all(|link| link.health() == Health::Healthy));
    assert!(by_certificate.quic.close_reason().is_none());
}
