//! A tunnel whose entry asks something of visitors.

use std::time::Duration;

use adit_core::{
    gate::{Addresses, Credentials, Gate, PasswordHash, RateLimit, TokenHash},
    route::RuleOptions,
};
use adit_node::settings::{IngressRule, ServerSettings};
use adit_tests::{
    Upstream, Visitor,
    message::Whole,
    node::{ClientNode, ServerNode},
    settings::{self, CLIENT, GROUP, everything_to, group, pattern},
    trust::Trust,
};

/// `Authorization` of alice, whose password is "password".
pub(crate) const ALICE: &str = "Basic YWxpY2U6cGFzc3dvcmQ=";

/// The hash of alice's password, as cheap as argon2 gets.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdCBhbmQgcGVwcGVy$efB2OTd8S5e5ujwQy/sGFwKr9h2YJR0oP4kEHnpjUzU";

/// A server with gates, a client, and an upstream that echoes.
pub(crate) struct Guarded {
    pub(crate) server: ServerNode,
    pub(crate) upstream: Upstream,
    pub(crate) trust: Trust,
    _client: ClientNode,
}

impl Guarded {
    /// Guards everything.
    pub(crate) async fn by(gate: Gate) -> Self {
        Self::at("/", gate, &[]).await
    }

    /// Guards a path, and nothing else; proxies in these networks are believed.
    pub(crate) async fn at(path: &str, gate: Gate, proxies: &[&str]) -> Self {
        let (trust, upstream) = (Trust::default(), Upstream::echo());
        let server = ServerNode::start(settings(&trust, path, gate, proxies)).await;
        let client = settings::client(&trust, CLIENT, server.tunnel);
        let client = adit_node::settings::ClientSettings { egress: everything_to(upstream.http()), ..client };
        let client = ClientNode::start(client).await;
        server.has_clients(GROUP, 1).await;
        Self { server, upstream, trust, _client: client }
    }

    /// Asks for `path` with these fields, as a visitor of its own over HTTP/1.1.
    pub(crate) async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Whole {
        let mut visitor = Visitor::http1(self.server.entry()).await;
        let request = visitor.request("GET", path);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
        visitor.ask(request.empty()).await
    }
}

/// What a server is told that guards a path.
pub(crate) fn settings(trust: &Trust, path: &str, gate: Gate, proxies: &[&str]) -> ServerSettings {
    let mut settings = settings::public_server(trust);
    let options = RuleOptions { gate, ..RuleOptions::default() };
    if path == "/" {
        settings.ingress[0].options = options;
    } else {
        settings.ingress.push(IngressRule { pattern: pattern(None, Some(path)), group: group(GROUP), options });
    }
    let mut entry = settings::entry();
    entry.trusted_proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
    ServerSettings { http: Some(entry), ..settings }
}

/// Lets in alice and whoever has the token "t0ken".
pub(crate) fn credentials() -> Credentials {
    Credentials {
        users: vec![("alice".to_owned(), PasswordHash::new(HASH))],
        tokens: vec![("ci".to_owned(), TokenHash::of(b"t0ken"))],
        ..Credentials::default()
    }
}

pub(crate) fn identified(credentials: Credentials) -> Gate {
    Gate { credentials: Some(credentials), ..Gate::default() }
}

pub(crate) fn from(allow: &[&str], deny: &[&str]) -> Gate {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Gate { addresses: Addresses { allow: networks(allow), deny: networks(deny) }, ..Gate::default() }
}

/// So many at once, and another one an hour later.
pub(crate) fn at_most(burst: u32) -> Gate {
    let limit = RateLimit {
        requests: 1.try_into().unwrap(),
        per: Duration::from_secs(3_600),
        burst: burst.try_into().unwrap(),
    };
    Gate { rate_limit: Some(limit), ..Gate::default() }
}
