//! A named set of backend servers, and the choice between them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use adit_core::{
    balance::policy::Policy, failure::Failure, health::Attempt, limits::Timeouts, wire::exchange::RequestHead,
};
use http::Response;
use tokio::{net::TcpStream, runtime::Handle, task::JoinSet, time::Instant};

pub use super::response::UpstreamBody;
use super::{
    check,
    connection::{self, Connector},
    guard::Guard,
    pool::Pool,
    request::{Address, RequestBody},
    server::{Answered, Lease, NotAnswered, Server},
    tcp::Dialer,
};
use crate::settings::{ServerUrl, UpstreamSettings};

/// A named set of backend servers. Dropped, it stops looking after them.
#[derive(Debug)]
pub struct Upstream {
    name: Arc<str>,
    policy: Policy,
    /// Counts requests, for [`Policy::RoundRobin`].
    turn: AtomicU64,
    started: Instant,
    servers: Box<[Arc<Server>]>,
    /// Checks, and who closes what is not used.
    _tasks: JoinSet<()>,
}

/// Why an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It has no servers.
    #[error("the upstream {0:?} has no servers")]
    Empty(String),
    /// A server's name cannot stand in a certificate.
    #[error("the upstream {upstream:?}: {url} has no host that TLS can verify")]
    Name {
        /// The upstream.
        upstream: String,
        /// The server.
        url: ServerUrl,
    },
    /// TLS cannot be set up.
    #[error("TLS to upstreams: {0}")]
    Tls(#[from] rustls::Error),
    /// Checks need a runtime to run on.
    #[error("the upstream {0:?} cannot be checked outside of a runtime")]
    NoRuntime(String),
}

/// How one server of an upstream is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSnapshot {
    /// Where it is.
    pub url: ServerUrl,
    /// Whether it is not set aside.
    pub healthy: bool,
    /// Requests without a complete response.
    pub in_flight: u32,
    /// How long it takes to the head of a response, as the policy sees it; `None` before the first one.
    pub latency_ms: Option<f64>,
}

impl Upstream {
    /// Prepares the servers, whose addresses `guard` judges, and starts to check them where the settings say so;
    /// connects to none otherwise.
    ///
    /// # Errors
    ///
    /// When there are no servers, one of them cannot be verified, or there is no runtime for the checks.
    pub fn new(
        name: String,
        settings: UpstreamSettings,
        guard: &Guard,
        timeouts: &Timeouts,
    ) -> Result<Self, UpstreamError> {
        if settings.servers.is_empty() {
            return Err(UpstreamError::Empty(name));
        }
        let started = Instant::now();
        let tls = Arc::new(connection::tls_config(settings.roots)?);
        let shared_name: Arc<str> = name.as_str().into();
        let mut servers = Vec::new();
        for url in settings.servers {
            let dialer = Dialer::new(url.address.clone(), guard.clone(), timeouts.upstream_resolve);
            let connector = Connector::new(
                url.clone(),
                dialer,
                &tls,
                settings.server_name.as_ref(),
                settings.proxy_protocol,
                settings.title_case_headers,
            )
            .map_err(|_| UpstreamError::Name { upstream: name.clone(), url })?;
            let pool = Pool::new(timeouts.upstream_idle, settings.idle_connections_max);
            servers.push(Arc::new(Server::new(Arc::clone(&shared_name), connector, pool, timeouts, started)));
        }
        let mut tasks = JoinSet::new();
        // Without a runtime there are no connections either.
        if let Ok(runtime) = Handle::try_current() {
            for server in &servers {
                tasks.spawn_on(Arc::clone(server).close_idle(timeouts.upstream_idle), &runtime);
            }
        }
        if let Some(check) = settings.check {
            let runtime = Handle::try_current().map_err(|_| UpstreamError::NoRuntime(name))?;
            for server in &servers {
                tasks.spawn_on(check::watch(Arc::clone(server), check.clone()), &runtime);
            }
        }
        let (policy, turn) = (settings.policy, AtomicU64::new(0));
        Ok(Self { name: shared_name, policy, turn, started, servers: servers.into(), _tasks: tasks })
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how its servers are doing, in the order of the settings.
    pub fn snapshot(&self) -> Vec<ServerSnapshot> {
        let now = self.started.elapsed();
        let snapshot = |server: &Arc<Server>| {
            let load = server.standing().load(now);
            ServerSnapshot {
                url: server.url().clone(),
                healthy: server.standing().aside().is_open(),
                in_flight: load.in_flight,
                latency_ms: load.latency.map(|latency| latency.as_secs_f64() * 1e3),
            }
        };
        self.servers.iter().map(snapshot).collect()
    }

    /// Sends a request to one of the servers and waits for the head of its response.
    ///
    /// A server that takes nothing of the request is followed by the next one, each at most once.
    ///
    /// # Errors
    ///
    /// When the last server tried does not answer, or one that may have read the request.
    pub async fn send(
        &self,
        head: RequestHead,
        body: impl Into<RequestBody>,
    ) -> Result<Response<UpstreamBody>, Failure> {
        let (address, mut request) = Address::split(head, body.into())?;
        let upload = request.body().upload();
        let mut failure = Failure::UpstreamRefused;
        // Grows only where servers fail.
        let mut tried = Vec::new();
        while let Some((index, server, attempt)) = self.choose(&tried) {
            let in_flight = server.enter();
            match server.send(&address, request, upload.as_deref(), attempt).await {
                Ok(Answered { mut response, sender, .. }) => {
                    address.answered(&mut response, sender.is_http2())?;
                    let status = response.status();
                    return Ok(response.map(|body| UpstreamBody::new(body, status, sender, in_flight)));
                }
                Err(NotAnswered::Lost(failure)) => return Err(failure),
                Err(NotAnswered::Unsent(returned, error)) => {
                    failure = error.failure();
                    request = *returned;
                    tried.push(index);
                }
            }
        }
        Err(failure)
    }

    /// Connects a visitor to one of the servers for raw bytes, each tried at most once. Returns with the connection what counts
    /// it as in flight.
    ///
    /// # Errors
    ///
    /// What stands between us and the last server tried.
    pub async fn connect(&self, visitor: SocketAddr) -> Result<(TcpStream, Lease), Failure> {
        let mut failure = Failure::UpstreamRefused;
        // Grows only where servers fail.
        let mut tried = Vec::new();
        while let Some((index, server, attempt)) = self.choose(&tried) {
            let in_flight = server.enter();
            match server.connect(visitor, attempt).await {
                Ok(tcp) => return Ok((tcp, in_flight)),
                Err(refused) => failure = refused,
            }
            tried.push(index);
        }
        Err(failure)
    }

    /// Chooses a server that has not been tried: one that is due for a probe, or a healthy one as the policy
    /// says, or the one whose failure is the longest ago. Allocates nothing.
    fn choose(&self, tried: &[usize]) -> Option<(usize, &Arc<Server>, Attempt)> {
        let now = self.started.elapsed();
        // A request is a probe at most once: each may cost it a whole connect timeout.
        let probed = if tried.is_empty() { self.due(now) } else { None };
        let probe = probed.is_some();
        let index = probed.or_else(|| self.healthy(tried, now)).or_else(|| self.least_recently_failed(tried))?;
        let server = self.servers.get(index)?;
        Some((index, server, Attempt { chosen_at: now, probe }))
    }

    fn due(&self, now: Duration) -> Option<usize> {
        self.servers.iter().position(|server| server.standing().aside().take_probe(now))
    }

    fn healthy(&self, tried: &[usize], now: Duration) -> Option<usize> {
        let seed = match self.policy {
            Policy::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
            Policy::LeastRequests => fastrand::u64(..),
            Policy::Random => fastrand::u64(..),
            Policy::P2c => fastrand::u64(..),
        };
        self.policy.pick(self.servers.len(), seed, |index| {
            let standing = self.servers.get(index)?.standing();
            (standing.aside().is_open() && !tried.contains(&index)).then(|| standing.load(now))
        })
    }

    fn least_recently_failed(&self, tried: &[usize]) -> Option<usize> {
        let untried = (0..).zip(&self.servers).filter(|(index, _)| !tried.contains(index));
        untried.min_by_key(|(_, server)| server.standing().aside().failed_at()).map(|(index, _)| index)
    }
}
