//! A whole node: binds what it listens on, owns every task, and ends them in order.

mod client;
mod opening;
mod server;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use adit_core::{route::Conflict, wire::codec::EncodeError};
use quinn::Endpoint;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::{
    client::{Client, ClientControl},
    server::{Server, ServerControl},
};
use crate::{
    admin::{Admin, AdminError, Handles},
    credentials::TlsError,
    egress::service::EgressError,
    ingress::{
        entries::{Entries, EntryError},
        gate::password::BadPasswordHash,
        handed::Misfit,
        service::Ingress,
    },
    link::listen::ListenError,
    session::Stopping,
    unread::Unread,
};

/// How long the last packets of a node have to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a node cannot start. Nothing of it is running then.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The tunnel port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The UDP socket that a client dials from.
    #[error("cannot open a UDP socket: {0}")]
    Socket(io::Error),
    /// The admin interface.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// An entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Egress rules or upstreams.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// Ingress rules.
    #[error("ingress: {0}")]
    Ingress(#[from] Conflict),
    /// Sockets that were handed over.
    #[error(transparent)]
    Handed(#[from] Misfit),
    /// The gate of an ingress rule.
    #[error("ingress: the rule for {pattern}: a password hash {error}")]
    Gate {
        /// What the rule takes.
        pattern: String,
        /// What is wrong with it.
        error: BadPasswordHash,
    },
    /// What is pushed to clients.
    #[error("groups: {0}")]
    Push(#[from] EncodeError),
}

/// Returns the TCP addresses that a node listens on.
fn own_addresses(entries: &Entries, admin: Option<&Admin>) -> Vec<SocketAddr> {
    let own = [entries.http_address(), entries.https_address(), admin.map(Admin::address)];
    own.into_iter().flatten().collect()
}

/// What both kinds of node are made of when they run, beside what makes their links.
#[derive(Debug)]
struct Running {
    endpoint: Endpoint,
    entries: Entries,
    ingress: Arc<Ingress>,
    admin: Option<Admin>,
    handles: Arc<Handles>,
    unread: Unread,
}

impl Running {
    /// Runs entries, links and the admin interface until `stop` is cancelled, and then until nothing is in flight or
    /// `grace`, asked for then, is over. The admin interface ends last: it shows how the rest does.
    async fn until_drained<F: Future<Output = ()>>(
        self,
        stop: CancellationToken,
        grace: impl Fn() -> Duration,
        links: impl FnOnce(Endpoint, Stopping) -> F,
    ) {
        let Self { endpoint, entries, ingress, admin, handles, unread } = self;
        let stopping = Stopping { started: stop.clone(), entries_closed: CancellationToken::new() };
        let done = CancellationToken::new();
        let links = links(endpoint.clone(), stopping.clone());
        let entries = async {
            tokio::select! {
                () = opening::opened(&entries, &ingress) => handles.open.cancel(),
                () = stop.cancelled() => {}
            }
            entries.serve(ingress, stop.clone()).await;
            stopping.entries_closed.cancel();
        };
        let work = async {
            let both = async {
                tokio::join!(entries, links);
            };
            run_with_grace(both, &stop, grace).await;
            close(endpoint).await;
            done.cancel();
        };
        let admin = async {
            if let Some(admin) = admin {
                admin.serve(Arc::clone(&handles), stop.clone(), done.clone()).await;
            }
        };
        let all = async {
            tokio::join!(work, admin);
        };
        tokio::select! {
            () = all => {}
            () = unread.watch() => {}
            never = handles.expiries.watch() => match never {},
        }
    }
}

/// Runs `work` until it is done; once `stop` is cancelled it has as long to be as `grace` says then.
async fn run_with_grace(work: impl Future<Output = ()>, stop: &CancellationToken, grace: impl Fn() -> Duration) {
    let overdue = async {
        stop.cancelled().await;
        let grace = grace();
        sleep(grace).await;
        grace
    };
    tokio::select! {
        () = work => {}
        grace = overdue => tracing::warn!(?grace, "exchanges were still in flight at the end of the grace"),
    }
}

/// Closes what is left of the links, and lets the peers know.
async fn close(endpoint: Endpoint) {
    endpoint.close(crate::link::Close::GoingAway.code(), b"the node stops");
    // A peer that is gone does not answer; nothing is lost by not waiting for it.
    let _ = timeout(CLOSE_TIMEOUT, endpoint.wait_idle()).await;
}
