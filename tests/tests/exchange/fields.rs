//! What of a head crosses, what does not, and what adit adds.

use adit_tests::{
    Direction, Tunnel, Upstream,
    body::empty,
    both_directions,
    settings::everything_to,
    upstream::response,
    visitor::{HOST, raw},
};

both_directions! {
    fields_of_one_name_stay_apart_and_in_order,
    cookies_that_are_set_stay_apart,
    what_speaks_of_one_connection_does_not_cross,
    the_upstream_learns_where_the_request_came_from,
    a_strangers_word_on_where_it_came_from_is_replaced,
    a_trusted_proxys_word_is_continued,
    a_request_gets_an_id_unless_it_has_one,
    the_target_is_forwarded_byte_for_byte,
    the_host_is_forwarded_as_it_came,
    a_rule_can_set_the_host,
    no_via_is_added_to_what_upstreams_compress_for,
}

async fn fields_of_one_name_stay_apart_and_in_order(direction: Direction) {
    let fields = [("x-many", "1"), ("x-other", "a, b"), ("x-many", "2"), ("x-many", "1")];
    let upstream = Upstream::answering(move |_| async move { response(200, &fields, empty()) });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        let mut request = visitor.request("GET", "/");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let answer = visitor.ask(request.empty()).await;
        assert_eq!((answer.values("x-many"), answer.values("x-other")), (vec!["1", "2", "1"], vec!["a, b"]));
        let seen = upstream.saw().last();
        assert_eq!((seen.values("x-many"), seen.values("x-other")), (vec!["1", "2", "1"], vec!["a, b"]));
    }
}

async fn cookies_that_are_set_stay_apart(direction: Direction) {
    let cookies = [("set-cookie", "a=1; expires=Wed, 21 Oct 2015 07:28:00 GMT"), ("set-cookie", "b=2")];
    let upstream = Upstream::answering(move |_| async move { response(200, &cookies, empty()) });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let answer = tunnel.http1().await.get("/").await;
    assert_eq!(answer.values("set-cookie"), cookies.map(|(_, value)| value));
}

async fn what_speaks_of_one_connection_does_not_cross(direction: Direction) {
    let upstream = Upstream::answering(|_| async {
        let fields =
            [("connection", "x-back"), ("x-back", "1"), ("keep-alive", "timeout=5"), ("proxy-connection", "x")];
        response(200, &fields, empty())
    });
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = visitor.request("GET", "/").header("connection", "keep-alive, x-hop").header("x-hop", "1");
    let request = request.header("keep-alive", "timeout=5").header("te", "gzip").header("upgrade", "h2c");
    let answer = visitor.ask(request.header("proxy-connection", "keep-alive").header("x-stays", "1").empty()).await;
    let seen = upstream.saw().last();
    for name in ["connection", "x-hop", "keep-alive", "te", "upgrade", "proxy-connection"] {
        assert!(!seen.headers.contains_key(name), "the upstream got {name}");
    }
    assert_eq!(seen.values("x-stays"), ["1"]);
    for name in ["connection", "x-back", "keep-alive", "proxy-connection"] {
        assert!(!answer.headers.contains_key(name), "the visitor got {name}");
    }
}

async fn the_upstream_learns_where_the_request_came_from(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    tunnel.http1().await.get("/").await;
    let seen = upstream.saw().last();
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-host"), [HOST]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("forwarded"), [format!("for=127.0.0.1;host=\"{HOST}\";proto=http")]);
}

const CLAIMS: [(&str, &str); 5] = [
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-for", "192.0.2.2"),
    ("x-forwarded-host", "front.test"),
    ("x-forwarded-proto", "https"),
    ("forwarded", "for=192.0.2.1"),
];

async fn a_strangers_word_on_where_it_came_from_is_replaced(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = CLAIMS.iter().fold(visitor.request("GET", "/"), |request, (name, value)| request.header(name, value));
    visitor.ask(request.empty()).await;
    let seen = upstream.saw().last();
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-host"), [HOST]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("forwarded"), [format!("for=127.0.0.1;host=\"{HOST}\";proto=http")]);
}

async fn a_trusted_proxys_word_is_continued(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).trusting("127.0.0.0/8").start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = CLAIMS.iter().fold(visitor.request("GET", "/"), |request, (name, value)| request.header(name, value));
    visitor.ask(request.empty()).await;
    let seen = upstream.saw().last();
    assert_eq!(seen.values("x-forwarded-for"), ["192.0.2.1, 192.0.2.2, 127.0.0.1"]);
    assert_eq!(seen.values("x-forwarded-host"), ["front.test"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.values("forwarded"), [format!("for=192.0.2.1, for=127.0.0.1;host=\"{HOST}\";proto=http")]);
}

async fn a_request_gets_an_id_unless_it_has_one(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let mut ids = Vec::new();
    for given in [None, None, Some("mine-1"), Some("not sane")] {
        let request = visitor.request("GET", "/");
        let request = given.into_iter().fold(request, |request, id| request.header("x-request-id", id));
        visitor.ask(request.empty()).await;
        ids.extend(upstream.saw().last().values("x-request-id").iter().map(|id| (*id).to_owned()));
    }
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert_eq!(ids[2], "mine-1");
    assert!(ids[0] != ids[1] && ids[0].len() == 36, "{ids:?}");
    assert!(ids[3] != "not sane" && ids[3].len() == 36, "{ids:?}");
}

async fn the_target_is_forwarded_byte_for_byte(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for mut visitor in [tunnel.http1().await, tunnel.http2().await] {
        for target in ["/a%7Eb?x=%20", "/%2F//b;c=1/%zz", "/?", "/a?b=/../?&&c", "/%C3%A4", "/a/...b/"] {
            visitor.get(target).await;
            assert_eq!(upstream.saw().last().uri.to_string(), target);
        }
    }
}

async fn the_host_is_forwarded_as_it_came(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    for host in ["App.Test:8080", "app.test.", "[::1]:80", "127.0.0.1"] {
        raw::ask(tunnel.entry(), format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(upstream.saw().last().values("host"), [host]);
    }
}

async fn a_rule_can_set_the_host(direction: Direction) {
    let upstream = Upstream::echo();
    let mut egress = everything_to(upstream.http());
    egress.rules[0].options.set_host = Some("inner.test".to_owned());
    let tunnel = Tunnel::with(egress).start(direction).await;
    tunnel.http1().await.get("/").await;
    let seen = upstream.saw().last();
    assert_eq!((seen.values("host"), seen.values("x-forwarded-host")), (vec!["inner.test"], vec![HOST]));
}

async fn no_via_is_added_to_what_upstreams_compress_for(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = visitor.request("GET", "/").header("accept-encoding", "gzip, br");
    let answer = visitor.ask(request.empty()).await;
    let seen = upstream.saw().last();
    assert_eq!(seen.values("accept-encoding"), ["gzip, br"]);
    assert!(!seen.headers.contains_key("via") && !answer.headers.contains_key("via"));
}
