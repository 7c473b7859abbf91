//! Who is to let go when too much is held for those that take nothing.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    hash::Hash,
};

/// What is held for somebody that takes nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hoard<O> {
    /// Who is to blame.
    pub owner: O,
    /// How many bytes it may be.
    pub bytes: usize,
    /// For how long nothing was taken, in milliseconds.
    pub for_ms: u64,
}

/// Returns which hoards are to go, by their place, until the rest is no more than `bytes_max`: each time the oldest of
/// the owner that holds most, so that whoever holds little loses nothing for others.
pub fn to_go<O: Copy + Eq + Hash>(hoards: &[Hoard<O>], bytes_max: usize) -> Vec<usize> {
    let mut held: usize = hoards.iter().map(|hoard| hoard.bytes).sum();
    if held <= bytes_max {
        return Vec::new();
    }
    let mut owners = HashMap::<O, Owned>::new();
    for (place, hoard) in hoards.iter().enumerate() {
        let owned = owners.entry(hoard.owner).or_default();
        owned.bytes += hoard.bytes;
        owned.oldest.push((hoard.for_ms, Reverse(place)));
    }
    let mut most: BinaryHeap<Owned> = owners.into_values().collect();
    let mut gone = Vec::new();
    while held > bytes_max
        && let Some(mut owned) = most.pop()
    {
        let Some((_, Reverse(place))) = owned.oldest.pop() else { continue };
        let bytes = hoards.get(place).map_or(0, |hoard| hoard.bytes);
        gone.push(place);
        held -= bytes;
        owned.bytes -= bytes;
        most.push(owned);
    }
    gone
}

/// All of one owner.
#[derive(Debug, Default)]
struct Owned {
    bytes: usize,
    /// By age, and where that is the same, by place.
    oldest: BinaryHeap<(u64, Reverse<usize>)>,
}

impl Owned {
    /// By how much it is, and where that is the same, by the oldest.
    fn rank(&self) -> (usize, Option<&(u64, Reverse<usize>)>) {
        (self.bytes, self.oldest.peek())
    }
}

impl PartialEq for Owned {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Owned {}

impl PartialOrd for Owned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Owned {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(bytes_max: usize, hoards: &[(char, usize, u64)]) -> Vec<usize> {
        let hoards: Vec<_> =
            hoards.iter().map(|(owner, bytes, for_ms)| Hoard { owner, bytes: *bytes, for_ms: *for_ms }).collect();
        to_go(&hoards, bytes_max)
    }

    #[test]
    fn nothing_goes_as_long_as_there_is_room() {
        assert_eq!(gone(10, &[('a', 4, 1), ('b', 6, 9)]), []);
        assert_eq!(gone(10, &[]), []);
    }

    #[test]
    fn of_one_owner_the_oldest_goes() {
        assert_eq!(gone(6, &[('a', 3, 5), ('a', 3, 9), ('a', 3, 7)]), [1]);
        assert_eq!(gone(3, &[('a', 3, 5), ('a', 3, 9), ('a', 3, 7)]), [1, 2]);
        assert_eq!(gone(0, &[('a', 3, 5), ('a', 3, 5)]), [0, 1]);
    }

    #[test]
    fn who_holds_little_loses_nothing_for_who_holds_much() {
        // However long it has taken nothing.
        let much = (0..100).map(|nth| ('m', 2, 10 + nth));
        let hoards: Vec<_> = [('l', 5, 1_000_000)].into_iter().chain(much).collect();
        let gone = gone(100, &hoards);
        assert_eq!(gone.len(), 53);
        assert!(!gone.contains(&0));
        assert_eq!(gone[0], 100);
    }

    #[test]
    fn owners_end_up_with_as_much() {
        let hoards: Vec<_> = (0..30).map(|nth| (if nth < 20 { 'a' } else { 'b' }, 1, nth)).collect();
        let gone = gone(10, &hoards);
        assert_eq!((gone.iter().filter(|place| **place < 20).count(), gone.len()), (15, 20));
    }
}
