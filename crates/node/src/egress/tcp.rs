//! A name → a TCP connection to one of its addresses.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use adit_core::dial::Refused;
use tokio::{
    net::{TcpStream, lookup_host},
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::guard::Guard;
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
    guard: Guard,
    resolve_interval: Duration,
    /// Held while the name is resolved, so that those who need a connection at the same time ask once.
    known: Mutex<Option<Known>>,
    turn: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Arc<Addresses>,
    since: Instant,
}

/// What a name stands for.
#[derive(Debug, Default)]
struct Addresses {
    all: Box<[SocketAddr]>,
    /// Whether the log says that some of them are not dialled: once for each answer of the resolver.
    told: AtomicBool,
}

/// Why there is no TCP connection.
#[derive(Debug)]
pub enum DialError {
    /// The name does not resolve.
    Unresolved(io::Error),
    /// No address of it can be connected to.
    Refused(io::Error),
    /// No address of it may be dialled.
    Forbidden(Refused),
}

impl Dialer {
    /// Prepares to connect to `target`, whose addresses are used for `resolve_interval` before it is resolved
    /// again, as far as `guard` lets them.
    pub fn new(target: HostPort, guard: Guard, resolve_interval: Duration) -> Self {
        Self { target, guard, resolve_interval, known: Mutex::default(), turn: AtomicUsize::new(0) }
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
        let refused = match self.connect_any(&self.permitted(&known)?).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => error,
        };
        let again = self.resolve(Some(&known)).await?;
        if Arc::ptr_eq(&again, &known) || again.all == known.all {
            return Err(DialError::Refused(refused));
        }
        self.connect_any(&self.permitted(&again)?).await.map_err(DialError::Refused)
    }

    /// Returns the addresses; `stale` is what did not work.
    async fn resolve(&self, stale: Option<&Arc<Addresses>>) -> Result<Arc<Addresses>, DialError> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref() {
            let is_stale = stale.is_some_and(|stale| Arc::ptr_eq(stale, &known.addresses));
            let good_for = if is_stale { RESOLVED_MIN } else { self.resolve_interval };
            if known.since.elapsed() < good_for {
                return Ok(Arc::clone(&known.addresses));
            }
        }
        let target = (self.target.host.as_str(), self.target.port);
        let all = lookup_host(target).await.map_err(DialError::Unresolved)?.collect();
        let found = Arc::new(Addresses { all, told: AtomicBool::new(false) });
        *known = Some(Known { addresses: Arc::clone(&found), since: Instant::now() });
        Ok(found)
    }

    /// Returns the addresses that may be dialled: those of the resolver's choice are judged each time.
    fn permitted(&self, addresses: &Addresses) -> Result<Vec<SocketAddr>, DialError> {
        let (mut permitted, mut last) = (Vec::with_capacity(addresses.all.len()), None);
        for address in &addresses.all {
            match self.guard.judge(&self.target, *address) {
                Ok(()) => permitted.push(*address),
                Err(refused) => last = Some(self.tell(addresses, refused)),
            }
        }
        match last {
            Some(refused) if permitted.is_empty() => Err(DialError::Forbidden(refused)),
            Some(_) | None => Ok(permitted),
        }
    }

    fn tell(&self, addresses: &Addresses, refused: Refused) -> Refused {
        if !addresses.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(target = %self.target, "an upstream is not dialled: {refused}");
        }
        refused
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

    use adit_core::dial::DialRules;
    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn dialer(address: SocketAddr) -> Dialer {
        let target = HostPort { host: address.ip().to_string(), port: address.port() };
        Dialer::new(target, Guard::default(), Duration::from_secs(60))
    }

    fn known<const N: usize>(all: [SocketAddr; N], since: Instant) -> Known {
        let addresses = Addresses { all: all.into(), told: AtomicBool::new(false) };
        Known { addresses: Arc::new(addresses), since }
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
        *dialer.known.lock().await = Some(known([dead], since));
        assert_eq!(dialer.connect().await.unwrap().peer_addr().unwrap(), a);
        *dialer.known.lock().await = Some(known([dead], Instant::now()));
        assert!(dialer.connect().await.is_err(), "it was resolved just now");
    }
    fn named(host: &str, port: u16, guard: Guard) -> Dialer {
        Dialer::new(HostPort { host: host.to_owned(), port }, guard, Duration::from_secs(60))
    }

    async fn refusal(dialer: &Dialer) -> Option<String> {
        match dialer.connect().await {
            Err(DialError::Forbidden(refused)) => Some(refused.to_string()),
            Err(DialError::Unresolved(_) | DialError::Refused(_)) | Ok(_) => None,
        }
    }

    #[tokio::test]
    async fn a_name_that_moves_to_a_forbidden_address_is_not_dialled_there() {
        let (_listener, here) = listener().await;
        let deny = DialRules { deny: vec!["127.0.0.2".parse().unwrap()], ..DialRules::default() };
        let dialer = named("localhost", here.port(), Guard::own(deny));
        *dialer.known.lock().await = Some(known([here], Instant::now()));
        assert!(dialer.connect().await.is_ok());
        for moved in ["169.254.169.254:80", "127.0.0.2:80", "[::ffff:169.254.169.254]:80"] {
            *dialer.known.lock().await = Some(known([moved.parse().unwrap()], Instant::now()));
            let why = refusal(&dialer).await.unwrap();
            assert!(why.starts_with(moved), "{why}");
        }
        // What may be dialled still is, whatever stands beside it.
        *dialer.known.lock().await = Some(known(["169.254.169.254:80".parse().unwrap(), here], Instant::now()));
        assert_eq!(dialer.connect().await.unwrap().peer_addr().unwrap(), here);
    }

    #[tokio::test]
    async fn a_number_is_a_name_and_no_address() {
        // What the resolver of the system takes for 169.254.169.254.
        for host in ["2852039166", "0xa9fea9fe", "169.254.43518", "0251.0376.0251.0376"] {
            let dialer = named(host, 80, Guard::default());
            match dialer.resolve(None).await {
                Ok(found) => {
                    let sought: SocketAddr = "169.254.169.254:80".parse().unwrap();
                    assert!(found.all.contains(&sought), "{host}: {found:?}");
                    assert!(refusal(&dialer).await.is_some(), "{host}");
                }
                // Other resolvers know better.
                Err(error) => assert!(matches!(error, DialError::Unresolved(_)), "{host}: {error:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_address_that_the_operator_wrote_is_dialled_and_one_that_was_pushed_is_judged() {
        let (port, pushed) = (9, Guard::pushed(DialRules::default()));
        assert_eq!(refusal(&named("0.0.0.0", port, Guard::default())).await, None);
        assert!(refusal(&named("0.0.0.0", port, pushed)).await.unwrap().contains("unspecified"));
    }

    #[tokio::test]
    async fn a_listener_on_every_address_is_found_behind_each_of_them() {
        let (_listener, here) = listener().await;
        let own = vec![(Ipv4Addr::UNSPECIFIED, here.port()).into()];
        let dialer = named("localhost", here.port(), Guard::own(DialRules { own, ..DialRules::default() }));
        for address in [here, (Ipv4Addr::new(127, 9, 9, 9), here.port()).into()] {
            *dialer.known.lock().await = Some(known([address], Instant::now()));
            assert!(refusal(&dialer).await.unwrap().contains("this node itself"), "{address}");
        }
    }
}
