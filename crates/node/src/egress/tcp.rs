//! A name → a TCP connection to one of its addresses.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::settings::HostPort;

/// How long an address has to itself before the next one is tried beside it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long addresses are good for although none of them accepts: a server that is down must not flood the
/// resolver.
const RESOLVED_MIN: Duration = Duration::from_secs(1);

/// Connects to a name.
#[derive(Debug)]
pub struct Dialer {
    target: HostPort,
    resolve_interval: Duration,
    /// Held while the name is resolved, so that those who need a connection at the same time ask once.
    known: Mutex<Option<Known>>,
    turn: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Arc<[SocketAddr]>,
    since: Instant,
}

/// Why there is no TCP connection.
#[derive(Debug)]
pub enum DialError {
    /// The name does not resolve.
    Unresolved(io::Error),
    /// No address of it can be connected to.
    Refused(io::Error),
}

impl Dialer {
    /// Prepares to connect to `target`, whose addresses are used for `resolve_interval` before it is resolved
    /// again.
    pub fn new(target: HostPort, resolve_interval: Duration) -> Self {
        Self { target, resolve_interval, known: Mutex::default(), turn: AtomicUsize::new(0) }
    }

    /// Connects to the addresses in turn, each time to another one first, until one of them accepts.
    ///
    /// When none does, the name is resolved again: what it stands for may have moved. There is no deadline in
    /// here. Cancel-safe.
    ///
    /// # Errors
    ///
    /// What happened to the last address.
    pub async fn connect(&self) -> Result<TcpStream, DialError> {
        let known = self.resolve(None).await?;
        let refused = match self.connect_any(&known).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => error,
        };
        let again = self.resolve(Some(&known)).await?;
        if again == known {
            return Err(DialError::Refused(refused));
        }
        self.connect_any(&again).await.map_err(DialError::Refused)
    }

    /// Returns the addresses; `stale` is what did not work.
    async fn resolve(&self, stale: Option<&Arc<[SocketAddr]>>) -> Result<Arc<[SocketAddr]>, DialError> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref() {
            let is_stale = stale.is_some_and(|stale| Arc::ptr_eq(stale, &known.addresses));
            let good_for = if is_stale { RESOLVED_MIN } else { self.resolve_interval };
            if known.since.elapsed() < good_for {
                return Ok(Arc::clone(&known.addresses));
            }
        }
        let target = (self.target.host.as_str(), self.target.port);
        let found: Arc<[SocketAddr]> = lookup_host(target).await.map_err(DialError::Unresolved)?.collect();
        *known = Some(Known { addresses: Arc::clone(&found), since: Instant::now() });
        Ok(found)
    }

    async fn connect_any(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len().max(1);
        let mut untried = addresses.iter().cycle().skip(first).take(addresses.len()).copied();
        let mut attempts = JoinSet::new();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
        loop {
            let next = untried.next();
            if let Some(address) = next {
                attempts.spawn(TcpStream::connect(address));
            }
            let finished = tokio::select! {
                finished = attempts.join_next() => finished,
                () = sleep(ATTEMPT_DELAY), if next.is_some() => continue,
            };
            match finished {
                None if next.is_none() => return Err(last),
                None => {}
                Some(Ok(Ok(tcp))) => {
                    // Without it a small request waits for the acknowledgement of the one before.
                    let _ = tcp.set_nodelay(true);
                    return Ok(tcp);
                }
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn dialer(address: SocketAddr) -> Dialer {
        let target = HostPort { host: address.ip().to_string(), port: address.port() };
        Dialer::new(target, Duration::from_secs(60))
    }

    #[tokio::test]
    async fn each_connection_starts_at_another_address_and_tries_all() {
        let ((_a, a), (_b, b), (gone, dead)) = (listener().await, listener().await, listener().await);
        drop(gone);
        let dialer = dialer(a);
        let mut reached = Vec::new();
        for _ in 0..6 {
            reached.push(dialer.connect_any(&[a, dead, b]).await.unwrap().peer_addr().unwrap());
        }
        assert_eq!(reached, [a, b, b, a, b, b]);
        assert!(dialer.connect_any(&[dead]).await.is_err());
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_is_not_waited_for() {
        let (_a, a) = listener().await;
        // Reserved for documentation (RFC 5737): nobody answers, or the system says at once that there is no way.
        let silent = "192.0.2.1:9".parse().unwrap();
        let connected = tokio::time::timeout(Duration::from_secs(2), async {
            dialer(a).connect_any(&[silent, a]).await.unwrap().peer_addr().unwrap()
        });
        assert_eq!(connected.await.unwrap(), a);
    }

    #[tokio::test]
    async fn a_name_that_has_moved_is_resolved_again() {
        let ((_a, a), (gone, dead)) = (listener().await, listener().await);
        drop(gone);
        let dialer = dialer(a);
        let since = Instant::now() - RESOLVED_MIN;
        *dialer.known.lock().await = Some(Known { addresses: [dead].into(), since });
        assert_eq!(dialer.connect().await.unwrap().peer_addr().unwrap(), a);
        *dialer.known.lock().await = Some(Known { addresses: [dead].into(), since: Instant::now() });
        assert!(dialer.connect().await.is_err(), "it was resolved just now");
    }
}
