//! What a peer that was let in can have of a node at most, where nothing ends its link.

use std::{collections::BTreeMap, time::Duration};

use adit_core::{
    failure::Failure,
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        codec,
        config::{EgressRule, GroupConfig, Upstream as PushedUpstream},
        control::{Control, Heartbeat, StreamOpenResponse},
    },
};
use adit_tests::{
    log::Log,
    node::ServerNode,
    peer::Peer,
    settings::{self, CLIENT, GROUP, group},
    trust::Trust,
    within,
};
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout};

/// The length of a head of 64 KiB, and its first byte.
const BEGINNING: &[u8] = b"\xff\xff\x03\x03";

/// Long enough for room for one more stream to be told of, if there is any.
const A_WHILE: Duration = Duration::from_millis(500);

fn frame(message: &Control) -> Bytes {
    let mut frame = BytesMut::new();
    codec::encode(message, CONTROL_FRAME_BYTES_MAX, &mut frame).unwrap();
    frame.freeze()
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    let mut silent = peer.open().await;
    silent.write(BEGINNING).await;
    assert_eq!(silent.reset().await, Some(Failure::RequestTimeout));
    assert_eq!(silent.stopped().await, Some(Failure::RequestTimeout));
}

#[tokio::test]
async fn a_peer_may_have_so_many_streams_and_no_more() {
    let trust = Trust::default();
    let mut settings = settings::server(&trust);
    settings.limits.exchanges_per_link_max = 80;
    let server = ServerNode::start(settings).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    let mut held = Vec::new();
    while let Ok(opened) = timeout(A_WHILE, peer.quic.open_bi()).await {
        let (mut send, recv) = opened.unwrap();
        send.write_all(BEGINNING).await.unwrap();
        held.push((send, recv));
        // Room is told of in steps, and a quarter more than there are turns.
        assert!(held.len() <= 101, "{} streams", held.len());
    }
    assert!(held.len() >= 64, "{} streams", held.len());
}

#[tokio::test]
async fn a_client_may_have_so_many_links_and_no_more() {
    let (log, trust) = (Log::start(), Trust::default());
    let mut settings = settings::server(&trust);
    settings.limits.links_per_client_max = 2;
    let server = ServerNode::start(settings).await;
    let first = Peer::join_as("client-1", server.tunnel, &trust).await;
    let _second = Peer::join_as("client-2", server.tunnel, &trust).await;
    for number in 3..10 {
        let mut more = Peer::connect(server.tunnel, &trust).await;
        let answer = more.register_with(&format!("client-{number}"), GROUP, None).await;
        let Some(StreamOpenResponse::Denied { reason }) = answer else { panic!("{answer:?}") };
        assert_eq!(reason, format!("{CLIENT} has 2 links already, and may not have more"));
    }
    log.says(&["WARN", "join denied", CLIENT, "limits.links_per_client_max is 2"]).await;
    // A process that comes back is none more, and who is somebody else has links of its own.
    let again = Peer::join_as("client-1", server.tunnel, &trust).await;
    assert_eq!(first.closed().await, "replaced by a newer link of the same client");
    let _other = Peer::join_named("other", server.tunnel, &trust).await.unwrap();
    server.has_clients(GROUP, 3).await;
    again.quic.close(0_u32.into(), b"");
    server.has_clients(GROUP, 2).await;
    let _third = Peer::join_as("client-3", server.tunnel, &trust).await;
}

#[tokio::test]
async fn a_client_that_asks_for_its_configuration_again_and_again_gets_it_once_a_second() {
    let trust = Trust::default();
    let mut settings = settings::server(&trust);
    let rule = EgressRule { upstream: "app".to_owned(), ..EgressRule::default() };
    let upstream = PushedUpstream { servers: vec!["http://127.0.0.1:1".to_owned()], ..PushedUpstream::default() };
    let config = GroupConfig { egress: vec![rule], upstreams: BTreeMap::from([("app".to_owned(), upstream)]) };
    settings.groups.get_mut(&group(GROUP)).unwrap().push = Some(config.push().unwrap());
    let server = ServerNode::start(settings).await;
    let start = Instant::now();
    let mut peer = Peer::join(server.tunnel, &trust).await;
    peer.say(frame(&Control::ConfigSync { have: None }).repeat(100)).await;
    // What was pushed before it is answered was written before it is.
    let last = frame(&Control::Heartbeat(Heartbeat { seq: 1, in_flight: 0 }));
    peer.say(&last).await;
    let mut pushes: u64 = 0;
    let heard = async {
        peer.control.frame().await.unwrap();
    };
    let quic = peer.quic.clone();
    let pushed = async {
        loop {
            let mut push = quic.accept_uni().await.unwrap();
            push.read_to_end(1024 * 1024).await.unwrap();
            pushes += 1;
        }
    };
    within("the heartbeat to come back", async {
        tokio::select! {
            () = heard => {}
            () = pushed => {}
        }
    })
    .await;
    // The one that comes unasked, four at once, and one a second.
    let most = 1 + 4 + start.elapsed().as_secs();
    assert!((1..=most).contains(&pushes), "{pushes} of {most}");
}

#[tokio::test]
async fn a_datagram_that_is_larger_than_what_is_kept_of_them_ends_the_link() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::server(&trust)).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    let most = peer.quic.max_datagram_size().unwrap();
    assert!(most <= 64, "{most} bytes");
    peer.quic.send_datagram(vec![0; most].into()).unwrap();
    within("the link to be closed", peer.quic.closed()).await;
    server.has_clients(GROUP, 0).await;
}
