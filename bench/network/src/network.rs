//! Hosts, connections and the clock.

use std::{
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bench_emulator::{Counts, PathSpec};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TransportConfig, default_runtime};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    task::{LocalSet, yield_now},
    time::{Instant, advance},
};

use crate::{
    socket::Socket,
    wire::{Side, Wire},
};

/// How far the clock goes at once. A whole millisecond would bring acknowledgements in lumps that no network makes.
const TICK: Duration = Duration::from_micros(100);

/// How often every task gets its turn between two ticks: one that is woken wakes others.
const TURNS_PER_TICK: usize = 4;

/// A path and the hosts on both of its sides.
#[derive(Debug, Clone)]
pub struct Network {
    start: Instant,
    wire: Arc<Mutex<Wire>>,
    hosts: Rc<std::cell::Cell<u8>>,
    seed: u64,
}

/// Runs `scenario` on a network of its own until it returns; both directions of the path follow `spec`.
///
/// Tasks that it starts with `spawn_local` end with it.
///
/// # Panics
///
/// Where the scenario does, and where no runtime can be made.
#[expect(clippy::expect_used, reason = "a test that cannot start is a failed test")]
pub fn run<T>(spec: PathSpec, seed: u64, scenario: impl AsyncFnOnce(Network) -> T) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let network = Network {
            start: Instant::now(),
            wire: Arc::new(Mutex::new(Wire::new(&spec, seed))),
            hosts: Rc::default(),
            seed,
        };
        let clock = network.clone();
        let tasks = LocalSet::new();
        tokio::select! {
            biased;
            result = tasks.run_until(scenario(network)) => result,
            never = clock.tick() => match never {},
        }
    })
}

impl Network {
    /// Connects a new host on the left to a new one on the right, and returns the two ends of the connection.
    ///
    /// # Panics
    ///
    /// When they cannot be connected.
    pub async fn connect(&self, settings: impl Fn(&mut TransportConfig)) -> (Connection, Connection) {
        let mut transport = TransportConfig::default();
        settings(&mut transport);
        self.connect_with(Arc::new(transport)).await
    }

    /// Connects as [`Network::connect`] does, with settings that are made already.
    ///
    /// # Panics
    ///
    /// When they cannot be connected.
    #[expect(clippy::expect_used, reason = "a test that cannot connect is a failed test")]
    pub async fn connect_with(&self, transport: Arc<TransportConfig>) -> (Connection, Connection) {
        let (mut for_server, mut for_client) = trust();
        for_server.transport_config(Arc::clone(&transport));
        for_client.transport_config(transport);
        let accepting = self.host(Side::Right, Some(for_server));
        let address = accepting.local_addr().expect("an address");
        let connecting = self.host(Side::Left, None);
        let client = async {
            connecting.connect_with(for_client, address, "localhost").expect("settings").await.expect("connected")
        };
        let server = async { accepting.accept().await.expect("open").await.expect("connected") };
        tokio::join!(client, server)
    }

    /// Changes what the path does to packets in both directions.
    pub fn set(&self, spec: &PathSpec) {
        let mut wire = self.wire();
        wire.set(Side::Left, spec.clone());
        wire.set(Side::Right, spec.clone());
    }

    /// Changes what the path does to packets from one side.
    pub fn set_from(&self, side: Side, spec: PathSpec) {
        self.wire().set(side, spec);
    }

    /// Returns what became of the packets from a side.
    pub fn counts(&self, from: Side) -> Counts {
        self.wire().counts(from)
    }

    /// Returns the longest that a packet from a side waited for its turn since this was last asked.
    pub fn take_queued_max(&self, from: Side) -> Duration {
        self.wire().take_queued_max(from)
    }

    /// Returns the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::expect_used, reason = "a test without a host is a failed test")]
    fn host(&self, side: Side, server: Option<ServerConfig>) -> Endpoint {
        let number = self.hosts.get() + 1;
        self.hosts.set(number);
        let address = SocketAddr::from((Ipv4Addr::new(10, 0, side as u8, number), 4433));
        self.wire().join(address);
        let socket = Socket { address, side, start: self.start, wire: Arc::clone(&self.wire) };
        let mut config = EndpointConfig::default();
        let mut seed = [number; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        config.rng_seed(Some(seed));
        let runtime = default_runtime().expect("tokio's runtime");
        Endpoint::new_with_abstract_socket(config, server, Arc::new(socket), runtime).expect("an endpoint")
    }

    /// Lets time pass, for ever.
    async fn tick(&self) -> std::convert::Infallible {
        loop {
            advance(TICK).await;
            let now = self.start.elapsed();
            for waker in self.wire().arrived(now) {
                waker.wake();
            }
            for _ in 0..TURNS_PER_TICK {
                yield_now().await;
            }
        }
    }
}

#[expect(clippy::expect_used, reason = "a test without certificates is a failed test")]
fn trust() -> (ServerConfig, ClientConfig) {
    // Whoever was first has installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Ed25519: the signatures of other keys differ in length, and with it everything that follows.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let mut wanted = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("a name");
    wanted.serial_number = Some(rcgen::SerialNumber::from(1));
    let certificate = CertificateDer::from(wanted.self_signed(&key).expect("a certificate"));
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let server = ServerConfig::with_single_cert(vec![certificate], key).expect("a certificate with its key");
    let client = ClientConfig::with_root_certificates(Arc::new(roots)).expect("a root");
    (server, client)
}
