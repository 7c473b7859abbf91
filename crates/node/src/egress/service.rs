//! Which upstream takes a request, and what it gets to see.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use adit_core::{
    failure::Failure,
    http::headers,
    id::{Group, SessionId},
    limits::Timeouts,
    route::{Conflict, RouteTable, destination},
    wire::exchange::{RequestHead, Upgrade},
};
use arc_swap::ArcSwap;
use http::{HeaderValue, Method};
use tokio::time::timeout;

use super::{
    guard::Guard,
    server::Lease,
    upstream::{Upstream, UpstreamBody, UpstreamError},
};
use crate::{
    body::RecvBody,
    exchange::Handled,
    settings::{EgressRule, EgressSettings},
};

/// The way out of a node: its own egress rules and upstreams.
#[derive(Debug)]
pub struct Egress {
    node_id: Box<str>,
    own: ArcSwap<Routes>,
}

/// Egress rules with the upstreams that they lead to. Dropping them closes the upstreams' idle connections;
/// requests in flight go on.
#[derive(Debug, Default)]
pub struct Routes {
    table: RouteTable<Arc<Route>>,
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
    /// What the peer of that link has pushed; it comes after the node's own rules.
    pub pushed: &'a ArcSwap<Routes>,
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

impl Routes {
    /// Builds the rules and prepares their upstreams, whose addresses `guard` judges.
    ///
    /// # Errors
    ///
    /// When two rules conflict or an upstream is missing or cannot be used.
    pub fn new(settings: EgressSettings, guard: &Guard, timeouts: &Timeouts) -> Result<Self, EgressError> {
        let mut upstreams = HashMap::new();
        for (name, upstream) in settings.upstreams {
            upstreams.insert(name.clone(), Arc::new(Upstream::new(name, upstream, guard, timeouts)?));
        }
        let mut routes = Vec::new();
        for rule in settings.rules {
            let upstream = upstreams.get(&rule.upstream).cloned().ok_or_else(|| EgressError::UnknownUpstream {
                pattern: rule.pattern.to_string(),
                upstream: rule.upstream.clone(),
            })?;
            routes.push((rule.pattern.clone(), Arc::new(Route { rule, upstream })));
        }
        Ok(Self { table: RouteTable::new(routes)? })
    }

    /// Returns how many rules there are.
    pub fn len(&self) -> usize {
        self.table.rules().len()
    }

    /// Returns whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the rules.
    pub fn rules(&self) -> impl Iterator<Item = &EgressRule> {
        self.table.rules().iter().map(|(_, route)| &route.rule)
    }

    /// Returns the upstreams that the rules lead to, by name.
    pub fn upstreams(&self) -> Vec<&Upstream> {
        let upstreams = self.table.rules().iter().map(|(_, route)| (route.upstream.name(), &*route.upstream));
        let upstreams: BTreeMap<_, _> = upstreams.collect();
        upstreams.into_values().collect()
    }

    fn find(&self, host: &str, path: &str, group: &Group) -> Option<Arc<Route>> {
        let route = self.table.find(host, path)?;
        let permitted = route.rule.groups.as_ref().is_none_or(|groups| groups.contains(group));
        permitted.then(|| Arc::clone(route))
    }
}

impl Egress {
    /// Takes the node's own rules. `node_id` marks what goes out, so that a loop is recognised.
    pub fn new(node_id: &str, own: Routes) -> Self {
        Self { node_id: node_id.into(), own: ArcSwap::from_pointee(own) }
    }

    /// Replaces the node's own rules. Requests in flight keep those that they were matched by.
    pub fn replace(&self, own: Routes) {
        self.own.store(Arc::new(own));
    }

    /// Returns the node's own rules as they are now.
    pub fn own(&self) -> Arc<Routes> {
        self.own.load_full()
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
    ) -> Result<Handled<UpstreamBody, Lease>, Failure> {
        let route = self.route(&head, &origin)?;
        self.mark(&mut head, origin)?;
        let options = &route.rule.options;
        if head.upgrade == Some(Upgrade::Connect) {
            // A rule for requests is no permission for whatever else the upstream understands.
            return if options.connect {
                let (connection, in_flight) = route.upstream.connect(head.visitor).await?;
                Ok(Handled::Connected(connection, in_flight))
            } else {
                Err(Failure::NoRoute)
            };
        }
        if head.method == Method::TRACE && !options.trace {
            return Err(Failure::NoRoute);
        }
        options.restrict_upgrade(&mut head);
        options.edit(&mut head, &route.rule.pattern.path);
        let sent = route.upstream.send(head, body);
        let mut response = match options.timeout {
            Some(limit) => timeout(limit, sent).await.unwrap_or(Err(Failure::Timeout))?,
            None => sent.await?,
        };
        // Further inside, a node has found itself: the request has no other answer than that.
        let told = response.headers().get(headers::ADIT_ERROR).map(HeaderValue::as_bytes);
        if response.status().as_u16() == Failure::Loop.status() && told == Some(Failure::Loop.code().as_bytes()) {
            return Err(Failure::Loop);
        }
        options.response_headers.apply(response.headers_mut());
        Ok(Handled::Response(response))
    }

    fn route(&self, head: &RequestHead, origin: &Origin<'_>) -> Result<Arc<Route>, Failure> {
        let (host, path) = destination(head)?;
        let find = |routes: &Routes| routes.find(&host.name, &path, origin.group);
        find(&self.own.load()).or_else(|| find(&origin.pushed.load())).ok_or(Failure::NoRoute)
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
