//! Which one of several takes the next exchange.

pub mod latency;
pub mod pace;
pub mod policy;
mod stamped;

/// Picks one of `count` by the power of two choices: of two drawn at random, the one with less load
/// (Mitzenmacher 2001, "The Power of Two Choices in Randomized Load Balancing").
///
/// `load` returns `None` for one that must not be picked; then the next that may is taken instead. `random`
/// is 64 random bits. Returns `None` when none may be picked.
pub fn less_loaded_of_two<L>(count: usize, random: u64, load: impl Fn(usize) -> Option<L>) -> Option<usize>
where
    L: PartialOrd,
{
    let [first, second] = two_of(count, random)?;
    match (load(first), load(second)) {
        (Some(a), Some(b)) if b < a => Some(second),
        (Some(_), Some(_) | None) => Some(first),
        (None, Some(_)) => Some(second),
        (None, None) => (0..count).map(|step| (first + step) % count).find(|index| load(*index).is_some()),
    }
}

/// Draws two of `count`; one twice where there is only one. `random` is 64 random bits.
pub fn two_of(count: usize, random: u64) -> Option<[usize; 2]> {
    if count == 0 {
        return None;
    }
    let first = draw(count, random & 0xffff_ffff);
    // Distinct from the first: a draw among the others.
    let second = (first + 1 + draw(count.max(2) - 1, random >> 32)) % count;
    Some([first, second])
}

/// Maps 32 random bits to `0..count` (Lemire 2019, "Fast Random Integer Generation in an Interval").
fn draw(count: usize, random: u64) -> usize {
    let count = u64::try_from(count).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
    usize::try_from((count * random) >> 32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_two_the_idle_one_is_always_taken() {
        let loads = [9, 3];
        for random in [0, u64::MAX, 1 << 63, 1 << 31, 0x8000_0000_8000_0000] {
            assert_eq!(less_loaded_of_two(2, random, |index| Some(loads[index])), Some(1));
        }
    }

    proptest! {
        #[test]
        fn whoever_may_be_picked_is_found(loads in prop::collection::vec(prop::option::of(0..9_u32), 0..8), random: u64) {
            let picked = less_loaded_of_two(loads.len(), random, |index| loads[index]);
            prop_assert_eq!(picked.is_some(), loads.iter().any(Option::is_some));
            if let Some(index) = picked {
                prop_assert!(loads[index].is_some());
            }
        }

        #[test]
        fn equal_loads_are_spread(count in 1..20_usize) {
            let mut hits = vec![0; count];
            for step in 0..1_000_u64 {
                let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                hits[less_loaded_of_two(count, random.rotate_left(32), |_| Some(0)).unwrap()] += 1;
            }
            prop_assert!(hits.iter().all(|hits| *hits > 0), "{hits:?}");
        }
    }
}
