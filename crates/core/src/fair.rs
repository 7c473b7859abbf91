//! Who is next where more wait than can be served: visitors in turn, and each visitor's own in the order they came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The waiters of one place, in lines by whom they are for.
///
/// Each line has its turn after all others have had theirs (round robin; Nagle 1985, RFC 970), so that one visitor that
/// asks much keeps no other waiting for more than one of its own. Where there is no more room the longest line gives
/// way, so that it cannot keep others out either (McKenney 1990, "Stochastic Fairness Queueing").
#[derive(Debug)]
pub struct FairQueue<K, T> {
    lines: BTreeMap<K, Line<T>>,
    /// The lines in the order of their turns.
    turns: BTreeMap<u64, K>,
    /// The lines by their lengths.
    lengths: BTreeSet<(usize, K)>,
    /// Counts turns and tickets.
    next: u64,
    waiting: usize,
    waiting_max: usize,
}

#[derive(Debug)]
struct Line<T> {
    turn: u64,
    waiters: VecDeque<(Ticket, T)>,
}

/// The place of one waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What became of somebody who wants to wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined<T> {
    /// It waits.
    Waiting(Ticket),
    /// It waits, and another one does no longer: the last of the longest line.
    InPlaceOf(Ticket, T),
    /// It does not: there is no room, and no line is longer than its own.
    Full,
}

impl<K: Ord + Clone, T> FairQueue<K, T> {
    /// Makes a place where so many may wait.
    pub fn new(waiting_max: usize) -> Self {
        Self {
            lines: BTreeMap::new(),
            turns: BTreeMap::new(),
            lengths: BTreeSet::new(),
            next: 0,
            waiting: 0,
            waiting_max,
        }
    }

    /// Puts one at the end of its line.
    pub fn join(&mut self, key: K, waiter: T) -> Joined<T> {
        let mut displaced = None;
        if self.waiting >= self.waiting_max {
            let own = self.lines.get(&key).map_or(0, |line| line.waiters.len());
            match self.lengths.last().cloned() {
                // With its newcomer, its own line would be as long.
                Some((longest, longest_key)) if longest > own + 1 => displaced = self.drop_last(&longest_key),
                Some(_) | None => return Joined::Full,
            }
        }
        let ticket = Ticket(self.count());
        let turn = ticket.0;
        let line = self.lines.entry(key.clone()).or_insert_with(|| Line { turn, waiters: VecDeque::new() });
        if line.waiters.is_empty() {
            self.turns.insert(turn, key.clone());
        }
        line.waiters.push_back((ticket, waiter));
        let length = line.waiters.len();
        self.resized(&key, length - 1, length);
        self.waiting += 1;
        match displaced {
            Some(displaced) => Joined::InPlaceOf(ticket, displaced),
            None => Joined::Waiting(ticket),
        }
    }

    /// Takes the one whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let (_, key) = self.turns.pop_first()?;
        let turn = self.count();
        let line = self.lines.get_mut(&key)?;
        let (_, waiter) = line.waiters.pop_front()?;
        let length = line.waiters.len();
        if length > 0 {
            line.turn = turn;
            self.turns.insert(turn, key.clone());
        } else {
            self.lines.remove(&key);
        }
        self.resized(&key, length + 1, length);
        self.waiting -= 1;
        Some(waiter)
    }

    /// Takes one that does not wait any longer. Returns `None` for one that has had its turn, or was displaced.
    pub fn leave(&mut self, key: &K, ticket: Ticket) -> Option<T> {
        let line = self.lines.get_mut(key)?;
        let place = line.waiters.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        let (_, waiter) = line.waiters.remove(place)?;
        self.shortened(key);
        Some(waiter)
    }

    /// Returns how many wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Returns whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    fn drop_last(&mut self, key: &K) -> Option<T> {
        let (_, waiter) = self.lines.get_mut(key)?.waiters.pop_back()?;
        self.shortened(key);
        Some(waiter)
    }

    /// Follows up on a waiter that was taken out of a line before its turn.
    fn shortened(&mut self, key: &K) {
        self.waiting -= 1;
        let Some(line) = self.lines.get(key) else { return };
        let length = line.waiters.len();
        if length == 0 {
            self.turns.remove(&line.turn);
            self.lines.remove(key);
        }
        self.resized(key, length + 1, length);
    }

    fn resized(&mut self, key: &K, from: usize, to: usize) {
        self.lengths.remove(&(from, key.clone()));
        if to > 0 {
            self.lengths.insert((to, key.clone()));
        }
    }

    fn count(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiting(joined: Joined<u32>) -> Ticket {
        let Joined::Waiting(ticket) = joined else { unreachable!("{joined:?}") };
        ticket
    }

    #[test]
    fn a_visitor_that_asks_much_keeps_another_waiting_for_one_of_its_own_only() {
        let mut queue = FairQueue::new(1_000);
        for number in 0..100 {
            waiting(queue.join("flood", number));
        }
        waiting(queue.join("other", 500));
        waiting(queue.join("other", 501));
        waiting(queue.join("third", 600));
        let order: Vec<_> = (0..6).filter_map(|_| queue.pop()).collect();
        assert_eq!(order, [0, 500, 600, 1, 501, 2]);
        assert_eq!(queue.len(), 97);
    }

    #[test]
    fn whoever_leaves_keeps_nobody_waiting() {
        let mut queue = FairQueue::new(10);
        let tickets = [1, 2, 3].map(|number| waiting(queue.join("a", number)));
        let alone = waiting(queue.join("b", 9));
        assert_eq!(queue.leave(&"a", tickets[1]), Some(2));
        assert_eq!(queue.leave(&"a", tickets[1]), None);
        assert_eq!(queue.leave(&"b", alone), Some(9));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(1), Some(3), None));
        assert_eq!(queue.leave(&"a", tickets[0]), None, "it has had its turn");
        assert!(queue.is_empty());
    }

    #[test]
    fn where_there_is_no_room_the_longest_line_gives_way() {
        let mut queue = FairQueue::new(4);
        for number in 1..=4 {
            waiting(queue.join("flood", number));
        }
        assert_eq!(queue.join("flood", 5), Joined::Full);
        let joined = queue.join("other", 6);
        assert!(matches!(joined, Joined::InPlaceOf(_, 4)), "{joined:?}");
        let joined = queue.join("other", 7);
        assert!(matches!(joined, Joined::InPlaceOf(_, 3)), "{joined:?}");
        assert_eq!(queue.join("other", 8), Joined::Full, "no line is longer than its own");
        let joined = queue.join("third", 9);
        assert!(matches!(joined, Joined::InPlaceOf(_, 7)), "{joined:?}");
        assert_eq!(queue.len(), 4);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [1, 6, 9, 2]);
        assert_eq!(FairQueue::new(0).join("a", 1), Joined::Full);
    }

    proptest! {
        #[test]
        fn nobody_is_lost_nobody_is_served_twice_and_turns_alternate(
            steps in prop::collection::vec((0..4_u8, 0..5_u8), 1..300),
            room in 0..20_usize,
        ) {
            let mut queue = FairQueue::new(room);
            let mut model: Vec<(u8, Ticket, usize)> = Vec::new();
            for (number, (step, key)) in steps.into_iter().enumerate() {
                match step {
                    0 | 1 => match queue.join(key, number) {
                        Joined::Waiting(ticket) => model.push((key, ticket, number)),
                        Joined::InPlaceOf(ticket, displaced) => {
                            let place = model.iter().position(|(_, _, waiter)| *waiter == displaced).unwrap();
                            let line = |key: u8| model.iter().filter(|(of, _, _)| *of == key).count();
                            prop_assert!(line(model[place].0) > line(key) + 1);
                            model.remove(place);
                            model.push((key, ticket, number));
                        }
                        Joined::Full => prop_assert_eq!(model.len(), room),
                    },
                    2 => match queue.pop() {
                        Some(served) => {
                            let place = model.iter().position(|(_, _, waiter)| *waiter == served).unwrap();
                            let (key, _, _) = model.remove(place);
                            prop_assert!(model[..place].iter().all(|(of, _, _)| *of != key), "out of its line");
                        }
                        None => prop_assert!(model.is_empty()),
                    },
                    _ => if let Some(place) = model.iter().rposition(|(of, _, _)| *of == key) {
                        let (key, ticket, waiter) = model.remove(place);
                        prop_assert_eq!(queue.leave(&key, ticket), Some(waiter));
                    },
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert!(queue.len() <= room);
                prop_assert_eq!(queue.lines.len(), queue.turns.len());
                prop_assert_eq!(queue.lines.len(), queue.lengths.len());
            }
        }

        #[test]
        fn no_line_is_served_twice_before_another_that_waits(keys in prop::collection::vec(0..6_u8, 1..60)) {
            let mut queue = FairQueue::new(100);
            for key in &keys {
                queue.join(*key, *key);
            }
            let mut left: Vec<usize> = (0..6).map(|key| keys.iter().filter(|of| **of == key).count()).collect();
            let mut served = [0_usize; 6];
            while let Some(key) = queue.pop() {
                served[usize::from(key)] += 1;
                left[usize::from(key)] -= 1;
                for other in 0..6 {
                    prop_assert!(left[other] == 0 || served[other] + 1 >= served[usize::from(key)]);
                }
            }
        }
    }
}
