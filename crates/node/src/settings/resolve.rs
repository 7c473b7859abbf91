//! From egress rules and upstreams as they stand in a file or a push to settings in which every value is parsed
//! and every reference leads somewhere.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    path::Path,
    time::Duration,
};

use adit_core::{
    dial::DialRules,
    gate::Gate,
    http::{edit::FieldEdits, headers, host::Host},
    id::Group,
    route::{BadPattern, Pattern, RouteTable, RuleOptions, options},
    wire::config,
};
use http::uri::PathAndQuery;
use rustls::{RootCertStore, pki_types::ServerName};

use super::{EgressRule, EgressSettings, HealthCheck, Protocol, ServerUrl, UpstreamSettings, pattern};
use crate::credentials::TlsError;

/// The shortest time between two checks of a server.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The longest wait: one that is added to a clock must not go beyond its end. A hundred years stand for ever.
const WAIT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A wait that no clock can count.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("must be at most 100 years")]
pub struct TooLong;

/// Takes a wait that may be added to a clock.
///
/// # Errors
///
/// When it is longer than a hundred years.
pub fn wait(wait: Duration) -> Result<Duration, TooLong> {
    if wait <= WAIT_MAX { Ok(wait) } else { Err(TooLong) }
}

/// A value that is wrong, and the path of keys and indices to it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}: {problem}", key.join("."))]
pub struct ResolveError {
    /// Where it is, such as `["egress", "1", "host"]`.
    pub key: Vec<String>,
    /// What is wrong with it.
    pub problem: String,
    /// Where the other half of a contradiction is.
    pub other: Option<Vec<String>>,
}

/// A place among keys and indices.
#[derive(Clone, Debug, Default)]
pub struct At(Vec<String>);

impl At {
    /// Returns the place of a key below this one.
    pub fn key(&self, name: &str) -> Self {
        let mut path = self.0.clone();
        path.push(name.to_owned());
        Self(path)
    }

    /// Returns the place of an element of the list here.
    pub fn index(&self, index: usize) -> Self {
        self.key(&index.to_string())
    }

    /// Makes the error for a value here.
    pub fn error(&self, problem: impl Display) -> ResolveError {
        ResolveError { key: self.0.clone(), problem: problem.to_string(), other: None }
    }

    /// Takes the value here, or makes the error for it.
    ///
    /// # Errors
    ///
    /// When `result` is one.
    pub fn check<T, E: Display>(&self, result: Result<T, E>) -> Result<T, ResolveError> {
        result.map_err(|error| self.error(error))
    }
}

/// Resolves `egress` and `upstreams` below `at`. `read_roots` reads the file of a `ca_file`.
///
/// # Errors
///
/// When a value is wrong, two rules take the same requests, or an upstream is not there.
pub fn egress(
    at: &At,
    rules: Vec<config::EgressRule>,
    upstreams: BTreeMap<String, config::Upstream>,
    read_roots: impl Fn(&Path) -> Result<RootCertStore, TlsError>,
) -> Result<EgressSettings, ResolveError> {
    let mut resolved = HashMap::new();
    for (name, settings) in upstreams {
        let at = at.key("upstreams").key(&name);
        resolved.insert(name, upstream(&at, settings, &read_roots)?);
    }
    let at = at.key("egress");
    let mut rules_resolved = Vec::new();
    for (index, rule) in (0..).zip(rules) {
        let at = at.index(index);
        if !resolved.contains_key(&rule.upstream) {
            return Err(at.key("upstream").error(format!("there is no [upstreams.{}]", rule.upstream)));
        }
        rules_resolved.push(egress_rule(&at, rule)?);
    }
    check_conflicts(&at, rules_resolved.iter().map(|rule: &EgressRule| &rule.pattern))?;
    Ok(EgressSettings { rules: rules_resolved, upstreams: resolved, dial: DialRules::default() })
}

fn egress_rule(at: &At, rule: config::EgressRule) -> Result<EgressRule, ResolveError> {
    let pattern = rule_pattern(at, rule.host.as_deref(), rule.path.as_deref())?;
    let groups = rule.groups.map(|groups| {
        let parsed =
            (0..).zip(groups).map(|(index, group)| at.key("groups").index(index).check(group.parse::<Group>()));
        parsed.collect::<Result<Vec<_>, _>>()
    });
    for (index, token) in (0..).zip(&rule.upgrades) {
        if !headers::is_upgrade_token(token) {
            return Err(at.key("upgrades").index(index).error("must be the name of a protocol that is not HTTP"));
        }
    }
    let options = RuleOptions {
        timeout: rule.timeout.map(|timeout| at.key("timeout").check(wait(timeout))).transpose()?,
        set_host: set_host(at, rule.set_host)?,
        strip_prefix: rule.strip_prefix,
        connect: rule.connect,
        trace: rule.trace,
        upgrades: rule.upgrades,
        request_headers: field_edits(&at.key("request_headers"), &rule.request_headers)?,
        response_headers: field_edits(&at.key("response_headers"), &rule.response_headers)?,
        retries: options::RETRIES,
        gate: Gate::default(),
    };
    Ok(EgressRule { pattern, groups: groups.transpose()?, upstream: rule.upstream, options })
}

fn upstream(
    at: &At,
    upstream: config::Upstream,
    read_roots: impl Fn(&Path) -> Result<RootCertStore, TlsError>,
) -> Result<UpstreamSettings, ResolveError> {
    let mut servers: Vec<ServerUrl> = Vec::new();
    for (index, server) in (0..).zip(upstream.servers) {
        servers.push(at.key("servers").index(index).check(server.parse())?);
    }
    if servers.is_empty() {
        return Err(at.key("servers").error("at least one server is needed"));
    }
    let roots = upstream.ca_file.map(|path| at.key("ca_file").check(read_roots(&path))).transpose()?;
    let server_name = upstream.server_name.map(|name| server_name(&at.key("server_name"), name, &servers));
    let check = upstream.health.map(|health| health_check(&at.key("health"), health));
    Ok(UpstreamSettings {
        policy: upstream.policy,
        roots,
        server_name: server_name.transpose()?,
        proxy_protocol: upstream.proxy_protocol,
        title_case_headers: upstream.title_case_headers,
        check: check.transpose()?,
        ..UpstreamSettings::new(servers)
    })
}

fn server_name(at: &At, name: String, servers: &[ServerUrl]) -> Result<ServerName<'static>, ResolveError> {
    if servers.iter().all(|server| server.protocol != Protocol::Https) {
        return Err(at.error("is for https:// servers, and there are none"));
    }
    let problem = format!("{name:?} is no name that a certificate can have");
    at.check(ServerName::try_from(name).map_err(|_| problem))
}

fn health_check(at: &At, health: config::HealthCheck) -> Result<HealthCheck, ResolveError> {
    let path = at.key("path");
    if !health.path.starts_with('/') {
        return Err(path.error("must begin with /"));
    }
    // A configuration may be pushed: it must not make a client flood what it may dial.
    if health.interval < CHECK_INTERVAL_MIN {
        return Err(at.key("interval").error(format!("must be at least {CHECK_INTERVAL_MIN:?}")));
    }
    if health.timeout.is_zero() {
        return Err(at.key("timeout").error("must be more than 0"));
    }
    for (key, value) in [("interval", health.interval), ("timeout", health.timeout)] {
        at.key(key).check(wait(value))?;
    }
    let path = path.check(health.path.parse::<PathAndQuery>())?;
    Ok(HealthCheck { path, interval: health.interval, timeout: health.timeout })
}

/// Parses `host` and `path` of a rule at `at`.
///
/// # Errors
///
/// When one of them is no pattern.
pub fn rule_pattern(at: &At, host: Option<&str>, path: Option<&str>) -> Result<Pattern, ResolveError> {
    pattern(host, path).map_err(|error| {
        let key = match &error {
            BadPattern::Host(_) => "host",
            BadPattern::Path(_) => "path",
        };
        at.key(key).error(error)
    })
}

/// Parses `set_host` of a rule at `at`.
///
/// # Errors
///
/// When it is no host.
pub fn set_host(at: &At, host: Option<String>) -> Result<Option<String>, ResolveError> {
    let Some(host) = host else { return Ok(None) };
    let at = at.key("set_host");
    let parsed = at.check(Host::parse(&host))?;
    if parsed.name.is_empty() {
        return Err(at.error("a host is needed"));
    }
    Ok(Some(host))
}

/// Parses `request_headers` or `response_headers` at `at`.
///
/// # Errors
///
/// When a field cannot be changed so.
pub fn field_edits(at: &At, edits: &config::FieldEdits) -> Result<FieldEdits, ResolveError> {
    let set = edits.set.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let add = edits.add.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    at.check(FieldEdits::new(edits.remove.iter().map(String::as_str), set, add))
}

/// Looks for two rules in the list at `at` that take the same requests.
///
/// # Errors
///
/// When there are two.
pub fn check_conflicts<'a>(at: &At, patterns: impl Iterator<Item = &'a Pattern>) -> Result<(), ResolveError> {
    let table = RouteTable::new(patterns.map(|pattern| (pattern.clone(), ())));
    let Err(conflict) = table else { return Ok(()) };
    let error = at.index(conflict.second).error(&conflict);
    Err(ResolveError { other: Some(at.index(conflict.first).0), ..error })
}
