//! What an ingress rule asks of its visitors, as it stands in a file.

use std::{collections::BTreeMap, time::Duration};

use adit_core::gate::{Addresses, Credentials, Gate, PasswordHash, RateLimit, TokenHash};
use adit_node::{
    ingress::gate::password,
    settings::resolve::{At, ResolveError},
};
use ipnet::IpNet;

use super::file::{IngressRule, Secret};

/// What a rate may be made of: beyond it, times do not fit into the nanoseconds of a clock.
const PER_MAX: Duration = Duration::from_secs(24 * 3_600);
const BURST_MAX: u32 = 100_000;

/// Resolves the gate of the rule at `at`.
///
/// # Errors
///
/// When a value is wrong, or a key means nothing without another one.
pub(super) fn gate(at: &At, rule: &IngressRule) -> Result<Gate, ResolveError> {
    let addresses = Addresses {
        allow: networks(&at.key("allow_ips"), &rule.allow_ips)?,
        deny: networks(&at.key("deny_ips"), &rule.deny_ips)?,
    };
    let limit = rule.rate_limit.as_ref().map(|limit| rate_limit(&at.key("rate_limit"), limit));
    Ok(Gate { addresses, rate_limit: limit.transpose()?, credentials: credentials(at, rule)? })
}

fn networks(at: &At, texts: &[String]) -> Result<Vec<IpNet>, ResolveError> {
    let parse = |(index, text): (usize, &String)| {
        let parsed = text.parse::<IpNet>().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
        at.index(index).check(parsed.map_err(|_| format!("{text:?} is not ADDRESS or NETWORK/BITS")))
    };
    texts.iter().enumerate().map(parse).collect()
}

fn rate_limit(at: &At, limit: &super::file::RateLimit) -> Result<RateLimit, ResolveError> {
    if limit.per.is_zero() {
        return Err(at.key("per").error("must be more than 0"));
    }
    if limit.per > PER_MAX {
        return Err(at.key("per").error("must be at most a day"));
    }
    let (burst, key) = limit.burst.map_or((limit.requests, "requests"), |burst| (burst, "burst"));
    if burst.get() > BURST_MAX {
        return Err(at.key(key).error(format!("is more than {BURST_MAX} at once")));
    }
    Ok(RateLimit { requests: limit.requests, per: limit.per, burst })
}

fn credentials(at: &At, rule: &IngressRule) -> Result<Option<Credentials>, ResolveError> {
    if rule.basic_auth.is_empty() && rule.bearer.is_empty() {
        for (key, is_set) in
            [("allow_preflight", rule.allow_preflight), ("pass_authorization", rule.pass_authorization)]
        {
            if is_set {
                return Err(at.key(key).error("means nothing without basic_auth or bearer"));
            }
        }
        return Ok(None);
    }
    Ok(Some(Credentials {
        users: users(&at.key("basic_auth"), &rule.basic_auth)?,
        tokens: tokens(&at.key("bearer"), &rule.bearer)?,
        allow_preflight: rule.allow_preflight,
        pass_authorization: rule.pass_authorization,
    }))
}

fn users(at: &At, users: &BTreeMap<String, Secret>) -> Result<Vec<(String, PasswordHash)>, ResolveError> {
    let mut known = Vec::new();
    for (name, hash) in users {
        let at = at.key(name);
        if name.contains(':') {
            return Err(at.error("a name cannot have a colon (RFC 7617)"));
        }
        let hash = PasswordHash::new(&hash.0);
        at.check(password::parse(&hash))?;
        known.push((name.clone(), hash));
    }
    Ok(known)
}

fn tokens(at: &At, tokens: &BTreeMap<String, Secret>) -> Result<Vec<(String, TokenHash)>, ResolveError> {
    let token = |(name, hash): (&String, &Secret)| Ok((name.clone(), at.key(name).check(TokenHash::parse(&hash.0))?));
    tokens.iter().map(token).collect()
}
