//! What stands between a client and its server: a NAT that forgets, a network that is gone.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, mpsc},
    thread,
};

use adit_node::link::transport;
use tokio::{net::UdpSocket, runtime, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::settings::loopback;

/// The largest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Carries datagrams between any number of clients and one server, which sees a port of the relay for each of them.
///
/// It runs on a thread of its own: between the turns of a busy runtime its sockets would overflow.
#[derive(Debug)]
pub struct Relay {
    /// Where clients connect.
    pub address: SocketAddr,
    way: Arc<Mutex<Way>>,
    _stop: DropGuard,
}

/// Where datagrams go at present.
#[derive(Debug)]
struct Way {
    server: SocketAddr,
    open: bool,
    clients: HashMap<SocketAddr, Mapping>,
}

/// A client's port on the server's side. Dropped, what the server sends to it is lost.
#[derive(Debug)]
struct Mapping {
    socket: Arc<UdpSocket>,
    _back: JoinSet<()>,
}

impl Relay {
    /// Starts a relay to a server.
    pub fn to(server: SocketAddr) -> Self {
        let way = Arc::new(Mutex::new(Way { server, open: true, clients: HashMap::new() }));
        let stop = CancellationToken::new();
        let (tell, told) = mpsc::channel();
        let (stopped, ways) = (stop.clone(), Arc::clone(&way));
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(stopped.run_until_cancelled(async {
                let socket = bind();
                tell.send(socket.local_addr().unwrap()).unwrap();
                forward(Arc::new(socket), ways).await;
            }));
        });
        Self { address: told.recv().unwrap(), way, _stop: stop.drop_guard() }
    }

    /// Forgets every client's port: what they send next comes from another one, and what is sent to the old one is
    /// lost, as when a NAT was restarted.
    pub fn rebind(&self) {
        self.way().clients.clear();
    }

    /// Loses everything in both directions until [`Relay::lead_to`] says otherwise.
    pub fn cut(&self) {
        let mut way = self.way();
        way.open = false;
        way.clients.clear();
    }

    /// Carries to this server from now on.
    pub fn lead_to(&self, server: SocketAddr) {
        let mut way = self.way();
        (way.server, way.open) = (server, true);
        way.clients.clear();
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap()
    }
}

/// Carries what clients send, each from the port that it has on the server's side.
async fn forward(clients: Arc<UdpSocket>, way: Arc<Mutex<Way>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error tells of a datagram that was sent before, to a port that is closed.
        let Ok((length, client)) = clients.recv_from(&mut buffer).await else { continue };
        let Some((socket, server)) = way.lock().unwrap().port_of(client, &clients) else { continue };
        let _ = socket.send_to(&buffer[..length], server).await;
    }
}

impl Way {
    fn port_of(&mut self, client: SocketAddr, clients: &Arc<UdpSocket>) -> Option<(Arc<UdpSocket>, SocketAddr)> {
        if !self.open {
            return None;
        }
        let mapping = self.clients.entry(client).or_insert_with(|| {
            let socket = Arc::new(bind());
            let mut back = JoinSet::new();
            back.spawn(carry_back(Arc::clone(&socket), Arc::clone(clients), client));
            Mapping { socket, _back: back }
        });
        Some((Arc::clone(&mapping.socket), self.server))
    }
}

async fn carry_back(from: Arc<UdpSocket>, clients: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        if let Ok((length, _)) = from.recv_from(&mut buffer).await {
            let _ = clients.send_to(&buffer[..length], client).await;
        }
    }
}

fn bind() -> UdpSocket {
    UdpSocket::from_std(transport::bind(loopback()).unwrap()).unwrap()
}
