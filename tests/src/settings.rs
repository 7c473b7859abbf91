//! What nodes are told to do when a test does not care.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use adit_core::{
    id::Group,
    limits::{Limits, Timeouts},
    route::{Pattern, RuleOptions},
};
use adit_node::settings::{
    Allow, ClientProof, ClientSettings, Congestion, EgressRule, EgressSettings, GroupSettings, HostPort, HttpEntry,
    IngressRule, ServerNames, ServerSettings, ServerTrust, ServerUrl, TunnelConnect, TunnelListen, UpstreamSettings,
};

use crate::trust::Trust;

/// The group that clients join unless told otherwise.
pub const GROUP: &str = "web";

/// The name of a client unless it has another.
pub const CLIENT: &str = "client";

/// Returns an address on loopback whose port the system chooses.
pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Makes a group of its name.
pub fn group(name: &str) -> Group {
    name.parse().unwrap()
}

/// Makes a pattern of the host and path of a rule.
pub fn pattern(host: Option<&str>, path: Option<&str>) -> Pattern {
    adit_node::settings::pattern(host, path).unwrap()
}

/// A server with the group [`GROUP`], without an entry and without rules.
pub fn server(trust: &Trust) -> ServerSettings {
    ServerSettings {
        tunnel: TunnelListen {
            listen: loopback(),
            credentials: trust.server(),
            client_roots: Some(trust.roots()),
            client_crls: Vec::new(),
            tokens: None,
            congestion: Congestion::default(),
        },
        http: None,
        https: None,
        ingress: Vec::new(),
        groups: HashMap::from([(group(GROUP), GroupSettings::new(["*"]))]),
        egress: EgressSettings::default(),
        admin: None,
        limits: Limits::default(),
        timeouts: timeouts(),
    }
}

/// A server with an entry that leads to the clients of [`GROUP`].
pub fn public_server(trust: &Trust) -> ServerSettings {
    let everything = IngressRule { pattern: pattern(None, None), group: group(GROUP), options: RuleOptions::default() };
    ServerSettings { http: Some(entry()), ingress: vec![everything], ..server(trust) }
}

/// A client of [`GROUP`] called `name`, without an entry and without rules.
pub fn client(trust: &Trust, name: &str, server: SocketAddr) -> ClientSettings {
    ClientSettings {
        tunnel: TunnelConnect {
            connect: vec![HostPort { host: server.ip().to_string(), port: server.port() }],
            server_name: ServerNames::one("localhost"),
            trust: ServerTrust::Authority(trust.roots()),
            proof: ClientProof::Certificate(trust.client(name)),
            group: group(GROUP),
            allow: Allow::default(),
            congestion: Congestion::default(),
        },
        http: None,
        https: None,
        egress: EgressSettings::default(),
        admin: None,
        limits: Limits::default(),
        timeouts: timeouts(),
    }
}

/// An entry that believes nobody.
pub fn entry() -> HttpEntry {
    HttpEntry::new(loopback())
}

/// Makes the URL of a backend server.
pub fn url(scheme: &str, address: impl std::fmt::Display) -> ServerUrl {
    format!("{scheme}://{address}").parse().unwrap()
}

/// The way out for every request: to one server.
pub fn everything_to(server: ServerUrl) -> EgressSettings {
    to(pattern(None, None), UpstreamSettings::new(vec![server]))
}

/// The way out for the requests of one pattern.
pub fn to(pattern: Pattern, upstream: UpstreamSettings) -> EgressSettings {
    let rule = EgressRule { pattern, groups: None, upstream: "app".to_owned(), options: RuleOptions::default() };
    EgressSettings {
        rules: vec![rule],
        upstreams: HashMap::from([("app".to_owned(), upstream)]),
        ..EgressSettings::default()
    }
}

/// Waits that no test runs into by chance, and quick tries to get back.
pub fn timeouts() -> Timeouts {
    Timeouts {
        response_head: Duration::from_secs(3_600),
        drain: Duration::from_secs(3_600),
        drain_idle: Duration::from_millis(100),
        reconnect_min: Duration::from_millis(10),
        reconnect_max: Duration::from_millis(50),
        ..Timeouts::default()
    }
}
