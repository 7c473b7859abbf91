//! Whether a node has moved from one network to another.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// How much more a wall clock must have advanced than a clock that stands still in sleep to tell of a sleep. Shorter
/// ones lose no NAT binding.
const SLEEP_MIN: Duration = Duration::from_secs(5);

/// What a node sees of its place in the network at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// A clock that stands still while the machine sleeps.
    pub awake: Duration,
    /// The wall clock, since 1970.
    pub wall: Duration,
    /// From which address the system would send to each peer; none where it knows no way.
    pub routes: Vec<(SocketAddr, Option<IpAddr>)>,
}

/// Why a node's peers may not reach it any more where they last heard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It sends from another address than before, or there was no way for a while.
    Address {
        /// What it had.
        old: IpAddr,
        /// What it has.
        new: IpAddr,
    },
    /// It slept for about so long, and what translates its addresses may have forgotten it.
    Slept(Duration),
}

/// Follows what a node sees from time to time.
#[derive(Clone, Debug, Default)]
pub struct Whereabouts {
    clocks: Option<(Duration, Duration)>,
    routes: HashMap<SocketAddr, Route>,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    from: IpAddr,
    lost: bool,
}

impl Whereabouts {
    /// Takes in what is seen now, and returns how it differs from what was seen before.
    ///
    /// A peer that is seen for the first time tells of no move, and one that is not seen is forgotten. While there is
    /// no way to a peer there is nowhere to move to; the move comes with the next way.
    pub fn look(&mut self, now: &Sight) -> Option<Moved> {
        let slept = self.clocks.replace((now.awake, now.wall)).and_then(|(awake, wall)| {
            let slept = now.wall.saturating_sub(wall).saturating_sub(now.awake.saturating_sub(awake));
            (slept >= SLEEP_MIN).then_some(Moved::Slept(slept))
        });
        let mut routes = HashMap::new();
        let mut moved = None;
        for &(peer, from) in &now.routes {
            let route = match (self.routes.get(&peer), from) {
                (None, None) => continue,
                (None, Some(from)) => Route { from, lost: false },
                (Some(before), None) => Route { lost: true, ..*before },
                (Some(before), Some(from)) => {
                    if before.from != from || before.lost {
                        moved = Some(Moved::Address { old: before.from, new: from });
                    }
                    Route { from, lost: false }
                }
            };
            routes.insert(peer, route);
        }
        self.routes = routes;
        moved.or(slept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "192.0.2.1:4433";

    /// What is seen second by second, from these addresses.
    fn moves(from: &[Option<&str>]) -> Vec<Option<Moved>> {
        let mut whereabouts = Whereabouts::default();
        let sights = (0..).map(Duration::from_secs).zip(from);
        let look = |(at, from): (Duration, &Option<&str>)| {
            let from = from.map(|from| from.parse().unwrap());
            whereabouts.look(&Sight { awake: at, wall: at, routes: vec![(PEER.parse().unwrap(), from)] })
        };
        sights.map(look).collect()
    }

    fn address(old: &str, new: &str) -> Option<Moved> {
        Some(Moved::Address { old: old.parse().unwrap(), new: new.parse().unwrap() })
    }

    #[test]
    fn another_address_is_a_move_and_the_same_one_is_none() {
        let (a, b) = ("10.0.0.1", "10.0.0.2");
        assert_eq!(moves(&[Some(a), Some(a), Some(b), Some(b)]), [None, None, address(a, b), None]);
    }

    #[test]
    fn a_way_that_comes_back_is_a_move_even_from_the_same_address() {
        let a = "10.0.0.1";
        assert_eq!(moves(&[None, Some(a), None, None, Some(a)]), [None, None, None, None, address(a, a)]);
    }

    #[test]
    fn a_peer_that_was_not_seen_for_a_while_is_a_new_one() {
        let mut whereabouts = Whereabouts::default();
        let mut look = |routes: Vec<(SocketAddr, Option<IpAddr>)>| {
            whereabouts.look(&Sight { awake: Duration::ZERO, wall: Duration::ZERO, routes })
        };
        let peer = PEER.parse().unwrap();
        assert_eq!(look(vec![(peer, Some("10.0.0.1".parse().unwrap()))]), None);
        assert_eq!(look(Vec::new()), None);
        assert_eq!(look(vec![(peer, Some("10.0.0.2".parse().unwrap()))]), None);
    }

    #[test]
    fn a_sleep_is_what_only_the_wall_clock_has_seen() {
        let mut whereabouts = Whereabouts::default();
        let mut look = |awake, wall| {
            let (awake, wall) = (Duration::from_secs(awake), Duration::from_secs(wall));
            whereabouts.look(&Sight { awake, wall, routes: Vec::new() })
        };
        assert_eq!(look(1, 1_000), None);
        assert_eq!(look(2, 1_001), None);
        assert_eq!(look(3, 1_102), Some(Moved::Slept(Duration::from_secs(100))));
        assert_eq!(look(4, 1_103), None);
        assert_eq!(look(5, 900), None, "a clock that was set back");
        assert_eq!(look(65, 960), None, "a process that was stopped, or a machine that was busy");
    }
}
