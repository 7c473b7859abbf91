//! A whole node: binds what it listens on, owns every task, and ends them in order.

mod client;
mod server;

use std::{io, sync::Arc, time::Duration};

use adit_core::{route::Conflict, wire::codec::EncodeError};
use quinn::Endpoint;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::{
    client::{Client, ClientControl},
    server::{Server, ServerControl},
};
use crate::{
    admin::{Admin, Handles},
    credentials::TlsError,
    egress::service::EgressError,
    ingress::listener::BindError,
    link::listen::ListenError,
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
    /// An entry.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Egress rules or upstreams.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// Ingress rules.
    #[error("ingress: {0}")]
    Ingress(#[from] Conflict),
    /// What is pushed to clients.
    #[error("groups: {0}")]
    Push(#[from] EncodeError),
}

/// Runs `work` with the admin interface beside it, which is there until the work is done.
async fn with_admin(
    admin: Option<Admin>,
    handles: Arc<Handles>,
    stop: CancellationToken,
    work: impl Future<Output = ()>,
) {
    let done = CancellationToken::new();
    let admin = async {
        if let Some(admin) = admin {
            admin.serve(handles, stop, done.clone()).await;
        }
    };
    let work = async {
        work.await;
        done.cancel();
    };
    tokio::join!(work, admin);
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
