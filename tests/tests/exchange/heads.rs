//! Response heads arrive with what they say of a body that is not there, and of themselves.

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{empty, full},
    both_directions,
    upstream::response,
    visitor::raw,
};
use http::Response;

both_directions! {
    a_304_keeps_the_length_of_what_it_speaks_of,
    a_304_leaves_the_connection_usable,
    a_head_response_keeps_its_fields_over_every_version,
    a_head_response_without_a_length_gets_none,
    a_204_has_no_length,
    a_response_whose_lengths_repeat_has_one,
    a_response_with_a_length_beside_chunked_is_as_long_as_its_chunks,
    the_words_behind_a_status_arrive,
    no_words_behind_a_status_arrive_as_none,
    the_words_of_a_switch_arrive,
}

const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";

async fn a_304_keeps_the_length_of_what_it_speaks_of(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 304 Not Modified\r\ncontent-length: 12345\r\netag: \"1\"\r\n\r\n");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        for method in ["GET", "HEAD"] {
            let answer = visitor.ask(visitor.request(method, "/").empty()).await;
            assert_eq!((answer.status.as_u16(), answer.values("content-length")), (304, vec!["12345"]), "{method}");
            assert!(answer.body.is_empty());
        }
    }
    let answer = raw::ask(tunnel.entry(), GET).await;
    assert!(answer.contains("\r\ncontent-length: 12345\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

async fn a_304_leaves_the_connection_usable(direction: Direction) {
    let upstream = Upstream::answering(|request| async move {
        match request.uri().path() {
            "/old" => response(304, &[("content-length", "5")], full("12345")),
            _ => Response::new(full("new")),
        }
    });
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            for _ in 0..3 {
                let old = visitor.get("/old").await;
                assert_eq!((old.status.as_u16(), old.values("content-length")), (304, vec!["5"]));
                assert_eq!(visitor.get("/new").await.text(), "new");
            }
        }
    }
}

async fn a_head_response_keeps_its_fields_over_every_version(direction: Direction) {
    let upstream =
        Upstream::answering(|_| async { response(200, &[("content-length", "12345"), ("x-a", "1")], empty()) });
    for url in [upstream.http(), upstream.h2c()] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            for _ in 0..2 {
                let answer = visitor.ask(visitor.request("HEAD", "/").empty()).await;
                assert_eq!((answer.values("content-length"), answer.values("x-a")), (vec!["12345"], vec!["1"]));
                assert!(answer.body.is_empty());
            }
        }
    }
}

async fn a_head_response_without_a_length_gets_none(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = raw::ask(tunnel.entry(), GET.replace("GET", "HEAD")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(!answer.contains("content-length"), "{answer}");
}

async fn a_204_has_no_length(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let answer = visitor.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.values("content-length")), (204, vec![]));
    }
}

async fn a_response_whose_lengths_repeat_has_one(direction: Direction) {
    for lengths in ["content-length: 3\r\ncontent-length: 3", "content-length: 3, 3"] {
        let upstream = Upstream::saying(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nabc"));
        let tunnel = Tunnel::to(upstream.http()).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let answer = visitor.get("/").await;
            assert_eq!((answer.text(), answer.values("content-length")), ("abc", vec!["3"]), "{lengths}");
        }
    }
}

async fn a_response_with_a_length_beside_chunked_is_as_long_as_its_chunks(direction: Direction) {
    let chunked = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let upstream = Upstream::saying(chunked);
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let answer = visitor.get("/").await;
        assert_eq!((answer.text(), answer.values("content-length")), ("hello", vec![]));
    }
}

async fn the_words_behind_a_status_arrive(direction: Direction) {
    for line in ["404 NOT FOUND", "200 All is well", "299 Nothing that anybody knows"] {
        let upstream = Upstream::saying(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n"));
        let tunnel = Tunnel::to(upstream.http()).start(direction).await;
        let answer = raw::ask(tunnel.entry(), GET).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {line}\r\n")), "{answer}");
        // HTTP/2 has no place for them.
        assert_eq!(tunnel.http2().await.get("/").await.status.as_str(), &line[..3]);
    }
}

async fn no_words_behind_a_status_arrive_as_none(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = raw::ask(tunnel.entry(), GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 \r\n"), "{answer}");
}

async fn the_words_of_a_switch_arrive(direction: Direction) {
    let switch = "HTTP/1.1 101 Web Socket Protocol Handshake\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let upstream = Upstream::saying(switch);
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let ask = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = raw::ask(tunnel.entry(), ask).await;
    assert!(answer.starts_with("HTTP/1.1 101 Web Socket Protocol Handshake\r\n"), "{answer}");
}
