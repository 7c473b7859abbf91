//! Which faults come when: drawn from a seed.

use std::{collections::HashMap, time::Duration};

use crate::{
    backend::Mood,
    fault::{Fault, Track, Weather},
    promise::Promise,
    scene::{Node, Upstream},
};

/// Before the first fault, and between two on the same track, so that there is something to compare with.
const QUIET: Duration = Duration::from_secs(3);

/// A fault and its time since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) at: Duration,
}

/// What a run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Everything that can go wrong.
    Chaos,
    /// Only what leaves the processes alive whose growth is watched.
    Soak,
    /// A few short faults.
    Short,
}

/// Draws the faults that end within `length`.
pub(crate) fn draw(seed: u64, length: Duration, purpose: Purpose) -> Vec<Planned> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut free = HashMap::from([(Track::Web, QUIET), (Track::Solo, QUIET)]);
    let mut plan = Vec::new();
    loop {
        let mut deck = deck(purpose, &mut random);
        random.shuffle(&mut deck);
        let before = plan.len();
        for fault in deck {
            let begins = fault.tracks().iter().map(|track| free[track]).max().unwrap_or_default();
            let at = begins + Duration::from_millis(random.u64(0..1000));
            let over = at + fault.length() + Promise::settles_within(&fault);
            if over > length {
                continue;
            }
            plan.push(Planned { fault, at });
            free.extend(fault.tracks().iter().map(|track| (*track, over + QUIET)));
        }
        if plan.len() == before {
            plan.sort_by_key(|planned| planned.at);
            return plan;
        }
    }
}

/// Returns every kind of fault once, on a node that is drawn.
fn deck(purpose: Purpose, random: &mut fastrand::Rng) -> Vec<Fault> {
    match purpose {
        Purpose::Chaos => {
            let mut deck = client_faults(random);
            deck.extend(server_faults());
            deck
        }
        Purpose::Soak => client_faults(random).into_iter().filter(keeps_watched_alive).collect(),
        Purpose::Short => vec![
            Fault::Kill { node: Node::Web2, down: secs(1) },
            Fault::Path { client: Node::Solo, weather: Weather::Hole, length: secs(1) },
            Fault::Rebind { client: Node::Solo, times: 2 },
            Fault::Upstream { upstream: Upstream::Solo, mood: Mood::Breaking, length: secs(2) },
            Fault::Stop { node: Node::Web2 },
        ],
    }
}

fn keeps_watched_alive(fault: &Fault) -> bool {
    match fault {
        Fault::Kill { node, .. } | Fault::Stop { node } => *node == Node::Web2,
        Fault::Freeze { .. } | Fault::Path { .. } | Fault::Rebind { .. } => true,
        Fault::Upstream { .. } | Fault::Reload { .. } | Fault::BadReload { .. } => true,
    }
}

fn client_faults(random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut deck = Vec::new();
    let mut web = || if random.bool() { Node::Web1 } else { Node::Web2 };
    for which in 0..2 {
        let mut node = || if which == 0 { web() } else { Node::Solo };
        let upstream = if which == 0 { Upstream::Web } else { Upstream::Solo };
        deck.push(Fault::Kill { node: node(), down: secs(2) });
        deck.push(Fault::Stop { node: node() });
        deck.extend([3, 8, 25].map(|length| Fault::Freeze { node: node(), length: secs(length) }));
        let hole = |length| (Weather::Hole, length);
        let weather = [
            hole(1),
            hole(10),
            hole(45),
            (Weather::NothingToServer, 5),
            (Weather::NothingToClient, 5),
            (Weather::Loss, 8),
            (Weather::Reorder, 8),
            (Weather::Duplicate, 8),
            (Weather::Corrupt, 8),
            (Weather::Delay, 8),
        ];
        deck.extend(weather.map(|(weather, length)| Fault::Path { client: node(), weather, length: secs(length) }));
        deck.push(Fault::Rebind { client: node(), times: 5 });
        let moods = [(Mood::Down, 2), (Mood::Hung, 5), (Mood::Breaking, 4), (Mood::Slow, 5)];
        deck.extend(moods.map(|(mood, length)| Fault::Upstream { upstream, mood, length: secs(length) }));
        deck.push(Fault::Reload { node: node() });
        deck.push(Fault::BadReload { node: node() });
    }
    deck
}

fn server_faults() -> Vec<Fault> {
    let node = Node::Server;
    let mut deck = vec![
        Fault::Kill { node, down: secs(1) },
        Fault::Stop { node },
        Fault::Freeze { node, length: secs(3) },
        Fault::Freeze { node, length: secs(8) },
        Fault::Freeze { node, length: secs(25) },
        Fault::Reload { node },
        Fault::BadReload { node },
    ];
    let moods = [(Mood::Down, 2), (Mood::Hung, 5), (Mood::Breaking, 4), (Mood::Slow, 5)];
    let upstream = Upstream::Far;
    deck.extend(moods.map(|(mood, length)| Fault::Upstream { upstream, mood, length: secs(length) }));
    deck
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(300);

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let plan = draw(1, LENGTH, Purpose::Chaos);
        assert!(plan.len() > 15, "{}", plan.len());
        assert_eq!(plan, draw(1, LENGTH, Purpose::Chaos));
        assert_ne!(plan, draw(2, LENGTH, Purpose::Chaos));
    }

    #[test]
    fn two_faults_that_touch_the_same_lanes_never_meet() {
        for seed in 0..20 {
            let plan = draw(seed, LENGTH, Purpose::Chaos);
            for (index, first) in plan.iter().enumerate() {
                for second in &plan[index + 1..] {
                    let shared = first.fault.tracks().iter().any(|track| second.fault.tracks().contains(track));
                    assert!(!shared || first.at + first.fault.length() < second.at, "{first:?} {second:?}");
                }
            }
        }
    }

    #[test]
    fn an_hour_has_every_fault() {
        let names =
            |plan: Vec<Planned>| plan.iter().map(|it| it.fault.name()).collect::<std::collections::BTreeSet<_>>();
        let deck: std::collections::BTreeSet<_> =
            deck(Purpose::Chaos, &mut fastrand::Rng::with_seed(0)).iter().map(Fault::name).collect();
        assert_eq!(names(draw(3, Duration::from_secs(3600), Purpose::Chaos)), deck);
    }
}
