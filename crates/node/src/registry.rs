//! Who is connected: the groups and their links.

pub mod places;
pub mod retries;
pub mod trial;

use std::{
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use adit_core::{
    failure::Failure,
    group::{Carrier, Health, Member, Members},
    health::Attempt,
    id::{Group, SessionId},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

pub use self::trial::Picked;
use self::{retries::Retries, trial::Trial};
use crate::{
    link::Link,
    meter::{Meter, Meters, Side},
    settings::GroupTerms,
    turns::{Turn, Turns},
};

/// All groups of a node.
///
/// Rules hold on to the [`GroupLinks`] they name, so that the path of a request does not look groups up.
#[derive(Debug, Default)]
pub struct Registry {
    groups: DashMap<Group, Arc<GroupLinks>>,
    meters: Arc<Meters>,
}

impl Registry {
    /// Returns a group, which is there from its first mention on.
    pub fn group(&self, name: &Group) -> Arc<GroupLinks> {
        if let Some(group) = self.groups.get(name) {
            return Arc::clone(&group);
        }
        let group = self.groups.entry(name.clone()).or_insert_with(|| {
            let asked = self.meters.meter(Side::Asked, Some(name));
            Arc::new(GroupLinks::new(name.clone(), asked))
        });
        Arc::clone(&group)
    }

    /// Returns all groups, by name.
    pub fn groups(&self) -> Vec<Arc<GroupLinks>> {
        let mut groups: Vec<_> = self.groups.iter().map(|group| Arc::clone(&group)).collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        groups
    }

    /// Returns what is counted on this node.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Returns everybody who is in any group.
    pub fn members(&self) -> Vec<(Group, Member<Link>)> {
        let groups = self.groups();
        let of = |group: &Arc<GroupLinks>| {
            let members = group.members.load_full();
            members.as_slice().iter().map(|member| (group.name.clone(), member.clone())).collect::<Vec<_>>()
        };
        groups.iter().flat_map(of).collect()
    }
}

/// The links of one group. Joining and leaving publish a new snapshot; picking loads one and takes no lock.
#[derive(Debug)]
pub struct GroupLinks {
    name: Group,
    /// What times are counted from.
    started: Instant,
    members: ArcSwap<Members<Link>>,
    /// Told at every join.
    joins: Notify,
    /// When a link last left.
    left_at: ArcSwapOption<Instant>,
    asked: Arc<Meter>,
    retries: Retries,
    /// The exchanges that it may have at once; counted only where that is limited.
    turns: Turns,
    limited: AtomicBool,
    /// What links carried that are not members any more.
    departed: Departed,
}

/// What links carried, below HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// QUIC packets sent.
    pub sent_packets: u64,
    /// Those of them that were lost.
    pub lost_packets: u64,
    /// Bytes of UDP payload sent.
    pub sent_bytes: u64,
    /// Bytes of UDP payload received.
    pub received_bytes: u64,
}

#[derive(Debug, Default)]
struct Departed {
    sent_packets: AtomicU64,
    lost_packets: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

/// Why no link of a group can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLink {
    /// There is none.
    Absent,
    /// All of them are about to leave.
    Draining,
}

impl GroupLinks {
    fn new(name: Group, asked: Arc<Meter>) -> Self {
        Self {
            name,
            started: Instant::now(),
            members: ArcSwap::default(),
            joins: Notify::new(),
            left_at: ArcSwapOption::empty(),
            asked,
            retries: Retries::new(),
            turns: Turns::new(u32::MAX),
            limited: AtomicBool::new(false),
            departed: Departed::default(),
        }
    }

    /// Adds a link, and leaves again when the returned guard is dropped.
    ///
    /// A stale session of the same client is replaced: it is out of the group and returned, to be closed.
    /// Other links of the same identity are suspect until they are heard from: a process that was killed
    /// comes back under a new client id while its old link still looks alive.
    pub fn join(self: &Arc<Self>, member: Member<Link>) -> (Membership, Option<Link>) {
        let membership = Membership { group: Arc::clone(self), session: member.session };
        let mut replaced = None;
        self.members.rcu(|members| {
            let (joined, stale) = members.join(member.clone());
            replaced = stale.map(|stale| stale.link);
            joined
        });
        for other in self.members.load().as_slice() {
            if other.identity == member.identity && other.session != member.session {
                other.link.suspect();
            }
        }
        if let Some(stale) = &replaced {
            self.departed.add(stale);
        }
        self.joins.notify_waiters();
        (membership, replaced)
    }

    /// Waits until a link can be picked. Cancel-safe.
    pub async fn joined(&self) {
        loop {
            // Listens before it looks, so that no join falls in between.
            let mut join = pin!(self.joins.notified());
            join.as_mut().enable();
            if self.members.load().takes_any() {
                return;
            }
            join.await;
        }
    }

    /// Returns whether a link can be picked.
    pub fn takes_any(&self) -> bool {
        self.members.load().takes_any()
    }

    /// Picks the link for a new exchange, and never one of those to avoid.
    ///
    /// # Errors
    ///
    /// When there is none that takes one.
    pub fn pick(&self, avoid: &[SessionId], now: Instant) -> Result<Picked, NoLink> {
        let members = self.members.load();
        let chosen_at = now.saturating_duration_since(self.started);
        match members.pick(fastrand::u64(..), avoid, chosen_at) {
            Some((member, probe)) => {
                Ok(Picked { session: member.session, link: member.link.clone(), attempt: Attempt { chosen_at, probe } })
            }
            None if members.is_draining() => Err(NoLink::Draining),
            None => Err(NoLink::Absent),
        }
    }

    /// Begins to learn from an exchange how the member is doing. `timed` says that it is all the member's time.
    pub fn try_out<'a>(&'a self, picked: &'a Picked, timed: bool) -> Trial<'a> {
        Trial::new(self, picked, timed)
    }

    /// Returns whether one of these sessions is in the group and its link is not lost.
    pub fn has_any(&self, sessions: &[SessionId]) -> bool {
        let alive = |member: &Member<Link>| sessions.contains(&member.session) && member.link.close_reason().is_none();
        self.members.load().as_slice().iter().any(alive)
    }

    /// Returns whether what was asked of a session is better asked of another one.
    pub fn is_better_asked_elsewhere(&self, session: SessionId) -> bool {
        self.members.load().is_better_asked_elsewhere(session)
    }

    /// Waits for a link to join, up to `patience` after the last one left and to `deadline`. Cancel-safe.
    ///
    /// Returns at once where there never was one, or it left longer ago.
    pub async fn rejoined(&self, patience: Duration, deadline: Instant) {
        let Some(left_at) = self.left_at.load_full() else { return };
        // Whether it worked is seen at the next pick.
        let _ = timeout_at(deadline.min(*left_at + patience), self.joined()).await;
    }

    /// Returns how many links would be picked from.
    pub fn healthy(&self) -> usize {
        let members = self.members.load();
        members.as_slice().iter().filter(|member| member.link.health() == Health::Healthy).count()
    }

    /// Returns the members as they are now.
    pub fn members(&self) -> Arc<Members<Link>> {
        self.members.load_full()
    }

    /// Returns what all links of the group have carried since the node started.
    pub fn traffic(&self) -> Traffic {
        let mut sum = Traffic {
            sent_packets: self.departed.sent_packets.load(Relaxed),
            lost_packets: self.departed.lost_packets.load(Relaxed),
            sent_bytes: self.departed.sent_bytes.load(Relaxed),
            received_bytes: self.departed.received_bytes.load(Relaxed),
        };
        for member in self.members.load().as_slice() {
            let stats = member.link.stats();
            sum.sent_packets += stats.path.sent_packets;
            sum.lost_packets += stats.path.lost_packets;
            sum.sent_bytes += stats.udp_tx.bytes;
            sum.received_bytes += stats.udp_rx.bytes;
        }
        sum
    }

    /// Returns the name.
    pub fn name(&self) -> &Group {
        &self.name
    }

    /// Waits until the group may have one more exchange, in turn with other visitors. Cancel-safe.
    ///
    /// Returns at once, and nothing, where it may have any number.
    ///
    /// # Errors
    ///
    /// [`Failure::Overloaded`] when too many wait.
    pub async fn turn(&self, visitor: IpAddr) -> Result<Option<Turn>, Failure> {
        if self.limited.load(Relaxed) { self.turns.take(visitor).await.map(Some) } else { Ok(None) }
    }

    /// Returns how many exchanges wait: for the group, or for one of its links.
    pub fn waiting(&self) -> u64 {
        let links = self.members.load();
        let on_links = links.as_slice().iter().map(|member| u64::from(member.link.waiting()));
        u64::from(self.turns.waiting()) + on_links.sum::<u64>()
    }

    /// Returns what the group spends on asking again.
    pub fn retries(&self) -> &Retries {
        &self.retries
    }

    /// Goes by other terms from now on.
    pub fn set_terms(&self, terms: GroupTerms) {
        self.retries.set_terms(terms.retry_budget);
        self.turns.set_max(terms.exchanges_max.unwrap_or(u32::MAX));
        self.limited.store(terms.exchanges_max.is_some(), Relaxed);
    }

    /// Returns what counts the exchanges that the group is asked.
    pub fn asked(&self) -> &Arc<Meter> {
        &self.asked
    }
}

impl Departed {
    fn add(&self, link: &Link) {
        let stats = link.stats();
        self.sent_packets.fetch_add(stats.path.sent_packets, Relaxed);
        self.lost_packets.fetch_add(stats.path.lost_packets, Relaxed);
        self.sent_bytes.fetch_add(stats.udp_tx.bytes, Relaxed);
        self.received_bytes.fetch_add(stats.udp_rx.bytes, Relaxed);
    }
}

/// A place in a group. Dropping it leaves the group.
#[derive(Debug)]
pub struct Membership {
    group: Arc<GroupLinks>,
    session: SessionId,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let members = self.group.members.load_full();
        // One that was replaced has been counted, and is no member any more.
        if let Some(member) = members.as_slice().iter().find(|member| member.session == self.session) {
            self.group.departed.add(&member.link);
        }
        self.group.members.rcu(|members| members.leave(self.session));
        self.group.left_at.store(Some(Arc::new(Instant::now())));
    }
}
