//! What an operator sees and does: health, metrics, an API over HTTP. JSON shapes are in `docs/admin.md`.

mod api;
mod connection;
mod door;
mod guard;
mod metrics;
mod view;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adit_core::limits::{Limits, Timeouts};
use arc_swap::ArcSwap;
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use self::connection::Connection;
pub use self::{
    door::{Door, NewTerms},
    view::Config,
};
use crate::{
    credentials::TlsError,
    egress::service::{Egress, Routes},
    expiry::Expiries,
    ingress::{
        handed::{Handed, Role},
        listener::{BindError, Listener},
        service::Ingress,
        visitors::Visitors,
    },
    link::doorway::Doorway,
    push::Pushed,
    registry::{GroupLinks, Registry},
    settings::{AdminEntry, Exposed},
    watch::Watch,
};

/// The most connections at once; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 256;

/// The most from one address; more are closed.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;

/// How long after a failed accept to try again.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long the last answers have once the node is done.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The parts of a node that are looked at.
#[derive(Debug)]
pub struct Handles {
    /// Who is connected, and what is counted.
    pub registry: Arc<Registry>,
    /// The rules of the entry, where there is one.
    pub ingress: Option<Arc<Ingress>>,
    /// The rules of the way out.
    pub egress: Arc<Egress>,
    /// The rules that servers have pushed.
    pub pushed: Vec<Arc<Pushed>>,
    /// On a client its links to servers, without which it is of no use; none on a server.
    pub needs: Option<Arc<GroupLinks>>,
    /// Where clients wait until they have registered; none on a client.
    pub doorway: Option<Arc<Doorway>>,
    /// Cancelled once the entries take visitors.
    pub open: CancellationToken,
    /// When its certificates end.
    pub expiries: Expiries,
    /// What the node was told.
    pub config: ArcSwap<Config>,
}

impl Handles {
    /// Shows other limits and waits from now on.
    pub fn told(&self, limits: Limits, timeouts: Timeouts) {
        self.config.rcu(|config| Config { limits, timeouts, ..Config::clone(config) });
    }

    /// Returns the rules of the way out in the order in which they are asked, and where each set comes from.
    fn ways_out(&self) -> Vec<(&'static str, Arc<Routes>)> {
        let own = [("own", self.egress.own())];
        own.into_iter().chain(self.pushed.iter().map(|pushed| ("pushed", pushed.routes().load_full()))).collect()
    }
}

/// An admin listener that is bound and does not serve yet.
#[derive(Debug)]
pub struct Admin {
    tcp: TcpListener,
    address: SocketAddr,
    is_shared: bool,
    door: Door,
    watch: Arc<Watch>,
}

/// Why there is no admin interface.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The socket that was handed over for it can be reached by others, whom it would not ask who they are.
    #[error("admin: {0}")]
    Exposed(#[from] Exposed),
    /// Its certificate cannot be used.
    #[error("admin: {0}")]
    Tls(#[from] TlsError),
}

impl Admin {
    /// Binds the address, or takes the socket that was handed over for it.
    ///
    /// # Errors
    ///
    /// When it is in use, its certificate cannot be used, or a socket that was handed over is where more has to be asked.
    pub async fn bind(entry: &AdminEntry, handed: &mut Handed) -> Result<Self, AdminError> {
        let listener = Listener::bind(Role::Admin, entry.listen(), handed).await?;
        let (address, is_shared) = (listener.address(), listener.is_shared());
        entry.check(address)?;
        let door = Door::new(entry, address)?;
        Ok(Self { address, is_shared, door, tcp: listener.into_tcp(), watch: Arc::default() })
    }

    /// Returns the address, with the port that the system chose where it was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what changes the terms of an interface that serves.
    pub fn door(&self) -> Door {
        self.door.clone()
    }

    /// Returns where exchanges are to be seen.
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Serves until `done`, and then what was asked before. A request to drain cancels `stop`. A socket that was handed over
    /// is left to whoever else listens on it when `stop` is cancelled.
    ///
    /// Dropped early, it closes all connections.
    pub async fn serve(self, handles: Arc<Handles>, stop: CancellationToken, done: CancellationToken) {
        let Self { tcp, address: _, is_shared, door, watch } = self;
        let router = TowerToHyperService::new(api::router(handles, watch, stop.clone(), door.clone()));
        let (mut connections, callers) = (JoinSet::new(), Visitors::default());
        let last = if is_shared { &stop } else { &done };
        loop {
            let accepted = tokio::select! {
                biased;
                () = last.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = tcp.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    let Some(_admitted) = callers.admit(peer.ip(), CONNECTIONS_PER_ADDRESS_MAX) else { continue };
                    let (stop, done) = (stop.clone(), done.clone());
                    let (tls, router) = (door.tls(), router.clone());
                    connections.spawn(Connection { tcp, peer, tls, router, stop, done, _admitted }.serve());
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an admin connection");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        drop(tcp);
        // Whoever is slow to read its answer does not hold up the end of the node.
        let overdue = async {
            done.cancelled().await;
            sleep(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = overdue => {}
        }
    }
}
