//! What can go wrong, and whom it touches.

use std::time::Duration;

use crate::{
    backend::Mood,
    relay::Condition,
    scene::{Lane, Node, Upstream},
};

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a new process after a while.
    Kill { node: Node, down: Duration },
    /// SIGSTOP, and SIGCONT after a while.
    Freeze { node: Node, length: Duration },
    /// SIGTERM, and a new process when the old one has ended.
    Stop { node: Node },
    /// The path of a client is bad for a while.
    Path { client: Node, weather: Weather, length: Duration },
    /// A client gets another address a few times, one after the other.
    Rebind { client: Node, times: u32 },
    /// A backend is in a bad mood for a while.
    Upstream { upstream: Upstream, mood: Mood, length: Duration },
    /// A new configuration.
    Reload { node: Node },
    /// A configuration that is none, for a while.
    BadReload { node: Node },
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Hole,
    NothingToServer,
    NothingToClient,
    Loss,
    Reorder,
    Duplicate,
    Corrupt,
    Delay,
}

/// How a lane is touched by a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Touch {
    /// There is another client that takes over.
    Spare,
    /// There is no other way.
    Sole,
    /// Its own entry goes with it.
    Entry,
}

impl Touch {
    pub(crate) const ALL: [Self; 3] = [Self::Spare, Self::Sole, Self::Entry];
}

/// What faults may not share at the same time, so that it stays clear who is touched by which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Track {
    Web,
    Solo,
}

impl Fault {
    /// Returns which lanes are touched, and how. All others must notice nothing.
    pub(crate) fn touches(&self, lane: Lane) -> Option<Touch> {
        match *self {
            Self::Kill { node, .. } | Self::Freeze { node, .. } | Self::Stop { node } => {
                let touch = touches(node, lane)?;
                Some(if lane.entry() == node { Touch::Entry } else { touch })
            }
            Self::Path { client, .. } | Self::Rebind { client, .. } => touches(client, lane),
            Self::Upstream { upstream, .. } => (lane.upstream() == upstream).then_some(Touch::Sole),
            Self::Reload { node } | Self::BadReload { node } => touches(node, lane),
        }
    }

    /// Returns what it has to itself.
    pub(crate) fn tracks(&self) -> &'static [Track] {
        match self {
            Self::Kill { node, .. } | Self::Freeze { node, .. } | Self::Stop { node } => tracks(*node),
            Self::Path { client, .. } | Self::Rebind { client, .. } => tracks(*client),
            Self::Upstream { upstream: Upstream::Web, .. } => &[Track::Web],
            Self::Upstream { upstream: Upstream::Solo, .. } => &[Track::Solo],
            Self::Upstream { upstream: Upstream::Far, .. } => &[Track::Web, Track::Solo],
            Self::Reload { node } | Self::BadReload { node } => tracks(*node),
        }
    }

    /// Returns how long it lasts, about.
    pub(crate) fn length(&self) -> Duration {
        match *self {
            Self::Kill { down, .. } => down,
            Self::Freeze { length, .. } | Self::Path { length, .. } | Self::Upstream { length, .. } => length,
            Self::Stop { .. } => Duration::from_secs(12),
            Self::Rebind { times, .. } => Duration::from_secs(1) * times,
            Self::Reload { .. } => Duration::from_secs(1),
            Self::BadReload { .. } => Duration::from_secs(3),
        }
    }

    /// What it is called in the table.
    pub(crate) fn name(&self) -> String {
        let who = |node| if node == Node::Server { "the server" } else { "a client" };
        match self {
            Self::Kill { node, .. } => format!("SIGKILL of {}", who(*node)),
            Self::Freeze { node, length } => format!("SIGSTOP of {} for {length:?}", who(*node)),
            Self::Stop { node } => format!("SIGTERM of {}", who(*node)),
            Self::Path { weather, length, .. } => format!("{} for {length:?}", weather.name()),
            Self::Rebind { .. } => "NAT rebind".to_owned(),
            Self::Upstream { mood, length, .. } => match mood {
                Mood::Well => "upstream well".to_owned(),
                Mood::Down => format!("upstream killed for {length:?}"),
                Mood::Hung => format!("upstream hangs for {length:?}"),
                Mood::Breaking => format!("upstream resets 1 of 4 for {length:?}"),
                Mood::Slow => format!("upstream slow for {length:?}"),
            },
            Self::Reload { node } => format!("reload of {}", who(*node)),
            Self::BadReload { node } => format!("bad configuration of {}", who(*node)),
        }
    }
}

impl Weather {
    fn name(self) -> &'static str {
        match self {
            Self::Hole => "black hole",
            Self::NothingToServer => "nothing reaches the server",
            Self::NothingToClient => "nothing reaches the client",
            Self::Loss => "10 % loss",
            Self::Reorder => "20 % of packets 20 ms late",
            Self::Duplicate => "20 % of packets twice",
            Self::Corrupt => "5 % of packets damaged",
            Self::Delay => "150–200 ms each way",
        }
    }

    /// Returns what happens to packets, to the server and back.
    pub(crate) fn conditions(self) -> anyhow::Result<(Condition, Condition)> {
        let path = |spec: &str| anyhow::Ok(Condition { path: spec.parse()?, ..Condition::default() });
        let both = |condition: Condition| (condition.clone(), condition);
        Ok(match self {
            Self::Hole => both(path("loss=100%")?),
            Self::NothingToServer => (path("loss=100%")?, Condition::default()),
            Self::NothingToClient => (Condition::default(), path("loss=100%")?),
            Self::Loss => both(path("loss=10%")?),
            Self::Reorder => both(path("reorder=20%/20ms")?),
            Self::Duplicate => both(Condition { duplicate: 0.2, ..Condition::default() }),
            Self::Corrupt => both(Condition { corrupt: 0.05, ..Condition::default() }),
            Self::Delay => both(path("delay=150ms jitter=50ms")?),
        })
    }
}

fn touches(node: Node, lane: Lane) -> Option<Touch> {
    match (node, lane) {
        (Node::Server, _) => Some(Touch::Sole),
        (Node::Web1 | Node::Web2, Lane::WebReverse) => Some(Touch::Spare),
        (Node::Web1, Lane::WebForward) => Some(Touch::Sole),
        (Node::Solo, Lane::SoloReverse | Lane::SoloForward) => Some(Touch::Sole),
        (Node::Web1, Lane::SoloReverse | Lane::SoloForward) => None,
        (Node::Web2, Lane::WebForward | Lane::SoloReverse | Lane::SoloForward) => None,
        (Node::Solo, Lane::WebReverse | Lane::WebForward) => None,
    }
}

fn tracks(node: Node) -> &'static [Track] {
    match node {
        Node::Server => &[Track::Web, Track::Solo],
        Node::Web1 | Node::Web2 => &[Track::Web],
        Node::Solo => &[Track::Solo],
    }
}
