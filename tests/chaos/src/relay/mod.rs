//! A path between a client and the server, in user space, on which packets get lost, late, doubled or damaged.
//!
//! It is a NAT as well: the server sees an address of the relay, and another one after [`Relay::rebind`].

mod lane;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io,
    net::{IpAddr, SocketAddr, UdpSocket as StdSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bench_emulator::Direction;
use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

pub(crate) use self::lane::Condition;
use self::lane::Lane;

/// More than any datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// What is asked of the kernel, so that it loses less than the path.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// How many addresses of a client are remembered: a client that starts again comes from a new one.
const FLOWS_MAX: usize = 8;

/// A path. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Relay {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    server: SocketAddr,
    front: UdpSocket,
    there: Mutex<Lane>,
    back: Mutex<Lane>,
    flows: Mutex<Flows>,
    later: mpsc::UnboundedSender<Packet>,
}

/// The NAT's table: which socket stands for which address of a client.
#[derive(Debug, Default)]
struct Flows {
    table: HashMap<SocketAddr, Flow>,
    order: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Flow {
    socket: Arc<UdpSocket>,
    _reader: AbortOnDropHandle<()>,
}

/// A packet that is to be delivered at a time.
#[derive(Debug)]
struct Packet {
    at: Instant,
    bytes: Bytes,
    to: To,
}

#[derive(Clone, Debug)]
enum To {
    Server(Arc<UdpSocket>),
    Client(SocketAddr),
}

impl Relay {
    /// Starts a path to `server` on a port of its own on `address`.
    pub(crate) async fn start(address: IpAddr, server: SocketAddr, seed: u64) -> anyhow::Result<Self> {
        let front = UdpSocket::bind((address, 0)).await?;
        enlarge(&front);
        let (later, queue) = mpsc::unbounded_channel();
        let lane = |direction| Mutex::new(Lane::new(seed, direction));
        let (there, back) = (lane(Direction::There), lane(Direction::Back));
        let flows = Mutex::default();
        let shared = Arc::new(Shared { start: Instant::now(), server, front, there, back, flows, later });
        let mut tasks = JoinSet::new();
        tasks.spawn(from_clients(Arc::clone(&shared)));
        tasks.spawn(deliver_later(Arc::clone(&shared), queue));
        Ok(Self { shared, _tasks: tasks })
    }

    /// Where the client finds it.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.shared.front.local_addr()
    }

    /// Changes what happens to packets, to the server and back.
    pub(crate) fn set(&self, there: Condition, back: Condition) {
        lock(&self.shared.there).set(there);
        lock(&self.shared.back).set(back);
    }

    /// Gives every client another address, as a NAT does that forgot it; what is under way to the old one is lost.
    pub(crate) fn rebind(&self) -> io::Result<()> {
        for (client, flow) in &mut lock(&self.shared.flows).table {
            *flow = self.shared.flow(*client)?;
        }
        Ok(())
    }
}

impl Shared {
    fn flow(self: &Arc<Self>, client: SocketAddr) -> io::Result<Flow> {
        let socket = StdSocket::bind((self.front.local_addr()?.ip(), 0))?;
        socket.connect(self.server)?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        enlarge(&socket);
        let read = from_server(Arc::clone(self), Arc::clone(&socket), client);
        #[expect(clippy::disallowed_methods, reason = "the flow owns its reader")]
        let reader = AbortOnDropHandle::new(tokio::spawn(read));
        Ok(Flow { socket, _reader: reader })
    }

    /// Returns the socket that stands for a client, a new one for a new client.
    fn socket(self: &Arc<Self>, client: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let mut flows = lock(&self.flows);
        if let Some(flow) = flows.table.get(&client) {
            return Ok(Arc::clone(&flow.socket));
        }
        let flow = self.flow(client)?;
        let socket = Arc::clone(&flow.socket);
        flows.table.insert(client, flow);
        flows.order.push(client);
        if flows.order.len() > FLOWS_MAX {
            let oldest = flows.order.remove(0);
            flows.table.remove(&oldest);
        }
        Ok(socket)
    }

    async fn carry(&self, lane: &Mutex<Lane>, bytes: &[u8], to: To) {
        let now = Instant::now();
        let arriving = lock(lane).send(now - self.start, &Bytes::copy_from_slice(bytes));
        for (after, bytes) in arriving {
            let packet = Packet { at: self.start + after, bytes, to: to.clone() };
            if packet.at <= now {
                self.deliver(packet).await;
            } else {
                // Nobody waits for what is under way when the path is gone.
                let _ = self.later.send(packet);
            }
        }
    }

    async fn deliver(&self, packet: Packet) {
        // A server or client that is down is what the path is for.
        let _ = match packet.to {
            To::Server(socket) => socket.send(&packet.bytes).await,
            To::Client(client) => self.front.send_to(&packet.bytes, client).await,
        };
    }
}

async fn from_clients(shared: Arc<Shared>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error tells that a client is gone, and not that the socket is.
        let Ok((length, client)) = shared.front.recv_from(&mut buffer).await else { continue };
        let Ok(socket) = shared.socket(client) else { continue };
        shared.carry(&shared.there, &buffer[..length], To::Server(socket)).await;
    }
}

async fn from_server(shared: Arc<Shared>, socket: Arc<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok(length) = socket.recv(&mut buffer).await else { continue };
        shared.carry(&shared.back, &buffer[..length], To::Client(client)).await;
    }
}

async fn deliver_later(shared: Arc<Shared>, mut queue: mpsc::UnboundedReceiver<Packet>) {
    let mut waiting = BinaryHeap::new();
    loop {
        let next = waiting.peek().map(|Reverse(packet): &Reverse<Packet>| packet.at);
        tokio::select! {
            packet = queue.recv() => match packet {
                Some(packet) => waiting.push(Reverse(packet)),
                None => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                if let Some(Reverse(packet)) = waiting.pop() {
                    shared.deliver(packet).await;
                }
            }
        }
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Packet {}

impl PartialOrd for Packet {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packet {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

fn enlarge(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    // As large as the system lets us.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
