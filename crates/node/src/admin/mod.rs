//! What an operator sees and does: health, metrics, an API over HTTP. JSON shapes are in `docs/admin.md`.

mod api;
mod guard;
mod metrics;
mod view;

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use adit_core::limits::{Limits, Timeouts};
use arc_swap::ArcSwap;
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use self::view::Config;
use crate::{
    egress::service::{Egress, Routes},
    expiry::Expiries,
    ingress::{
        handed::{Handed, Role},
        listener::{BindError, Listener},
        service::Ingress,
        turns::Turns,
    },
    push::Pushed,
    registry::{GroupLinks, Registry},
    settings::AdminEntry,
    watch::Watch,
};

/// The most connections at once; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take to send a request head.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after a failed accept to try again.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long the last answers have once the node is done.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an idle connection is kept when the node stops: whoever looks regularly learns with its next answer that the
/// connection ends.
const STOP_IDLE: Duration = Duration::from_millis(500);

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
    watch: Arc<Watch>,
}

impl Admin {
    /// Binds the address, or takes the socket that was handed over for it.
    ///
    /// # Errors
    ///
    /// When it is in use.
    pub async fn bind(entry: AdminEntry, handed: &mut Handed) -> Result<Self, BindError> {
        let listener = Listener::bind(Role::Admin, entry.listen(), handed).await?;
        let (address, is_shared) = (listener.address(), listener.is_shared());
        Ok(Self { address, is_shared, tcp: listener.into_tcp(), watch: Arc::default() })
    }

    /// Returns the address, with the port that the system chose where it was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        let service = TowerToHyperService::new(api::router(handles, self.watch, stop.clone()));
        let mut connections = JoinSet::new();
        let last = if self.is_shared { &stop } else { &done };
        loop {
            let accepted = tokio::select! {
                biased;
                () = last.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.tcp.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            };
            match accepted {
                Ok((tcp, _)) => {
                    connections.spawn(serve_connection(tcp, service.clone(), Turns::begin(stop.clone()), done.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an admin connection");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        drop(self.tcp);
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

async fn serve_connection(
    tcp: TcpStream,
    router: TowerToHyperService<axum::Router>,
    turns: Turns,
    done: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_HEAD_TIMEOUT);
    let service = service_fn(|request| {
        let (answered, turn) = (router.call(request), turns.take());
        async move { Ok::<_, Infallible>(turn.with(answered.await?)) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(tcp), service));
    let served = tokio::select! {
        served = &mut connection => served,
        _ = async { tokio::join!(done.cancelled(), turns.over(|| STOP_IDLE)) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection ended");
    }
}
