//! The node behind NAT.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adit_core::{
    backoff::Backoff,
    failure::Failure,
    group::Member,
    id::{ClientId, Group, SessionId},
    limits::{Limits, Timeouts},
    route::{HostPattern, PathPrefix, Pattern, RouteTable},
    wire::control::{StreamOpen, StreamType},
};
use quinn::Endpoint;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::StartError;
use crate::{
    access::Recorder,
    admin::{self, Admin, Handles},
    egress::service::Egress,
    ingress::{listener::Listener, service::Ingress},
    link::{
        dial::{self, DialError},
        handshake::{self, HandshakeError, Joined},
        tls,
    },
    meter::Side,
    registry::{GroupLinks, Registry},
    session::{self, Answering, Heartbeats, Stopping},
    settings::{ClientSettings, HostPort},
};

/// The group that a client's own links to its servers are in.
const SERVERS: &str = "servers";

/// A client: everything is bound, nothing runs yet.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    entry: Option<(Listener, Arc<Ingress>)>,
    targets: Vec<HostPort>,
    caller: Arc<Caller>,
    admin: Option<Admin>,
    handles: Arc<Handles>,
}

/// What it takes to get a link and to hold it.
#[derive(Debug)]
struct Caller {
    client_id: ClientId,
    group: Group,
    /// Numbers the links of this process; servers number them on their own.
    links: AtomicU64,
    config: quinn::ClientConfig,
    server_name: String,
    servers: Arc<GroupLinks>,
    egress: Arc<Egress>,
    limits: Limits,
    timeouts: Timeouts,
    recorder: Recorder,
}

/// Why a try to get a link failed.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("no link: {0}")]
    Handshake(#[from] HandshakeError),
}

impl Client {
    /// Binds everything that the settings name. Dials nothing yet.
    ///
    /// # Errors
    ///
    /// When something cannot be bound or used; then nothing stays bound.
    pub async fn bind(settings: ClientSettings) -> Result<Self, StartError> {
        let ClientSettings { tunnel, http, egress, admin, limits, timeouts } = settings;
        let client_id = ClientId::from_uuid(uuid::Uuid::new_v4());
        let egress = Arc::new(Egress::new(client_id.as_str(), egress, &timeouts)?);
        let config = tls::client_config(&tunnel.credentials, tunnel.roots)?;
        let admin = match admin {
            Some(admin) => Some(Admin::bind(admin).await?),
            None => None,
        };
        let watch = admin.as_ref().map(Admin::watch);
        let registry = Arc::new(Registry::default());
        let servers = registry.group(&servers_group());
        let recorder = Recorder::new(registry.meters().meter(Side::Answered, Some(&tunnel.group)), watch.clone());
        let entry = match http {
            Some(http) => {
                let listener = Listener::bind(http.listen).await?;
                let everything = Pattern { host: HostPattern::Any, path: PathPrefix::root() };
                let routes = RouteTable::new([(everything, Arc::clone(&servers))])?;
                let recorder = Recorder::new(registry.meters().meter(Side::Asked, None), watch.clone());
                let ingress = Ingress::new(routes, Failure::NoServer, http.trusted_proxies, limits, timeouts, recorder);
                Some((listener, Arc::new(ingress)))
            }
            None => None,
        };
        let endpoint = dial::endpoint().map_err(StartError::Socket)?;
        let handles = Handles {
            registry,
            ingress: entry.as_ref().map(|(_, ingress)| Arc::clone(ingress)),
            egress: Arc::clone(&egress),
            needs: Some(Arc::clone(&servers)),
            config: admin::Config {
                role: "client",
                version: env!("CARGO_PKG_VERSION"),
                tunnel: None,
                connect: tunnel.connect.iter().map(HostPort::to_string).collect(),
                http: entry.as_ref().map(|(listener, _)| listener.address()),
                admin: admin.as_ref().map(Admin::address),
                limits,
                timeouts,
            },
        };
        let (group, server_name) = (tunnel.group, tunnel.server_name);
        let links = AtomicU64::new(1);
        let caller =
            Caller { client_id, group, links, config, server_name, servers, egress, limits, timeouts, recorder };
        Ok(Self {
            endpoint,
            entry,
            targets: tunnel.connect,
            caller: Arc::new(caller),
            admin,
            handles: Arc::new(handles),
        })
    }

    /// Returns the address of the local HTTP entry, with the port that the system chose where it was 0.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.entry.as_ref().map(|(listener, _)| listener.address())
    }

    /// Returns the address of the admin interface, with the port that the system chose where it was 0.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Returns the links to servers, to watch them come and go.
    pub fn servers(&self) -> Arc<GroupLinks> {
        Arc::clone(&self.caller.servers)
    }

    /// Connects, and keeps connected until `stop` is cancelled; then until nothing is in flight or the grace is
    /// over.
    ///
    /// The local entry serves all the time, whatever the links do. Dropped early, it cuts everything.
    pub async fn run(self, stop: CancellationToken) {
        let Self { endpoint, entry, targets, caller, admin, handles } = self;
        let grace = caller.timeouts.drain;
        let stopping = Stopping { started: stop.clone(), entries_closed: CancellationToken::new() };
        let entries = async {
            if let Some((listener, ingress)) = entry {
                listener.serve(ingress, stop.clone()).await;
            }
            stopping.entries_closed.cancel();
        };
        let links = async {
            let mut links = JoinSet::new();
            for target in targets {
                let span = tracing::info_span!("link", server = %target);
                let (caller, endpoint, stopping) = (Arc::clone(&caller), endpoint.clone(), stopping.clone());
                links.spawn(async move { caller.stay_connected(&endpoint, &target, stopping).await }.instrument(span));
            }
            while links.join_next().await.is_some() {}
        };
        let work = async {
            super::run_with_grace(
                async {
                    tokio::join!(entries, links);
                },
                &stop,
                grace,
            )
            .await;
            super::close(endpoint.clone()).await;
        };
        super::with_admin(admin, handles, stop.clone(), work).await;
    }
}

impl Caller {
    /// Dials for ever, until the node stops.
    async fn stay_connected(&self, endpoint: &Endpoint, target: &HostPort, stopping: Stopping) {
        // Stands for the server in the group of servers: two of them may have certificates of one name.
        let server_id = ClientId::from_uuid(uuid::Uuid::new_v4());
        let mut backoff = Backoff::new(self.timeouts.reconnect_min, self.timeouts.reconnect_max);
        loop {
            let connected = tokio::select! {
                connected = self.connect(endpoint, target) => connected,
                () = stopping.started.cancelled() => return,
            };
            match connected {
                Ok(joined) => {
                    let since = Instant::now();
                    self.hold(joined, &server_id, stopping.clone()).await;
                    // A link that is lost at once again and again must not be dialled at full speed.
                    if since.elapsed() > self.timeouts.reconnect_max {
                        backoff.reset();
                    }
                }
                Err(error) => tracing::warn!("{error}"),
            }
            let delay = backoff.next(fastrand::u64(..));
            tokio::select! {
                () = stopping.started.cancelled() => return,
                () = sleep(delay) => {}
            }
        }
    }

    async fn connect(&self, endpoint: &Endpoint, target: &HostPort) -> Result<Joined, ConnectError> {
        let quic = dial::dial(endpoint, &self.config, target, &self.server_name).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let open = StreamOpen {
            client_id: self.client_id.clone(),
            group: self.group.clone(),
            stream_type: StreamType::Http,
            version: env!("CARGO_PKG_VERSION").into(),
            features: 0,
            timestamp_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        };
        Ok(handshake::join(quic, open, &self.limits).await?)
    }

    async fn hold(&self, joined: Joined, server_id: &ClientId, stopping: Stopping) {
        let link = joined.link.clone();
        let (session, identity) = (link.session(), link.peer().clone());
        let number = SessionId(self.links.fetch_add(1, Ordering::Relaxed));
        let member = Member { session: number, client_id: server_id.clone(), identity, link };
        let (membership, _) = self.servers.join(member);
        tracing::info!(%session, id = %self.client_id, group = %self.group, "connected");
        let answering = Answering {
            group: self.group.clone(),
            egress: Arc::clone(&self.egress),
            limits: self.limits,
            grace: self.timeouts.drain,
            recorder: self.recorder.clone(),
        };
        let ended = session::run(joined, answering, Heartbeats::Send, stopping).await;
        drop(membership);
        tracing::info!(%session, "disconnected: {ended}");
    }
}

#[expect(clippy::expect_used, reason = "SERVERS is a name, as a test shows")]
fn servers_group() -> Group {
    SERVERS.parse().expect("a name")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_group_of_servers_has_a_name() {
        assert_eq!(super::servers_group().as_str(), super::SERVERS);
    }
}
