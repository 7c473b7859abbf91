//! A peer that frames a message in two ways: what its fields say is not what it sends.

use adit_core::{
    failure::Failure,
    limits::Limits,
    wire::exchange::{self, BodyKind, Reply, ReplyHead, RequestHead, Scheme, Upgrade},
};
use adit_tests::{
    Upstream,
    body::fields,
    node::ServerNode,
    peer::Peer,
    settings::{self, GROUP},
    trust::Trust,
    visitor::raw,
};
use http::{Method, Version, uri::PathAndQuery};

use crate::server;

#[tokio::test]
async fn a_request_whose_length_disagrees_with_its_body_reaches_no_upstream() {
    let (trust, upstream) = (Trust::default(), Upstream::echo());
    let server = server(&trust, &upstream).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    for (body, data, length, upgrade) in [
        (BodyKind::None, b"".as_slice(), "312", None),
        (BodyKind::Length(3), b"\x02\x00\x03abc\x01\x01", "2", None),
        (BodyKind::Stream, b"\x02\x00\x03abc\x01\x01", "2", None),
        // What is switched has no body, whatever its length says.
        (BodyKind::Length(3), b"\x02\x00\x03abc\x01\x01", "3", Some(Upgrade::WebSocket)),
    ] {
        let head = RequestHead {
            method: Method::POST,
            scheme: Scheme::Http,
            authority: "app.test".to_owned(),
            target: PathAndQuery::from_static("/attack"),
            version: Version::HTTP_11,
            headers: fields(&[("content-length", length)]),
            body,
            upgrade,
            visitor: ([127, 0, 0, 1], 1).into(),
            remaining_ms: 2_000,
        };
        let mut bytes = bytes::BytesMut::new();
        exchange::encode_request(&head, &Limits::default(), &mut bytes).unwrap();
        bytes.extend_from_slice(data);
        assert_eq!(peer.open_with(bytes).await.reset().await, Some(Failure::Protocol), "{body:?}");
    }
    assert_eq!(upstream.saw().requests(), 0);
}

#[tokio::test]
async fn a_peer_cannot_frame_a_response_in_two_ways() {
    let trust = Trust::default();
    let server = ServerNode::start(settings::public_server(&trust)).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    server.has_clients(GROUP, 1).await;
    let mut wrong = Vec::new();
    for (kind, data, given) in [
        (BodyKind::None, b"".as_slice(), ("content-length", "50")),
        (BodyKind::Stream, b"\x02\x00\x03abc\x01\x01", ("content-length", "2")),
        (BodyKind::None, b"", ("adit-error", "no-client")),
        (BodyKind::None, b"", ("connection", "x-gone")),
    ] {
        let mut visitor = raw::Raw::connect(server.entry()).await;
        visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut stream = peer.accept().await;
        stream.request().await;
        let head = ReplyHead { status: http::StatusCode::OK, reason: None, headers: fields(&[given]) };
        stream.answer(&Reply::Head(head, kind), data).await;
        stream.finish();
        let answer = visitor.until("\r\n\r\n").await;
        if answer.contains(&format!("{}: {}\r\n", given.0, given.1)) {
            wrong.push(format!("{kind:?} {given:?}: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
