//! How often somebody may be wrong, and how long it has to wait then.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

/// How many are remembered; the rest share their tries until some of these are forgotten.
const KNOWN_MAX: usize = 16_384;

/// The tries of each who has been wrong, by the generic cell rate algorithm: `at_once`, and one more in each
/// `again_after`.
///
/// Who is right spends none, and who has none left may not even be right: a guess is one try, and no more than that.
/// Times count from any one moment.
#[derive(Debug)]
pub struct Tries<K> {
    at_once: u32,
    again_after: Duration,
    /// When each has all its tries back.
    known: BTreeMap<K, Duration>,
    rest: Duration,
    known_max: usize,
}

impl<K: Ord> Tries<K> {
    /// Begins with nobody having been wrong.
    pub fn new(at_once: NonZeroU32, again_after: Duration) -> Self {
        Self { at_once: at_once.get(), again_after, known: BTreeMap::new(), rest: Duration::ZERO, known_max: KNOWN_MAX }
    }

    /// Checks that `who` has a try left.
    ///
    /// # Errors
    ///
    /// How long it is until the next one.
    pub fn check(&self, who: &K, now: Duration) -> Result<(), Duration> {
        let is_full = self.known.len() >= self.known_max;
        let restored = self.known.get(who).copied().unwrap_or(if is_full { self.rest } else { Duration::ZERO });
        let owed = restored.saturating_sub(now) + self.again_after;
        match owed.saturating_sub(self.again_after * self.at_once) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Takes note that `who` was wrong.
    pub fn spend(&mut self, who: K, now: Duration) {
        if self.known.len() >= self.known_max && !self.known.contains_key(&who) {
            self.known.retain(|_, restored| *restored > now);
        }
        let is_full = self.known.len() >= self.known_max && !self.known.contains_key(&who);
        let restored = if is_full { &mut self.rest } else { self.known.entry(who).or_default() };
        *restored = (*restored).max(now) + self.again_after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN_AFTER: Duration = Duration::from_secs(10);

    fn tries() -> Tries<u32> {
        Tries::new(NonZeroU32::new(3).unwrap(), AGAIN_AFTER)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_was_wrong_too_often_waits_and_others_do_not() {
        let mut tries = tries();
        for _ in 0..3 {
            assert_eq!(tries.check(&1, at(5)), Ok(()));
            tries.spend(1, at(5));
        }
        assert_eq!(tries.check(&1, at(5)), Err(AGAIN_AFTER));
        assert_eq!(tries.check(&1, at(14)), Err(at(1)));
        assert_eq!(tries.check(&2, at(5)), Ok(()));
        assert_eq!(tries.check(&1, at(15)), Ok(()));
        tries.spend(1, at(15));
        assert_eq!(tries.check(&1, at(15)), Err(AGAIN_AFTER));
    }

    #[test]
    fn looking_spends_nothing_and_time_gives_all_back() {
        let mut tries = tries();
        for _ in 0..100 {
            assert_eq!(tries.check(&1, at(0)), Ok(()));
        }
        for _ in 0..3 {
            tries.spend(1, at(0));
        }
        for _ in 0..3 {
            assert_eq!(tries.check(&1, at(1_000)), Ok(()));
            tries.spend(1, at(1_000));
        }
        assert_eq!(tries.check(&1, at(1_000)), Err(AGAIN_AFTER));
    }

    #[test]
    fn so_many_are_remembered_and_the_rest_share_their_tries() {
        let mut tries = tries();
        tries.known_max = 4;
        for who in 0..100 {
            tries.spend(who, at(0));
        }
        assert_eq!(tries.known.len(), 4);
        assert!(
            tries.check(&3, at(0)).is_ok() && tries.check(&50, at(0)).is_err() && tries.check(&100, at(0)).is_err()
        );
        tries.spend(100, at(10));
        assert_eq!((tries.known.len(), tries.check(&50, at(10))), (1, Ok(())));
    }
}
