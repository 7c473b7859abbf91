//! From a file as it stands to settings in which every value is parsed and every reference leads somewhere.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use adit_core::{
    dial::{DialRules, Network},
    id,
    limits::{Limits, Timeouts},
    route::{RuleOptions, options},
    wire::config::{ConfigPush, GroupConfig, Upstream},
};
use adit_node::{
    credentials::{self, KeyMode, TlsError},
    settings::{
        ClientSettings, EgressSettings, GroupSettings, GroupTerms, HttpEntry, HttpsEntry, IngressRule, ServerSettings,
        resolve::{self, At, ResolveError, wait},
    },
};

use super::{
    admin,
    file::{
        AdminEntry as AdminFile, ClientFile, Dial, Group, HttpEntry as HttpFile, HttpsEntry as HttpsFile,
        IngressRule as IngressFile, ServerFile,
    },
    gate,
    tunnel::{self, credentials, key_mode},
};

type Groups = HashMap<id::Group, GroupSettings>;

/// Returns the files that a server's configuration names.
pub(super) fn server_files(file: &ServerFile, base: &Path) -> Vec<PathBuf> {
    let ServerFile { tunnel, https, admin, upstreams, .. } = file;
    let theirs = [&tunnel.client_ca, &tunnel.client_crl, &tunnel.tokens_file].into_iter().flatten();
    let tunnel = [&tunnel.cert, &tunnel.key].into_iter().chain(theirs);
    files(base, tunnel, https.as_ref(), admin.as_ref(), upstreams)
}

/// Returns the files that a client's configuration names.
pub(super) fn client_files(file: &ClientFile, base: &Path) -> Vec<PathBuf> {
    let ClientFile { tunnel, https, admin, upstreams, .. } = file;
    let tunnel = [&tunnel.ca, &tunnel.cert, &tunnel.key, &tunnel.token_file].into_iter().flatten();
    files(base, tunnel, https.as_ref(), admin.as_ref(), upstreams)
}

fn files<'a>(
    base: &Path,
    tunnel: impl Iterator<Item = &'a PathBuf>,
    https: Option<&'a HttpsFile>,
    admin: Option<&'a AdminFile>,
    upstreams: &'a BTreeMap<String, Upstream>,
) -> Vec<PathBuf> {
    let entry = https.into_iter().flat_map(|entry| {
        let more = entry.certificates.iter().flat_map(|certificate| [&certificate.cert, &certificate.key]);
        entry.cert.iter().chain(&entry.key).chain(more)
    });
    let authorities = upstreams.values().filter_map(|upstream| upstream.ca_file.as_ref());
    let admin = admin.into_iter().flat_map(admin::files);
    tunnel.chain(entry).chain(admin).chain(authorities).map(|path| base.join(path)).collect()
}

pub(super) fn server(file: ServerFile, base: &Path) -> Result<ServerSettings, ResolveError> {
    let at = At::default();
    let key_mode = key_mode(file.tunnel.allow_readable_keys);
    let mut groups = Groups::new();
    for (name, group) in file.groups {
        let at = at.key("groups").key(&name);
        groups.insert(at.check(name.parse())?, resolve_group(&at, group)?);
    }
    check_bounds(&at, &file.limits, &file.timeouts)?;
    check_listeners(&at, file.http.as_ref(), file.https.as_ref(), file.admin.as_ref())?;
    Ok(ServerSettings {
        tunnel: tunnel::listen(&at.key("tunnel"), base, file.tunnel)?,
        http: file.http.map(|entry| http(&at.key("http"), entry)).transpose()?,
        https: file.https.map(|entry| https(&at.key("https"), base, key_mode, entry)).transpose()?,
        ingress: ingress(&at.key("ingress"), file.ingress, &groups)?,
        groups,
        egress: egress(base, file.egress, file.upstreams, &file.dial, &file.limits)?,
        admin: file.admin.map(|entry| admin::admin(&at.key("admin"), base, key_mode, entry)).transpose()?,
        limits: file.limits,
        timeouts: file.timeouts,
    })
}

pub(super) fn client(file: ClientFile, base: &Path) -> Result<ClientSettings, ResolveError> {
    let at = At::default();
    let key_mode = key_mode(file.tunnel.allow_readable_keys);
    check_bounds(&at, &file.limits, &file.timeouts)?;
    check_listeners(&at, file.http.as_ref(), file.https.as_ref(), file.admin.as_ref())?;
    Ok(ClientSettings {
        tunnel: tunnel::connect(&at.key("tunnel"), base, file.tunnel)?,
        http: file.http.map(|entry| http(&at.key("http"), entry)).transpose()?,
        https: file.https.map(|entry| https(&at.key("https"), base, key_mode, entry)).transpose()?,
        egress: egress(base, file.egress, file.upstreams, &file.dial, &file.limits)?,
        admin: file.admin.map(|entry| admin::admin(&at.key("admin"), base, key_mode, entry)).transpose()?,
        limits: file.limits,
        timeouts: file.timeouts,
    })
}

fn resolve_group(at: &At, group: Group) -> Result<GroupSettings, ResolveError> {
    let Group { clients, retry_budget, exchanges_max, egress, upstreams } = group;
    if !(0.0..=1.0).contains(&retry_budget.share) {
        return Err(at.key("retry_budget").key("share").error("must be from 0.0 to 1.0"));
    }
    if exchanges_max == Some(0) {
        return Err(at.key("exchanges_max").error("must be at least 1"));
    }
    let terms = GroupTerms { retry_budget, exchanges_max };
    // A group without rules pushes that there are none: its clients may have had some.
    // What no client could apply is told here and not by each of them.
    let no_files = |_: &Path| Err(TlsError::Unusable { what: "ca_file", error: "cannot be pushed".to_owned() });
    resolve::egress(at, egress.clone(), upstreams.clone(), no_files)?;
    let push: ConfigPush = at.check(GroupConfig { egress, upstreams }.push())?;
    Ok(GroupSettings { clients, push: Some(push), terms })
}

fn ingress(at: &At, rules: Vec<IngressFile>, groups: &Groups) -> Result<Vec<IngressRule>, ResolveError> {
    let mut resolved = Vec::new();
    for (index, rule) in (0..).zip(rules) {
        let at = at.index(index);
        let pattern = resolve::rule_pattern(&at, rule.host.as_deref(), rule.path.as_deref())?;
        let group: id::Group = at.key("group").check(rule.group.parse())?;
        if !groups.contains_key(&group) {
            return Err(at.key("group").error(format!("there is no [groups.{group}]")));
        }
        let gate = gate::gate(&at, &rule)?;
        let options = RuleOptions {
            timeout: rule.timeout.map(|timeout| at.key("timeout").check(wait(timeout))).transpose()?,
            set_host: resolve::set_host(&at, rule.set_host)?,
            strip_prefix: rule.strip_prefix,
            connect: false,
            trace: false,
            upgrades: Vec::new(),
            request_headers: resolve::field_edits(&at.key("request_headers"), &rule.request_headers)?,
            response_headers: resolve::field_edits(&at.key("response_headers"), &rule.response_headers)?,
            retries: rule.retries.unwrap_or(options::RETRIES),
            gate,
        };
        resolved.push(IngressRule { pattern, group, options });
    }
    resolve::check_conflicts(at, resolved.iter().map(|rule| &rule.pattern))?;
    Ok(resolved)
}

fn egress(
    base: &Path,
    rules: Vec<adit_core::wire::config::EgressRule>,
    upstreams: BTreeMap<String, Upstream>,
    dial: &Dial,
    limits: &Limits,
) -> Result<EgressSettings, ResolveError> {
    let read_roots = |path: &Path| credentials::roots_from_file(&base.join(path));
    let mut egress = resolve::egress(&At::default(), rules, upstreams, read_roots)?;
    egress.dial = dial_rules(&At::default().key("dial"), dial)?;
    for upstream in egress.upstreams.values_mut() {
        upstream.idle_connections_max = limits.idle_connections_max;
    }
    Ok(egress)
}

fn dial_rules(at: &At, dial: &Dial) -> Result<DialRules, ResolveError> {
    let networks = |key, texts: &[String]| {
        let networks = (0..).zip(texts).map(|(index, text)| at.key(key).index(index).check(text.parse::<Network>()));
        networks.collect::<Result<Vec<_>, _>>()
    };
    let (allow, deny) = (networks("allow", &dial.allow)?, networks("deny", &dial.deny)?);
    Ok(DialRules { allow, deny, ..DialRules::default() })
}

/// The longest head: frames that carry one stay below 2^28 bytes.
const HEAD_BYTES_MOST: usize = 64 * 1024 * 1024;

/// The most fields of a head: a frame with 4,096 is refused, and adit adds some.
const HEAD_FIELDS_MOST: usize = 4_000;

/// The most connections: more than any machine has descriptors.
const CONNECTIONS_MOST: usize = 1 << 30;

fn check_bounds(at: &At, limits: &Limits, timeouts: &Timeouts) -> Result<(), ResolveError> {
    let (limits_at, timeouts_at) = (at.key("limits"), at.key("timeouts"));
    for (key, value) in [
        ("head_bytes_max", limits.head_bytes_max),
        ("head_fields_max", limits.head_fields_max),
        ("exchanges_per_link_max", usize::try_from(limits.exchanges_per_link_max).unwrap_or(usize::MAX)),
        ("connections_max", limits.connections_max),
        ("unread_bytes_max", limits.unread_bytes_max),
        ("connections_per_address_max", limits.connections_per_address_max),
        ("handshakes_max", limits.handshakes_max),
        ("links_per_client_max", limits.links_per_client_max),
    ] {
        if value == 0 {
            return Err(limits_at.key(key).error("must be at least 1"));
        }
    }
    for (key, value, most) in [
        ("head_bytes_max", limits.head_bytes_max, HEAD_BYTES_MOST),
        ("head_fields_max", limits.head_fields_max, HEAD_FIELDS_MOST),
        ("connections_max", limits.connections_max, CONNECTIONS_MOST),
    ] {
        if value > most {
            return Err(limits_at.key(key).error(format!("must be at most {most}")));
        }
    }
    for (key, value, may_be_zero) in [
        ("response_head", timeouts.response_head, false),
        ("handshake", timeouts.handshake, false),
        ("request_head", timeouts.request_head, false),
        ("body_idle", timeouts.body_idle, false),
        ("write_idle", timeouts.write_idle, false),
        ("visitor_idle", timeouts.visitor_idle, false),
        ("connect", timeouts.connect, false),
        ("upstream_resolve", timeouts.upstream_resolve, true),
        ("upstream_idle", timeouts.upstream_idle, true),
        ("switched_idle", timeouts.switched_idle, false),
        ("heartbeat", timeouts.heartbeat, false),
        ("sweep", timeouts.sweep, false),
        ("stale", timeouts.stale, true),
        ("reconnect_min", timeouts.reconnect_min, false),
        ("reconnect_max", timeouts.reconnect_max, true),
        ("rejoin", timeouts.rejoin, true),
        ("config_sync", timeouts.config_sync, false),
        ("drain", timeouts.drain, true),
        ("drain_idle", timeouts.drain_idle, true),
        ("takeover", timeouts.takeover, true),
    ] {
        if value.is_zero() && !may_be_zero {
            return Err(timeouts_at.key(key).error("must be more than 0"));
        }
        timeouts_at.key(key).check(wait(value))?;
    }
    if timeouts.stale <= timeouts.heartbeat {
        return Err(timeouts_at.key("stale").error("must be longer than timeouts.heartbeat"));
    }
    if timeouts.reconnect_max < timeouts.reconnect_min {
        return Err(timeouts_at.key("reconnect_max").error("must not be shorter than timeouts.reconnect_min"));
    }
    Ok(())
}

fn http(at: &At, entry: HttpFile) -> Result<HttpEntry, ResolveError> {
    let HttpFile { listen, trusted_proxies, proxy_protocol } = entry;
    if proxy_protocol && trusted_proxies.is_empty() {
        return Err(at.key("proxy_protocol").error("needs trusted_proxies: nobody else may say who a visitor is"));
    }
    Ok(HttpEntry { listen, trusted_proxies, proxy_protocol })
}

fn https(at: &At, base: &Path, key_mode: KeyMode, entry: HttpsFile) -> Result<HttpsEntry, ResolveError> {
    let mut certificates = Vec::new();
    match (&entry.cert, &entry.key) {
        (Some(cert), Some(key)) => certificates.push(credentials(at, base, key_mode, cert, key)?),
        (Some(_), None) => return Err(at.key("key").error("missing, and there is a cert")),
        (None, Some(_)) => return Err(at.key("cert").error("missing, and there is a key")),
        (None, None) => {}
    }
    for (index, certificate) in (0..).zip(&entry.certificates) {
        let at = at.key("certificates").index(index);
        certificates.push(credentials(&at, base, key_mode, &certificate.cert, &certificate.key)?);
    }
    if certificates.is_empty() {
        return Err(at.key("cert").error("missing: an entry with TLS needs cert and key, or [[https.certificates]]"));
    }
    let HttpsFile { listen, trusted_proxies, proxy_protocol, .. } = entry;
    Ok(HttpsEntry { http: http(at, HttpFile { listen, trusted_proxies, proxy_protocol })?, certificates })
}

/// Two listeners cannot share a port of one address, and a wildcard address holds all others.
fn check_listeners(
    at: &At,
    http: Option<&HttpFile>,
    https: Option<&HttpsFile>,
    admin: Option<&AdminFile>,
) -> Result<(), ResolveError> {
    let all = [
        ("http", http.map(|entry| entry.listen)),
        ("https", https.map(|entry| entry.listen)),
        ("admin", admin.map(|entry| entry.listen)),
    ];
    let mut before: Vec<(&str, SocketAddr)> = Vec::new();
    for (name, listen) in all {
        let Some(listen) = listen else { continue };
        if let Some((other, taken)) = before.iter().find(|(_, taken)| overlap(*taken, listen)) {
            return Err(at.key(name).key("listen").error(format!("{listen} overlaps with {other}.listen, {taken}")));
        }
        before.push((name, listen));
    }
    Ok(())
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
