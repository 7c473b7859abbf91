//! The socket of an entry: accepts connections, as many as there is room for.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    connection,
    entries::Terms,
    handed::{Handed, Role},
    service::Ingress,
};

/// How long to wait after the system refused to accept: it has no descriptors or no memory, and spinning
/// would not give it any.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How many connections may wait to be accepted; the system may allow fewer. One that finds no room is not refused but
/// dropped: its visitor tries again after a second at the earliest, and after half a minute at the latest.
const LISTEN_QUEUE: u32 = 4096;

/// A bound entry.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    /// Whether another process may listen on it too.
    is_shared: bool,
}

/// An entry that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on TCP {address}: {error}")]
pub struct BindError {
    /// The address.
    address: SocketAddr,
    /// What the system said.
    error: io::Error,
}

impl Listener {
    /// Takes the socket that was handed over for this, or binds a TCP address where there is none.
    ///
    /// # Errors
    ///
    /// When the address is in use or not ours.
    pub async fn bind(role: Role, address: SocketAddr, handed: &mut Handed) -> Result<Self, BindError> {
        let taken = handed.take(role, address);
        let is_shared = taken.is_some();
        let bound = async {
            let tcp = match taken {
                Some(tcp) => TcpListener::from_std(tcp)?,
                None => listen(address)?,
            };
            let address = tcp.local_addr()?;
            Ok(Self { tcp, address, is_shared })
        };
        bound.await.map_err(|error| BindError { address, error })
    }

    /// Returns the address, with the port that the system chose where it was 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns whether it was handed over: another process may listen on it too, and goes on when this one stops.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Returns the socket, for who speaks something else on it.
    pub fn into_tcp(self) -> TcpListener {
        self.tcp
    }

    /// Serves visitors until `drain` is cancelled, and then until every request in flight has its response.
    ///
    /// Dropped early, it closes all connections.
    pub async fn serve(self, terms: Arc<ArcSwap<Terms>>, ingress: Arc<Ingress>, drain: CancellationToken) {
        let room = Arc::new(Semaphore::new(ingress.limits().connections_max));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&self.tcp, &room) => accepted,
            };
            match accepted {
                Ok((tcp, visitor, place)) => {
                    let (ingress, drain) = (Arc::clone(&ingress), drain.clone());
                    connections.spawn(connection::serve(tcp, visitor, terms.load_full(), ingress, drain, place));
                }
                // A visitor that is gone already costs the others no wait.
                Err(error) if is_of_the_visitor(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        // Who waits at a shared socket is accepted by whoever else listens there.
        let waiting = (!self.is_shared).then(|| waiting(self.tcp)).into_iter().flatten();
        for (tcp, visitor) in waiting {
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else { break };
            let (ingress, drain) = (Arc::clone(&ingress), drain.clone());
            connections.spawn(connection::serve(tcp, visitor, terms.load_full(), ingress, drain, place));
        }
        while connections.join_next().await.is_some() {}
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of the process before may still be going away.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}

async fn accept(
    tcp: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (tcp, visitor) = tcp.accept().await?;
    // Fails only on a connection that is gone, which its reader will notice.
    let _ = tcp.set_nodelay(true);
    Ok((tcp, visitor, place))
}

fn is_of_the_visitor(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Closes a socket, and returns the connections that nobody has accepted: for their visitors they are open.
fn waiting(tcp: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let tcp = tcp.into_std().ok();
    std::iter::from_fn(move || {
        let (connection, visitor) = tcp.as_ref()?.accept().ok()?;
        connection.set_nonblocking(true).ok()?;
        connection.set_nodelay(true).ok()?;
        Some((TcpStream::from_std(connection).ok()?, visitor))
    })
}
