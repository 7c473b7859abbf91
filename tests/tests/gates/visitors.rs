//! Where visitors come from, and how often they ask.

use adit_core::gate::Gate;
use adit_tests::Visitor;

use crate::guarded::{Guarded, at_most, credentials, from, identified};

const PROXY: &[&str] = &["127.0.0.0/8"];
const FORBIDDEN: (u16, &str) = (403, "forbidden");

#[tokio::test]
async fn a_visitor_is_let_in_or_not_by_where_its_connection_comes_from() {
    for (gate, expected) in [
        (from(&["127.0.0.1/32"], &[]), (200, "")),
        (from(&["192.0.2.0/24"], &[]), FORBIDDEN),
        (from(&[], &["127.0.0.0/8"]), FORBIDDEN),
        (from(&[], &["192.0.2.0/24"]), (200, "")),
    ] {
        let guarded = Guarded::by(gate.clone()).await;
        assert_eq!(guarded.get("/", &[]).await.failure(), expected, "{gate:?}");
        let spoofed = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
        assert_eq!(guarded.get("/", &spoofed).await.failure(), expected, "{gate:?}");
    }
}

#[tokio::test]
async fn a_visitor_behind_a_trusted_proxy_is_who_the_proxy_says() {
    let guarded = Guarded::at("/", from(&["192.0.2.0/24"], &["192.0.2.66/32"]), PROXY).await;
    for (fields, expected) in [
        (&[("x-forwarded-for", "192.0.2.1")][..], (200, "")),
        (&[("forwarded", "for=192.0.2.1")], (200, "")),
        (&[("x-forwarded-for", "198.51.100.1")], FORBIDDEN),
        (&[("x-forwarded-for", "192.0.2.66")], FORBIDDEN),
        // The last one is what the proxy saw, whatever the visitor has written before it.
        (&[("x-forwarded-for", "192.0.2.1, 198.51.100.1")], FORBIDDEN),
        (&[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "198.51.100.1")], FORBIDDEN),
        // A field that the proxy does not write is the visitor's.
        (&[("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=192.0.2.1")], FORBIDDEN),
        (&[("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=198.51.100.1")], FORBIDDEN),
        (&[("x-forwarded-for", "unknown")], FORBIDDEN),
        (&[], FORBIDDEN),
    ] {
        assert_eq!(guarded.get("/", fields).await.failure(), expected, "{fields:?}");
    }
}

#[tokio::test]
async fn a_visitor_that_asks_too_often_is_told_when_to_come_back() {
    let guarded = Guarded::at("/", at_most(3), PROXY).await;
    let mut visitor = Visitor::http2(guarded.server.entry()).await;
    let mut asked = async |from: &str| {
        let request = visitor.request("GET", "/").header("x-forwarded-for", from).empty();
        visitor.ask(request).await
    };
    for _ in 0..3 {
        assert_eq!(asked("192.0.2.1").await.failure(), (200, ""));
    }
    let answer = asked("192.0.2.1").await;
    assert_eq!(answer.failure(), (429, "rate-limited"));
    let wait: u64 = answer.values("retry-after")[0].parse().unwrap();
    assert!((3_000..=3_600).contains(&wait), "{wait}");
    assert_eq!(asked("192.0.2.2").await.failure(), (200, ""));
    assert_eq!(guarded.upstream.saw().requests(), 4);
}

#[tokio::test]
async fn all_that_a_rule_asks_has_to_be_met() {
    let gate = Gate { addresses: from(&["192.0.2.0/24"], &[]).addresses, ..identified(credentials()) };
    let guarded = Guarded::by(gate).await;
    assert_eq!(guarded.get("/", &[("authorization", "Bearer t0ken")]).await.failure(), FORBIDDEN);
}
