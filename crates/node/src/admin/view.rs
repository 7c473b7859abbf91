//! The JSON that the API answers with. `docs/admin.md` describes it; fields are added, not changed.

use std::{net::SocketAddr, time::UNIX_EPOCH};

use adit_core::{
    group::{Carrier, Health, Member},
    id::Group,
    limits::{Limits, Timeouts},
    wire::control::ConfigOutcome,
};
use serde::Serialize;

use crate::{
    clock::millis,
    egress::upstream::{ServerSnapshot, Upstream},
    link::{ConfigAck, Link},
    registry::GroupLinks,
    settings::{EgressRule, IngressRule},
    watch::Shown,
};

/// What a node was told: where it listens and what it allows. Holds no secrets.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// `server` or `client`.
    pub role: &'static str,
    /// The version of adit.
    pub version: &'static str,
    /// The UDP address of a server.
    pub tunnel: Option<SocketAddr>,
    /// The servers that a client connects to.
    pub connect: Vec<String>,
    /// The TCP address of the HTTP entry.
    pub http: Option<SocketAddr>,
    /// The TCP address of the HTTPS entry.
    pub https: Option<SocketAddr>,
    /// The TCP address of the admin interface.
    pub admin: Option<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
    /// Waits.
    pub timeouts: Timeouts,
}

/// One link.
#[derive(Debug, Serialize)]
pub(super) struct LinkView {
    session: u64,
    client_id: String,
    identity: String,
    /// `certificate` or `token`.
    proof: &'static str,
    /// The key exchange of its TLS handshake.
    key_exchange: Option<String>,
    group: String,
    remote: SocketAddr,
    health: &'static str,
    in_flight: u32,
    rtt_ms: f64,
    cwnd_bytes: u64,
    sent_bytes: u64,
    received_bytes: u64,
    sent_packets: u64,
    lost_packets: u64,
    since_unix_ms: u64,
    /// What became of the configuration that was pushed last; null where none was.
    config: Option<ConfigAckView>,
}

/// What a client did with a pushed configuration.
#[derive(Debug, Serialize)]
struct ConfigAckView {
    version: String,
    /// Whether it is in force.
    applied: bool,
    /// Why it is not.
    why: Option<String>,
}

impl ConfigAckView {
    fn new(ack: &ConfigAck) -> Self {
        let (applied, why) = match &ack.outcome {
            ConfigOutcome::Applied => (true, None),
            ConfigOutcome::Rejected { why } => (false, Some(why.clone())),
        };
        Self { version: ack.version.to_string(), applied, why }
    }
}

impl LinkView {
    pub(super) fn new(group: &Group, member: &Member<Link>) -> Self {
        let link = &member.link;
        let stats = link.stats();
        let since = link.since().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            session: link.session().0,
            client_id: member.client_id.to_string(),
            identity: member.identity.to_string(),
            proof: member.identity.proof.as_str(),
            key_exchange: link.key_exchange(),
            group: group.to_string(),
            remote: link.remote_address(),
            health: health_name(link.health()),
            in_flight: link.in_flight(),
            rtt_ms: stats.path.rtt.as_secs_f64() * 1e3,
            cwnd_bytes: stats.path.cwnd,
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
            since_unix_ms: millis(since),
            config: link.config_ack().map(|ack| ConfigAckView::new(&ack)),
        }
    }
}

pub(super) fn health_name(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Full => "full",
        Health::Aside => "aside",
        Health::Suspect => "suspect",
        Health::Draining => "draining",
    }
}

/// One group.
#[derive(Debug, Serialize)]
pub(super) struct GroupView {
    group: String,
    links: usize,
    healthy: usize,
    in_flight: u64,
    /// How many of these wait for their turn.
    waiting: u64,
    /// How many exchanges may be asked again now.
    retries_left: f64,
}

impl GroupView {
    pub(super) fn new(group: &GroupLinks) -> Self {
        Self {
            group: group.name().to_string(),
            links: group.members().as_slice().len(),
            healthy: group.healthy(),
            in_flight: group.asked().in_flight(),
            waiting: group.waiting(),
            retries_left: group.retries().left(group.asked()).round(),
        }
    }
}

/// The rules of both ways.
#[derive(Debug, Serialize)]
pub(super) struct RulesView {
    pub(super) ingress: Vec<IngressView>,
    pub(super) egress: Vec<EgressView>,
}

/// A rule of the way in.
#[derive(Debug, Serialize)]
pub(super) struct IngressView {
    pattern: String,
    group: String,
    set_host: Option<String>,
    /// The keys that ask something of visitors.
    gate: Vec<&'static str>,
}

impl IngressView {
    pub(super) fn new(rule: &IngressRule) -> Self {
        Self {
            pattern: rule.pattern.to_string(),
            group: rule.group.to_string(),
            set_host: rule.options.set_host.clone(),
            gate: rule.options.gate.keys(),
        }
    }
}

/// A rule of the way out.
#[derive(Debug, Serialize)]
pub(super) struct EgressView {
    pattern: String,
    /// Whose links may use it; null for any.
    groups: Option<Vec<String>>,
    upstream: String,
    set_host: Option<String>,
    /// `own` or `pushed`.
    origin: &'static str,
}

impl EgressView {
    pub(super) fn new(origin: &'static str, rule: &EgressRule) -> Self {
        Self {
            pattern: rule.pattern.to_string(),
            groups: rule.groups.as_ref().map(|groups| groups.iter().map(Group::to_string).collect()),
            upstream: rule.upstream.clone(),
            set_host: rule.options.set_host.clone(),
            origin,
        }
    }
}

/// One upstream.
#[derive(Debug, Serialize)]
pub(super) struct UpstreamView {
    upstream: String,
    /// `own` or `pushed`.
    origin: &'static str,
    servers: Vec<ServerView>,
}

/// One server of an upstream.
#[derive(Debug, Serialize)]
struct ServerView {
    url: String,
    healthy: bool,
    in_flight: u32,
    /// Null before the first response.
    latency_ms: Option<f64>,
}

impl UpstreamView {
    pub(super) fn new(origin: &'static str, upstream: &Upstream) -> Self {
        let server = |server: ServerSnapshot| ServerView {
            url: server.url.to_string(),
            healthy: server.healthy,
            in_flight: server.in_flight,
            latency_ms: server.latency_ms,
        };
        let servers = upstream.snapshot().into_iter().map(server).collect();
        Self { upstream: upstream.name().to_owned(), origin, servers }
    }
}

/// One exchange in flight.
#[derive(Debug, Serialize)]
pub(super) struct ExchangeView {
    side: &'static str,
    id: String,
    method: String,
    host: String,
    age_ms: u64,
}

impl ExchangeView {
    pub(super) fn new(shown: &Shown) -> Self {
        Self {
            side: shown.side.as_str(),
            id: shown.id.to_string(),
            method: shown.method.to_string(),
            host: shown.host.to_string(),
            age_ms: millis(shown.start.elapsed()),
        }
    }
}
