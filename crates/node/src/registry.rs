//! Who is connected: the groups and their links.

use std::{pin::pin, sync::Arc};

use adit_core::{
    group::{Carrier, Health, Member, Members},
    id::{Group, SessionId},
};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::Notify;

use crate::{
    link::Link,
    meter::{Meter, Meters, Side},
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

    /// Returns what is counted on this node.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }
}

/// The links of one group. Joining and leaving publish a new snapshot; picking loads one and takes no lock.
#[derive(Debug)]
pub struct GroupLinks {
    name: Group,
    members: ArcSwap<Members<Link>>,
    /// Told at every join.
    joins: Notify,
    asked: Arc<Meter>,
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
        Self { name, members: ArcSwap::default(), joins: Notify::new(), asked }
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
        self.joins.notify_waiters();
        (membership, replaced)
    }

    /// Waits until a link can be picked. Cancel-safe.
    pub async fn joined(&self) {
        loop {
            // Listens before it looks, so that no join falls in between.
            let mut join = pin!(self.joins.notified());
            join.as_mut().enable();
            if self.pick().is_ok() {
                return;
            }
            join.await;
        }
    }

    /// Picks the link for a new exchange.
    ///
    /// # Errors
    ///
    /// When there is none that takes one.
    pub fn pick(&self) -> Result<Link, NoLink> {
        let members = self.members.load();
        match members.pick(fastrand::u64(..)) {
            Some(member) => Ok(member.link.clone()),
            None if members.is_draining() => Err(NoLink::Draining),
            None => Err(NoLink::Absent),
        }
    }

    /// Returns how many links would be picked from.
    pub fn healthy(&self) -> usize {
        let members = self.members.load();
        members.as_slice().iter().filter(|member| member.link.health() == Health::Healthy).count()
    }

    /// Returns the name.
    pub fn name(&self) -> &Group {
        &self.name
    }

    /// Returns what counts the exchanges that the group is asked.
    pub fn asked(&self) -> &Arc<Meter> {
        &self.asked
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
        self.group.members.rcu(|members| members.leave(self.session));
    }
}
