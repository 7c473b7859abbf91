//! Everything that runs: processes, relays, backends.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};

use crate::{
    admin,
    backend::{Backend, Ledger},
    config::{Addresses, Places},
    lag::Pids,
    process::{Process, Program},
    relay::Relay,
    scene::{Node, Upstream},
};

/// How long everything may take to come up, with programs that are not optimised on a machine that is busy.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is done to the nodes, and by whom.
#[derive(Debug)]
pub(crate) struct Stage {
    certs: PathBuf,
    nodes: HashMap<Node, Addresses>,
    processes: HashMap<Node, Mutex<Process>>,
    relays: HashMap<Node, Relay>,
    backends: HashMap<Upstream, Backend>,
    pub(crate) ledger: Arc<Ledger>,
    /// The processes that run.
    pub(crate) pids: Pids,
}

impl Stage {
    /// Starts everything with its files in `dir`, and waits until it is up.
    pub(crate) async fn start(dir: &Path, program: &Program, seed: u64) -> anyhow::Result<Self> {
        let certs = dir.join("certs");
        make_certificates(program, &certs).await?;
        let nodes: HashMap<_, _> = (1..).zip(Node::ALL).map(|(host, node)| (node, addresses(host))).collect();
        let nodes = nodes.into_iter().map(|(node, found)| Ok((node, found?))).collect::<anyhow::Result<_>>()?;
        let ledger = Arc::<Ledger>::default();
        let mut backends = HashMap::new();
        for (host, upstream) in (11..).zip(Upstream::ALL) {
            let backend = Backend::start(upstream.name(), address(host), Arc::clone(&ledger)).await?;
            backends.insert(upstream, backend);
        }
        let mut stage = Self {
            certs,
            nodes,
            processes: HashMap::new(),
            relays: HashMap::new(),
            backends,
            ledger,
            pids: Pids::default(),
        };
        for (host, node) in (21..).zip(Node::CLIENTS) {
            let relay = Relay::start(address(host), stage.nodes[&Node::Server].tunnel, seed ^ u64::from(host)).await?;
            stage.relays.insert(node, relay);
        }
        for node in Node::ALL {
            let file = |ending| dir.join(format!("{}.{ending}", node.name()));
            let mut process = Process::new(node, program.clone(), file("toml"), file("log"), Arc::clone(&stage.pids));
            process.configure(&stage.config(node, 0)?)?;
            process.start()?;
            stage.processes.insert(node, Mutex::new(process));
        }
        for node in Node::ALL {
            stage.until_ready(node).await?;
        }
        Ok(stage)
    }

    /// Returns the configuration of a node.
    pub(crate) fn config(&self, node: Node, generation: u32) -> anyhow::Result<String> {
        let relays = self.relays.iter().map(|(node, relay)| Ok((*node, relay.address()?)));
        let relays = relays.collect::<anyhow::Result<_>>()?;
        let upstreams = self.backends.iter().map(|(upstream, backend)| (*upstream, backend.address())).collect();
        let places = Places { certs: &self.certs, nodes: &self.nodes, relays: &relays, upstreams: &upstreams };
        Ok(places.text(node, generation))
    }

    pub(crate) fn entry(&self, node: Node) -> SocketAddr {
        self.nodes[&node].http
    }

    pub(crate) fn admin(&self, node: Node) -> SocketAddr {
        self.nodes[&node].admin
    }

    pub(crate) async fn process(&self, node: Node) -> MutexGuard<'_, Process> {
        self.processes[&node].lock().await
    }

    pub(crate) fn backend(&self, upstream: Upstream) -> &Backend {
        &self.backends[&upstream]
    }

    /// Returns the path of a client.
    pub(crate) fn relay(&self, client: Node) -> anyhow::Result<&Relay> {
        self.relays.get(&client).context("a server has no path of its own")
    }

    /// Waits until a node says that it is ready: a server has bound its entries, a client has a link.
    pub(crate) async fn until_ready(&self, node: Node) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < UP_WITHIN {
            if admin::get(self.admin(node), "/readyz").await.is_ok() {
                return Ok(());
            }
            self.process(node).await.pid()?;
            sleep(LOOK_EVERY).await;
        }
        bail!("{} is not ready after {UP_WITHIN:?}", node.name())
    }
}

async fn make_certificates(program: &Program, dir: &Path) -> anyhow::Result<()> {
    let mut command = program.command();
    command.arg("certs").arg("--dir").arg(dir);
    for client in Node::CLIENTS {
        command.args(["--client", client.name()]);
    }
    let made = command.output().await.with_context(|| format!("starting {}", program.path.display()))?;
    anyhow::ensure!(made.status.success(), "no certificates: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// An address on loopback that no connection leaves from, so that a port stays free while its process is down.
fn address(host: u8) -> IpAddr {
    let [high, low] = u16::try_from(std::process::id() % 65_536).unwrap_or(0).to_be_bytes();
    Ipv4Addr::new(127, 80 + high % 128, low, host).into()
}

fn addresses(host: u8) -> anyhow::Result<Addresses> {
    let ip = address(host);
    let tcp = || -> anyhow::Result<_> { Ok(TcpListener::bind((ip, 0))?) };
    // Both are held until both are known.
    let (http, admin) = (tcp()?, tcp()?);
    let tunnel = UdpSocket::bind((ip, 0))?.local_addr()?;
    Ok(Addresses { tunnel, http: http.local_addr()?, admin: admin.local_addr()? })
}
