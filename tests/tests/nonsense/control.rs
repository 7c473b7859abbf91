//! Nonsense on the control stream closes the link, and no other.

use std::time::Duration;

use adit_tests::{
    Direction, Tunnel, Upstream,
    node::ServerNode,
    peer::Peer,
    settings::{self, GROUP},
    trust::Trust,
    within,
};
use quinn::ConnectionError;

use crate::serves;

/// What no control stream may carry after the registration.
const NONSENSE: [(&str, &[u8]); 6] = [
    ("no message", b"\x05\xff\xff\xff\xff\xff"),
    ("a length over any limit", b"\xff\xff\xff\x7f"),
    ("a length that never ends", b"\x80\x80\x80\x80\x80\x80"),
    ("a length with leading zeros", b"\x81\x00\x00"),
    ("bytes behind a message", b"\x02\x04\x00"),
    ("a second registration", b"\x18\x00\x08client-1\x03web\x00\x050.1.0\xac\x02\x01"),
];

#[tokio::test]
async fn nonsense_on_the_control_stream_closes_that_link_and_no_other() {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(Direction::Forward).await;
    for (what, bytes) in NONSENSE {
        let mut peer = Peer::join(tunnel.server.tunnel, &tunnel.trust).await;
        peer.say(bytes).await;
        assert_eq!(peer.closed().await, "broke the protocol", "{what}");
        serves(&tunnel).await;
    }
    tunnel.server.has_clients(GROUP, 1).await;
}

#[tokio::test]
async fn a_control_stream_that_ends_closes_its_link() {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(Direction::Forward).await;
    let mut peer = Peer::join(tunnel.server.tunnel, &tunnel.trust).await;
    peer.fall_silent();
    assert_eq!(peer.closed().await, "broke the protocol");
    serves(&tunnel).await;
}

#[tokio::test]
async fn a_message_that_is_cut_closes_its_link() {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(Direction::Forward).await;
    let mut peer = Peer::join(tunnel.server.tunnel, &tunnel.trust).await;
    peer.say(b"\x18\x00\x08cli").await;
    peer.fall_silent();
    assert_eq!(peer.closed().await, "broke the protocol");
    serves(&tunnel).await;
}

#[tokio::test]
async fn a_client_without_a_pulse_is_shown_out() {
    let trust = Trust::default();
    let mut settings = settings::server(&trust);
    (settings.timeouts.sweep, settings.timeouts.stale) = (Duration::from_millis(10), Duration::from_millis(100));
    let server = ServerNode::start(settings).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    assert_eq!(peer.closed().await, "no heartbeat for too long");
    server.has_clients(GROUP, 0).await;
}

#[tokio::test]
async fn nonsense_instead_of_a_registration_makes_no_link() {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(Direction::Forward).await;
    for (what, bytes) in [NONSENSE[0], NONSENSE[1], ("a heartbeat", b"\x03\x02\x01\x02"), ("a farewell", b"\x01\x04")] {
        let mut peer = Peer::connect(tunnel.server.tunnel, &tunnel.trust).await;
        peer.say(bytes).await;
        let closed = within("the link to be closed", peer.quic.closed()).await;
        assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{what}: {closed}");
        serves(&tunnel).await;
    }
    tunnel.server.has_clients(GROUP, 1).await;
}

#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_is_a_frame() {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(Direction::Forward).await;
    let mut peer = Peer::join(tunnel.server.tunnel, &tunnel.trust).await;
    let heartbeat = b"\x03\x02\x01\x02";
    for byte in heartbeat {
        peer.say([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(peer.hear().await, heartbeat[1..], "the server echoes a heartbeat");
    serves(&tunnel).await;
}
