//! What takes long has the whole grace of a node that stops, and nothing has more.

use std::time::Duration;

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::full,
    both_directions,
    message::Http,
    node::ServerNode,
    peer::Peer,
    settings,
    trust::Trust,
    upstream::{self, Connection},
    visitor::{
        HOST,
        raw::{self, Raw},
        websocket,
    },
    within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

both_directions! {
    a_websocket_has_the_whole_grace_and_then_breaks_off,
    a_visitor_of_http2_is_told_to_go_and_gets_what_is_in_flight,
}

/// Sends back what comes.
async fn parrot(mut connection: Connection) {
    let mut bytes = [0; 64];
    while let Ok(length @ 1..) = connection.read(&mut bytes).await {
        if connection.write_all(&bytes[..length]).await.is_err() || connection.flush().await.is_err() {
            return;
        }
    }
}

fn stop(tunnel: &Tunnel, direction: Direction) {
    match direction {
        Direction::Reverse => tunnel.server.stop(),
        Direction::Forward => tunnel.client.stop(),
    }
}

async fn a_websocket_has_the_whole_grace_and_then_breaks_off(direction: Direction) {
    for version in [Http::Http1, Http::Http2] {
        let upstream = Upstream::switching(upstream::echo, parrot);
        let setup = Tunnel::to(upstream.http()).timeouts(|timeouts| timeouts.drain = Duration::from_millis(1_500));
        let tunnel = setup.start(direction).await;
        let mut visitor = websocket::ask(tunnel.entry(), version, "/", &[]).await.switched(version).await;
        stop(&tunnel, direction);
        // The node has closed everything that is idle by then.
        let idle = Raw::connect(tunnel.entry()).await;
        idle.rest().await;
        visitor.send("still there?").await;
        visitor.expect("still there?").await;
        within("the end of the grace", visitor.broken_off()).await;
        match direction {
            Direction::Reverse => tunnel.server.stopped().await,
            Direction::Forward => tunnel.client.stopped().await,
        }
    }
}

async fn a_visitor_of_http2_is_told_to_go_and_gets_what_is_in_flight(direction: Direction) {
    let (upstream, mut calls) = Upstream::by_hand();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = Raw::connect(tunnel.entry()).await;
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/")];
    visitor.send(raw::http2(&fields)).await;
    let call = calls.next().await;
    stop(&tunnel, direction);
    while visitor.h2_frame().await.kind != raw::GOAWAY {}
    call.answer(full("an answer"));
    loop {
        let frame = visitor.h2_frame().await;
        if frame.stream == 1 && frame.ends_stream {
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_never_says_that_it_is_done_is_waited_for_no_longer_than_the_grace() {
    let trust = Trust::default();
    let mut settings = settings::public_server(&trust);
    settings.timeouts.drain = Duration::from_millis(200);
    let server = ServerNode::start(settings).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    server.has_clients(settings::GROUP, 1).await;
    server.stop();
    server.stopped().await;
    peer.closed().await;
}
