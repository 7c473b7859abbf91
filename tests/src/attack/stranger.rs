//! What somebody does who is no client yet, or never will be.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    pin::Pin,
    sync::Arc,
};

use adit_core::wire::control::{Control, Heartbeat};
use adit_node::{link::tls, settings::ClientProof, settings::Congestion, settings::ServerTrust};
use quinn::{Connection, Endpoint, TransportConfig, crypto::rustls::QuicClientConfig};

use super::control::frame;
use crate::{peer::Peer, trust::Trust, wait::within};

/// How many first datagrams are made: each begins another connection.
const INITIALS: usize = 300;

/// How many connections a stranger holds.
const HELD_MAX: usize = 300;

/// How many connections a round begins.
const CONNECTIONS: usize = 3;

/// Somebody who knows where the server is.
pub struct Stranger {
    server: SocketAddr,
    trust: Arc<Trust>,
    foreign: Trust,
    initials: Vec<Vec<u8>>,
    held: Vec<(Endpoint, Connection)>,
    rounds: usize,
    connections: u64,
    bytes: u64,
}

/// One way to be hostile without a link.
#[derive(Clone, Copy)]
pub struct Approach {
    /// What it is called.
    pub name: &'static str,
    /// What the log says of it, where it says anything.
    pub said: &'static str,
    round: for<'a> fn(&'a mut Stranger) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

/// Every approach.
pub const APPROACHES: &[Approach] = &[
    Approach { name: "initial-flood", said: "", round: |stranger| Box::pin(stranger.flood()) },
    Approach { name: "join-and-leave", said: "client left", round: |stranger| Box::pin(stranger.come_and_go()) },
    Approach { name: "never-register", said: "no registration", round: |stranger| Box::pin(stranger.say_nothing()) },
    Approach {
        name: "register-bomb",
        said: "over the limit of",
        round: |stranger| Box::pin(stranger.say(b"\xff\xff\xff\x7f".to_vec())),
    },
    Approach {
        name: "register-garbage",
        said: "malformed message",
        round: |stranger| Box::pin(stranger.say(b"\x05\xff\xff\xff\xff\xff".to_vec())),
    },
    Approach {
        name: "register-otherwise",
        said: "said something else first",
        round: |stranger| {
            let heartbeat = Control::Heartbeat(Heartbeat { seq: 0, in_flight: 0 });
            Box::pin(stranger.say(frame(&heartbeat).to_vec()))
        },
    },
    Approach {
        name: "wrong-authority",
        said: "is signed by an authority that this server does not trust",
        round: |stranger| Box::pin(stranger.be_unknown()),
    },
    Approach {
        name: "wrong-alpn",
        said: "the client does not speak adit/1",
        round: |stranger| Box::pin(stranger.speak_otherwise()),
    },
];

impl Stranger {
    /// Makes one that has a certificate of a client.
    pub fn new(server: SocketAddr, trust: Arc<Trust>) -> Self {
        Self {
            server,
            trust,
            foreign: Trust::default(),
            initials: Vec::new(),
            held: Vec::new(),
            rounds: 0,
            connections: 0,
            bytes: 0,
        }
    }

    /// Runs one round of an approach.
    ///
    /// Returns how many connections it began, and how many bytes it sent apart from them.
    pub async fn round(&mut self, approach: &Approach) -> (u64, u64) {
        self.rounds += 1;
        (approach.round)(self).await;
        (std::mem::take(&mut self.connections), std::mem::take(&mut self.bytes))
    }

    /// Begins handshakes from everywhere, and goes on with none of them.
    async fn flood(&mut self) {
        if self.initials.is_empty() {
            self.initials = self.collect_initials().await;
        }
        let [.., high, low] = self.rounds.to_be_bytes();
        // All of 127.0.0.0/8 is this machine.
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::new(127, 7, high, low.max(1)), 0)) else { return };
        for initial in &self.initials {
            // A full buffer drops it, as a network would.
            if let Ok(bytes) = socket.send_to(initial, self.server) {
                self.bytes += u64::try_from(bytes).unwrap_or(0);
            }
        }
        tokio::task::yield_now().await;
    }

    /// Dials a socket of its own to get first datagrams of connections that nobody goes on with.
    async fn collect_initials(&self) -> Vec<Vec<u8>> {
        let drain = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = drain.local_addr().unwrap();
        let mut initials = Vec::new();
        while initials.len() < INITIALS {
            let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let config = self.config(&self.trust, adit_core::wire::ALPN);
            let _connecting = endpoint.connect_with(config, address, "localhost").unwrap();
            // A first flight may take two datagrams; both are Initials of one connection.
            let mut datagram = vec![0; 2_048];
            let length = drain.recv(&mut datagram).await.unwrap();
            datagram.truncate(length);
            initials.push(datagram);
        }
        initials
    }

    async fn come_and_go(&mut self) {
        for _ in 0..CONNECTIONS {
            // Shown out or not: it comes again.
            let _ = Peer::try_join_named("foe", self.server, &self.trust).await;
            self.connections += 1;
        }
    }

    async fn say_nothing(&mut self) {
        for _ in 0..CONNECTIONS {
            self.connections += 1;
            if let Some(connection) = self.connect(&self.trust, adit_core::wire::ALPN).await {
                self.held.push(connection);
            }
        }
        if self.held.len() > HELD_MAX {
            self.held.drain(..HELD_MAX / 2);
        }
    }

    async fn say(&mut self, bytes: Vec<u8>) {
        for _ in 0..CONNECTIONS {
            self.connections += 1;
            let Some((_endpoint, quic)) = self.connect(&self.trust, adit_core::wire::ALPN).await else { continue };
            if let Ok((mut send, _recv)) = quic.open_bi().await {
                let _ = send.write_all(&bytes).await;
                within("the connection to be closed", quic.closed()).await;
            }
        }
    }

    async fn be_unknown(&mut self) {
        for _ in 0..CONNECTIONS {
            self.connections += 1;
            if let Some((_endpoint, quic)) = self.connect(&self.foreign, adit_core::wire::ALPN).await {
                within("the connection to be closed", quic.closed()).await;
            }
        }
    }

    async fn speak_otherwise(&mut self) {
        for _ in 0..CONNECTIONS {
            self.connections += 1;
            assert!(self.connect(&self.trust, b"h3").await.is_none(), "a connection without adit's protocol");
        }
    }

    async fn connect(&self, who: &Trust, alpn: &[u8]) -> Option<(Endpoint, Connection)> {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).ok()?;
        let connecting = endpoint.connect_with(self.config(who, alpn), self.server, "localhost").ok()?;
        let quic = connecting.await.ok()?;
        Some((endpoint, quic))
    }

    fn config(&self, who: &Trust, alpn: &[u8]) -> quinn::ClientConfig {
        let proof = ClientProof::Certificate(who.client("foe"));
        let trust = ServerTrust::Authority(self.trust.roots());
        if alpn == adit_core::wire::ALPN {
            return tls::client_config(&proof, &trust, Congestion::default()).unwrap();
        }
        let mut crypto = self.trust.tls_client("foe");
        crypto.alpn_protocols = vec![alpn.to_vec()];
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(crypto).unwrap()));
        config.transport_config(Arc::new(TransportConfig::default()));
        config
    }
}
