//! Where an attack takes place: a server, an honest client, and a backend.

use std::{
    fs,
    future::pending,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use adit_tests::{Upstream, body::full, trust::Trust};
use anyhow::Context;
use http::Response;
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::{canary, hostility::Side, process::Process};

/// How long it takes until everything is connected, at most.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A server and an honest client that serve the canary, and who is attacked.
pub(crate) struct Ground {
    pub(crate) side: Side,
    /// Where the canary asks.
    pub(crate) entry: SocketAddr,
    /// Where clients connect.
    pub(crate) tunnel: SocketAddr,
    pub(crate) trust: Arc<Trust>,
    /// The hostile server, until somebody takes it.
    pub(crate) host: Mutex<Option<UdpSocket>>,
    server: Process,
    client: Process,
    _backends: [Backend; 2],
    _folder: TempDir,
}

impl Ground {
    /// Starts all of it.
    pub(crate) async fn start(adit: &Path, side: Side) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let trust = Arc::new(Trust::default());
        trust.write(folder.path(), &["client"]);
        // Who asks the one must not wait for those who ask the other: adit is looked at, and not a backend.
        let (backend, honest) = (Backend::start()?, Backend::start()?);
        let (tunnel, entry) = (free_udp()?, free_tcp()?);
        let host = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let config = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).map(|()| path)
        };
        let server = config("server.toml", server_config(tunnel, entry, backend.address))?;
        let server = Process::start(adit, "server", &server)?;
        let mut connect = vec![tunnel];
        if side == Side::Server {
            connect.push(host.local_addr()?);
        }
        let client = config("client.toml", client_config(&connect, backend.address, honest.address))?;
        let client = Process::start(adit, "client", &client)?;
        let host = Mutex::new(Some(host));
        let ground =
            Self { side, entry, tunnel, trust, host, server, client, _backends: [backend, honest], _folder: folder };
        canary::answered(entry, READY_WITHIN).await.with_context(|| ground.said())?;
        Ok(ground)
    }

    /// Returns the node that is attacked.
    pub(crate) fn victim(&self) -> &Process {
        match self.side {
            Side::Client => &self.server,
            Side::Server => &self.client,
        }
    }

    /// Returns how often a node panicked.
    pub(crate) fn panics(&self) -> anyhow::Result<usize> {
        Ok(self.server.log()?.matches("panicked").count() + self.client.log()?.matches("panicked").count())
    }

    fn said(&self) -> String {
        format!("{}\n{}", self.server.log().unwrap_or_default(), self.client.log().unwrap_or_default())
    }
}

fn server_config(tunnel: SocketAddr, entry: SocketAddr, backend: SocketAddr) -> String {
    format!(
        r#"
[tunnel]
listen = "{tunnel}"
cert = "server.pem"
key = "server.key"
client_ca = "ca.pem"
[http]
listen = "{entry}"
[[ingress]]
group = "honest"
[[egress]]
host = "app.test"
upstream = "app"
[upstreams.app]
servers = ["http://{backend}"]
[groups.honest]
clients = ["client"]
[groups.web]
clients = ["foe"]
"#
    )
}

fn client_config(servers: &[SocketAddr], backend: SocketAddr, honest: SocketAddr) -> String {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    format!(
        r#"
[tunnel]
connect = [{}]
server_name = "localhost"
ca = "ca.pem"
cert = "client.pem"
key = "client.key"
group = "honest"
[[egress]]
host = "app.test"
path = "/canary"
upstream = "canary"
[[egress]]
host = "app.test"
upstream = "app"
[upstreams.canary]
servers = ["http://{honest}"]
[upstreams.app]
servers = ["http://{backend}"]
"#,
        servers.join(", ")
    )
}

fn free_tcp() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn free_udp() -> anyhow::Result<SocketAddr> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The backend, on a thread of its own: who asks it must not wait for who attacks.
#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let upstream = {
            let _inside = runtime.enter();
            backend()
        };
        let address = upstream.address();
        let thread = thread::spawn(move || {
            // Ends with whoever holds the other half.
            let _ = runtime.block_on(ended);
            drop(upstream);
        });
        Ok(Self { address, end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

fn backend() -> Upstream {
    Upstream::answering(|request| async {
        match request.uri().path() {
            "/large" => Response::new(full(vec![0; 1024 * 1024])),
            "/never" => pending().await,
            _ => {
                // What was cut is not answered for.
                let _ = request.into_body().collect().await;
                Response::new(full(canary::ANSWER))
            }
        }
    })
}
