//! What a node is told to do: every value parsed, every reference resolved.

mod admin;
pub mod resolve;

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use adit_core::{
    admission::Tokens,
    balance::policy::Policy,
    budget::RetryTerms,
    dial::{DialRules, Network},
    http::proxy_protocol,
    id::Group,
    limits::{Limits, Timeouts},
    route::{BadPattern, HostPattern, PathPrefix, Pattern, RuleOptions},
    token::Token,
    wire::config::ConfigPush,
};
use http::uri::PathAndQuery;
use ipnet::IpNet;
use rustls::{
    RootCertStore,
    pki_types::{CertificateRevocationListDer, ServerName},
};
use serde::Deserialize;

pub use self::admin::{AdminEntry, Exposed};
use crate::credentials::{Credentials, Fingerprint};

/// Everything a server needs.
#[derive(Debug)]
pub struct ServerSettings {
    /// Where clients connect.
    pub tunnel: TunnelListen,
    /// Where visitors connect.
    pub http: Option<HttpEntry>,
    /// Where visitors connect with TLS.
    pub https: Option<HttpsEntry>,
    /// Which group answers which requests.
    pub ingress: Vec<IngressRule>,
    /// Who may join which group.
    pub groups: HashMap<Group, GroupSettings>,
    /// What clients may reach through this server.
    pub egress: EgressSettings,
    /// Where operators connect.
    pub admin: Option<AdminEntry>,
    /// Bounds.
    pub limits: Limits,
    /// Waits.
    pub timeouts: Timeouts,
}

/// Everything a client needs.
#[derive(Debug)]
pub struct ClientSettings {
    /// Which server to connect to, as whom.
    pub tunnel: TunnelConnect,
    /// Where local apps connect.
    pub http: Option<HttpEntry>,
    /// Where local apps connect with TLS.
    pub https: Option<HttpsEntry>,
    /// What the server may reach through this client.
    pub egress: EgressSettings,
    /// Where operators connect.
    pub admin: Option<AdminEntry>,
    /// Bounds.
    pub limits: Limits,
    /// Waits.
    pub timeouts: Timeouts,
}

/// The UDP side of a server.
#[derive(Debug)]
pub struct TunnelListen {
    /// The UDP address.
    pub listen: SocketAddr,
    /// The server's certificate.
    pub credentials: Credentials,
    /// Who signs the clients' certificates, where they may show one.
    pub client_roots: Option<RootCertStore>,
    /// Which of those certificates are revoked: a list of every authority, or none at all.
    pub client_crls: Vec<CertificateRevocationListDer<'static>>,
    /// The tokens of clients, where they may show one. Without this and `client_roots` nobody can join.
    pub tokens: Option<Tokens>,
    /// How fast this side sends.
    pub congestion: Congestion,
}

/// The UDP side of a client.
#[derive(Debug)]
pub struct TunnelConnect {
    /// The servers; one link to each.
    pub connect: Vec<HostPort>,
    /// The names in the servers' certificates.
    pub server_name: ServerNames,
    /// How the server proves that it is the one.
    pub trust: ServerTrust,
    /// How the client proves who it is.
    pub proof: ClientProof,
    /// The group to join.
    pub group: Group,
    /// What a pushed configuration may make this client dial.
    pub allow: Allow,
    /// How fast this side sends.
    pub congestion: Congestion,
}

/// How a server proves to a client that it is the one.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    /// With a certificate that one of these signed.
    Authority(RootCertStore),
    /// With the key that has this fingerprint, whatever its certificate says.
    Fingerprint(Fingerprint),
}

/// How a client proves to a server who it is.
#[derive(Debug)]
pub enum ClientProof {
    /// With a certificate.
    Certificate(Credentials),
    /// With a token.
    Token(Token),
}

impl ClientProof {
    /// Returns the token, where it is one.
    pub fn token(&self) -> Option<&Token> {
        match self {
            Self::Certificate(_) => None,
            Self::Token(token) => Some(token),
        }
    }
}

/// What decides how fast one side of a link sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Congestion {
    /// adit's own: fills the path, keeps its queue short, and does not take a lost packet for a full one.
    #[default]
    Adaptive,
    /// CUBIC (RFC 9438), TCP's usual one: slows down with every lost packet.
    Cubic,
}

/// A listener for HTTP/1.1 and h2c on one port.
#[derive(Clone, Debug)]
pub struct HttpEntry {
    /// The TCP address.
    pub listen: SocketAddr,
    /// Whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether every connection begins with a PROXY header, and comes from one of those.
    pub proxy_protocol: bool,
}

impl HttpEntry {
    /// Makes an entry that believes nobody.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, trusted_proxies: Vec::new(), proxy_protocol: false }
    }
}

/// A listener for HTTP/1.1 and HTTP/2 over TLS, as ALPN decides.
#[derive(Debug)]
pub struct HttpsEntry {
    /// What it has in common with an entry without TLS.
    pub http: HttpEntry,
    /// A visitor gets the one for the name that it asks for, or else the first; at least one.
    pub certificates: Vec<Credentials>,
}

/// Requests → group.
#[derive(Clone, Debug)]
pub struct IngressRule {
    /// Which requests.
    pub pattern: Pattern,
    /// Who answers them.
    pub group: Group,
    /// What else the rule does.
    pub options: RuleOptions,
}

/// One group.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// Patterns of the names of certificates and tokens that may join; `*` stands for any run of characters.
    pub clients: Vec<String>,
    /// What is pushed to its clients.
    pub push: Option<ConfigPush>,
    /// What its requests may cost.
    pub terms: GroupTerms,
}

impl GroupSettings {
    /// Makes a group for clients with these names, in which everything else is the default.
    pub fn new(clients: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let clients = clients.into_iter().map(Into::into).collect();
        Self { clients, push: None, terms: GroupTerms::default() }
    }
}

/// What the requests of a group may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupTerms {
    /// How many of them may be tried again.
    pub retry_budget: RetryTerms,
    /// How many there may be at once, where there is a limit; more wait for their turn.
    pub exchanges_max: Option<u32>,
}

/// Requests → upstreams, and the upstreams.
#[derive(Clone, Debug, Default)]
pub struct EgressSettings {
    /// Which upstream takes which requests. No rule, no access.
    pub rules: Vec<EgressRule>,
    /// The upstreams that the rules name.
    pub upstreams: HashMap<String, UpstreamSettings>,
    /// Which addresses the node dials, beside its own listeners, which it never does.
    pub dial: DialRules,
}

/// Requests → upstream.
#[derive(Clone, Debug)]
pub struct EgressRule {
    /// Which requests.
    pub pattern: Pattern,
    /// Who may use the rule: links of these groups, or of any.
    pub groups: Option<Vec<Group>>,
    /// The name of the upstream.
    pub upstream: String,
    /// What else the rule does.
    pub options: RuleOptions,
}

/// A named set of backend servers.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// The servers; at least one.
    pub servers: Vec<ServerUrl>,
    /// How to choose among them.
    pub policy: Policy,
    /// Who signs the certificates of `https://` servers, where it is not whom the system trusts.
    pub roots: Option<RootCertStore>,
    /// The name in the certificates of `https://` servers, where it is not their host.
    pub server_name: Option<ServerName<'static>>,
    /// The PROXY header that each connection begins with, where there is one; each request has its own then.
    pub proxy_protocol: Option<proxy_protocol::Version>,
    /// Whether field names are written to HTTP/1.1 servers as `Content-Type` instead of `content-type`.
    pub title_case_headers: bool,
    /// How to check the servers, besides what requests show.
    pub check: Option<HealthCheck>,
    /// The most connections to a server that are kept without use.
    pub idle_connections_max: usize,
}

impl UpstreamSettings {
    /// Makes settings in which everything but the servers is the default.
    pub fn new(servers: Vec<ServerUrl>) -> Self {
        let idle_connections_max = Limits::default().idle_connections_max;
        Self {
            servers,
            policy: Policy::default(),
            roots: None,
            server_name: None,
            proxy_protocol: None,
            title_case_headers: false,
            check: None,
            idle_connections_max,
        }
    }
}

/// A `GET` that a healthy server answers with a status of 2xx or 3xx.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// What to ask for.
    pub path: PathAndQuery,
    /// How long to wait between two checks; more than 0.
    pub interval: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// Makes a pattern of the `host` and `path` of a rule, either of which may be left out.
///
/// # Errors
///
/// When one of them is no pattern.
pub fn pattern(host: Option<&str>, path: Option<&str>) -> Result<Pattern, BadPattern> {
    let host = host.map(HostPattern::parse).transpose()?;
    let path = path.map(PathPrefix::parse).transpose()?;
    Ok(Pattern { host: host.unwrap_or(HostPattern::Any), path: path.unwrap_or_else(PathPrefix::root) })
}

/// The name that the certificate of each server must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames {
    each: HashMap<HostPort, String>,
    rest: Option<String>,
}

impl ServerNames {
    /// Takes one name for all servers.
    pub fn one(name: impl Into<String>) -> Self {
        Self { each: HashMap::new(), rest: Some(name.into()) }
    }

    /// Takes a name for each of some servers; that of any other is its host.
    pub fn each(names: impl IntoIterator<Item = (HostPort, String)>) -> Self {
        Self { each: names.into_iter().collect(), rest: None }
    }

    /// Returns the name for a server: its own, or the one for all, or its host.
    pub fn of<'a>(&'a self, server: &'a HostPort) -> &'a str {
        self.each.get(server).or(self.rest.as_ref()).unwrap_or(&server.host)
    }
}

/// `host:port`, resolved at every use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Text that is not `host:port`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not HOST:PORT")]
pub struct BadHostPort(String);

impl FromStr for HostPort {
    type Err = BadHostPort;

    fn from_str(text: &str) -> Result<Self, BadHostPort> {
        let bad = || BadHostPort(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        // `a:1:2` ends in a port, and so does what is left of it.
        if adit_core::http::host::Host::parse(host).map_err(|_| bad())?.port.is_some() {
            return Err(bad());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a pushed configuration may make a client dial: nothing, unless it is named here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow(Vec<Allowed>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Host(HostPort),
    Network(IpNet, u16),
}

impl Allow {
    /// Adds `host:port` or `network/bits:port`.
    ///
    /// # Errors
    ///
    /// When the text is neither.
    pub fn add(&mut self, text: &str) -> Result<(), BadHostPort> {
        let network = text.rsplit_once(':').and_then(|(network, port)| {
            Some(Allowed::Network(network.replace(['[', ']'], "").parse().ok()?, port.parse().ok()?))
        });
        self.0.push(match network {
            Some(network) => network,
            None => Allowed::Host(text.parse()?),
        });
        Ok(())
    }

    /// Returns the addresses and networks that are named.
    pub fn networks(&self) -> Vec<Network> {
        let network = |allowed: &Allowed| match allowed {
            Allowed::Host(host) => Some(Network::new(host.host.parse::<IpAddr>().ok()?.into(), Some(host.port))),
            Allowed::Network(network, port) => Some(Network::new(*network, Some(*port))),
        };
        self.0.iter().filter_map(network).collect()
    }

    /// Returns whether `address` is named: as it stands, or by a network that its host, an IP address, is in.
    pub fn permits(&self, address: &HostPort) -> bool {
        let ip = address.host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        self.0.iter().any(|allowed| match allowed {
            Allowed::Host(host) => host.host.eq_ignore_ascii_case(&address.host) && host.port == address.port,
            Allowed::Network(network, port) => *port == address.port && ip.is_some_and(|ip| network.contains(&ip)),
        })
    }
}

/// How to speak to a backend server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http://`: HTTP/1.1 in plain text.
    Http1,
    /// `h2c://`: HTTP/2 in plain text, without negotiation (RFC 9113 §3.3).
    H2c,
    /// `https://`: TLS, and HTTP/2 or HTTP/1.1 as ALPN decides.
    Https,
}

/// One backend server: `http://host:port`, `https://host:port` or `h2c://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// How to speak to it.
    pub protocol: Protocol,
    /// Where it is.
    pub address: HostPort,
}

/// Text that is no backend server.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an upstream server: use http://HOST:PORT, https://HOST:PORT or h2c://HOST:PORT without a path")]
pub struct BadServerUrl(String);

impl FromStr for ServerUrl {
    type Err = BadServerUrl;

    fn from_str(text: &str) -> Result<Self, BadServerUrl> {
        let bad = || BadServerUrl(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let (protocol, default_port) = match scheme {
            "http" => (Protocol::Http1, 80),
            "h2c" => (Protocol::H2c, 80),
            "https" => (Protocol::Https, 443),
            _ => return Err(bad()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let host = adit_core::http::host::Host::parse(authority).map_err(|_| bad())?;
        let name = host.name.trim_start_matches('[').trim_end_matches(']').to_owned();
        if name.is_empty() || host.port == Some(0) {
            return Err(bad());
        }
        Ok(Self { protocol, address: HostPort { host: name, port: host.port.unwrap_or(default_port) } })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Http1 => "http",
            Protocol::H2c => "h2c",
            Protocol::Https => "https",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were() {
        for text in ["a.example:1", "[2001:db8::1]:443", "127.0.0.1:65535"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for bad in ["a", "a:", "a:0", ":1", "a:x", "a/b:1", "a:1:2"] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_server_has_the_name_that_is_said_or_else_its_host() {
        let (a, b): (HostPort, HostPort) = ("a.example:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        let names = |names: &ServerNames| [names.of(&a).to_owned(), names.of(&b).to_owned()];
        assert_eq!(names(&ServerNames::default()), ["a.example", "::1"]);
        assert_eq!(names(&ServerNames::one("c")), ["c", "c"]);
        assert_eq!(names(&ServerNames::each([(b.clone(), "c".to_owned())])), ["a.example", "c"]);
    }

    #[test]
    fn a_push_may_dial_what_is_named_and_nothing_else() {
        let mut allow = Allow::default();
        for text in ["127.0.0.1:3000", "db.internal:5432", "10.0.0.0/8:80", "[2001:db8::]/32:443"] {
            allow.add(text).unwrap();
        }
        for (address, permitted) in [
            ("127.0.0.1:3000", true),
            ("127.0.0.1:3001", false),
            ("DB.internal:5432", true),
            ("x.internal:5432", false),
            ("10.1.2.3:80", true),
            ("11.1.2.3:80", false),
            ("[2001:db8::5]:443", true),
        ] {
            assert_eq!(allow.permits(&address.parse().unwrap()), permitted, "{address}");
        }
        assert!(!Allow::default().permits(&"127.0.0.1:3000".parse().unwrap()));
        assert!(allow.add("10.0.0.0/8").is_err());
    }

    #[test]
    fn servers_have_a_scheme_and_no_path() {
        for (text, shown) in [
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("https://API.example/", "https://api.example:443"),
            ("h2c://[::1]:1", "h2c://[::1]:1"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), shown);
        }
        for bad in ["127.0.0.1:3000", "ftp://a", "http://a/b", "http://", "http://a:0", "http://u@a"] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad:?}");
        }
    }
}
