//! From a file as it stands to settings in which every value is parsed and every reference leads somewhere.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    path::Path,
};

use adit_core::{
    limits::{Limits, Timeouts},
    route::{Pattern, RouteTable},
};
use adit_node::{
    link::tls::{self, Credentials},
    settings::{
        AdminEntry, ClientSettings, EgressRule, EgressSettings, GroupSettings, HostPort, HttpEntry, IngressRule,
        ServerSettings, TunnelConnect, TunnelListen, UpstreamSettings, pattern,
    },
};

use super::{
    ConfigError,
    file::{self, ClientFile, OneOrMany, ServerFile},
    locate::Located,
};

pub(super) fn server(file: ServerFile, located: &Located, base: &Path) -> Result<ServerSettings, ConfigError> {
    let at = At { located, key: Vec::new() };
    let credentials = credentials(&at.key("tunnel"), base, &file.tunnel.cert, &file.tunnel.key)?;
    let client_ca = base.join(&file.tunnel.client_ca);
    let client_roots = at.key("tunnel").key("client_ca").check(tls::roots_from_file(&client_ca))?;
    let groups = groups(&at.key("groups"), file.groups)?;
    let ingress = ingress(&at.key("ingress"), file.ingress, &groups)?;
    let egress = egress(&at, base, file.egress, file.upstreams)?;
    check_bounds(&at, &file.limits, &file.timeouts)?;
    Ok(ServerSettings {
        tunnel: TunnelListen { listen: file.tunnel.listen, credentials, client_roots },
        http: file.http.map(http),
        ingress,
        groups,
        egress,
        admin: admin(&at.key("admin"), file.admin)?,
        limits: file.limits,
        timeouts: file.timeouts,
    })
}

pub(super) fn client(file: ClientFile, located: &Located, base: &Path) -> Result<ClientSettings, ConfigError> {
    let at = At { located, key: Vec::new() };
    let tunnel = tunnel_connect(&at.key("tunnel"), base, file.tunnel)?;
    let egress = egress(&at, base, file.egress, file.upstreams)?;
    check_bounds(&at, &file.limits, &file.timeouts)?;
    let admin = admin(&at.key("admin"), file.admin)?;
    let (http, limits, timeouts) = (file.http.map(http), file.limits, file.timeouts);
    Ok(ClientSettings { tunnel, http, egress, admin, limits, timeouts })
}

fn tunnel_connect(at: &At<'_>, base: &Path, tunnel: file::TunnelConnect) -> Result<TunnelConnect, ConfigError> {
    let targets = match tunnel.connect {
        OneOrMany::One(target) => vec![(at.key("connect"), target)],
        OneOrMany::Many(targets) => {
            (0..).zip(targets).map(|(index, target)| (at.key("connect").index(index), target)).collect()
        }
    };
    let mut connect = Vec::new();
    for (at, target) in targets {
        connect.push(at.check(target.parse::<HostPort>())?);
    }
    let Some(first) = connect.first() else { return Err(at.key("connect").error("no address to connect to")) };
    Ok(TunnelConnect {
        server_name: tunnel.server_name.unwrap_or_else(|| first.host.clone()),
        roots: at.key("ca").check(tls::roots_from_file(&base.join(&tunnel.ca)))?,
        credentials: credentials(at, base, &tunnel.cert, &tunnel.key)?,
        group: at.key("group").check(tunnel.group.parse())?,
        connect,
    })
}

fn credentials(at: &At<'_>, base: &Path, cert: &Path, key: &Path) -> Result<Credentials, ConfigError> {
    let (cert, key) = (base.join(cert), base.join(key));
    Credentials::from_files(&cert, &key).map_err(|error| {
        // The key is named where the key is to blame.
        let name = match &error {
            tls::TlsError::Read { path, .. } if *path == key => "key",
            tls::TlsError::Pem { path, .. } if *path == key => "key",
            tls::TlsError::Read { .. } => "cert",
            tls::TlsError::Pem { .. } => "cert",
            tls::TlsError::Unusable { .. } => "cert",
        };
        at.key(name).error(error)
    })
}

fn groups(
    at: &At<'_>,
    groups: BTreeMap<String, file::Group>,
) -> Result<HashMap<adit_core::id::Group, GroupSettings>, ConfigError> {
    let mut resolved = HashMap::new();
    for (name, group) in groups {
        let at = at.key(&name);
        resolved.insert(at.check(name.parse())?, GroupSettings { clients: group.clients });
    }
    Ok(resolved)
}

fn ingress(
    at: &At<'_>,
    rules: Vec<file::IngressRule>,
    groups: &HashMap<adit_core::id::Group, GroupSettings>,
) -> Result<Vec<IngressRule>, ConfigError> {
    let mut resolved = Vec::new();
    for (index, rule) in (0..).zip(rules) {
        let at = at.index(index);
        let pattern = rule_pattern(&at, rule.host.as_deref(), rule.path.as_deref())?;
        let group: adit_core::id::Group = at.key("group").check(rule.group.parse())?;
        if !groups.contains_key(&group) {
            return Err(at.key("group").error(format!("there is no [groups.{group}]")));
        }
        resolved.push(IngressRule { pattern, group });
    }
    check_conflicts(at, resolved.iter().map(|rule| &rule.pattern))?;
    Ok(resolved)
}

fn egress(
    at: &At<'_>,
    base: &Path,
    rules: Vec<file::EgressRule>,
    upstreams: BTreeMap<String, file::Upstream>,
) -> Result<EgressSettings, ConfigError> {
    let upstreams = resolve_upstreams(&at.key("upstreams"), base, upstreams)?;
    let at = at.key("egress");
    let mut resolved = Vec::new();
    for (index, rule) in (0..).zip(rules) {
        let at = at.index(index);
        let pattern = rule_pattern(&at, rule.host.as_deref(), rule.path.as_deref())?;
        if !upstreams.contains_key(&rule.upstream) {
            return Err(at.key("upstream").error(format!("there is no [upstreams.{}]", rule.upstream)));
        }
        let mut groups = None;
        for (index, group) in (0..).zip(rule.groups.unwrap_or_default()) {
            let group = at.key("groups").index(index).check(group.parse())?;
            groups.get_or_insert_with(Vec::new).push(group);
        }
        if let Some(host) = &rule.set_host {
            at.key("set_host").check(adit_core::http::host::Host::parse(host))?;
        }
        resolved.push(EgressRule { pattern, groups, upstream: rule.upstream, set_host: rule.set_host });
    }
    check_conflicts(&at, resolved.iter().map(|rule| &rule.pattern))?;
    Ok(EgressSettings { rules: resolved, upstreams })
}

fn resolve_upstreams(
    at: &At<'_>,
    base: &Path,
    upstreams: BTreeMap<String, file::Upstream>,
) -> Result<HashMap<String, UpstreamSettings>, ConfigError> {
    let mut resolved = HashMap::new();
    for (name, upstream) in upstreams {
        let at = at.key(&name);
        let mut servers = Vec::new();
        for (index, server) in (0..).zip(upstream.servers) {
            servers.push(at.key("servers").index(index).check(server.parse())?);
        }
        if servers.is_empty() {
            return Err(at.key("servers").error("at least one server is needed"));
        }
        let roots = upstream.ca_file.map(|path| at.key("ca_file").check(tls::roots_from_file(&base.join(path))));
        resolved.insert(name, UpstreamSettings { servers, roots: roots.transpose()? });
    }
    Ok(resolved)
}

fn rule_pattern(at: &At<'_>, host: Option<&str>, path: Option<&str>) -> Result<Pattern, ConfigError> {
    pattern(host, path).map_err(|error| {
        let key = match &error {
            adit_core::route::BadPattern::Host(_) => "host",
            adit_core::route::BadPattern::Path(_) => "path",
        };
        at.key(key).error(error)
    })
}

fn check_conflicts<'a>(at: &At<'_>, patterns: impl Iterator<Item = &'a Pattern>) -> Result<(), ConfigError> {
    let table = RouteTable::new(patterns.map(|pattern| (pattern.clone(), ())));
    let Err(conflict) = table else { return Ok(()) };
    let first = at.index(conflict.first).error("");
    let place = first.line.map(|line| format!(" on line {line}")).unwrap_or_default();
    Err(at.index(conflict.second).error(format!("{conflict}; the other one is {}{place}", first.key)))
}

fn check_bounds(at: &At<'_>, limits: &Limits, timeouts: &Timeouts) -> Result<(), ConfigError> {
    let (limits_at, timeouts_at) = (at.key("limits"), at.key("timeouts"));
    for (key, value) in [
        ("head_bytes_max", limits.head_bytes_max),
        ("head_fields_max", limits.head_fields_max),
        ("exchanges_per_link_max", usize::try_from(limits.exchanges_per_link_max).unwrap_or(usize::MAX)),
        ("connections_max", limits.connections_max),
    ] {
        if value == 0 {
            return Err(limits_at.key(key).error("must be at least 1"));
        }
    }
    for (key, value) in [
        ("response_head", timeouts.response_head),
        ("request_head", timeouts.request_head),
        ("connect", timeouts.connect),
        ("heartbeat", timeouts.heartbeat),
        ("sweep", timeouts.sweep),
        ("reconnect_min", timeouts.reconnect_min),
    ] {
        if value.is_zero() {
            return Err(timeouts_at.key(key).error("must be more than 0"));
        }
    }
    if timeouts.stale <= timeouts.heartbeat {
        return Err(timeouts_at.key("stale").error("must be longer than timeouts.heartbeat"));
    }
    if timeouts.reconnect_max < timeouts.reconnect_min {
        return Err(timeouts_at.key("reconnect_max").error("must not be shorter than timeouts.reconnect_min"));
    }
    Ok(())
}

fn http(entry: file::HttpEntry) -> HttpEntry {
    HttpEntry { listen: entry.listen, trusted_proxies: entry.trusted_proxies }
}

fn admin(at: &At<'_>, entry: Option<file::AdminEntry>) -> Result<Option<AdminEntry>, ConfigError> {
    entry.map(|entry| at.key("listen").check(AdminEntry::new(entry.listen))).transpose()
}

/// A place in a configuration.
struct At<'a> {
    located: &'a Located,
    key: Vec<String>,
}

impl<'a> At<'a> {
    fn key(&self, name: &str) -> At<'a> {
        let mut key = self.key.clone();
        key.push(name.to_owned());
        At { located: self.located, key }
    }

    fn index(&self, index: usize) -> At<'a> {
        self.key(&index.to_string())
    }

    fn error(&self, problem: impl Display) -> ConfigError {
        self.located.error(&self.key, problem)
    }

    fn check<T, E: Display>(&self, result: Result<T, E>) -> Result<T, ConfigError> {
        result.map_err(|error| self.error(error))
    }
}
