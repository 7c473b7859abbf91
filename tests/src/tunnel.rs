//! A whole tunnel, in either direction.

use std::net::SocketAddr;

use adit_core::limits::{Limits, Timeouts};
use adit_node::settings::{EgressSettings, HttpEntry, HttpsEntry, ServerUrl};

use crate::{
    node::{ClientNode, ServerNode},
    settings::{self, CLIENT, GROUP},
    trust::Trust,
    visitor::Visitor,
};

/// Which way requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Visitor → the server's entry → client → upstream.
    Reverse,
    /// Visitor → the client's entry → server → upstream.
    Forward,
}

impl Direction {
    /// Returns the code of the failure that there is nobody at the other end.
    pub fn nobody(self) -> &'static str {
        match self {
            Self::Reverse => "no-client",
            Self::Forward => "no-server",
        }
    }
}

/// A tunnel that is not running yet.
pub struct Setup {
    egress: EgressSettings,
    entry: HttpEntry,
    limits: Limits,
    timeouts: Timeouts,
}

/// A server, a client and the link between them.
pub struct Tunnel {
    /// The node with a public address.
    pub server: ServerNode,
    /// The node behind NAT.
    pub client: ClientNode,
    /// Who may connect to whom.
    pub trust: Trust,
    direction: Direction,
}

impl Tunnel {
    /// Prepares a tunnel through which everything reaches one server.
    pub fn to(server: ServerUrl) -> Setup {
        Self::with(settings::everything_to(server))
    }

    /// Prepares a tunnel with these rules and upstreams at its far end.
    pub fn with(egress: EgressSettings) -> Setup {
        Setup { egress, entry: settings::entry(), limits: Limits::default(), timeouts: settings::timeouts() }
    }

    /// Returns where visitors connect.
    pub fn entry(&self) -> SocketAddr {
        match self.direction {
            Direction::Reverse => self.server.entry(),
            Direction::Forward => self.client.entry(),
        }
    }

    /// Returns where visitors connect with TLS.
    pub fn tls_entry(&self) -> SocketAddr {
        match self.direction {
            Direction::Reverse => self.server.tls_entry(),
            Direction::Forward => self.client.tls_entry(),
        }
    }

    /// Connects a visitor that asks for `localhost` with TLS, and speaks what is negotiated out of `alpn`.
    pub async fn tls(&self, alpn: &[&str]) -> Visitor {
        Visitor::tls(self.tls_entry(), "localhost", self.trust.roots(), alpn).await
    }

    /// Connects a visitor that speaks HTTP/1.1.
    pub async fn http1(&self) -> Visitor {
        Visitor::http1(self.entry()).await
    }

    /// Connects a visitor that speaks HTTP/1.1 and takes heads with more fields than most.
    pub async fn http1_wide(&self) -> Visitor {
        Visitor::http1_wide(self.entry()).await
    }

    /// Connects a visitor that speaks HTTP/2.
    pub async fn http2(&self) -> Visitor {
        Visitor::http2(self.entry()).await
    }

    /// Ends the node that answers, without a word of farewell.
    pub fn kill_far_end(self) -> NearEnd {
        match self.direction {
            Direction::Reverse => NearEnd::Server(self.server),
            Direction::Forward => NearEnd::Client(self.client),
        }
    }
}

/// What is left of a tunnel whose far end is gone: the node with the entry.
pub enum NearEnd {
    /// The server.
    Server(ServerNode),
    /// The client.
    Client(ClientNode),
}

impl NearEnd {
    /// Waits until it has noticed.
    pub async fn is_alone(&self) {
        match self {
            Self::Server(server) => server.has_clients(GROUP, 0).await,
            Self::Client(client) => client.has_servers(0).await,
        }
    }
}

impl Setup {
    /// Sets the limits of both nodes.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Changes the waits of both nodes.
    #[must_use]
    pub fn timeouts(mut self, change: impl FnOnce(&mut Timeouts)) -> Self {
        change(&mut self.timeouts);
        self
    }

    /// Lets the entry believe what proxies in a network say of their visitors.
    #[must_use]
    pub fn trusting(mut self, network: &'static str) -> Self {
        self.entry.trusted_proxies.push(network.parse().unwrap());
        self
    }

    /// Has every connection begin with a PROXY header.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.entry.proxy_protocol = true;
        self
    }

    /// Runs both nodes, and waits until they are linked.
    pub async fn start(self, direction: Direction) -> Tunnel {
        speak();
        let trust = Trust::default();
        let tls_entry = HttpsEntry { http: self.entry.clone(), certificates: vec![trust.server()] };
        let entry = self.entry;
        let mut server = match direction {
            Direction::Reverse => settings::public_server(&trust),
            Direction::Forward => settings::server(&trust),
        };
        (server.limits, server.timeouts) = (self.limits, self.timeouts);
        let (mut client_entry, mut client_tls_entry, mut client_egress) = (None, None, EgressSettings::default());
        match direction {
            Direction::Reverse => {
                (server.http, server.https, client_egress) = (Some(entry), Some(tls_entry), self.egress);
            }
            Direction::Forward => {
                (client_entry, client_tls_entry, server.egress) = (Some(entry), Some(tls_entry), self.egress);
            }
        }
        let server = ServerNode::start(server).await;
        let mut client = settings::client(&trust, CLIENT, server.tunnel);
        (client.limits, client.timeouts) = (self.limits, self.timeouts);
        (client.http, client.https, client.egress) = (client_entry, client_tls_entry, client_egress);
        let client = ClientNode::start(client).await;
        server.has_clients(GROUP, 1).await;
        client.has_servers(1).await;
        Tunnel { server, client, trust, direction }
    }
}

/// Lets the nodes say what they do, as far as `RUST_LOG` asks for it.
fn speak() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // Whoever is second has been heard already.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}
