//! What a rule changes in the requests it takes.

use std::time::Duration;

use adit_core::{http::edit::FieldEdits, route::RuleOptions};
use adit_node::settings::IngressRule;
use adit_tests::{
    Direction, Tunnel, Upstream, both_directions,
    node::{ClientNode, ServerNode},
    settings::{self, GROUP, everything_to, group, pattern},
    trust::Trust,
};

both_directions! {
    an_egress_rule_strips_its_prefix_and_edits_fields,
    an_egress_rule_gives_up_at_its_own_timeout,
}

async fn an_egress_rule_strips_its_prefix_and_edits_fields(direction: Direction) {
    let upstream = Upstream::echo();
    let mut egress = everything_to(upstream.http());
    egress.rules[0].pattern = pattern(None, Some("/api"));
    egress.rules[0].options = RuleOptions {
        strip_prefix: true,
        request_headers: FieldEdits::new(["x-gone"], [("x-set", "new")], []).unwrap(),
        response_headers: FieldEdits::new([], [("x-answered", "yes")], []).unwrap(),
        ..RuleOptions::default()
    };
    let tunnel = Tunnel::with(egress).start(direction).await;
    let mut visitor = tunnel.http1().await;
    let request = visitor.request("GET", "/%61pi/x%2Fy?z=1").header("x-gone", "1").header("x-set", "old").empty();
    let answer = visitor.ask(request).await;
    assert_eq!(answer.failure(), (200, ""));
    assert_eq!(answer.values("x-answered"), ["yes"]);
    let seen = upstream.saw().last();
    assert_eq!(seen.uri.to_string(), "/x%2Fy?z=1");
    assert_eq!((seen.values("x-gone"), seen.values("x-set")), (vec![], vec!["new"]));
}

async fn an_egress_rule_gives_up_at_its_own_timeout(direction: Direction) {
    let (upstream, _calls) = Upstream::by_hand();
    let mut egress = everything_to(upstream.http());
    egress.rules[0].options.timeout = Some(Duration::from_millis(50));
    let tunnel = Tunnel::with(egress).start(direction).await;
    let answer = tunnel.http1().await.get("/").await;
    assert_eq!(answer.failure(), (504, "timeout"));
}

#[tokio::test]
async fn an_ingress_rule_edits_on_its_own() {
    let (upstream, trust) = (Upstream::echo(), Trust::default());
    let mut settings = settings::public_server(&trust);
    let options = RuleOptions {
        set_host: Some("inner.example".to_owned()),
        strip_prefix: true,
        response_headers: FieldEdits::new([], [], [("x-by", "ingress")]).unwrap(),
        ..RuleOptions::default()
    };
    let rule = IngressRule { pattern: pattern(Some("*.example"), Some("/app")), group: group(GROUP), options };
    settings.ingress.push(rule);
    let server = ServerNode::start(settings).await;
    let mut settings = settings::client(&trust, "client", server.tunnel);
    settings.egress = everything_to(upstream.http());
    let _client = ClientNode::start(settings).await;
    server.has_clients(GROUP, 1).await;
    let mut visitor = adit_tests::Visitor::http2(server.entry()).await;
    let mut request = visitor.request("GET", "/app/x").empty();
    *request.uri_mut() = "http://a.example/app/x".parse().unwrap();
    let answer = visitor.ask(request).await;
    assert_eq!(answer.values("x-by"), ["ingress"]);
    let seen = upstream.saw().last();
    assert_eq!((seen.uri.to_string(), seen.values("host")), ("/x".to_owned(), vec!["inner.example"]));
}
