//! The node behind NAT.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adit_core::{
    backoff::Backoff,
    dial::DialRules,
    failure::Failure,
    group::Member,
    id::{ClientId, Group, SessionId},
    limits::{Limits, Timeouts},
    route::{Conflict, HostPattern, PathPrefix, Pattern, RuleOptions},
    token::Token,
    wire::control::{StreamOpen, StreamType},
};
use arc_swap::ArcSwap;
use quinn::Endpoint;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Running, StartError, own_addresses};
use crate::{
    access::Recorder,
    admin::{self, Admin, AdminError, Handles},
    clock,
    egress::{
        guard::Guard,
        service::{Egress, Routes},
    },
    expiry::{Dated, Expiries},
    ingress::{
        entries::{Doors, Entries, EntryError, NewTerms},
        handed::{Handed, Role},
        service::{Ingress, Route, Rules},
    },
    link::{
        dial::{self, DialError},
        handshake::{self, HandshakeError, Joined},
        roam, tls,
    },
    meter,
    push::{Policy, Pushed},
    registry::{GroupLinks, Registry},
    session::{self, Answering, Side, Stopping},
    settings::{AdminEntry, Allow, ClientSettings, HostPort, ServerNames},
    unread::Unread,
};

/// The group that a client's own links to its servers are in.
const SERVERS: &str = "servers";

/// A client: everything is bound, nothing runs yet.
#[derive(Debug)]
pub struct Client {
    entries: Entries,
    admin: Option<Admin>,
    control: ClientControl,
}

/// What can be done to a client while it runs.
#[derive(Clone, Debug)]
pub struct ClientControl {
    endpoint: Endpoint,
    ingress: Arc<Ingress>,
    doors: Doors,
    /// That of the admin interface.
    door: Option<admin::Door>,
    caller: Arc<Caller>,
    handles: Arc<Handles>,
    bound: Arc<Bound>,
}

/// What it was told to connect to and to bind; it cannot change.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    targets: Vec<HostPort>,
    group: Group,
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    connections_max: usize,
}

/// What it takes to get links and to hold them.
#[derive(Debug)]
struct Caller {
    client_id: ClientId,
    group: Group,
    /// Numbers the links of this process; servers number them on their own.
    links: AtomicU64,
    servers: Arc<GroupLinks>,
    egress: Arc<Egress>,
    /// This node's listeners, which are no upstream.
    own: Vec<SocketAddr>,
    /// What each server has pushed, in the order of the targets.
    pushed: Vec<Arc<Pushed>>,
    terms: ArcSwap<Terms>,
    /// Told when the next dial may go better than the last: from another address, or by other settings.
    redial: watch::Sender<()>,
    recorder: Recorder,
    unread: Unread,
}

/// What the next link goes by.
#[derive(Debug)]
struct Terms {
    config: quinn::ClientConfig,
    token: Option<Token>,
    server_name: ServerNames,
    limits: Limits,
    timeouts: Timeouts,
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
        Self::bind_with(settings, Handed::default()).await
    }

    /// Does likewise, with sockets that were handed over in place of those that it would bind. Its entries take visitors
    /// once there is somebody to answer: a server, or `timeouts.takeover` is over.
    ///
    /// # Errors
    ///
    /// Also when one of the sockets is of no use.
    pub async fn bind_with(settings: ClientSettings, mut handed: Handed) -> Result<Self, StartError> {
        let bound = Bound::of(&settings);
        let ClientSettings { tunnel, http, https, egress, admin, limits, timeouts } = settings;
        let client_id = ClientId::from_uuid(uuid::Uuid::new_v4());
        let config = tls::client_config(&tunnel.proof, &tunnel.trust, tunnel.congestion)?;
        let admin = match admin {
            Some(admin) => Some(Admin::bind(&admin, &mut handed).await?),
            None => None,
        };
        let entries = Entries::bind(http.as_ref(), https.as_ref(), &mut handed).await?;
        handed.all_taken(&bound.listeners())?;
        let registry = Arc::new(Registry::default());
        let recorder = |side, group: Option<&Group>| {
            Recorder::new(registry.meters().meter(side, group), admin.as_ref().map(Admin::watch))
        };
        let servers = registry.group(&servers_group());
        let rules = everything_to(&servers, limits, timeouts)?;
        let own = own_addresses(&entries, admin.as_ref());
        let dial = DialRules { own: own.clone(), ..egress.dial.clone() };
        let guard = Guard::own(dial.clone());
        let caller = Caller {
            egress: Arc::new(Egress::new(client_id.as_str(), Routes::new(egress, &guard, &timeouts)?)),
            client_id,
            recorder: recorder(meter::Side::Answered, Some(&tunnel.group)),
            group: tunnel.group,
            links: AtomicU64::new(1),
            servers,
            own,
            pushed: tunnel.connect.iter().map(|_| Arc::default()).collect(),
            unread: Unread::new(&limits, &timeouts),
            terms: ArcSwap::from_pointee(Terms {
                config,
                token: tunnel.proof.token().cloned(),
                server_name: tunnel.server_name,
                limits,
                timeouts,
            }),
            redial: watch::Sender::new(()),
        };
        caller.judge_pushes(&tunnel.allow, &dial, timeouts);
        let endpoint = dial::endpoint().map_err(StartError::Socket)?;
        let ingress =
            Arc::new(Ingress::new(Failure::NoServer, rules, caller.unread.clone(), recorder(meter::Side::Asked, None)));
        let told = admin::Config {
            role: "client",
            version: env!("CARGO_PKG_VERSION"),
            tunnel: None,
            connect: tunnel.connect.iter().map(HostPort::to_string).collect(),
            http: entries.http_address(),
            https: entries.https_address(),
            admin: admin.as_ref().map(Admin::address),
            limits,
            timeouts,
        };
        let handles = Arc::new(Handles {
            registry,
            ingress: (!entries.is_empty()).then(|| Arc::clone(&ingress)),
            egress: Arc::clone(&caller.egress),
            pushed: caller.pushed.clone(),
            needs: Some(Arc::clone(&caller.servers)),
            doorway: None,
            open: CancellationToken::new(),
            expiries: Expiries::default(),
            config: ArcSwap::from_pointee(told),
        });
        let control = ClientControl {
            endpoint,
            ingress,
            doors: entries.doors(),
            door: admin.as_ref().map(Admin::door),
            caller: Arc::new(caller),
            handles,
            bound: Arc::new(bound),
        };
        Ok(Self { entries, admin, control })
    }

    /// Returns what can be done to the client while it runs.
    pub fn control(&self) -> ClientControl {
        self.control.clone()
    }

    /// Returns the address of the local HTTP entry, with the port that the system chose where it was 0.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.entries.http_address()
    }

    /// Returns the address of the HTTPS entry, with the port that the system chose where it was 0.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.entries.https_address()
    }

    /// Returns the address of the admin interface, with the port that the system chose where it was 0.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::address)
    }

    /// Returns the links to servers, to watch them come and go.
    pub fn servers(&self) -> Arc<GroupLinks> {
        Arc::clone(&self.control.caller.servers)
    }

    /// Connects, and keeps connected until `stop` is cancelled; then until nothing is in flight or the grace is
    /// over.
    ///
    /// The local entry serves all the time, whatever the links do. Dropped early, it cuts everything.
    pub async fn run(self, stop: CancellationToken) {
        let Self { entries, admin, control } = self;
        let ClientControl { endpoint, ingress, doors: _, door: _, caller, handles, bound } = control;
        let unread = caller.unread.clone();
        let running = Running { endpoint, entries, ingress, admin, handles, unread };
        let grace = || caller.terms.load().timeouts.drain;
        let links = |endpoint, stopping| Arc::clone(&caller).keep_links(endpoint, bound.targets.clone(), stopping);
        running.until_drained(stop, grace, links).await;
    }
}

impl ClientControl {
    /// Moves all links to a fresh UDP socket, as the client does by itself when its address changes. Sessions stay, and
    /// what is in flight goes on.
    ///
    /// # Errors
    ///
    /// When there is no such socket; then the links stay where they are.
    pub fn rebind(&self) -> io::Result<()> {
        roam::rebind(&self.endpoint).map(drop)
    }

    /// Waits until the client does its work and has a link. Cancel-safe.
    pub async fn ready(&self) {
        self.handles.open.cancelled().await;
        self.caller.servers.joined().await;
    }

    /// Says in logs and metrics when these certificates end, and says nothing of others any more.
    pub fn watch_certificates(&self, certificates: Vec<Dated>) {
        self.handles.expiries.replace(certificates);
    }

    /// Puts new settings in force, as a whole or not at all; no request is dropped.
    ///
    /// Rules, upstreams, `allow`, limits and waits change for what comes next, certificates with the next link,
    /// which is dialled at once where there is none. Returns the keys that stay as they were until a restart.
    ///
    /// # Errors
    ///
    /// When something cannot be used; then everything stays as it was.
    pub fn reload(&self, settings: ClientSettings) -> Result<Vec<&'static str>, StartError> {
        let bound = Bound::of(&settings);
        let ClientSettings { tunnel, http, https, egress, admin, limits, timeouts } = settings;
        let config = tls::client_config(&tunnel.proof, &tunnel.trust, tunnel.congestion)?;
        let terms = NewTerms::of(http.as_ref(), https.as_ref()).map_err(EntryError::from)?;
        let door = self.door.as_ref().zip(admin.as_ref()).map(|(door, admin)| door.prepare(admin));
        let door = door.transpose().map_err(AdminError::from)?.flatten();
        let dial = DialRules { own: self.caller.own.clone(), ..egress.dial.clone() };
        let own = Routes::new(egress, &Guard::own(dial.clone()), &timeouts)?;
        self.ingress.replace(everything_to(&self.caller.servers, limits, timeouts)?);
        self.doors.replace(terms);
        door.into_iter().for_each(admin::NewTerms::apply);
        self.caller.unread.replace(&limits, &timeouts);
        self.caller.egress.replace(own);
        self.caller.judge_pushes(&tunnel.allow, &dial, timeouts);
        self.handles.told(limits, timeouts);
        let (token, server_name) = (tunnel.proof.token().cloned(), tunnel.server_name);
        self.caller.terms.store(Arc::new(Terms { config, token, server_name, limits, timeouts }));
        self.caller.redial.send_replace(());
        Ok(bound.differences(&self.bound))
    }
}

impl Bound {
    fn of(settings: &ClientSettings) -> Self {
        Self {
            targets: settings.tunnel.connect.clone(),
            group: settings.tunnel.group.clone(),
            http: settings.http.as_ref().map(|http| http.listen),
            https: settings.https.as_ref().map(|https| https.http.listen),
            admin: settings.admin.as_ref().map(AdminEntry::listen),
            connections_max: settings.limits.connections_max,
        }
    }

    /// Returns where it listens with TCP.
    fn listeners(&self) -> Vec<(Role, SocketAddr)> {
        let all = [(Role::Http, self.http), (Role::Https, self.https), (Role::Admin, self.admin)];
        all.into_iter().filter_map(|(role, address)| Some((role, address?))).collect()
    }

    fn differences(&self, running: &Self) -> Vec<&'static str> {
        let keys = [
            ("tunnel.connect", self.targets != running.targets),
            ("tunnel.group", self.group != running.group),
            ("http.listen", self.http != running.http),
            ("https.listen", self.https != running.https),
            ("admin.listen", self.admin != running.admin),
            ("limits.connections_max", self.connections_max != running.connections_max),
        ];
        keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }
}

/// The one rule of a client's entry: the server decides.
fn everything_to(servers: &Arc<GroupLinks>, limits: Limits, timeouts: Timeouts) -> Result<Rules, Conflict> {
    let everything = Pattern { host: HostPattern::Any, path: PathPrefix::root() };
    let options = RuleOptions::default();
    let route = Route { group: Arc::clone(servers), prefix: PathPrefix::root(), options, keeper: None };
    Rules::new([(everything, route)], limits, timeouts)
}

impl Caller {
    /// Keeps one link to each server until the node stops, and then until each has ended.
    async fn keep_links(self: Arc<Self>, endpoint: Endpoint, targets: Vec<HostPort>, stopping: Stopping) {
        let mut links = JoinSet::new();
        for (target, pushed) in targets.into_iter().zip(self.pushed.clone()) {
            let span = tracing::info_span!("link", server = %target);
            let (caller, endpoint, stopping) = (Arc::clone(&self), endpoint.clone(), stopping.clone());
            let stay = async move { caller.stay_connected(&endpoint, &target, &pushed, stopping).await };
            links.spawn(stay.instrument(span));
        }
        let peers = || self.servers.members().as_slice().iter().map(|member| member.link.remote_address()).collect();
        tokio::select! {
            () = async { while links.join_next().await.is_some() {} } => {}
            never = roam::follow(&endpoint, peers, || self.redial.send_replace(())) => match never {},
        }
    }

    /// Sets what pushed configuration is judged by.
    fn judge_pushes(&self, allow: &Allow, dial: &DialRules, timeouts: Timeouts) {
        for pushed in &self.pushed {
            pushed.judge_by(Policy { allow: allow.clone(), dial: dial.clone(), timeouts });
        }
    }

    /// Dials for ever, until the node stops.
    async fn stay_connected(&self, endpoint: &Endpoint, target: &HostPort, pushed: &Arc<Pushed>, stopping: Stopping) {
        // Stands for the server in the group of servers: two of them may have certificates of one name.
        let server_id = ClientId::from_uuid(uuid::Uuid::new_v4());
        let Timeouts { reconnect_min, reconnect_max, .. } = self.terms.load().timeouts;
        let mut backoff = Backoff::new(reconnect_min, reconnect_max);
        let mut redial = self.redial.subscribe();
        loop {
            redial.mark_unchanged();
            let connected = tokio::select! {
                connected = self.connect(endpoint, target) => connected,
                () = stopping.started.cancelled() => return,
            };
            match connected {
                Ok(joined) => {
                    let since = Instant::now();
                    self.hold(joined, &server_id, pushed, stopping.clone()).await;
                    // A link that is lost at once again and again must not be dialled at full speed.
                    if since.elapsed() > self.terms.load().timeouts.reconnect_max {
                        backoff.reset();
                    }
                }
                Err(error) => tracing::warn!("{error}"),
            }
            let Timeouts { reconnect_min, reconnect_max, .. } = self.terms.load().timeouts;
            backoff.set(reconnect_min, reconnect_max);
            let delay = backoff.next(fastrand::u64(..));
            tokio::select! {
                () = stopping.started.cancelled() => return,
                Ok(()) = redial.changed() => backoff.reset(),
                () = sleep(delay) => {}
            }
        }
    }

    async fn connect(&self, endpoint: &Endpoint, target: &HostPort) -> Result<Joined, ConnectError> {
        let terms = self.terms.load_full();
        let quic = dial::dial(endpoint, &terms.config, target, terms.server_name.of(target)).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let open = StreamOpen {
            client_id: self.client_id.clone(),
            group: self.group.clone(),
            stream_type: StreamType::Http,
            version: env!("CARGO_PKG_VERSION").into(),
            features: 0,
            timestamp_ms: clock::millis(now),
            // The server has proved who it is by now.
            token: terms.token.clone(),
        };
        Ok(handshake::join(quic, open, &terms.limits).await?)
    }

    async fn hold(&self, joined: Joined, server_id: &ClientId, pushed: &Arc<Pushed>, stopping: Stopping) {
        let link = joined.link.clone();
        let (session, identity) = (link.session(), link.peer().clone());
        let key_exchange = link.key_exchange();
        let number = SessionId(self.links.fetch_add(1, Ordering::Relaxed));
        let member = Member { session: number, client_id: server_id.clone(), identity, link };
        let (membership, _) = self.servers.join(member);
        tracing::info!(%session, id = %self.client_id, group = %self.group, key_exchange, "connected");
        let terms = self.terms.load_full();
        let answering = Answering {
            group: self.group.clone(),
            egress: Arc::clone(&self.egress),
            pushed: Arc::clone(pushed),
            limits: terms.limits,
            timeouts: terms.timeouts,
            recorder: self.recorder.clone(),
            unread: self.unread.clone(),
        };
        let side = Side::Client { pushed: Arc::clone(pushed), config_sync: terms.timeouts.config_sync };
        let ended = session::run(joined, answering, side, stopping, membership).await;
        if ended.is_fault() {
            tracing::warn!(%session, "link to the server closed: {ended}");
        } else {
            tracing::info!(%session, "disconnected: {ended}");
        }
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
