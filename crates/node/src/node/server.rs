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
    admission::{self, Objection, Tokens},
    dial::DialRules,
    failure::Failure,
    group::Member,
    handshakes::{HalfOpen, Outcome},
    id::{Group, Identity, Proof, SessionId},
    limits::{Limits, Timeouts},
    route::Pattern,
    wire::{codec::EncodeError, control::StreamOpen},
};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use quinn::{Endpoint, Incoming};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Running, StartError, own_addresses};
use crate::{
    access::{AUDIT, Recorder},
    admin::{self, Admin, AdminError, Handles},
    credentials::Fingerprint,
    egress::{
        guard::Guard,
        service::{Egress, Routes},
    },
    expiry::{Dated, Expiries},
    ingress::{
        entries::{Doors, Entries, EntryError, NewTerms},
        gate::{Keeper, Verifier},
        handed::{Handed, Role},
        service::{Ingress, Route, Rules},
    },
    link::{
        Close, Link,
        client_trust::ClientTrust,
        doorway::{Doorway, Place},
        handshake::{self, Applicant, HandshakeError},
        listen::{listen, server_config},
    },
    meter,
    push::Packed,
    registry::{GroupLinks, Registry, places::Places},
    session::{self, Answering, Ended, Side, Stopping},
    settings::{AdminEntry, GroupSettings, IngressRule, ServerSettings},
    unread::Unread,
    watch::Watch,
};

/// A server: everything is bound, nothing runs yet.
#[derive(Debug)]
pub struct Server {
    entries: Entries,
    admin: Option<Admin>,
    fingerprint: Option<Fingerprint>,
    control: ServerControl,
}

/// What can be done to a server while it runs.
#[derive(Clone, Debug)]
pub struct ServerControl {
    endpoint: Endpoint,
    ingress: Arc<Ingress>,
    doors: Doors,
    /// That of the admin interface.
    door: Option<admin::Door>,
    lobby: Arc<Lobby>,
    handles: Arc<Handles>,
    bound: Bound,
}

/// What was asked to be bound; it cannot change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    tunnel: SocketAddr,
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    connections_max: usize,
}

/// What a new link meets.
#[derive(Debug)]
struct Lobby {
    registry: Arc<Registry>,
    egress: Arc<Egress>,
    /// This node's listeners, which are no upstream.
    own: Vec<SocketAddr>,
    house_rules: ArcSwap<HouseRules>,
    /// What the clients of each group are to have.
    wanted: DashMap<Group, watch::Sender<Option<Packed>>>,
    sessions: AtomicU64,
    /// Clients on their way in.
    doorway: Arc<Doorway>,
    places: Places,
    watch: Option<Arc<Watch>>,
    unread: Unread,
}

/// Who may join, and on what terms.
#[derive(Debug)]
struct HouseRules {
    groups: HashMap<Group, GroupSettings>,
    tokens: Tokens,
    trust: ClientTrust,
    limits: Limits,
    timeouts: Timeouts,
}

impl Server {
    /// Binds everything that the settings name.
    ///
    /// # Errors
    ///
    /// When something cannot be bound or used; then nothing stays bound.
    pub async fn bind(settings: ServerSettings) -> Result<Self, StartError> {
        Self::bind_with(settings, Handed::default()).await
    }

    /// Does likewise, with sockets that were handed over in place of those that it would bind. Its entries take visitors
    /// once there is somebody to answer: a client of each group with a rule, or `timeouts.takeover` is over.
    ///
    /// # Errors
    ///
    /// Also when one of the sockets is of no use.
    pub async fn bind_with(settings: ServerSettings, mut handed: Handed) -> Result<Self, StartError> {
        let bound = Bound::of(&settings);
        let ServerSettings { tunnel, http, https, ingress, groups, egress, admin, limits, timeouts } = settings;
        let node_id = format!("server-{}", uuid::Uuid::new_v4());
        let admin = match admin {
            Some(admin) => Some(Admin::bind(&admin, &mut handed).await?),
            None => None,
        };
        let watch = admin.as_ref().map(Admin::watch);
        let registry = Arc::new(Registry::default());
        let trust = ClientTrust::new(&tunnel)?;
        let entries = Entries::bind(http.as_ref(), https.as_ref(), &mut handed).await?;
        handed.all_taken(&bound.listeners())?;
        let own = own_addresses(&entries, admin.as_ref());
        let guard = Guard::own(DialRules { own: own.clone(), ..egress.dial.clone() });
        let lobby = Lobby {
            registry: Arc::clone(&registry),
            egress: Arc::new(Egress::new(&node_id, Routes::new(egress, &guard, &timeouts)?)),
            own,
            house_rules: ArcSwap::from_pointee(HouseRules {
                groups: HashMap::new(),
                tokens: Tokens::default(),
                trust: trust.clone(),
                limits,
                timeouts,
            }),
            wanted: DashMap::new(),
            sessions: AtomicU64::new(1),
            doorway: Arc::default(),
            places: Places::default(),
            watch: watch.clone(),
            unread: Unread::new(&limits, &timeouts),
        };
        let tokens = tunnel.tokens.clone().unwrap_or_default();
        lobby.replace(HouseRules { groups, tokens, trust, limits, timeouts })?;
        let routes = ingress_routes(&registry, ingress)?;
        let rules = Rules::new(routes, limits, timeouts)?;
        let recorder = Recorder::new(registry.meters().meter(meter::Side::Asked, None), watch);
        let ingress = Arc::new(Ingress::new(Failure::NoClient, rules, lobby.unread.clone(), recorder));
        let endpoint = listen(&tunnel)?;
        let told = admin::Config {
            role: "server",
            version: env!("CARGO_PKG_VERSION"),
            tunnel: endpoint.local_addr().ok(),
            connect: Vec::new(),
            http: entries.http_address(),
            https: entries.https_address(),
            admin: admin.as_ref().map(Admin::address),
            limits,
            timeouts,
        };
        let handles = Handles {
            registry,
            ingress: (!entries.is_empty()).then(|| Arc::clone(&ingress)),
            egress: Arc::clone(&lobby.egress),
            pushed: Vec::new(),
            needs: None,
            doorway: Some(Arc::clone(&lobby.doorway)),
            open: CancellationToken::new(),
            expiries: Expiries::default(),
            config: ArcSwap::from_pointee(told),
        };
        let control = ServerControl {
            endpoint,
            ingress,
            doors: entries.doors(),
            door: admin.as_ref().map(Admin::door),
            lobby: Arc::new(lobby),
            handles: Arc::new(handles),
            bound,
        };
        Ok(Self { entries, admin, fingerprint: tunnel.credentials.fingerprint(), control })
    }

    /// Returns what can be done to the server while it runs.
    pub fn control(&self) -> ServerControl {
        self.control.clone()
    }

    /// Returns the fingerprint of its key, by which clients may know it.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// Returns the UDP address, with the port that the system chose where it was 0.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn tunnel_address(&self) -> io::Result<SocketAddr> {
        self.control.endpoint.local_addr()
    }

    /// Returns the address of the HTTP entry, with the port that the system chose where it was 0.
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

    /// Returns the links of a group, to watch who comes and goes.
    pub fn group(&self, name: &Group) -> Arc<GroupLinks> {
        self.control.lobby.registry.group(name)
    }

    /// Serves until `stop` is cancelled, and then until nothing is in flight or the grace is over.
    ///
    /// Dropped early, it cuts everything.
    pub async fn run(self, stop: CancellationToken) {
        let Self { entries, admin, fingerprint: _, control } = self;
        let ServerControl { endpoint, ingress, doors: _, door: _, lobby, handles, bound: _ } = control;
        let unread = lobby.unread.clone();
        let running = Running { endpoint, entries, ingress, admin, handles, unread };
        let grace = || lobby.house_rules.load().timeouts.drain;
        let links = |endpoint, stopping| accept_links(endpoint, Arc::clone(&lobby), stopping);
        running.until_drained(stop, grace, links).await;
    }
}

impl ServerControl {
    /// Waits until the server does its work. Cancel-safe.
    pub async fn ready(&self) {
        self.handles.open.cancelled().await;
    }

    /// Returns how many clients are on their way to a link.
    pub fn half_open(&self) -> HalfOpen {
        self.lobby.doorway.half_open()
    }

    /// Says in logs and metrics when these certificates end, and says nothing of others any more.
    pub fn watch_certificates(&self, certificates: Vec<Dated>) {
        self.handles.expiries.replace(certificates);
    }

    /// Puts new settings in force, as a whole or not at all; no request is dropped.
    ///
    /// Rules, groups, upstreams, limits, waits and certificates change for what comes next. Links of clients that
    /// may no longer be in their group are closed. Returns the keys that stay as they were until a restart.
    ///
    /// # Errors
    ///
    /// When something cannot be used; then everything stays as it was.
    pub fn reload(&self, settings: ServerSettings) -> Result<Vec<&'static str>, StartError> {
        let bound = Bound::of(&settings);
        let ServerSettings { tunnel, http, https, ingress, groups, egress, admin, limits, timeouts } = settings;
        let tls = server_config(&tunnel)?;
        let trust = ClientTrust::new(&tunnel)?;
        let terms = NewTerms::of(http.as_ref(), https.as_ref()).map_err(EntryError::from)?;
        let door = self.door.as_ref().zip(admin.as_ref()).map(|(door, admin)| door.prepare(admin));
        let door = door.transpose().map_err(AdminError::from)?.flatten();
        let dial = DialRules { own: self.lobby.own.clone(), ..egress.dial.clone() };
        let own = Routes::new(egress, &Guard::own(dial), &timeouts)?;
        let rules = Rules::new(ingress_routes(&self.lobby.registry, ingress)?, limits, timeouts)?;
        let tokens = tunnel.tokens.unwrap_or_default();
        self.lobby.replace(HouseRules { groups, tokens, trust, limits, timeouts })?;
        self.ingress.replace(rules);
        self.doors.replace(terms);
        door.into_iter().for_each(admin::NewTerms::apply);
        self.lobby.unread.replace(&limits, &timeouts);
        self.lobby.egress.replace(own);
        self.endpoint.set_server_config(Some(tls));
        self.handles.told(limits, timeouts);
        Ok(bound.differences(self.bound))
    }
}

impl Bound {
    fn of(settings: &ServerSettings) -> Self {
        Self {
            tunnel: settings.tunnel.listen,
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

    fn differences(self, running: Self) -> Vec<&'static str> {
        let keys = [
            ("tunnel.listen", self.tunnel != running.tunnel),
            ("http.listen", self.http != running.http),
            ("https.listen", self.https != running.https),
            ("admin.listen", self.admin != running.admin),
            ("limits.connections_max", self.connections_max != running.connections_max),
        ];
        keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }
}

fn ingress_routes(registry: &Registry, rules: Vec<IngressRule>) -> Result<Vec<(Pattern, Route)>, StartError> {
    let verifier = Verifier::default();
    let route = |rule| {
        let IngressRule { pattern, group, options } = rule;
        let gate = Keeper::new(&options.gate, &verifier);
        let keeper = gate.map_err(|error| StartError::Gate { pattern: pattern.to_string(), error })?;
        let route = Route { group: registry.group(&group), prefix: pattern.path.clone(), options, keeper };
        Ok((pattern, route))
    };
    rules.into_iter().map(route).collect()
}

/// Accepts links until the node stops, and then waits for the last of them to end.
async fn accept_links(endpoint: Endpoint, lobby: Arc<Lobby>, stopping: Stopping) {
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
                let limits = lobby.house_rules.load().limits;
                if let Some((incoming, place)) = lobby.doorway.knock(incoming, &limits) {
                    sessions.spawn(Arc::clone(&lobby).serve(incoming, place, stopping.clone()));
                }
            }
        }
    }
    endpoint.set_server_config(None);
    while sessions.join_next().await.is_some() {}
}

impl Lobby {
    /// Puts new house rules in force: pushes what has changed, and shows out who may stay no longer.
    fn replace(&self, rules: HouseRules) -> Result<(), EncodeError> {
        let mut wanted = HashMap::new();
        for (group, settings) in &rules.groups {
            let packed = settings.push.as_ref().map(Packed::new).transpose()?;
            wanted.insert(group.clone(), packed);
            self.registry.group(group).set_terms(settings.terms);
        }
        for (group, packed) in wanted {
            self.wanted(&group).send_if_modified(|current| {
                let version = |packed: &Option<Packed>| packed.as_ref().map(|packed| packed.version);
                let changed = version(current) != version(&packed);
                *current = packed;
                changed
            });
        }
        let rules = Arc::new(rules);
        self.house_rules.store(Arc::clone(&rules));
        for (group, member) in self.registry.members() {
            if let Err(reason) = rules.may_stay(&member.link, &group) {
                tracing::warn!(
                    target: AUDIT,
                    session = %member.session,
                    client = %member.identity,
                    proof = member.identity.proof.as_str(),
                    %group,
                    reason,
                    "link cut: the client may stay no longer"
                );
                member.link.close(Close::Denied);
            }
        }
        Ok(())
    }

    fn wanted(&self, group: &Group) -> watch::Sender<Option<Packed>> {
        self.wanted.entry(group.clone()).or_insert_with(|| watch::Sender::new(None)).clone()
    }

    async fn serve(self: Arc<Self>, incoming: Incoming, place: Place, stopping: Stopping) {
        let peer = incoming.remote_address();
        match handshake::welcome(incoming, place).await {
            Ok(applicant) => self.hold(applicant, stopping).await,
            Err(error) => {
                self.doorway.note(error.outcome());
                tracing::warn!(%peer, "no link: {error}");
            }
        }
    }

    /// Lets a client join, or tells it why not.
    async fn hold(&self, applicant: Applicant, stopping: Stopping) {
        let (rules, group) = (self.house_rules.load_full(), applicant.open.group.clone());
        let identity = match rules.identify(&applicant) {
            Ok(identity) => identity,
            Err(objection) => return self.turn_away(applicant, None, objection).await,
        };
        if let Err(objection) = rules.admit(&identity, &group) {
            return self.turn_away(applicant, Some(identity), objection).await;
        }
        let most = rules.limits.links_per_client_max;
        let place = match self.places.take(&identity, &group, &applicant.open.client_id, most) {
            Ok(place) => place,
            Err(objection) => return self.turn_away(applicant, Some(identity), objection).await,
        };
        let span = tracing::info_span!("link", client = %identity, %group);
        let session = SessionId(self.sessions.fetch_add(1, Ordering::Relaxed));
        let ended = self.member(applicant, identity, session, stopping).instrument(span.clone()).await;
        drop(place);
        span.in_scope(|| match ended {
            Ok(ended) if ended.is_fault() => tracing::warn!(%session, "client shown out: {ended}"),
            Ok(ended) => tracing::info!(%session, "client left: {ended}"),
            Err(error) => {
                self.doorway.note(error.outcome());
                tracing::warn!(%session, "join failed: {error}");
            }
        });
    }

    /// Denies a registration. The log says why; the client learns what helps whoever runs it and nothing else.
    async fn turn_away(&self, applicant: Applicant, identity: Option<Identity>, objection: Objection) {
        tracing::warn!(
            target: AUDIT,
            peer = %applicant.remote_address(),
            client = identity.as_ref().map(|identity| tracing::field::display(&identity.name)),
            proof = identity.as_ref().map(|identity| identity.proof.as_str()),
            group = %applicant.open.group,
            id = %applicant.open.client_id,
            reason = %objection,
            "join denied"
        );
        self.doorway.note(Outcome::Denied);
        applicant.deny(objection.told()).await;
    }

    async fn member(
        &self,
        applicant: Applicant,
        identity: Identity,
        session: SessionId,
        stopping: Stopping,
    ) -> Result<Ended, HandshakeError> {
        let StreamOpen { client_id, group, stream_type, version, .. } = applicant.open.clone();
        let HouseRules { limits, timeouts, .. } = *self.house_rules.load_full();
        let joined = applicant.accept(session, identity.clone(), timeouts.heartbeat, &limits).await?;
        self.doorway.note(Outcome::Joined);
        let proof = identity.proof.as_str();
        let member = Member { session, client_id: client_id.clone(), identity, link: joined.link.clone() };
        let (membership, replaced) = self.registry.group(&group).join(member);
        if let Some(stale) = replaced {
            tracing::info!(session = %stale.session(), "replaced by a newer link of the same client");
            stale.close(Close::Replaced);
        }
        // The rules may have changed while the client was told that it is in.
        if self.house_rules.load_full().may_stay(&joined.link, &group).is_err() {
            joined.link.close(Close::Denied);
        }
        let peer = joined.link.remote_address();
        let key_exchange = joined.link.key_exchange();
        tracing::info!(target: AUDIT, %session, %peer, proof, key_exchange, id = %client_id, ?stream_type, version, "client joined");
        let asked_of_us = self.registry.meters().meter(meter::Side::Answered, Some(&group));
        let wanted = self.wanted(&group).subscribe();
        let answering = Answering {
            group,
            egress: Arc::clone(&self.egress),
            pushed: Arc::default(),
            limits,
            timeouts,
            recorder: Recorder::new(asked_of_us, self.watch.clone()),
            unread: self.unread.clone(),
        };
        let side = Side::Server { sweep: timeouts.sweep, stale: timeouts.stale, wanted };
        let ended = session::run(joined, answering, side, stopping, membership).await;
        Ok(ended)
    }
}

impl HouseRules {
    fn identify(&self, applicant: &Applicant) -> Result<Identity, Objection> {
        admission::identify(&applicant.shown, &self.tokens)
    }

    fn admit(&self, identity: &Identity, group: &Group) -> Result<(), Objection> {
        let clients = self.groups.get(group).map(|settings| settings.clients.as_slice());
        admission::admit(identity, group, clients, &self.tokens)
    }

    /// Decides about a client that is in: whether it could still join, but for the time that has passed.
    fn may_stay(&self, link: &Link, group: &Group) -> Result<(), String> {
        self.admit(link.peer(), group).map_err(|objection| objection.to_string())?;
        match link.peer().proof {
            Proof::Certificate => self.trust.still_trusts(&link.peer_chain(), link.since()),
            Proof::Token(_) => Ok(()),
        }
    }
}
