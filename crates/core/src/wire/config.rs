//! What a server pushes to the clients of a group: egress rules and upstreams, as they stand in a file.
//!
//! The same types are read from configuration files, so that a rule means the same wherever it comes from.
//! The client that gets them parses them, and decides whether it applies them.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::wire::{bounded, codec::EncodeError};

/// The largest pushed configuration, in bytes of encoded message.
pub const CONFIG_BYTES_MAX: usize = 4 * 1024 * 1024 - 1;

/// The most rules of a pushed configuration. The smallest takes a few bytes on the wire and hundreds in memory.
pub const RULES_MAX: usize = 4_096;

/// The most upstreams of a pushed configuration.
pub const UPSTREAMS_MAX: usize = 1_024;

/// The most backend servers of a pushed configuration, those of all its upstreams together.
pub const SERVERS_MAX: usize = 4_096;

/// The most entries of a list or table within a rule or an upstream.
pub const ENTRIES_MAX: usize = 1_024;

/// The frame on the unidirectional stream that a configuration comes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigPush {
    /// Which configuration it is.
    pub version: ConfigVersion,
    /// The configuration.
    pub config: GroupConfig,
}

/// The content hash of a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConfigVersion([u8; 16]);

/// What the clients of a group are to do with what comes over their links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// `[[groups.NAME.egress]]`
    #[serde(deserialize_with = "bounded::list::<RULES_MAX, _, _>")]
    pub egress: Vec<EgressRule>,
    /// `[groups.NAME.upstreams.NAME]`
    #[serde(deserialize_with = "bounded::map::<UPSTREAMS_MAX, _, _>")]
    pub upstreams: BTreeMap<String, Upstream>,
}

impl GroupConfig {
    /// Returns the configuration as it is pushed.
    ///
    /// # Errors
    ///
    /// When it is too large to be pushed, or has too many parts.
    pub fn push(&self) -> Result<ConfigPush, EncodeError> {
        for (what, count, max) in [
            ("rules", self.egress.len(), RULES_MAX),
            ("upstreams", self.upstreams.len(), UPSTREAMS_MAX),
            ("servers", self.servers(), SERVERS_MAX),
        ] {
            if count > max {
                return Err(EncodeError::TooMany { what, max });
            }
        }
        let bytes = postcard::to_allocvec(self).map_err(EncodeError::Unencodable)?;
        if bytes.len() > CONFIG_BYTES_MAX - size_of::<ConfigVersion>() {
            return Err(EncodeError::TooLong { limit: CONFIG_BYTES_MAX });
        }
        let mut version = [0; 16];
        version.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
        Ok(ConfigPush { version: ConfigVersion(version), config: self.clone() })
    }
}

impl GroupConfig {
    /// Returns how many backend servers its upstreams have together.
    pub fn servers(&self) -> usize {
        self.upstreams.values().map(|upstream| upstream.servers.len()).sum()
    }
}

impl fmt::Display for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ConfigVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `[[egress]]`: requests → upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// Exact, `*.example.com`, or any.
    pub host: Option<String>,
    /// A prefix on segment boundaries.
    pub path: Option<String>,
    /// Whose requests; any group's where it is left out.
    #[serde(default, deserialize_with = "bounded::list_or_none::<ENTRIES_MAX, _, _>")]
    pub groups: Option<Vec<String>>,
    /// The name of the upstream.
    pub upstream: String,
    /// From the request to the head of its response.
    #[serde(default, with = "humantime_serde")]
    pub timeout: Option<Duration>,
    /// The `Host` that the upstream sees.
    pub set_host: Option<String>,
    /// Removes `path` from what the upstream sees.
    #[serde(default)]
    pub strip_prefix: bool,
    /// Lets CONNECT through: raw bytes to and from the upstream.
    #[serde(default)]
    pub connect: bool,
    /// Lets TRACE through, whose response repeats the request with all that was added to it.
    #[serde(default)]
    pub trace: bool,
    /// What a connection may be switched to beside WebSocket, as it stands in `Upgrade`.
    #[serde(default, deserialize_with = "bounded::list::<ENTRIES_MAX, _, _>")]
    pub upgrades: Vec<String>,
    /// Changes to the fields of the request.
    #[serde(default)]
    pub request_headers: FieldEdits,
    /// Changes to the fields of the response.
    #[serde(default)]
    pub response_headers: FieldEdits,
}

/// `request_headers`, `response_headers`: changes to the fields of a head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FieldEdits {
    /// Fields that go.
    #[serde(deserialize_with = "bounded::list::<ENTRIES_MAX, _, _>")]
    pub remove: Vec<String>,
    /// Fields that get this value, whatever they had.
    #[serde(deserialize_with = "bounded::map::<ENTRIES_MAX, _, _>")]
    pub set: BTreeMap<String, String>,
    /// Values that fields get beside what they have.
    #[serde(deserialize_with = "bounded::map::<ENTRIES_MAX, _, _>")]
    pub add: BTreeMap<String, String>,
}

/// `[upstreams.NAME]`: a set of backend servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `http://host:port`, `https://host:port` or `h2c://host:port`.
    #[serde(deserialize_with = "bounded::list::<ENTRIES_MAX, _, _>")]
    pub servers: Vec<String>,
    /// PEM: who signs the certificates of `https://` servers; whom the system trusts where it is left out.
    pub ca_file: Option<PathBuf>,
    /// How to choose among the servers.
    #[serde(default)]
    pub policy: Policy,
    /// The name in the certificates of `https://` servers; their host where it is left out.
    pub server_name: Option<String>,
    /// The PROXY header that each connection begins with; none where it is left out.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Writes field names to HTTP/1.1 servers as `Content-Type` instead of `content-type`.
    #[serde(default)]
    pub title_case_headers: bool,
    /// How to check the servers; only requests show how they are where it is left out.
    pub health: Option<HealthCheck>,
}

/// `policy`: how to choose among the servers of an upstream.
///
/// Append-only: the order of the variants is their number on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastRequests,
    /// Any.
    Random,
    /// Of two drawn at random, the one with less latency × requests in flight.
    #[default]
    P2c,
}

/// `proxy_protocol`: the header that each connection to a server begins with.
///
/// Append-only: the order of the variants is their number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Version 1: a line of text.
    V1,
    /// Version 2: binary.
    V2,
}

/// `health`: a `GET` that a healthy server answers with a status of 2xx or 3xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What to ask for.
    pub path: String,
    /// Between two checks.
    #[serde(default = "check_interval", with = "humantime_serde")]
    pub interval: Duration,
    /// For the answer.
    #[serde(default = "check_timeout", with = "humantime_serde")]
    pub timeout: Duration,
}

fn check_interval() -> Duration {
    Duration::from_secs(5)
}

fn check_timeout() -> Duration {
    Duration::from_secs(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{decode, encode};

    fn config(server: &str) -> GroupConfig {
        let rule = EgressRule {
            host: None,
            path: Some("/".into()),
            groups: None,
            upstream: "app".into(),
            timeout: Some(Duration::from_secs(5)),
            set_host: None,
            strip_prefix: true,
            connect: false,
            trace: true,
            upgrades: vec!["tcp".into()],
            request_headers: FieldEdits::default(),
            response_headers: FieldEdits { remove: vec!["server".into()], ..FieldEdits::default() },
        };
        let health = HealthCheck { path: "/up".into(), interval: check_interval(), timeout: check_timeout() };
        let upstream = Upstream {
            servers: vec![server.into()],
            ca_file: None,
            policy: Policy::Random,
            server_name: Some("b".into()),
            proxy_protocol: Some(ProxyProtocol::V2),
            title_case_headers: true,
            health: Some(health),
        };
        GroupConfig { egress: vec![rule], upstreams: BTreeMap::from([("app".into(), upstream)]) }
    }

    #[test]
    fn a_pushed_configuration_has_these_bytes() {
        let push = config("http://a:1").push().unwrap();
        let mut out = bytes::BytesMut::new();
        encode(&push.config, CONFIG_BYTES_MAX, &mut out).unwrap();
        let expected =
            b"\x48\x01\x00\x01\x01/\x00\x03app\x01\x025s\x00\x01\x00\x01\x01\x03tcp\x00\x00\x00\x01\x06server\x00\x00\
            \x01\x03app\x01\x0ahttp://a:1\x00\x02\x01\x01b\x01\x01\x01\x01\x03/up\x025s\x022s";
        assert_eq!(&out[..], &expected[..]);
        assert_eq!(decode::<GroupConfig>(&out[1..]).unwrap(), push.config);
    }

    #[test]
    fn the_version_is_that_of_the_content() {
        let version = |server| config(server).push().unwrap().version;
        assert_eq!(version("http://a:1"), version("http://a:1"));
        assert_ne!(version("http://a:1"), version("http://a:2"));
    }

    #[test]
    fn what_no_client_reads_is_not_pushed() {
        let pushed = |config: GroupConfig| config.push().map(|_| ()).map_err(|error| error.to_string());
        let rules = GroupConfig { egress: vec![EgressRule::default(); RULES_MAX + 1], ..GroupConfig::default() };
        assert_eq!(pushed(rules), Err("more than 4096 rules".to_owned()));
        let upstream = Upstream { servers: vec![String::new(); ENTRIES_MAX], ..Upstream::default() };
        let upstreams = |count| (0..count).map(|number: usize| (number.to_string(), upstream.clone())).collect();
        assert_eq!(pushed(GroupConfig { upstreams: upstreams(4), ..GroupConfig::default() }), Ok(()));
        let servers = GroupConfig { upstreams: upstreams(5), ..GroupConfig::default() };
        assert_eq!(pushed(servers), Err("more than 4096 servers".to_owned()));
    }

    #[test]
    fn a_configuration_of_too_many_parts_is_refused_before_it_is_read() {
        let rules = |count| GroupConfig { egress: vec![EgressRule::default(); count], ..GroupConfig::default() };
        let upstreams = |count| {
            let upstreams = (0..count).map(|number: usize| (number.to_string(), Upstream::default()));
            GroupConfig { upstreams: upstreams.collect(), ..GroupConfig::default() }
        };
        let servers = |count| {
            let upstream = Upstream { servers: vec![String::new(); count], ..Upstream::default() };
            GroupConfig { upstreams: [("app".to_owned(), upstream)].into(), ..GroupConfig::default() }
        };
        let removed = |count| {
            let edits = FieldEdits { remove: vec![String::new(); count], ..FieldEdits::default() };
            let rule = EgressRule { request_headers: edits, ..EgressRule::default() };
            GroupConfig { egress: vec![rule], ..GroupConfig::default() }
        };
        let decodes = |config: GroupConfig| {
            let bytes = postcard::to_allocvec(&config).unwrap();
            decode::<GroupConfig>(&bytes).is_ok()
        };
        for (most, make) in [
            (RULES_MAX, &rules as &dyn Fn(usize) -> GroupConfig),
            (UPSTREAMS_MAX, &upstreams),
            (ENTRIES_MAX, &servers),
            (ENTRIES_MAX, &removed),
        ] {
            assert!(decodes(make(most)));
            assert!(!decodes(make(most + 1)));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _: Result<ConfigPush, _> = decode(&bytes);
        }
    }
}
