//! Metrics whose labels nobody but the configuration writes.

use std::{collections::BTreeSet, net::SocketAddr};

use adit_core::{route::RuleOptions, wire::control::StreamOpenResponse};
use adit_node::settings::{
    AdminEntry, ClientProof, ClientSettings, GroupSettings, HttpEntry, IngressRule, ServerSettings,
};
use adit_tests::{
    Upstream, body,
    node::{ClientNode, ServerNode},
    peer::Peer,
    settings::{self, CLIENT, GROUP, everything_to, group, loopback, pattern},
    trust::Trust,
    upstream::response,
    visitor::raw::ask,
};

use crate::guarded::{credentials, identified};

/// In all that strangers say, and in no name of a metric.
const MARK: &str = "zq";

/// Two nodes, each with an entry that leads to the other one, and an upstream that answers with any status.
struct Both {
    trust: Trust,
    server: ServerNode,
    client: ClientNode,
    _upstream: Upstream,
}

impl Both {
    async fn start() -> Self {
        let trust = Trust::default();
        let upstream = Upstream::answering(|request| async move {
            let status = request.uri().query().and_then(|status| status.parse().ok());
            response(status.unwrap_or(200), &[], body::empty())
        });
        let admin = || Some(AdminEntry::open(loopback()).unwrap());
        let options = RuleOptions { gate: identified(credentials()), ..RuleOptions::default() };
        let guarded = IngressRule { pattern: pattern(None, Some("/guarded")), group: group(GROUP), options };
        let mut server = settings::public_server(&trust);
        server.ingress.push(guarded);
        // Whoever has such a name may join; the rest is denied.
        server.groups.insert(group(GROUP), GroupSettings::new([CLIENT, "zqmember*"]));
        let egress = everything_to(upstream.http());
        let server = ServerNode::start(ServerSettings { admin: admin(), egress: egress.clone(), ..server }).await;
        let client = settings::client(&trust, CLIENT, server.tunnel);
        let http = Some(HttpEntry::new(loopback()));
        let client = ClientNode::start(ClientSettings { admin: admin(), http, egress, ..client }).await;
        server.has_clients(GROUP, 1).await;
        client.has_servers(1).await;
        Self { trust, server, client, _upstream: upstream }
    }

    /// Has strangers say what nobody has said before.
    async fn strangers(&self, numbers: std::ops::Range<u32>) {
        for number in numbers.clone() {
            for entry in [self.server.entry(), self.client.entry()] {
                visit(entry, number).await;
            }
        }
        for number in numbers.step_by(8) {
            self.denied(&format!("{MARK}client{number}"), &format!("{MARK}group{number}")).await;
            self.denied(&format!("{MARK}client{number}"), GROUP).await;
            let name = format!("{MARK}member{number}");
            let member = Peer::join_named(&name, self.server.tunnel, &self.trust).await.unwrap();
            member.quic.close(0_u32.into(), name.as_bytes());
            self.server.has_clients(GROUP, 1).await;
        }
    }

    async fn denied(&self, name: &str, group: &str) {
        let proof = ClientProof::Certificate(self.trust.client(name));
        let mut peer = Peer::try_connect_with(self.server.tunnel, &proof, &self.trust).await.unwrap();
        let answer = peer.register(group).await;
        assert!(matches!(answer, Some(StreamOpenResponse::Denied { .. })), "{answer:?}");
    }
}

/// Asks in every way that has something of its own.
async fn visit(entry: SocketAddr, number: u32) {
    let status = 200 + number % 400;
    let method = ["GET", "POST", "PUT", "OPTIONS", "ZQ"][number as usize % 5];
    let method = if method == "ZQ" { format!("{MARK}{number}").to_uppercase() } else { method.to_owned() };
    let line = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    let host = format!("Host: {MARK}host{number}.test\r\n");
    let length = if method == "GET" { "" } else { "Content-Length: 0\r\n" };
    let marks = format!("X-Request-Id: {MARK}id{number}\r\nUser-Agent: {MARK}agent{number}\r\n{length}");
    let basic = format!("Authorization: Bearer {MARK}token{number}\r\n");
    for request in [
        format!("{}{host}{marks}\r\n", line(&method, &format!("/{MARK}path{number}?{status}"))),
        format!("{}{host}{basic}{marks}\r\n", line(&method, &format!("/guarded/{MARK}{number}"))),
        format!("{}{host}\r\n", line("GET", &format!("/../{MARK}{number}"))),
        format!("{}Host: a@{MARK}{number}\r\n\r\n", line("GET", "/")),
        format!("{}{host}Upgrade: {MARK}{number}\r\n\r\n", line("GET", "/").replace("close", "upgrade, close")),
        format!("CONNECT {MARK}host{number}.test:443 HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
        format!("{MARK} {number}\r\n\r\n"),
    ] {
        let answer = ask(entry, &request).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{request:?}: {answer:?}");
    }
}

/// All names and labels that a node shows.
async fn series(admin: SocketAddr) -> BTreeSet<String> {
    let answer = ask(admin, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let (_, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(text.trim_end().ends_with("# EOF"), "{answer}");
    assert!(!text.to_lowercase().contains(MARK), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[tokio::test]
async fn no_stranger_adds_a_series_to_the_metrics() {
    let both = Both::start().await;
    let admins = [both.server.admin(), both.client.admin()];
    // Whatever can end an exchange so has done it.
    both.strangers(0..40).await;
    let mut before = Vec::new();
    for admin in admins {
        before.push(series(admin).await);
    }
    both.strangers(40..440).await;
    for (admin, before) in admins.into_iter().zip(before) {
        assert!(before.iter().any(|series| series.contains("outcome=\"2xx\"")), "{before:?}");
        let after = series(admin).await;
        let new: Vec<_> = after.difference(&before).collect();
        assert!(new.is_empty(), "{new:?}");
    }
}
