//! What strangers may do at the tunnel's port before they have registered.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, time::Duration};

use adit_core::limits::CONTROL_FRAME_BYTES_MAX;
use adit_node::settings::{ClientProof, ServerSettings};
use adit_tests::{
    eventually,
    node::{ClientNode, ServerNode},
    peer::{Peer, dialling},
    settings::{self, CLIENT, GROUP, loopback},
    trust::Trust,
    within,
};
use quinn::{Endpoint, VarInt};
use tokio::{net::UdpSocket, time::timeout};

/// The types of packets with a long header (RFC 9000 §17.2), as they stand in the first byte.
const INITIAL: u8 = 0;
const RETRY: u8 = 3;

/// What quinn sends at most in one datagram before it knows the path.
const DATAGRAM_BYTES_MAX: usize = 1_200;

/// Long enough for whatever would be answered to have been, if it was.
const A_WHILE: Duration = Duration::from_millis(200);

fn packet_type(datagram: &[u8]) -> u8 {
    datagram[0] >> 4 & 3
}

/// Returns what a client sends first: the Initial packets of its hello, padded, in one datagram each.
async fn hello(trust: &Trust) -> Vec<Vec<u8>> {
    let trap = UdpSocket::bind(loopback()).await.expect("a socket");
    let endpoint = Endpoint::client(loopback()).expect("a socket");
    let config = dialling(&ClientProof::Certificate(trust.client(CLIENT)), trust);
    let _connecting =
        endpoint.connect_with(config, trap.local_addr().expect("an address"), "localhost").expect("a dial");
    let mut datagrams = Vec::new();
    let mut buffer = [0; 2048];
    // One with a post-quantum key share takes two.
    while datagrams.len() < 2 {
        let length = within("the hello of a client", trap.recv(&mut buffer)).await.expect("a datagram");
        datagrams.push(buffer[..length].to_vec());
    }
    datagrams
}

/// A socket that has sent a hello and never says anything again.
struct Silent {
    socket: UdpSocket,
    sent: usize,
    received: usize,
}

impl Silent {
    async fn knock(server: SocketAddr, trust: &Trust) -> Self {
        let socket = UdpSocket::bind(loopback()).await.expect("a socket");
        socket.connect(server).await.expect("an address");
        let mut sent = 0;
        for datagram in hello(trust).await {
            sent += socket.send(&datagram).await.expect("sent");
        }
        Self { socket, sent, received: 0 }
    }

    /// Returns the next datagram that comes.
    async fn hear(&mut self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = within("an answer", self.socket.recv(&mut buffer)).await.expect("a datagram");
        self.received += length;
        buffer[..length].to_vec()
    }

    /// Returns how many bytes have come so far.
    fn drain(&mut self) -> usize {
        let mut buffer = [0; 2048];
        while let Ok(length) = self.socket.try_recv(&mut buffer) {
            self.received += length;
        }
        self.received
    }
}

fn bounded(trust: &Trust, unvalidated_max: usize) -> ServerSettings {
    let mut settings = settings::server(trust);
    settings.limits.handshakes_unvalidated_max = unvalidated_max;
    settings
}

#[tokio::test]
async fn once_too_many_handshakes_are_half_open_addresses_are_to_be_proven_and_clients_still_join() {
    let trust = Trust::default();
    let server = ServerNode::start(bounded(&trust, 2)).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut one = Silent::knock(server.tunnel, &trust).await;
        assert_eq!(packet_type(&one.hear().await), INITIAL);
        silent.push(one);
    }
    assert_eq!(server.half_open().unvalidated, 2);
    let mut third = Silent::knock(server.tunnel, &trust).await;
    let answer = third.hear().await;
    assert_eq!(packet_type(&answer), RETRY);
    assert!(answer.len() < third.sent / 2, "a retry of {} bytes", answer.len());
    assert_eq!(server.half_open().unvalidated, 2, "a retry takes no place");
    let client = ClientNode::start(settings::client(&trust, CLIENT, server.tunnel)).await;
    client.has_servers(1).await;
    eventually("the silent ones to be given up", || server.half_open().unvalidated == 0).await;
}

#[tokio::test]
async fn a_crowd_of_clients_joins_though_every_address_is_to_be_proven() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(ClientNode::start(settings::client(&trust, &format!("client-{number}"), server.tunnel)).await);
    }
    server.has_clients(GROUP, 20).await;
}

#[tokio::test]
async fn who_need_not_prove_its_address_gets_three_times_what_it_sent_and_one_datagram_at_most() {
    let trust = Trust::default();
    let server = ServerNode::start(bounded(&trust, 64)).await;
    let mut silent = Silent::knock(server.tunnel, &trust).await;
    silent.hear().await;
    // Until then the server sends again what was not acknowledged.
    eventually("the server to give up", || server.half_open().unvalidated == 0).await;
    // quinn begins a datagram as long as anything is left of what it may send (quinn issue 1082).
    let (sent, received) = (silent.sent, silent.drain());
    assert!(received > 0 && received <= 3 * sent + DATAGRAM_BYTES_MAX, "{received} bytes for {sent}");
}

#[tokio::test]
async fn who_never_answers_gets_less_than_it_sent() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut silent = Silent::knock(server.tunnel, &trust).await;
    silent.hear().await;
    // Whoever joins after it was answered after it.
    let client = ClientNode::start(settings::client(&trust, CLIENT, server.tunnel)).await;
    client.has_servers(1).await;
    let (sent, received) = (silent.sent, silent.drain());
    assert!(received < sent, "{received} bytes for {sent}");
}

#[tokio::test]
async fn who_does_not_register_is_shown_out() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut slow = Peer::connect(server.tunnel, &trust).await;
    slow.say([5, 0]).await;
    eventually("the server to count it", || server.half_open().validated == 1).await;
    within("the link to be closed", slow.quic.closed()).await;
    assert_eq!(server.half_open().validated, 0);
}

#[tokio::test]
async fn proven_addresses_that_do_not_register_are_bounded_too_and_keep_nobody_out_for_long() {
    let trust = Trust::default();
    let mut settings = bounded(&trust, 0);
    settings.limits.handshakes_max = 2;
    let server = ServerNode::start(settings).await;
    let slow = [Peer::connect(server.tunnel, &trust).await, Peer::connect(server.tunnel, &trust).await];
    eventually("the server to count them", || server.half_open().validated == 2).await;
    // It sends its hello again and again.
    let third = Peer::connect(server.tunnel, &trust);
    let mut most = 0;
    let shown_out = eventually("the slow ones to be shown out", || {
        most = most.max(server.half_open().validated);
        slow.iter().all(|slow| slow.quic.close_reason().is_some())
    });
    let (mut third, ()) = tokio::join!(third, shown_out);
    assert_eq!(most, 2);
    third.register(GROUP).await.expect("an answer");
    server.has_clients(GROUP, 1).await;
}

#[tokio::test]
async fn before_it_has_registered_a_client_can_send_one_registration_and_nothing_else() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let mut eager = Peer::connect(server.tunnel, &trust).await;
    assert!(timeout(A_WHILE, eager.quic.open_bi()).await.is_err(), "a second stream");
    assert!(timeout(A_WHILE, eager.quic.open_uni()).await.is_err(), "a unidirectional stream");
    eager.register(GROUP).await.expect("an answer");
    within("a stream after the registration", eager.quic.open_bi()).await.expect("a stream");
    within("a unidirectional stream after the registration", eager.quic.open_uni()).await.expect("a stream");
}

#[tokio::test]
async fn before_it_has_registered_a_client_can_hoard_little() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let endpoint = Endpoint::client(loopback()).expect("a socket");
    let config = dialling(&ClientProof::Certificate(trust.client(CLIENT)), &trust);
    let connecting = endpoint.connect_with(config, server.tunnel, "localhost").expect("a dial");
    let quic = within("a connection", connecting).await.expect("a connection");
    let (mut send, _recv) = within("the control stream", quic.open_bi()).await.expect("a stream");
    // The largest frame is announced, and what follows does not end.
    let mut taken = send.write(&[0x80, 0x80, 0x04]).await.expect("room");
    let zeros = vec![0; 64 * 1024];
    while let Ok(Ok(more)) = timeout(A_WHILE, send.write(&zeros)).await {
        taken += more;
        assert!(taken <= 3 * CONTROL_FRAME_BYTES_MAX, "{taken} bytes were taken");
    }
    quic.close(VarInt::from_u32(0), b"");
}
