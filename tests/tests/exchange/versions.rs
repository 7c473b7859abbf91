//! Visitors and upstreams may each speak the HTTP they like.

use adit_node::settings::UpstreamSettings;
use adit_tests::{
    Direction, Tunnel, Upstream,
    body::{full, noise},
    both_directions,
    settings::{pattern, to},
    trust::Trust,
    upstream::echo,
    visitor::{HOST, raw},
};
use http::{StatusCode, Version};

both_directions! {
    http_1_and_http_2_visitors_reach_http_1_and_http_2_upstreams,
    an_https_upstream_is_spoken_to_in_the_version_it_prefers,
    an_http_2_upstream_gets_the_authority_that_the_visitor_asked_for,
    many_requests_share_one_connection_to_an_http_2_upstream,
    connections_to_an_http_1_upstream_are_used_again,
    an_http_1_0_visitor_gets_a_body_that_ends_with_its_connection,
}

async fn http_1_and_http_2_visitors_reach_http_1_and_http_2_upstreams(direction: Direction) {
    let upstream = Upstream::echo();
    for (url, version) in [(upstream.http(), Version::HTTP_11), (upstream.h2c(), Version::HTTP_2)] {
        let tunnel = Tunnel::to(url).start(direction).await;
        for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
            let data = noise(100_000);
            let answer = visitor.post("/path?query", full(data.clone())).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert!(answer.body == data);
            let seen = upstream.saw().last();
            assert_eq!(seen.version, version);
            assert_eq!(seen.uri.path_and_query().map(|target| target.as_str()), Some("/path?query"));
        }
    }
}

async fn an_https_upstream_is_spoken_to_in_the_version_it_prefers(direction: Direction) {
    let trust = Trust::default();
    for (alpn, version) in
        [(["h2", "http/1.1"].as_slice(), Version::HTTP_2), (&["http/1.1"], Version::HTTP_11), (&[], Version::HTTP_11)]
    {
        let upstream = Upstream::answering_over_tls(trust.https(alpn), echo);
        let trusted = UpstreamSettings { roots: Some(trust.roots()), ..UpstreamSettings::new(vec![upstream.https()]) };
        let tunnel = Tunnel::with(to(pattern(None, None), trusted)).start(direction).await;
        let answer = tunnel.http1().await.post("/", full("secret")).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "secret"), "{alpn:?}");
        assert_eq!(upstream.saw().last().version, version);
    }
}

async fn an_http_2_upstream_gets_the_authority_that_the_visitor_asked_for(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.h2c()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        visitor.get("/").await;
        let seen = upstream.saw().last();
        assert_eq!(seen.uri.authority().map(|authority| authority.as_str()), Some(HOST));
        assert!(!seen.headers.contains_key("host"));
    }
}

async fn many_requests_share_one_connection_to_an_http_2_upstream(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.h2c()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for _ in 0..20 {
        assert_eq!(visitor.post("/", full("a body")).await.text(), "a body");
    }
    assert_eq!(upstream.saw().connections(), 1);
}

async fn connections_to_an_http_1_upstream_are_used_again(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for _ in 0..20 {
        assert_eq!(visitor.post("/", full("a body")).await.text(), "a body");
    }
    // One may still be busy with the end of its last request.
    assert!(upstream.saw().connections() <= 2, "{}", upstream.saw().connections());
}

async fn an_http_1_0_visitor_gets_a_body_that_ends_with_its_connection(direction: Direction) {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = raw::ask(tunnel.entry(), "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello") && !answer.contains("chunked"), "{answer}");
}
