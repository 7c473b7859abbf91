//! The node with a public address.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use adit_core::{
    failure::Failure,
    group::{self, Member},
    id::{Group, Identity, SessionId},
    limits::{Limits, Timeouts},
    route::RouteTable,
    wire::control::StreamOpen,
};
use quinn::{Endpoint, Incoming};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::StartError;
use crate::{
    access::Recorder,
    admin::{self, Admin, Handles},
    egress::service::Egress,
    ingress::{listener::Listener, service::Ingress},
    link::{
        Close,
        handshake::{self, Applicant, HandshakeError},
        listen::listen,
    },
    meter::Side,
    registry::{GroupLinks, Registry},
    session::{self, Answering, Ended, Heartbeats, Stopping},
    settings::{GroupSettings, ServerSettings},
    watch::Watch,
};

/// A server: everything is bound, nothing runs yet.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    entry: Option<Entry>,
    lobby: Arc<Lobby>,
    admin: Option<Admin>,
    handles: Arc<Handles>,
}

#[derive(Debug)]
struct Entry {
    listener: Listener,
    ingress: Arc<Ingress>,
}

/// What a new link meets.
#[derive(Debug)]
struct Lobby {
    registry: Arc<Registry>,
    groups: HashMap<Group, GroupSettings>,
    egress: Arc<Egress>,
    limits: Limits,
    timeouts: Timeouts,
    sessions: AtomicU64,
    watch: Option<Arc<Watch>>,
}

impl Server {
    /// Binds everything that the settings name.
    ///
    /// # Errors
    ///
    /// When something cannot be bound or used; then nothing stays bound.
    pub async fn bind(settings: ServerSettings) -> Result<Self, StartError> {
        let ServerSettings { tunnel, http, ingress, groups, egress, admin, limits, timeouts } = settings;
        let node_id = format!("server-{}", uuid::Uuid::new_v4());
        let egress = Arc::new(Egress::new(&node_id, egress, &timeouts)?);
        let admin = match admin {
            Some(admin) => Some(Admin::bind(admin).await?),
            None => None,
        };
        let watch = admin.as_ref().map(Admin::watch);
        let registry = Arc::new(Registry::default());
        for name in groups.keys() {
            registry.group(name);
        }
        let rules = ingress.into_iter().map(|rule| (rule.pattern, registry.group(&rule.group)));
        let routes = RouteTable::new(rules)?;
        let entry = match http {
            Some(http) => {
                let listener = Listener::bind(http.listen).await?;
                let recorder = Recorder::new(registry.meters().meter(Side::Asked, None), watch.clone());
                let ingress = Ingress::new(routes, Failure::NoClient, http.trusted_proxies, limits, timeouts, recorder);
                Some(Entry { listener, ingress: Arc::new(ingress) })
            }
            None => None,
        };
        let endpoint = listen(&tunnel)?;
        let handles = Handles {
            registry: Arc::clone(&registry),
            ingress: entry.as_ref().map(|entry| Arc::clone(&entry.ingress)),
            egress: Arc::clone(&egress),
            needs: None,
            config: admin::Config {
                role: "server",
                version: env!("CARGO_PKG_VERSION"),
                tunnel: endpoint.local_addr().ok(),
                connect: Vec::new(),
                http: entry.as_ref().map(|entry| entry.listener.address()),
                admin: admin.as_ref().map(Admin::address),
                limits,
                timeouts,
            },
        };
        let lobby = Lobby { registry, groups, egress, limits, timeouts, sessions: AtomicU64::new(1), watch };
        Ok(Self { endpoint, entry, lobby: Arc::new(lobby), admin, handles: Arc::new(handles) })
    }

    /// Returns the UDP address, with the port that the system chose where it was 0.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn tunnel_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Returns the address of the HTTP entry, with the port that the system chose where it was 0.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.entry.as_ref().map(|entry| entry.listener.address())
    }

    /// Returns the address of the admin interface, with the port that the system chose where it was 0.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Returns the links of a group, to watch who comes and goes.
    pub fn group(&self, name: &Group) -> Arc<GroupLinks> {
        self.lobby.registry.group(name)
    }

    /// Serves until `stop` is cancelled, and then until nothing is in flight or the grace is over.
    ///
    /// Dropped early, it cuts everything.
    pub async fn run(self, stop: CancellationToken) {
        let Self { endpoint, entry, lobby, admin, handles } = self;
        let grace = lobby.timeouts.drain;
        let stopping = Stopping { started: stop.clone(), entries_closed: CancellationToken::new() };
        let entries = async {
            if let Some(Entry { listener, ingress }) = entry {
                listener.serve(ingress, stop.clone()).await;
            }
            stopping.entries_closed.cancel();
        };
        let links = accept_links(&endpoint, lobby, stopping.clone());
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

/// Accepts links until the node stops, and then waits for the last of them to end.
async fn accept_links(endpoint: &Endpoint, lobby: Arc<Lobby>, stopping: Stopping) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopping.started.cancelled() => break,
            Some(ended) = sessions.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a session panicked");
                }
            }
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                sessions.spawn(Arc::clone(&lobby).serve(incoming, stopping.clone()));
            }
        }
    }
    endpoint.set_server_config(None);
    while sessions.join_next().await.is_some() {}
}

impl Lobby {
    async fn serve(self: Arc<Self>, incoming: Incoming, stopping: Stopping) {
        let peer = incoming.remote_address();
        match self.register(incoming).await {
            Ok(applicant) => self.hold(applicant, stopping).await,
            Err(error) => tracing::warn!(%peer, "no link: {error}"),
        }
    }

    async fn register(&self, incoming: Incoming) -> Result<Applicant, HandshakeError> {
        let quic = incoming.await?;
        handshake::welcome(quic).await
    }

    /// Lets a client join, or tells it why not.
    async fn hold(&self, applicant: Applicant, stopping: Stopping) {
        let (open, identity) = (applicant.open.clone(), applicant.identity.clone());
        let span = tracing::info_span!("link", client = %identity, group = %open.group);
        if let Some(reason) = self.objection(&open, &identity) {
            span.in_scope(|| tracing::warn!(id = %open.client_id, reason, "join denied"));
            return applicant.deny(reason).await;
        }
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        let ended = self.member(applicant, session, stopping).instrument(span.clone()).await;
        span.in_scope(|| match ended {
            Ok(ended) => tracing::info!(%session, "client left: {ended}"),
            Err(error) => tracing::warn!(%session, "join failed: {error}"),
        });
    }

    fn objection(&self, open: &StreamOpen, identity: &Identity) -> Option<String> {
        let group = &open.group;
        let Some(settings) = self.groups.get(group) else {
            return Some(format!("there is no group {group} on this server"));
        };
        if !group::may_join(&settings.clients, identity) {
            return Some(format!("{identity} may not join the group {group}"));
        }
        None
    }

    async fn member(
        &self,
        applicant: Applicant,
        session: SessionId,
        stopping: Stopping,
    ) -> Result<Ended, HandshakeError> {
        let StreamOpen { client_id, group, stream_type, version, .. } = applicant.open.clone();
        let identity = applicant.identity.clone();
        let joined = applicant.accept(session, self.timeouts.heartbeat, &self.limits).await?;
        let member = Member { session, client_id: client_id.clone(), identity, link: joined.link.clone() };
        let (membership, replaced) = self.registry.group(&group).join(member);
        if let Some(stale) = replaced {
            tracing::info!(session = %stale.session(), "replaced by a newer link of the same client");
            stale.close(Close::Replaced);
        }
        tracing::info!(%session, id = %client_id, ?stream_type, version, "client joined");
        let recorder = Recorder::new(self.registry.meters().meter(Side::Answered, Some(&group)), self.watch.clone());
        let answering = Answering {
            group,
            egress: Arc::clone(&self.egress),
            limits: self.limits,
            grace: self.timeouts.drain,
            recorder,
        };
        let heartbeats = Heartbeats::Expect { sweep: self.timeouts.sweep, stale: self.timeouts.stale };
        let ended = session::run(joined, answering, heartbeats, stopping).await;
        drop(membership);
        Ok(ended)
    }
}
