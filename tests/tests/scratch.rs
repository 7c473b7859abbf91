//! scratch
use adit_tests::*;
use adit_tests::body::*;
use adit_core::{limits::*, wire::exchange::*};
use adit_tests::{peer::Peer, settings::*, trust::Trust, node::*};
use http::*;
use std::time::Duration;

#[tokio::test]
async fn h2_cl() {
    let upstream = Upstream::raw(|mut tcp| async move {
        use tokio::io::{AsyncReadExt,AsyncWriteExt};
        let mut b = vec![0; 65536];
        loop { let n = tcp.read(&mut b).await.unwrap_or(0); if n == 0 { break }
          println!("UPSTREAM {:?}", String::from_utf8_lossy(&b[..n]));
          let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await; }
    });
    let tunnel = Tunnel::to(upstream.http()).start(Direction::Reverse).await;
    for (n, v) in [("content-length", "50"), ("content-length", "0"), ("transfer-encoding", "chunked")] {
        for m in ["GET", "POST", "HEAD"] {
        let mut h2 = tunnel.http2().await;
        let r = h2.request(m, "/").header(n, v).empty();
        println!("{n} {m}: {:?}", h2.start(r).await.try_whole().await.map(|w| w.status));
        }
    }
}

#[tokio::test]
async fn peer_cl() {
    let upstream = Upstream::raw(|mut tcp| async move {
        use tokio::io::{AsyncReadExt,AsyncWriteExt};
        let mut b = vec![0; 65536];
        loop { let n = tcp.read(&mut b).await.unwrap_or(0); if n == 0 { break }
          println!("UPSTREAM PEER {:?}", String::from_utf8_lossy(&b[..n]));
          let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await; }
    });
    let trust = Trust::default();
    let mut s = adit_tests::settings::server(&trust);
    s.egress = everything_to(upstream.http());
    let server = ServerNode::start(s).await;
    let peer = Peer::join(server.tunnel, &trust).await;
    for (body, fields) in [
        (BodyKind::None, vec![("content-length", "50")]),
        (BodyKind::None, vec![("transfer-encoding", "chunked")]),
        (BodyKind::Length(3), vec![("content-length", "2")]),
        (BodyKind::Stream, vec![("content-length", "2")]),
        (BodyKind::Length(3), vec![("transfer-encoding", "chunked"), ("content-length", "3")]),
        (BodyKind::None, vec![("host", "evil"), ("connection", "close"), ("upgrade", "h2c")]),
    ] {
        let head = RequestHead { method: Method::POST, scheme: Scheme::Http, authority: "a".into(), target: "/".parse().unwrap(), version: Version::HTTP_11,
            headers: adit_tests::body::fields(&fields), body, visitor: "127.0.0.1:1".parse().unwrap(), remaining_ms: 60000 };
        let mut b = bytes::BytesMut::new();
        encode_request(&head, &Limits::default(), &mut b).unwrap();
        if body != BodyKind::None { b.extend_from_slice(b"\x02\x00\x03abc\x01\x01"); }
        println!("--- {body:?} {fields:?}");
        let mut st = peer.open_with(b).await;
        match tokio::time::timeout(Duration::from_secs(2), st.frame()).await { Ok(f) => println!("{:?}", f.map(|f| decode_reply(&f, &Limits::default()))), Err(_) => println!("timeout") }
    }
}


#[tokio::test]
async fn slow_upload() {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).timeouts(|t| t.response_head = Duration::from_millis(300)).start(Direction::Reverse).await;
    let upstream2 = Upstream::answering(async |r| { let mut b = r.into_body(); while let Ok(Some(_)) = adit_tests::message::next_chunk(&mut b).await {} Response::new(full("thanks")) });
    let tunnel2 = Tunnel::to(upstream2.http()).timeouts(|t| t.response_head = Duration::from_millis(300)).start(Direction::Reverse).await;
    for t in [&tunnel, &tunnel2] {
        let (c, b) = by_hand();
        let mut v = t.http1().await;
        let p = v.start(v.request("PUT", "/").body(b)).await;
        tokio::spawn(async move { for _ in 0..10 { tokio::time::sleep(Duration::from_millis(60)).await; if !c.try_send("chunk").await { break } } });
        println!("SLOW {:?}", p.try_whole().await.map(|w| w.failure().0));
    }
}
