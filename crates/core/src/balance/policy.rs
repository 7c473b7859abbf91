//! The ways to choose among the servers of an upstream.

use std::time::Duration;

use super::{draw, less_loaded_of_two};
pub use crate::wire::config::Policy;

/// What a server with requests on it is taken to cost while none of them has been answered yet.
const UNKNOWN_LATENCY: Duration = Duration::from_secs(3_600);

/// What a server has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests without a complete response.
    pub in_flight: u32,
    /// How long it takes to answer, where that is known.
    pub latency: Option<Duration>,
}

impl Load {
    /// How long a new request would take if those in flight went first.
    ///
    /// A server of unknown latency is worth one request to find out, and only one.
    fn cost(self) -> f64 {
        let after = f64::from(self.in_flight) + 1.0;
        match self.latency {
            Some(latency) => latency.as_secs_f64() * after,
            None if self.in_flight == 0 => 0.0,
            None => UNKNOWN_LATENCY.as_secs_f64() * after,
        }
    }
}

impl Policy {
    /// Picks one of `count`. Allocates nothing.
    ///
    /// `load` returns `None` for one that must not be picked. `seed` is the number of the request for
    /// [`Policy::RoundRobin`], and 64 random bits for the others. Returns `None` when none may be picked.
    pub fn pick(self, count: usize, seed: u64, load: impl Fn(usize) -> Option<Load>) -> Option<usize> {
        match self {
            Self::RoundRobin => nth_allowed(count, &load, |allowed| remainder(seed, allowed)),
            Self::Random => nth_allowed(count, &load, |allowed| draw(allowed, seed >> 32)),
            Self::LeastRequests => {
                // Starting anywhere spreads the requests over servers that are equally busy.
                let first = draw(count, seed >> 32);
                (0..count)
                    .map(|step| (first + step) % count)
                    .filter_map(|index| load(index).map(|load| (load.in_flight, index)))
                    .min_by_key(|(in_flight, _)| *in_flight)
                    .map(|(_, index)| index)
            }
            Self::P2c => less_loaded_of_two(count, seed, |index| load(index).map(Load::cost)),
        }
    }
}

/// Picks among those that may be picked, so that those beside one that may not get no more than the rest.
fn nth_allowed(count: usize, load: &impl Fn(usize) -> Option<Load>, nth: impl FnOnce(usize) -> usize) -> Option<usize> {
    let allowed = || (0..count).filter(|index| load(*index).is_some());
    let all = allowed().count();
    if all == 0 {
        return None;
    }
    allowed().nth(nth(all))
}

fn remainder(number: u64, of: usize) -> usize {
    let of = u64::try_from(of).unwrap_or(u64::MAX);
    usize::try_from(number % of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Policy; 4] = [Policy::RoundRobin, Policy::LeastRequests, Policy::Random, Policy::P2c];

    fn load(in_flight: u32, latency_ms: Option<u64>) -> Load {
        Load { in_flight, latency: latency_ms.map(Duration::from_millis) }
    }

    fn seeds() -> impl Iterator<Item = u64> {
        (0..1_000_u64).map(|step| step.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32))
    }

    fn hits(policy: Policy, loads: &[Option<Load>]) -> Vec<usize> {
        let mut hits = vec![0; loads.len()];
        for (turn, random) in (0..).zip(seeds()) {
            let seed = if policy == Policy::RoundRobin { turn } else { random };
            hits[policy.pick(loads.len(), seed, |index| loads[index]).unwrap()] += 1;
        }
        hits
    }

    #[test]
    fn round_robin_takes_turns_among_those_that_may_be_picked() {
        let idle = Some(load(0, None));
        assert_eq!(hits(Policy::RoundRobin, &[idle, idle, idle, idle]), [250; 4]);
        assert_eq!(hits(Policy::RoundRobin, &[idle, None, idle, None]), [500, 0, 500, 0]);
    }

    #[test]
    fn random_spreads_evenly() {
        let idle = Some(load(0, None));
        let hits = hits(Policy::Random, &[idle, None, idle, idle]);
        assert!(hits[1] == 0 && [hits[0], hits[2], hits[3]].iter().all(|hits| (290..380).contains(hits)), "{hits:?}");
    }

    #[test]
    fn least_requests_takes_the_idlest_and_spreads_ties() {
        let loads = [Some(load(3, None)), Some(load(1, None)), None, Some(load(1, None))];
        let hits = hits(Policy::LeastRequests, &loads);
        assert!(hits[0] == 0 && hits[1] > 200 && hits[3] > 200, "{hits:?}");
    }

    #[test]
    fn p2c_weighs_latency_by_what_is_in_flight() {
        let fast_but_busy = Some(load(9, Some(10)));
        assert_eq!(hits(Policy::P2c, &[fast_but_busy, Some(load(0, Some(90)))]), [0, 1_000]);
        assert_eq!(hits(Policy::P2c, &[fast_but_busy, Some(load(0, Some(110)))]), [1_000, 0]);
    }

    #[test]
    fn p2c_gives_a_new_server_one_request_to_show_what_it_can() {
        let known = Some(load(3, Some(50)));
        assert_eq!(hits(Policy::P2c, &[known, Some(load(0, None))]), [0, 1_000]);
        assert_eq!(hits(Policy::P2c, &[known, Some(load(1, None))]), [1_000, 0]);
        assert_eq!(hits(Policy::P2c, &[Some(load(2, None)), Some(load(1, None))]), [0, 1_000]);
    }

    proptest! {
        #[test]
        fn whoever_may_be_picked_is_found_by_every_policy(
            loads in prop::collection::vec(prop::option::of((0..9_u32, prop::option::of(0..500_u64))), 0..8),
            seed: u64,
        ) {
            for policy in ALL {
                let picked = policy.pick(loads.len(), seed, |index| loads[index].map(|(n, ms)| load(n, ms)));
                prop_assert_eq!(picked.is_some(), loads.iter().any(Option::is_some), "{:?}", policy);
                prop_assert!(picked.is_none_or(|index| loads[index].is_some()), "{:?}", policy);
            }
        }
    }
}
