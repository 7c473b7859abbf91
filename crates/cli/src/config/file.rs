//! What stands in a configuration file, as it stands there.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use adit_core::{
    budget::RetryTerms,
    limits::{Limits, Timeouts},
    wire::config::{EgressRule, FieldEdits, Upstream},
};
use adit_node::settings::Congestion;
use ipnet::IpNet;
use serde::Deserialize;

/// `server.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFile {
    /// Where clients connect.
    pub tunnel: TunnelListen,
    /// The public HTTP entry.
    pub http: Option<HttpEntry>,
    /// The public HTTP entry, with TLS.
    pub https: Option<HttpsEntry>,
    /// Requests → group.
    #[serde(default)]
    pub ingress: Vec<IngressRule>,
    /// Requests of clients → upstream.
    #[serde(default)]
    pub egress: Vec<EgressRule>,
    /// The upstreams that egress rules name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Upstream>,
    /// Who may join.
    #[serde(default)]
    pub groups: BTreeMap<String, Group>,
    /// Which addresses upstreams may be at.
    #[serde(default)]
    pub dial: Dial,
    /// Where operators connect.
    pub admin: Option<AdminEntry>,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// Waits.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// `client.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientFile {
    /// Which server to connect to, as whom.
    pub tunnel: TunnelConnect,
    /// The local HTTP entry.
    pub http: Option<HttpEntry>,
    /// The local HTTP entry, with TLS.
    pub https: Option<HttpsEntry>,
    /// Requests from the server → upstream.
    #[serde(default)]
    pub egress: Vec<EgressRule>,
    /// The upstreams that egress rules name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Upstream>,
    /// Which addresses upstreams may be at.
    #[serde(default)]
    pub dial: Dial,
    /// Where operators connect.
    pub admin: Option<AdminEntry>,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// Waits.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// `[tunnel]` of a server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelListen {
    /// UDP.
    pub listen: SocketAddr,
    /// PEM.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// PEM: who signs the clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// PEM: which of those certificates are revoked.
    pub client_crl: Option<PathBuf>,
    /// The tokens of clients, as `adit token` writes them.
    pub tokens_file: Option<PathBuf>,
    /// Whether keys may be readable by others than their owner.
    #[serde(default)]
    pub allow_readable_keys: bool,
    /// How fast this side sends.
    #[serde(default)]
    pub congestion: Congestion,
}

/// `[tunnel]` of a client.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelConnect {
    /// `HOST:PORT`, or a list of them.
    pub connect: OneOrMany,
    /// The name in the servers' certificates, or a list with one for each; the hosts to connect to where it is left out.
    pub server_name: Option<OneOrMany>,
    /// PEM: who signs the server's certificate.
    pub ca: Option<PathBuf>,
    /// The fingerprint of the server's key, instead of that.
    pub server_fingerprint: Option<String>,
    /// PEM.
    pub cert: Option<PathBuf>,
    /// PEM.
    pub key: Option<PathBuf>,
    /// A token, instead of a certificate and its key.
    pub token_file: Option<PathBuf>,
    /// Whether keys and the token may be readable by others than their owner.
    #[serde(default)]
    pub allow_readable_keys: bool,
    /// The group to join.
    pub group: String,
    /// What a pushed configuration may make this client dial: `HOST:PORT` or `NETWORK/BITS:PORT`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// How fast this side sends.
    #[serde(default)]
    pub congestion: Congestion,
}

/// A string or a list of strings.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// A list.
    Many(Vec<String>),
}

/// `[http]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpEntry {
    /// TCP.
    pub listen: SocketAddr,
    /// Networks whose `X-Forwarded-*` and `Forwarded` are believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether every connection begins with a PROXY header, and comes from one of those.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// `[https]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpsEntry {
    /// TCP.
    pub listen: SocketAddr,
    /// PEM.
    pub cert: Option<PathBuf>,
    /// PEM.
    pub key: Option<PathBuf>,
    /// More of them, for other names.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Networks whose `X-Forwarded-*` and `Forwarded` are believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether every connection begins with a PROXY header, and comes from one of those.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// `[[https.certificates]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// `[admin]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminEntry {
    /// TCP; on loopback unless it asks for a token, over TLS.
    pub listen: SocketAddr,
    /// The token that callers have to show.
    pub token_file: Option<PathBuf>,
    /// PEM.
    pub cert: Option<PathBuf>,
    /// PEM.
    pub key: Option<PathBuf>,
}

/// `[dial]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dial {
    /// Where the names of upstreams may lead: `ADDRESS` or `NETWORK/BITS`, with or without `:PORT`.
    pub allow: Vec<String>,
    /// What is never dialled, in the same form.
    pub deny: Vec<String>,
}

/// `[[ingress]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngressRule {
    /// Exact, `*.example.com`, or any.
    pub host: Option<String>,
    /// A prefix on segment boundaries.
    pub path: Option<String>,
    /// Who answers.
    pub group: String,
    /// From the request to the head of its response.
    #[serde(default, with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// The `Host` that goes on.
    pub set_host: Option<String>,
    /// Removes `path` from what goes on.
    #[serde(default)]
    pub strip_prefix: bool,
    /// Changes to the fields of the request.
    #[serde(default)]
    pub request_headers: FieldEdits,
    /// Changes to the fields of the response.
    #[serde(default)]
    pub response_headers: FieldEdits,
    /// How often a request is tried again elsewhere.
    pub retries: Option<u32>,
    /// Networks whose visitors are let in.
    #[serde(default)]
    pub allow_ips: Vec<String>,
    /// Networks whose visitors are not.
    #[serde(default)]
    pub deny_ips: Vec<String>,
    /// How often each visitor may ask.
    pub rate_limit: Option<RateLimit>,
    /// Names → argon2 hashes of passwords.
    #[serde(default)]
    pub basic_auth: BTreeMap<String, Secret>,
    /// Names → hashes of tokens.
    #[serde(default)]
    pub bearer: BTreeMap<String, Secret>,
    /// Whether CORS preflights need no credentials.
    #[serde(default)]
    pub allow_preflight: bool,
    /// Whether the upstream sees what the gate took.
    #[serde(default)]
    pub pass_authorization: bool,
}

/// `rate_limit` of a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many requests.
    pub requests: NonZeroU32,
    /// In how long.
    #[serde(default = "second", with = "humantime_serde")]
    pub per: Duration,
    /// How many at once; `requests` where it is left out.
    pub burst: Option<NonZeroU32>,
}

fn second() -> Duration {
    Duration::from_secs(1)
}

/// Text that is not to be shown.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `[groups.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Names of certificates and tokens that may join, with `*` for any run of characters.
    pub clients: Vec<String>,
    /// How many requests may be tried again.
    #[serde(default)]
    pub retry_budget: RetryTerms,
    /// How many requests there may be at once.
    pub exchanges_max: Option<u32>,
    /// Pushed to the group's clients: requests → upstream.
    #[serde(default)]
    pub egress: Vec<EgressRule>,
    /// Pushed to the group's clients: the upstreams that those rules name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Upstream>,
}
