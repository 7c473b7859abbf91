//! The path, and the datagrams that are under way on it.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    task::Waker,
    time::Duration,
};

use bench_emulator::{Counts, Direction, Fate, Path, PathSpec};

/// Bytes of IPv4 and UDP headers, which take their time on the path too.
const HEADER_BYTES: usize = 28;

/// The side of the path that a host is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The side that connects.
    Left,
    /// The side that accepts.
    Right,
}

/// A datagram that has arrived.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// The path between the sides, and what is on it.
#[derive(Debug)]
pub(crate) struct Wire {
    paths: [Path; 2],
    queued_max: [Duration; 2],
    /// In an order of their own, so that whoever is woken first is so every time.
    inboxes: BTreeMap<SocketAddr, Inbox>,
    /// Breaks ties: what was sent first arrives first.
    sent: u64,
}

#[derive(Debug, Default)]
struct Inbox {
    under_way: BinaryHeap<Arriving>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Arriving {
    at: Duration,
    order: u64,
    datagram: Datagram,
}

impl Wire {
    pub(crate) fn new(spec: &PathSpec, seed: u64) -> Self {
        let path = |direction| Path::new(spec.clone(), seed, direction);
        let paths = [path(Direction::There), path(Direction::Back)];
        Self { paths, queued_max: [Duration::ZERO; 2], inboxes: BTreeMap::new(), sent: 0 }
    }

    /// Sends a datagram of a host on `from_side`, unless nobody has the address it goes to.
    pub(crate) fn send(&mut self, now: Duration, from_side: Side, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let way = from_side as usize;
        let fate = self.paths[way].send(now, bytes.len() + HEADER_BYTES);
        self.queued_max[way] = self.queued_max[way].max(self.paths[way].queued(now));
        let at = match fate {
            Fate::Arrives(at) => at,
            Fate::Lost | Fate::Overflowed => return,
        };
        if let Some(inbox) = self.inboxes.get_mut(&to) {
            self.sent += 1;
            let datagram = Datagram { from, bytes: bytes.to_vec() };
            inbox.under_way.push(Arriving { at, order: self.sent, datagram });
        }
    }

    /// Takes the next datagram that has arrived at a host by now, or wakes it when there is one.
    pub(crate) fn receive(&mut self, now: Duration, host: SocketAddr) -> Option<Datagram> {
        let inbox = self.inboxes.get_mut(&host)?;
        if inbox.under_way.peek()?.at > now {
            return None;
        }
        inbox.under_way.pop().map(|arriving| arriving.datagram)
    }

    /// Remembers whom to wake when something arrives at a host.
    pub(crate) fn wait(&mut self, host: SocketAddr, waker: &Waker) {
        if let Some(inbox) = self.inboxes.get_mut(&host) {
            inbox.waker = Some(waker.clone());
        }
    }

    /// Takes the wakers of the hosts at which something has arrived.
    pub(crate) fn arrived(&mut self, now: Duration) -> impl Iterator<Item = Waker> {
        self.inboxes.values_mut().filter_map(move |inbox| {
            let next = inbox.under_way.peek()?;
            if next.at <= now { inbox.waker.take() } else { None }
        })
    }

    pub(crate) fn join(&mut self, host: SocketAddr) {
        self.inboxes.entry(host).or_default();
    }

    pub(crate) fn set(&mut self, from: Side, spec: PathSpec) {
        self.paths[from as usize].set(spec);
    }

    pub(crate) fn counts(&self, from: Side) -> Counts {
        self.paths[from as usize].counts()
    }

    /// Returns the longest that a packet from a side waited since this was last asked.
    pub(crate) fn take_queued_max(&mut self, from: Side) -> Duration {
        std::mem::take(&mut self.queued_max[from as usize])
    }
}

impl PartialEq for Arriving {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Arriving {}

impl PartialOrd for Arriving {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arriving {
    /// The earliest is the greatest: a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}
