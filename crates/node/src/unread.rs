//! What a node holds for those that take nothing: bounded for all of them together.
//!
//! Flow control bounds what one of them leaves. That many leave as much each is bounded here: when those that take
//! nothing could hold more than `limits.unread_bytes_max`, one is stopped, and then the next, as
//! [`hoard`] says. There are those that do not read what has arrived over a link, and peers that do not take what is to
//! go over one.
//!
//! [`taker`] is the part of the latter.

pub mod taker;

use std::{
    any::Any,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use adit_core::{
    failure::Failure,
    hoard::{self, Hoard},
    id::SessionId,
    limits::{Limits, STREAM_WINDOW_BYTES, Timeouts},
};
use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval};

pub use self::taker::Taker;
use crate::{
    clock::millis,
    stream::{RecvStream, StreamError},
};

/// How long a reader may take nothing before it counts: one that is merely slow takes something more often.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// How long a peer may take nothing of a response, as a multiple of `timeouts.write_idle`, after which the node that asks
/// gives up a visitor who does not read. One whose visitor reads slowly asks for more of it an eighth of a window at a
/// time.
const PEER_TIMES: u64 = 10;

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The readers of a node.
#[derive(Clone, Debug)]
pub struct Unread(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes_max: AtomicUsize,
    visitor_patience_ms: AtomicU64,
    started: Instant,
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    places: Vec<Option<Arc<Reader>>>,
    free: Vec<usize>,
}

/// Who is to take something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A visitor: stopped as well when it takes nothing for `timeouts.write_idle`, and what its exchange holds with it.
    Visitor(IpAddr),
    /// An upstream that a link leads to.
    Upstream(SessionId),
    /// The peer of a link: stopped as well when it takes nothing for ten times `timeouts.write_idle`.
    Peer(SessionId),
}

/// Who is to blame for what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Visitor(IpAddr),
    Link(SessionId),
}

impl Who {
    fn owner(self) -> Owner {
        match self {
            Self::Visitor(address) => Owner::Visitor(address),
            Self::Upstream(session) | Self::Peer(session) => Owner::Link(session),
        }
    }

    /// Returns for how long it may take nothing, where visitors may for `patience`.
    fn patience(self, patience: u64) -> u64 {
        match self {
            Self::Visitor(_) => patience,
            Self::Upstream(_) => u64::MAX,
            Self::Peer(_) => patience.saturating_mul(PEER_TIMES),
        }
    }
}

#[derive(Debug)]
struct Reader {
    who: Who,
    /// Gone once it was stopped.
    open: Mutex<Option<Open>>,
    /// When it last took something and did not ask for more, in ms since the node started; [`WAITING`] while it
    /// waits for more, and so leaves nothing; for a peer, since when a write waits for it.
    took_at_ms: AtomicU64,
    /// Bytes still to come; [`UNKNOWN`] where nobody knows.
    left: AtomicU64,
}

/// What a reader that is stopped lets go, though its owner may sleep on: over HTTP/2 nobody asks for more of a body
/// before the visitor has taken what there is.
#[derive(Debug)]
enum Open {
    /// A stream that is read.
    Read(RecvStream, Kept),
    /// A write, and whom to tell that nobody takes it.
    Write(Option<Waker>),
}

/// What lives as long as a stream is read.
pub type Kept = Option<Box<dyn Any + Send>>;

const WAITING: u64 = u64::MAX;
const UNKNOWN: u64 = u64::MAX;

impl Unread {
    /// Begins without readers.
    pub fn new(limits: &Limits, timeouts: &Timeouts) -> Self {
        let shared = Shared {
            bytes_max: AtomicUsize::default(),
            visitor_patience_ms: AtomicU64::default(),
            started: Instant::now(),
            readers: Mutex::default(),
        };
        let unread = Self(Arc::new(shared));
        unread.replace(limits, timeouts);
        unread
    }

    /// Puts new bounds in force.
    pub fn replace(&self, limits: &Limits, timeouts: &Timeouts) {
        self.0.bytes_max.store(limits.unread_bytes_max, Ordering::Relaxed);
        self.0.visitor_patience_ms.store(millis(timeouts.write_idle), Ordering::Relaxed);
    }

    /// Looks after the readers for ever.
    pub async fn watch(&self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let stopped = self.sweep(self.now_ms());
            if stopped > 0 {
                tracing::warn!(stopped, "readers that took nothing of a body were stopped");
            }
        }
    }

    /// Stops readers that have taken nothing for too long, and some where all of them together hold too much.
    /// Returns how many.
    fn sweep(&self, now_ms: u64) -> usize {
        let patience = self.0.visitor_patience_ms.load(Ordering::Relaxed);
        let bytes_max = self.0.bytes_max.load(Ordering::Relaxed);
        let blocked = self.blocked(now_ms, patience.min(millis(BLOCKED_AFTER)));
        let (overdue, blocked): (Vec<_>, Vec<_>) =
            blocked.into_iter().partition(|(reader, hoard)| hoard.for_ms >= reader.who.patience(patience));
        let hoards: Vec<_> = blocked.iter().map(|(_, hoard)| *hoard).collect();
        let to_go = hoard::to_go(&hoards, bytes_max);
        let too_much = to_go.iter().filter_map(|place| blocked.get(*place));
        let mut stopped = 0;
        for (reader, _) in overdue.iter().chain(too_much) {
            reader.stop();
            stopped += 1;
        }
        stopped
    }

    fn blocked(&self, now_ms: u64, after_ms: u64) -> Vec<(Arc<Reader>, Hoard<Owner>)> {
        let readers = self.lock();
        let blocked = readers.places.iter().flatten().filter_map(|reader| {
            let took_at_ms = reader.took_at_ms.load(Ordering::Relaxed);
            if took_at_ms == WAITING {
                return None;
            }
            let for_ms = now_ms.saturating_sub(took_at_ms);
            let hoard = Hoard { owner: reader.who.owner(), bytes: reader.bytes(), for_ms };
            (for_ms >= after_ms).then(|| (Arc::clone(reader), hoard))
        });
        blocked.collect()
    }

    fn enter(&self, reader: &Arc<Reader>) -> usize {
        let mut readers = self.lock();
        if let Some(place) = readers.free.pop()
            && let Some(free) = readers.places.get_mut(place)
        {
            *free = Some(Arc::clone(reader));
            return place;
        }
        readers.places.push(Some(Arc::clone(reader)));
        readers.places.len() - 1
    }

    fn leave(&self, place: usize) {
        let mut readers = self.lock();
        if let Some(taken) = readers.places.get_mut(place) {
            *taken = None;
            readers.free.push(place);
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.0.started.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Readers> {
        // What a panic left behind is still a list of readers.
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Returns how much it could hold: what is to come, up to a window, and a quarter more, since it is kept in pieces of
    /// a datagram.
    fn bytes(&self) -> usize {
        let left = self.left.load(Ordering::Relaxed).min(STREAM_WINDOW_BYTES.into());
        usize::try_from(left + left / 4).unwrap_or(usize::MAX)
    }

    fn stop(&self) {
        let open = self.lock().take();
        match open {
            Some(Open::Read(stream, kept)) => {
                stream.stop(Failure::SlowReader);
                drop(kept);
            }
            Some(Open::Write(waker)) => waker.into_iter().for_each(Waker::wake),
            None => {}
        }
        // Whoever owns it may sleep on; the stream and what was kept with it are free.
        self.took_at_ms.store(WAITING, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        // What a panic left behind is still a stream.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that is read, and whose reader may be stopped for taking too long.
#[derive(Debug)]
pub enum Held {
    /// Nobody looks.
    Own(RecvStream),
    /// Looked after.
    Watched(Watched),
}

/// A stream that is looked after until it is dropped.
#[derive(Debug)]
pub struct Watched {
    reader: Arc<Reader>,
    unread: Unread,
    place: usize,
}

impl Held {
    /// Has a stream looked after, of which this much is to come where that is known, and `kept` with it.
    pub fn watched(self, unread: &Unread, who: Who, left: Option<u64>, kept: impl FnOnce() -> Kept) -> Self {
        let stream = match self {
            Self::Own(stream) => stream,
            Self::Watched(_) => return self,
        };
        Self::Watched(Watched::new(unread, who, left, Open::Read(stream, kept())))
    }

    /// Takes note of how much is to come, where that is known.
    pub fn left(&self, left: Option<u64>) {
        if let Self::Watched(watched) = self {
            watched.reader.left.store(left.unwrap_or(UNKNOWN), Ordering::Relaxed);
        }
    }

    /// Takes note that nothing is to come, and that its reader will not ask.
    pub fn ended(&self) {
        if let Self::Watched(watched) = self {
            watched.reader.took_at_ms.store(WAITING, Ordering::Relaxed);
        }
    }

    /// [`RecvStream::judge`]
    pub fn judge(&self, error: &StreamError) {
        match self {
            Self::Own(stream) => stream.judge(error),
            Self::Watched(watched) => {
                if let Some(Open::Read(stream, _)) = watched.reader.lock().as_ref() {
                    stream.judge(error);
                }
            }
        }
    }

    /// [`RecvStream::poll_frame`]
    pub fn poll_frame(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.poll(|stream| stream.poll_frame(cx, limit))
    }

    /// [`RecvStream::poll_data`]
    pub fn poll_data(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Bytes, StreamError>> {
        self.poll(|stream| stream.poll_data(cx, max))
    }

    /// [`RecvStream::poll_some`]
    pub fn poll_some(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.poll(|stream| stream.poll_some(cx, max))
    }

    /// [`RecvStream::poll_end`]
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        match self.poll(|stream| Poll::Ready(stream.poll_end(cx))) {
            Poll::Ready(ended) => ended,
            Poll::Pending => Ok(()),
        }
    }

    fn poll<T>(
        &mut self,
        poll: impl FnOnce(&mut RecvStream) -> Poll<Result<T, StreamError>>,
    ) -> Poll<Result<T, StreamError>> {
        let Watched { reader, unread, .. } = match self {
            Self::Own(stream) => return poll(stream),
            Self::Watched(watched) => watched,
        };
        let mut open = reader.lock();
        let Some(Open::Read(stream, _)) = open.as_mut() else { return Poll::Ready(Err(StreamError::TooSlow)) };
        let polled = poll(stream);
        let took_at_ms = if polled.is_ready() { unread.now_ms() } else { WAITING };
        reader.took_at_ms.store(took_at_ms, Ordering::Relaxed);
        polled
    }
}

impl Watched {
    fn new(unread: &Unread, who: Who, left: Option<u64>, open: Open) -> Self {
        let reader = Arc::new(Reader {
            who,
            open: Mutex::new(Some(open)),
            took_at_ms: AtomicU64::new(unread.now_ms()),
            left: AtomicU64::new(left.unwrap_or(UNKNOWN)),
        });
        let place = unread.enter(&reader);
        Self { reader, unread: unread.clone(), place }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.unread.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const VISITOR: Who = Who::Visitor(IpAddr::V4(Ipv4Addr::LOCALHOST));
    const UPSTREAM: Who = Who::Upstream(SessionId(7));
    const WINDOW: usize = STREAM_WINDOW_BYTES as usize;

    /// Readers that took something this long ago, and how many of them are stopped when a node may hold `windows`.
    fn stopped(windows: usize, taken_ms_ago: &[u64]) -> usize {
        let limits = Limits { unread_bytes_max: windows * WINDOW, ..Limits::default() };
        let unread = Unread::new(&limits, &Timeouts::default());
        let now_ms = 100_000;
        for ago in taken_ms_ago {
            unread.enter(&Arc::new(Reader {
                who: VISITOR,
                open: Mutex::new(None),
                took_at_ms: AtomicU64::new(now_ms - ago),
                left: AtomicU64::new(UNKNOWN),
            }));
        }
        unread.sweep(now_ms)
    }

    #[tokio::test(start_paused = true)]
    async fn readers_count_once_they_have_taken_nothing_for_a_while() {
        assert_eq!(stopped(3, &[900; 4]), 0);
        assert_eq!(stopped(3, &[1_100; 4]), 2);
        assert_eq!(stopped(3, &[1_100, 1_100, 100, 100]), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_that_takes_nothing_at_all_is_stopped_in_any_case() {
        assert_eq!(stopped(100, &[60_100, 59_900]), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_is_stopped_once() {
        let unread = Unread::new(&Limits { unread_bytes_max: 1, ..Limits::default() }, &Timeouts::default());
        unread.enter(&Arc::new(Reader {
            who: UPSTREAM,
            open: Mutex::new(None),
            took_at_ms: AtomicU64::new(0),
            left: AtomicU64::new(UNKNOWN),
        }));
        assert_eq!([unread.sweep(10_000), unread.sweep(20_000)], [1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_for_more_holds_nothing() {
        let unread = Unread::new(&Limits { unread_bytes_max: 1, ..Limits::default() }, &Timeouts::default());
        let reader = Arc::new(Reader {
            who: VISITOR,
            open: Mutex::new(None),
            took_at_ms: AtomicU64::new(WAITING),
            left: AtomicU64::new(UNKNOWN),
        });
        let place = unread.enter(&reader);
        assert_eq!(unread.sweep(1_000_000), 0);
        unread.leave(place);
        assert_eq!(unread.enter(&reader), place);
    }

    #[test]
    fn a_reader_holds_no_more_than_is_to_come() {
        let reader = |left| Reader {
            who: UPSTREAM,
            open: Mutex::new(None),
            took_at_ms: AtomicU64::new(0),
            left: AtomicU64::new(left),
        };
        assert_eq!(
            [reader(10), reader(u64::MAX - 1), reader(UNKNOWN)].map(|reader| reader.bytes()),
            [12, WINDOW * 5 / 4, WINDOW * 5 / 4]
        );
    }
}
