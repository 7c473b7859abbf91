//! What a rule does to the requests it takes, beside sending them somewhere.

use std::time::Duration;

use http::{HeaderValue, header, uri::PathAndQuery};

use super::pattern::PathPrefix;
use crate::{
    gate::Gate,
    http::{edit::FieldEdits, path},
    wire::exchange::{RequestHead, Upgrade},
};

/// How often a request is tried again elsewhere, where a rule does not say.
pub const RETRIES: u32 = 2;

/// The options of a rule, the same for ingress and egress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOptions {
    /// From the request to the head of its response, where it is not the node's `timeouts.response_head`.
    pub timeout: Option<Duration>,
    /// The `Host` that goes on, where it is not the visitor's.
    pub set_host: Option<String>,
    /// Removes the rule's own path prefix from what goes on.
    pub strip_prefix: bool,
    /// Lets CONNECT through: raw bytes to and from the upstream. For egress rules.
    pub connect: bool,
    /// Lets TRACE through, whose response shows what was added to the request. For egress rules.
    pub trace: bool,
    /// What a connection may be switched to beside WebSocket, as it stands in `Upgrade`. For egress rules.
    pub upgrades: Vec<String>,
    /// Changes to the fields of the request.
    pub request_headers: FieldEdits,
    /// Changes to the fields of the response.
    pub response_headers: FieldEdits,
    /// How often a request that had no effect, or that may be repeated, is tried again elsewhere.
    pub retries: u32,
    /// What is asked of visitors. For ingress rules.
    pub gate: Gate,
}

impl Default for RuleOptions {
    fn default() -> Self {
        Self {
            timeout: None,
            set_host: None,
            strip_prefix: false,
            connect: false,
            trace: false,
            upgrades: Vec::new(),
            request_headers: FieldEdits::default(),
            response_headers: FieldEdits::default(),
            retries: RETRIES,
            gate: Gate::default(),
        }
    }
}

impl RuleOptions {
    /// Takes from the head of a request what it asks to switch to, unless the rule names it.
    pub fn restrict_upgrade(&self, head: &mut RequestHead) {
        if head.upgrade != Some(Upgrade::Other) {
            return;
        }
        let token = head.headers.get(header::UPGRADE).map(HeaderValue::as_bytes).unwrap_or_default();
        if !self.upgrades.iter().any(|named| named.as_bytes().eq_ignore_ascii_case(token)) {
            head.upgrade = None;
            head.headers.remove(header::UPGRADE);
        }
    }

    /// Makes the changes of a rule with this path prefix to the head of a request that it takes.
    pub fn edit(&self, head: &mut RequestHead, prefix: &PathPrefix) {
        if let Some(host) = &self.set_host {
            head.authority.clone_from(host);
        }
        if self.strip_prefix
            && let Some(target) = strip_prefix(&head.target, prefix)
        {
            head.target = target;
        }
        self.request_headers.apply(&mut head.headers);
    }
}

/// Returns `target` without `prefix` at the start of its path, which the rule has matched: `/api/x?y` → `/x?y`.
///
/// The bytes behind the prefix stay as they are. `None` where nothing changes.
fn strip_prefix(target: &PathAndQuery, prefix: &PathPrefix) -> Option<PathAndQuery> {
    let prefix = prefix.as_str();
    if prefix == "/" {
        return None;
    }
    let path = target.path();
    // The visitor may have spelled the prefix with escapes: look for the boundary at which it ends.
    let boundaries = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let cut = boundaries
        .filter(|at| *at > 0)
        .find(|at| path::normalise(&path[..*at]).is_ok_and(|normal| normal == prefix))?;
    let rest = &target.as_str()[cut..];
    let stripped = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    stripped.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_prefix_goes() {
        for (target, prefix, expected) in [
            ("/api/x?y=/api", "/api", Some("/x?y=/api")),
            ("/api", "/api", Some("/")),
            ("/api?y", "/api", Some("/?y")),
            ("/api/", "/api", Some("/")),
            ("/%61pi/%62?c", "/api", Some("/%62?c")),
            ("/a/b//c", "/a/b", Some("//c")),
            ("/x", "/", None),
        ] {
            let prefix = PathPrefix::parse(prefix).unwrap();
            let stripped = strip_prefix(&target.parse().unwrap(), &prefix);
            assert_eq!(stripped.as_ref().map(PathAndQuery::as_str), expected, "{target}");
        }
    }
}
