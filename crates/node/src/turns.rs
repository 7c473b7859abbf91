//! So many at once; the rest wait, and each visitor has its turn.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
};

use adit_core::{
    failure::Failure,
    fair::{FairQueue, Joined, Ticket},
};
use tokio::sync::{Notify, oneshot};

/// A number of turns that are taken and given back. Cloning makes another handle to the same ones.
///
/// Where nobody waits taking one is one atomic operation; the lock is for those that wait and for whoever has to see to
/// them.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How many are taken in the upper half, how many wait in the lower one. The lower one changes under the lock.
    state: AtomicU64,
    max: AtomicU32,
    queue: Mutex<FairQueue<IpAddr, oneshot::Sender<Turn>>>,
    /// Whether somebody wants to know when none is taken.
    watched: AtomicBool,
    idle: Notify,
}

/// One turn. Given back when dropped.
#[derive(Debug)]
pub struct Turn(Turns);

/// How many may wait for the same turns. Whoever has the most waiters is refused first.
const WAITING_MAX: usize = 10_000;

const TAKEN: u64 = 1 << 32;

fn taken(state: u64) -> u64 {
    state >> 32
}

fn waiting(state: u64) -> u64 {
    state & (TAKEN - 1)
}

/// Returns who is one visitor: whoever has an IPv6 address has 2^64 of them.
pub fn visitor(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(network).into()
        }
    }
}

impl Turns {
    /// Makes so many.
    pub fn new(max: u32) -> Self {
        Self::with_room(max, WAITING_MAX)
    }

    fn with_room(max: u32, waiting_max: usize) -> Self {
        Self(Arc::new(Shared {
            state: AtomicU64::new(0),
            max: AtomicU32::new(max),
            queue: Mutex::new(FairQueue::new(waiting_max)),
            watched: AtomicBool::new(false),
            idle: Notify::new(),
        }))
    }

    /// Changes how many there are. Those that are taken stay taken.
    pub fn set_max(&self, max: u32) {
        self.0.max.store(max, SeqCst);
        let mut queue = self.lock();
        while taken(self.0.state.load(SeqCst)) < u64::from(max) {
            let Some(next) = queue.pop() else { break };
            self.0.state.fetch_add(TAKEN - 1, SeqCst);
            self.grant(next);
        }
    }

    /// Waits for a turn, behind others of the same visitor and in turn with other visitors. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Failure::Overloaded`] when too many wait, and this visitor has the most of them.
    pub async fn take(&self, visitor: IpAddr) -> Result<Turn, Failure> {
        if self.try_take() {
            return Ok(Turn(self.clone()));
        }
        let Some(mut waiting) = self.queue_up(visitor)? else { return Ok(Turn(self.clone())) };
        // Only who gives way to another is not told.
        (&mut waiting.granted).await.map_err(|_| Failure::Overloaded)
    }

    fn try_take(&self) -> bool {
        let max = u64::from(self.0.max.load(SeqCst));
        let free = |state: u64| (waiting(state) == 0 && taken(state) < max).then(|| state + TAKEN);
        self.0.state.fetch_update(SeqCst, SeqCst, free).is_ok()
    }

    /// Joins the queue, or takes a turn that has come free.
    fn queue_up(&self, visitor: IpAddr) -> Result<Option<Waiting<'_>>, Failure> {
        let mut queue = self.lock();
        let max = u64::from(self.0.max.load(SeqCst));
        let next = |state: u64| {
            let free = waiting(state) == 0 && taken(state) < max;
            Some(state + if free { TAKEN } else { 1 })
        };
        // Whoever gives one back from now on sees that somebody waits.
        let before = self.0.state.fetch_update(SeqCst, SeqCst, next).unwrap_or_else(|state| state);
        if waiting(before) == 0 && taken(before) < max {
            return Ok(None);
        }
        let (grant, granted) = oneshot::channel();
        let ticket = match queue.join(visitor, grant) {
            Joined::Waiting(ticket) => ticket,
            Joined::InPlaceOf(ticket, displaced) => {
                self.0.state.fetch_sub(1, SeqCst);
                drop(displaced);
                ticket
            }
            Joined::Full => {
                self.0.state.fetch_sub(1, SeqCst);
                return Err(Failure::Overloaded);
            }
        };
        Ok(Some(Waiting { turns: self, visitor, ticket, granted }))
    }

    fn give_back(&self) {
        let alone = |state: u64| (waiting(state) == 0).then(|| state - TAKEN);
        let left = match self.0.state.fetch_update(SeqCst, SeqCst, alone) {
            Ok(before) => taken(before) - 1,
            Err(_) => self.hand_on(),
        };
        if left == 0 && self.0.watched.load(SeqCst) {
            self.0.idle.notify_waiters();
        }
    }

    /// Gives a turn back to whoever is next. Returns how many are taken then.
    fn hand_on(&self) -> u64 {
        let mut queue = self.lock();
        let max = u64::from(self.0.max.load(SeqCst));
        // There may be fewer now than there were.
        let next = if taken(self.0.state.load(SeqCst)) <= max { queue.pop() } else { None };
        match next {
            Some(next) => {
                let before = self.0.state.fetch_sub(1, SeqCst);
                self.grant(next);
                taken(before)
            }
            None => taken(self.0.state.fetch_sub(TAKEN, SeqCst)) - 1,
        }
    }

    /// Called with the lock held: whoever is in the queue is there to take it.
    fn grant(&self, next: oneshot::Sender<Turn>) {
        if let Err(turn) = next.send(Turn(self.clone())) {
            // Cannot be, and would wait for the lock if it were.
            std::mem::forget(turn);
        }
    }

    /// Returns how many are taken.
    pub fn taken(&self) -> u32 {
        u32::try_from(taken(self.0.state.load(SeqCst))).unwrap_or(u32::MAX)
    }

    /// Returns how many wait.
    pub fn waiting(&self) -> u32 {
        u32::try_from(waiting(self.0.state.load(SeqCst))).unwrap_or(u32::MAX)
    }

    /// Returns whether whoever comes now has to wait.
    pub fn is_full(&self) -> bool {
        let state = self.0.state.load(SeqCst);
        waiting(state) > 0 || taken(state) >= u64::from(self.0.max.load(SeqCst))
    }

    /// Waits until none is taken. Cancel-safe.
    pub async fn idle(&self) {
        self.0.watched.store(true, SeqCst);
        loop {
            let mut idle = std::pin::pin!(self.0.idle.notified());
            idle.as_mut().enable();
            if self.taken() == 0 {
                return;
            }
            idle.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue<IpAddr, oneshot::Sender<Turn>>> {
        // What a panic left behind is still a queue.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A place in the queue.
#[derive(Debug)]
struct Waiting<'a> {
    turns: &'a Turns,
    visitor: IpAddr,
    ticket: Ticket,
    /// A turn that nobody takes out of it is given back with it.
    granted: oneshot::Receiver<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut queue = self.turns.lock();
        if queue.leave(&self.visitor, self.ticket).is_some() {
            self.turns.0.state.fetch_sub(1, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, task::Poll, time::Duration};

    use tokio::{task::JoinSet, time::timeout};

    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    type Taking<'a> = Pin<Box<dyn Future<Output = Result<Turn, Failure>> + 'a>>;

    /// Begins to wait.
    async fn wait(turns: &Turns, visitor: IpAddr) -> Taking<'_> {
        let mut taking: Taking<'_> = Box::pin(turns.take(visitor));
        assert!(has(&mut taking).await.is_none());
        taking
    }

    async fn has(taking: &mut Taking<'_>) -> Option<Result<Turn, Failure>> {
        std::future::poll_fn(|cx| {
            Poll::Ready(match taking.as_mut().poll(cx) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn a_visitor_with_many_waiters_keeps_another_waiting_for_one_of_them() {
        let turns = Turns::new(1);
        let held = turns.take(A).await.unwrap();
        let (mut first, mut second) = (wait(&turns, A).await, wait(&turns, A).await);
        let mut other = wait(&turns, B).await;
        assert_eq!((turns.taken(), turns.waiting(), turns.is_full()), (1, 3, true));
        drop(held);
        let held = has(&mut first).await.unwrap().unwrap();
        assert!(has(&mut second).await.is_none() && has(&mut other).await.is_none());
        drop(held);
        let held = has(&mut other).await.unwrap().unwrap();
        assert!(has(&mut second).await.is_none());
        drop(held);
        drop(has(&mut second).await.unwrap().unwrap());
        assert_eq!((turns.taken(), turns.waiting(), turns.is_full()), (0, 0, false));
    }

    #[tokio::test]
    async fn whoever_stops_waiting_takes_nothing_along() {
        let turns = Turns::new(1);
        let held = turns.take(A).await.unwrap();
        let (gone, granted) = (wait(&turns, A).await, wait(&turns, A).await);
        let mut last = wait(&turns, B).await;
        drop(gone);
        assert_eq!(turns.waiting(), 2);
        drop(held);
        // It has got its turn, and does not know it yet.
        assert_eq!((turns.taken(), turns.waiting()), (1, 1));
        drop(granted);
        drop(has(&mut last).await.unwrap().unwrap());
        assert_eq!((turns.taken(), turns.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn too_many_waiters_of_one_visitor_are_refused_and_give_way_to_others() {
        let turns = Turns::with_room(1, 2);
        let held = turns.take(A).await.unwrap();
        let (_first, mut second) = (wait(&turns, A).await, wait(&turns, A).await);
        assert_eq!(turns.take(A).await.unwrap_err(), Failure::Overloaded);
        let mut other = wait(&turns, B).await;
        assert_eq!(has(&mut second).await.unwrap().unwrap_err(), Failure::Overloaded);
        assert_eq!(turns.waiting(), 2);
        drop(held);
        assert!(has(&mut other).await.is_none(), "its turn comes after the first one's");
    }

    #[tokio::test]
    async fn there_may_be_more_of_them_later_and_fewer() {
        let turns = Turns::new(1);
        let held = turns.take(A).await.unwrap();
        let (mut second, mut third) = (wait(&turns, A).await, wait(&turns, A).await);
        turns.set_max(2);
        let second = has(&mut second).await.unwrap().unwrap();
        assert!(has(&mut third).await.is_none());
        turns.set_max(1);
        drop(held);
        assert!(has(&mut third).await.is_none(), "one is still taken");
        drop(second);
        drop(has(&mut third).await.unwrap().unwrap());
        assert_eq!(turns.taken(), 0);
    }

    #[tokio::test]
    async fn when_none_is_taken_it_is_told() {
        let turns = Turns::new(2);
        turns.idle().await;
        let (first, second) = (turns.take(A).await.unwrap(), turns.take(A).await.unwrap());
        let mut idle = Box::pin(turns.idle());
        assert!(timeout(Duration::ZERO, idle.as_mut()).await.is_err());
        drop(first);
        assert!(timeout(Duration::ZERO, idle.as_mut()).await.is_err());
        drop(second);
        assert!(timeout(Duration::ZERO, idle.as_mut()).await.is_ok());
    }

    /// Takes turns and gives them back, and gives up now and then.
    async fn come_and_go(turns: Turns, visitor: IpAddr) {
        for round in 0..500_u32 {
            let taking = turns.take(visitor);
            if round % 7 == 0 {
                // Given up at once, or taken at once.
                let _ = timeout(Duration::ZERO, taking).await;
                continue;
            }
            let turn = taking.await.unwrap();
            assert!(turns.taken() <= 3);
            tokio::task::yield_now().await;
            drop(turn);
        }
    }

    #[test]
    fn nobody_is_forgotten_where_threads_take_and_give_back_at_once() {
        let turns = Turns::new(3);
        let threads = (0..4_u8).map(|number| {
            let turns = turns.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(async {
                    let mut visitors = JoinSet::new();
                    for visitor in 0..4 {
                        visitors.spawn(come_and_go(turns.clone(), [192, 0, number, visitor].into()));
                    }
                    while let Some(done) = visitors.join_next().await {
                        done.unwrap();
                    }
                });
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        assert_eq!((turns.taken(), turns.waiting()), (0, 0));
    }
}
