//! Running nodes.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use adit_core::{
    handshakes::HalfOpen,
    id::{Group, SessionId},
};
use adit_node::{
    Client, Server,
    link::Link,
    node::{ClientControl, ServerControl, StartError},
    registry::{GroupLinks, retries::Retries},
    settings::{ClientSettings, ServerSettings},
};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    settings::{group, loopback},
    wait::{LOOK_EVERY, eventually, within},
};

/// A node that runs. Dropping it cuts everything that it does.
#[derive(Debug)]
struct Life {
    stop: CancellationToken,
    run: JoinSet<()>,
}

impl Life {
    fn start<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(run(stop.clone()));
        Self { stop, run: tasks }
    }

    async fn stopped(mut self, what: &str) {
        let ended = within(what, self.run.join_next()).await;
        ended.expect("a node that ran").expect("a node that did not panic");
    }
}

macro_rules! life {
    ($node:ident, $what:literal) => {
        impl $node {
            /// Returns where its visitors connect.
            ///
            /// # Panics
            ///
            /// When it has no entry.
            pub fn entry(&self) -> SocketAddr {
                self.entry.expect("an entry")
            }

            /// Returns where its visitors connect with TLS.
            ///
            /// # Panics
            ///
            /// When it has no such entry.
            pub fn tls_entry(&self) -> SocketAddr {
                self.tls_entry.expect("an entry with TLS")
            }

            /// Returns where its operators connect.
            ///
            /// # Panics
            ///
            /// When it has no admin interface.
            pub fn admin(&self) -> SocketAddr {
                self.admin.expect("an admin interface")
            }

            /// Tells it to stop when it has nothing more to do.
            pub fn stop(&self) {
                self.life.stop.cancel();
            }

            /// Waits until it has stopped.
            pub async fn stopped(self) {
                self.life.stopped(concat!($what, " to stop")).await;
            }

            /// Returns whether it still runs.
            pub fn runs(&self) -> bool {
                !self.life.run.is_empty()
            }
        }
    };
}

/// A server that runs.
#[derive(Debug)]
pub struct ServerNode {
    /// Where clients connect.
    pub tunnel: SocketAddr,
    entry: Option<SocketAddr>,
    tls_entry: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    groups: HashMap<Group, Arc<GroupLinks>>,
    control: ServerControl,
    life: Life,
}

life!(ServerNode, "the server");

impl ServerNode {
    /// Binds a server and runs it.
    ///
    /// # Panics
    ///
    /// When it cannot be bound.
    pub async fn start(settings: ServerSettings) -> Self {
        Self::try_start(settings).await.unwrap()
    }

    /// Binds a server to a UDP port that was in use until just now, and runs it.
    pub async fn start_at(tunnel: SocketAddr, settings: impl Fn() -> ServerSettings) -> Self {
        within("the port of the tunnel to be free again", async {
            loop {
                let mut settings = settings();
                settings.tunnel.listen = tunnel;
                match Self::try_start(settings).await {
                    Ok(server) => return server,
                    Err(StartError::Listen(_)) => sleep(LOOK_EVERY).await,
                    Err(other) => panic!("{other}"),
                }
            }
        })
        .await
    }

    async fn try_start(settings: ServerSettings) -> Result<Self, StartError> {
        let names: Vec<Group> = settings.groups.keys().cloned().collect();
        let server = Server::bind(settings).await?;
        let groups = names.into_iter().map(|name| (name.clone(), server.group(&name))).collect();
        let tunnel = server.tunnel_address().unwrap();
        let (entry, tls_entry, admin) = (server.http_address(), server.https_address(), server.admin_address());
        let control = server.control();
        Ok(Self { tunnel, entry, tls_entry, admin, groups, control, life: Life::start(|stop| server.run(stop)) })
    }

    /// Puts new settings in force, and returns the keys that have to wait for a restart.
    ///
    /// # Panics
    ///
    /// When they cannot be used.
    pub fn reload(&self, settings: ServerSettings) -> Vec<&'static str> {
        self.control.reload(settings).unwrap()
    }

    /// Returns how many clients of a group would be asked.
    pub fn clients(&self, name: &str) -> usize {
        self.groups[&group(name)].healthy()
    }

    /// Returns how many clients a group has, whether they answer or not.
    pub fn members(&self, name: &str) -> usize {
        self.groups[&group(name)].members().as_slice().len()
    }

    /// Returns how many exchanges of a group wait for their turn.
    pub fn waiting(&self, name: &str) -> u64 {
        self.groups[&group(name)].waiting()
    }

    /// Returns what a group has spent on asking again.
    pub fn retries(&self, name: &str) -> &Retries {
        self.groups[&group(name)].retries()
    }

    /// Returns how many clients are on their way to a link.
    pub fn half_open(&self) -> HalfOpen {
        self.control.half_open()
    }

    /// Returns the sessions of a group, and where their clients are.
    pub fn sessions(&self, name: &str) -> Vec<(SessionId, SocketAddr)> {
        let members = self.groups[&group(name)].members();
        members.as_slice().iter().map(|member| (member.session, member.link.remote_address())).collect()
    }

    /// Returns the links of a group, the longest-standing first.
    pub fn links(&self, name: &str) -> Vec<Link> {
        let members = self.groups[&group(name)].members();
        members.as_slice().iter().map(|member| member.link.clone()).collect()
    }

    /// Waits until a group has that many clients that would be asked.
    pub async fn has_clients(&self, name: &str, count: usize) {
        eventually("clients to come or go", || self.clients(name) == count).await;
    }
}

/// A client that runs.
#[derive(Debug)]
pub struct ClientNode {
    entry: Option<SocketAddr>,
    tls_entry: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    servers: Arc<GroupLinks>,
    control: ClientControl,
    life: Life,
}

life!(ClientNode, "the client");

impl ClientNode {
    /// Binds a client and runs it.
    ///
    /// # Panics
    ///
    /// When it cannot be bound.
    pub async fn start(settings: ClientSettings) -> Self {
        let client = Client::bind(settings).await.unwrap();
        let (entry, tls_entry, servers) = (client.http_address(), client.https_address(), client.servers());
        let (control, admin) = (client.control(), client.admin_address());
        Self { entry, tls_entry, admin, servers, control, life: Life::start(|stop| client.run(stop)) }
    }

    /// Puts new settings in force, and returns the keys that have to wait for a restart.
    ///
    /// # Panics
    ///
    /// When they cannot be used.
    pub fn reload(&self, settings: ClientSettings) -> Vec<&'static str> {
        self.control.reload(settings).unwrap()
    }

    /// Moves its links to another port.
    ///
    /// # Panics
    ///
    /// When there is no other.
    pub fn rebind(&self) {
        self.control.rebind().unwrap();
    }

    /// Returns its links to servers.
    pub fn links(&self) -> Vec<Link> {
        self.servers.members().as_slice().iter().map(|member| member.link.clone()).collect()
    }

    /// Returns how many of its servers would be asked.
    pub fn servers(&self) -> usize {
        self.servers.healthy()
    }

    /// Waits until it has that many servers that would be asked.
    pub async fn has_servers(&self, count: usize) {
        eventually("servers to come or go", || self.servers() == count).await;
    }
}

/// Takes a UDP port on which nobody answers.
pub fn nobody() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(loopback()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}
