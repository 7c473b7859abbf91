//! Clients whose certificates have ended, in time or by revocation.

use std::time::{Duration, SystemTime};

use adit_core::wire::control::StreamOpenResponse;
use adit_node::{
    credentials::Credentials,
    settings::{ClientProof, ServerSettings},
};
use adit_tests::{
    eventually,
    log::Log,
    node::ServerNode,
    peer::Peer,
    settings::{self, GROUP},
    trust::Trust,
    within,
};
use rustls::pki_types::CertificateRevocationListDer;

fn server(trust: &Trust, crls: &[CertificateRevocationListDer<'static>]) -> ServerSettings {
    let mut settings = settings::server(trust);
    settings.tunnel.client_crls = crls.to_vec();
    settings
}

fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3_600)
}

/// Checks that a client was refused for this, and that the server's log says so too.
async fn is_told(log: &Log, refused: &str, why: &str) {
    assert!(refused.ends_with(why), "{refused}");
    log.says(&["WARN", "no link: ", why]).await;
}

/// Joins with a certificate, or says why it may not.
async fn join(server: &ServerNode, trust: &Trust, credentials: Credentials) -> Result<Peer, String> {
    let proof = ClientProof::Certificate(credentials);
    let mut peer = match Peer::try_connect_with(server.tunnel, &proof, trust).await {
        Ok(peer) => peer,
        Err(error) => return Err(error.to_string()),
    };
    // In TLS 1.3 a client is done before the server has looked at its certificate.
    let quic = peer.quic.clone();
    tokio::select! {
        biased;
        closed = quic.closed() => return Err(closed.to_string()),
        answer = peer.register(GROUP) => {
            assert!(matches!(answer, Some(StreamOpenResponse::Accepted { .. })), "{answer:?}");
        }
    }
    Ok(peer)
}

#[tokio::test]
async fn a_client_whose_certificate_has_expired_is_refused_by_name() {
    let (log, trust) = (Log::start(), Trust::default());
    let server = ServerNode::start(settings::server(&trust)).await;
    let expired = trust.client_until("web-7", 1, SystemTime::now() - Duration::from_secs(1));
    let refused = join(&server, &trust, expired).await.err().unwrap_or_default();
    is_told(&log, &refused, "the certificate of \"web-7\" has expired").await;
    assert_eq!(server.clients(GROUP), 0);
}

#[tokio::test]
async fn a_client_whose_certificate_is_revoked_is_refused_by_name() {
    let (log, trust) = (Log::start(), Trust::default());
    let server = ServerNode::start(server(&trust, &[trust.revoking(&[7])])).await;
    let refused = join(&server, &trust, trust.client_until("web-7", 7, in_an_hour())).await.err().unwrap_or_default();
    is_told(&log, &refused, "the certificate of \"web-7\" is revoked").await;
    let other = join(&server, &trust, trust.client_until("web-8", 8, in_an_hour())).await;
    assert!(other.is_ok(), "{:?}", other.err());
}

#[tokio::test]
async fn a_client_that_a_stranger_signed_for_is_refused_by_the_name_it_claims() {
    let (log, ours, strangers) = (Log::start(), Trust::default(), Trust::default());
    let server = ServerNode::start(settings::server(&ours)).await;
    let refused = join(&server, &ours, strangers.client_until("web\u{1b}[7", 1, in_an_hour())).await;
    let refused = refused.err().unwrap_or_default();
    let expected = "the certificate of \"\" is signed by an authority that this server does not trust";
    is_told(&log, &refused, expected).await;
    let refused = join(&server, &ours, strangers.client("web-7")).await.err().unwrap_or_default();
    is_told(&log, &refused, &expected.replace("\"\"", "\"web-7\"")).await;
}

#[tokio::test]
async fn a_list_of_another_authority_lets_nobody_in() {
    let (ours, others) = (Trust::default(), Trust::default());
    for (list, why) in [
        // Of the same name and another key.
        (others.revoking(&[7]), "its list in tunnel.client_crl cannot be used"),
        (Trust::of_authority("another CA").revoking(&[]), "no list in tunnel.client_crl is of its authority"),
    ] {
        let server = ServerNode::start(server(&ours, &[list])).await;
        let refused = join(&server, &ours, ours.client("web-7")).await.err().unwrap_or_default();
        assert!(refused.ends_with(&format!("the certificate of \"web-7\" may be revoked: {why}")), "{refused}");
    }
}

#[tokio::test]
async fn a_new_list_cuts_the_links_of_revoked_certificates_and_no_others() {
    let trust = Trust::default();
    let server_of = |serials: &[u64]| server(&trust, &[trust.revoking(serials)]);
    let server = ServerNode::start(server_of(&[])).await;
    let mut peers = Vec::new();
    for serial in [7, 8] {
        let credentials = trust.client_until(&format!("web-{serial}"), serial, in_an_hour());
        let proof = ClientProof::Certificate(credentials);
        let mut peer = Peer::try_connect_with(server.tunnel, &proof, &trust).await.unwrap();
        assert!(peer.register_with(&format!("client-{serial}"), GROUP, None).await.is_some());
        peers.push(peer);
    }
    server.has_clients(GROUP, 2).await;
    server.reload(server_of(&[7]));
    assert_eq!(peers[0].closed().await, "denied");
    server.has_clients(GROUP, 1).await;
    assert!(peers[1].quic.close_reason().is_none());
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_any_more_takes_its_clients_along() {
    let (old, new) = (Trust::default(), Trust::default());
    let server = ServerNode::start(settings::server(&old)).await;
    let peer = Peer::join(server.tunnel, &old).await;
    let mut settings = settings::server(&old);
    settings.tunnel.client_roots = Some(new.roots());
    server.reload(settings);
    assert_eq!(peer.closed().await, "denied");
}

#[tokio::test]
async fn a_link_does_not_end_with_its_certificate() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let end = SystemTime::now() + Duration::from_secs(3);
    let peer = join(&server, &trust, trust.client_until("web-7", 7, end)).await.unwrap();
    server.has_clients(GROUP, 1).await;
    within("the certificate to end", eventually("it", || SystemTime::now() > end + Duration::from_secs(1))).await;
    server.reload(settings::server(&trust));
    assert!(peer.quic.close_reason().is_none());
    assert_eq!(server.clients(GROUP), 1);
}

#[tokio::test]
async fn a_new_certificate_of_the_server_leaves_links_alone() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let before = Peer::join(server.tunnel, &trust).await;
    server.reload(settings::server(&trust));
    let _after = Peer::join_as("client-after", server.tunnel, &trust).await;
    server.has_clients(GROUP, 2).await;
    assert!(before.quic.close_reason().is_none());
}
