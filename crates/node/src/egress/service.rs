//! Which upstream takes a request, and what it gets to see.

use std::sync::Arc;

use adit_core::{
    failure::Failure,
    http::{headers, host::Host, path},
    id::{Group, SessionId},
    limits::Timeouts,
    route::{Conflict, RouteTable},
    wire::exchange::RequestHead,
};
use arc_swap::ArcSwap;
use http::{HeaderValue, Response};

use super::upstream::{Upstream, UpstreamBody, UpstreamError};
use crate::{
    body::RecvBody,
    settings::{EgressRule, EgressSettings},
};

/// The way out of a node: its egress rules and upstreams.
#[derive(Debug)]
pub struct Egress {
    node_id: Box<str>,
    routes: ArcSwap<RouteTable<Route>>,
}

#[derive(Debug)]
struct Route {
    rule: EgressRule,
    upstream: Arc<Upstream>,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The group of the link it came in on.
    pub group: &'a Group,
    /// The session of that link.
    pub session: SessionId,
    /// The stream on that link.
    pub stream: u64,
}

/// Why egress settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// Two rules take the same requests.
    #[error("egress: {0}")]
    Conflict(#[from] Conflict),
    /// A rule names an upstream that is not there.
    #[error("egress: the rule for {pattern} names the upstream {upstream:?}, which is not defined")]
    UnknownUpstream {
        /// What the rule takes.
        pattern: String,
        /// The name.
        upstream: String,
    },
    /// An upstream cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Egress {
    /// Builds the rules. `node_id` marks what goes out, so that a loop is recognised.
    ///
    /// # Errors
    ///
    /// When two rules conflict or an upstream is missing or cannot be used.
    pub fn new(node_id: &str, settings: EgressSettings, timeouts: &Timeouts) -> Result<Self, EgressError> {
        let mut upstreams = std::collections::HashMap::new();
        for (name, upstream) in settings.upstreams {
            upstreams.insert(name.clone(), Arc::new(Upstream::new(name, upstream, timeouts)?));
        }
        let mut routes = Vec::new();
        for rule in settings.rules {
            let upstream = upstreams.get(&rule.upstream).cloned().ok_or_else(|| EgressError::UnknownUpstream {
                pattern: rule.pattern.to_string(),
                upstream: rule.upstream.clone(),
            })?;
            routes.push((rule.pattern.clone(), Route { rule, upstream }));
        }
        Ok(Self { node_id: node_id.into(), routes: ArcSwap::from_pointee(RouteTable::new(routes)?) })
    }

    /// Returns the rules as they are now.
    pub fn rules(&self) -> Vec<EgressRule> {
        self.routes.load().rules().iter().map(|(_, route)| route.rule.clone()).collect()
    }

    /// Sends a request to the upstream that its rule names, and returns the head of its response.
    ///
    /// # Errors
    ///
    /// When no rule takes it, it has been here before, or the upstream does not answer.
    pub async fn call(
        &self,
        mut head: RequestHead,
        body: RecvBody,
        origin: Origin<'_>,
    ) -> Result<Response<UpstreamBody>, Failure> {
        let (upstream, set_host) = self.route(&head, origin.group)?;
        self.mark(&mut head, origin)?;
        if let Some(host) = set_host {
            head.authority = host;
        }
        upstream.send(head, body).await
    }

    fn route(&self, head: &RequestHead, group: &Group) -> Result<(Arc<Upstream>, Option<String>), Failure> {
        let host = Host::parse(&head.authority).map_err(|_| Failure::BadRequest)?;
        let path = path::normalise(head.target.path()).map_err(|_| Failure::BadRequest)?;
        let routes = self.routes.load();
        let route = routes.find(&host.name, &path).ok_or(Failure::NoRoute)?;
        if route.rule.groups.as_ref().is_some_and(|groups| !groups.contains(group)) {
            return Err(Failure::NoRoute);
        }
        Ok((Arc::clone(&route.upstream), route.rule.set_host.clone()))
    }

    /// Adds this node to the places that the request has come out of.
    fn mark(&self, head: &mut RequestHead, origin: Origin<'_>) -> Result<(), Failure> {
        let been_here = |hop: &HeaderValue| hop.as_bytes().starts_with(self.node_id.as_bytes());
        if head.headers.get_all(headers::ADIT_HOP).into_iter().any(been_here) {
            return Err(Failure::Loop);
        }
        let hop = format!("{};link={};stream={}", self.node_id, origin.session, origin.stream);
        if let Ok(hop) = HeaderValue::try_from(hop) {
            head.headers.append(headers::ADIT_HOP, hop);
        }
        Ok(())
    }
}
