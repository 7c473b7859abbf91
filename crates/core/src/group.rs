//! The members of a group: decisions over an opaque link handle.

use std::time::Duration;

use crate::{
    balance,
    id::{ClientId, Identity, SessionId},
};

/// What a group needs to know of a link. All times are since any fixed start.
pub trait Carrier {
    /// Returns whether the link can take a new exchange.
    fn health(&self) -> Health;
    /// Returns what a new exchange would cost on it, to be compared with others: see [`Pace::cost`].
    ///
    /// [`Pace::cost`]: crate::balance::pace::Pace::cost
    fn cost(&self, now: Duration) -> f32;
    /// Takes the turn to probe a link that is set aside, where it is due and nobody else has.
    fn take_probe(&self, now: Duration) -> bool;
}

/// Whether a link can take a new exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Healthy,
    /// It has as many exchanges as it may have; a new one has to wait.
    Full,
    /// The other end failed what it was asked; it is used when there is no other, and to see whether it still does.
    Aside,
    /// Nothing came back for too long; it is used when there is no other.
    Suspect,
    /// It goes away and takes nothing new.
    Draining,
}

/// One link in a group.
#[derive(Clone, Debug)]
pub struct Member<L> {
    /// Which session it is.
    pub session: SessionId,
    /// Which process is at the other end.
    pub client_id: ClientId,
    /// Who that process proved to be.
    pub identity: Identity,
    /// How to reach it.
    pub link: L,
}

/// A snapshot of a group. Joining and leaving make a new one.
#[derive(Clone, Debug)]
pub struct Members<L>(Vec<Member<L>>);

impl<L> Default for Members<L> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<L: Carrier + Clone> Members<L> {
    /// Returns the group with `member` in it, and the stale session that it replaces: same authenticated
    /// identity and same client id.
    pub fn join(&self, member: Member<L>) -> (Self, Option<Member<L>>) {
        let same = |other: &&Member<L>| other.identity == member.identity && other.client_id == member.client_id;
        let replaced = self.0.iter().find(same).cloned();
        let stale = replaced.as_ref().map(|stale| stale.session);
        let mut members: Vec<_> = self.0.iter().filter(|other| Some(other.session) != stale).cloned().collect();
        members.push(member);
        (Self(members), replaced)
    }

    /// Returns the group without a session.
    pub fn leave(&self, session: SessionId) -> Self {
        Self(self.0.iter().filter(|member| member.session != session).cloned().collect())
    }

    /// Picks the member for a new exchange: a healthy one, or else a full one, or else one that is set aside, or else a
    /// suspect one, and never one of those to avoid. Returns with it whether the exchange is a probe. Allocates nothing.
    ///
    /// `random` is 64 random bits. What is asked again, and so has something to avoid, is no probe.
    pub fn pick(&self, random: u64, avoid: &[SessionId], now: Duration) -> Option<(&Member<L>, bool)> {
        if avoid.is_empty() {
            let drawn = balance::two_of(self.0.len(), random)?;
            let due = |index: &usize| self.0.get(*index).is_some_and(|member| member.link.take_probe(now));
            if let Some(index) = drawn.into_iter().find(due) {
                return self.0.get(index).map(|member| (member, true));
            }
        }
        let of = |wanted: Health| {
            balance::less_loaded_of_two(self.0.len(), random, |index| {
                let member = self.0.get(index).filter(|member| !avoid.contains(&member.session))?;
                (member.link.health() == wanted).then(|| member.link.cost(now))
            })
        };
        let some = || of(Health::Full).or_else(|| of(Health::Aside)).or_else(|| of(Health::Suspect));
        let index = of(Health::Healthy).or_else(some)?;
        self.0.get(index).map(|member| (member, false))
    }

    /// Returns whether there is a member that takes exchanges, however it is doing.
    pub fn takes_any(&self) -> bool {
        self.0.iter().any(|member| member.link.health() != Health::Draining)
    }

    /// Returns whether what was asked of a session is better asked of another one: its link is suspect, and there is
    /// one that is not.
    pub fn is_better_asked_elsewhere(&self, session: SessionId) -> bool {
        let (mut suspect, mut other) = (false, false);
        for member in &self.0 {
            match member.link.health() {
                Health::Suspect => suspect |= member.session == session,
                Health::Healthy | Health::Full => other |= member.session != session,
                Health::Aside | Health::Draining => {}
            }
        }
        suspect && other
    }

    /// Returns whether a member is there that is only about to leave.
    pub fn is_draining(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|member| member.link.health() == Health::Draining)
    }

    /// Returns all members, the longest-standing first.
    pub fn as_slice(&self) -> &[Member<L>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How it is, and what it costs.
    #[derive(Clone, Debug)]
    struct Fake(Health, u8);

    impl Carrier for Fake {
        fn health(&self) -> Health {
            self.0
        }

        fn cost(&self, _: Duration) -> f32 {
            self.1.into()
        }

        /// Those that are set aside are due at 1 s.
        fn take_probe(&self, now: Duration) -> bool {
            self.0 == Health::Aside && now >= Duration::from_secs(1)
        }
    }

    fn member(session: u64, client_id: &str, identity: &str, link: Fake) -> Member<Fake> {
        Member {
            session: SessionId(session),
            client_id: client_id.parse().unwrap(),
            identity: Identity::certified(identity),
            link,
        }
    }

    fn group(links: &[Fake]) -> Members<Fake> {
        let mut members = Members::default();
        for (session, link) in (0..).zip(links) {
            members = members.join(member(session, &format!("client-{session}"), "a", link.clone())).0;
        }
        members
    }

    fn picked(members: &Members<Fake>) -> Vec<u64> {
        let mut sessions: Vec<_> = (0..64_u64)
            .filter_map(|step| members.pick(step.wrapping_mul(0x9e37_79b9_7f4a_7c15), &[], Duration::ZERO))
            .map(|(member, _)| member.session.0)
            .collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    #[test]
    fn healthy_members_are_preferred_and_draining_ones_never_taken() {
        use Health::{Aside, Draining, Full, Healthy, Suspect};
        assert_eq!(picked(&group(&[Fake(Suspect, 0), Fake(Healthy, 9), Fake(Draining, 0), Fake(Healthy, 9)])), [1, 3]);
        assert_eq!(picked(&group(&[Fake(Suspect, 0), Fake(Full, 9), Fake(Healthy, 5)])), [2]);
        assert_eq!(picked(&group(&[Fake(Suspect, 0), Fake(Full, 9)])), [1]);
        assert_eq!(picked(&group(&[Fake(Suspect, 0), Fake(Draining, 0)])), [0]);
        assert_eq!(picked(&group(&[Fake(Aside, 0), Fake(Suspect, 0), Fake(Healthy, 9)])), [2]);
        assert_eq!(picked(&group(&[Fake(Aside, 0), Fake(Full, 9)])), [1]);
        assert_eq!(picked(&group(&[Fake(Suspect, 0), Fake(Aside, 0)])), [1]);
        assert_eq!(picked(&group(&[Fake(Draining, 0)])), []);
        assert!(group(&[Fake(Draining, 0)]).is_draining());
        assert_eq!(picked(&group(&[])), []);
        assert!(!group(&[]).is_draining());
    }

    #[test]
    fn the_one_to_avoid_is_avoided() {
        let members = group(&[Fake(Health::Healthy, 0), Fake(Health::Suspect, 9)]);
        let pick = |members: &Members<Fake>, avoid: &[SessionId]| {
            members.pick(0, avoid, Duration::ZERO).map(|(member, _)| member.session.0)
        };
        assert_eq!(pick(&members, &[SessionId(0)]), Some(1));
        assert_eq!(pick(&members, &[SessionId(1), SessionId(0)]), None);
        assert_eq!(pick(&group(&[Fake(Health::Healthy, 0)]), &[SessionId(0)]), None);
    }

    #[test]
    fn one_that_is_set_aside_is_probed_when_it_is_due_and_not_by_what_is_asked_again() {
        let members = group(&[Fake(Health::Aside, 0), Fake(Health::Healthy, 9)]);
        let pick = |avoid: &[SessionId], seconds| {
            members.pick(7, avoid, Duration::from_secs(seconds)).map(|(member, probe)| (member.session.0, probe))
        };
        assert_eq!(pick(&[], 0), Some((1, false)));
        assert_eq!(pick(&[], 1), Some((0, true)));
        assert_eq!(pick(&[SessionId(9)], 1), Some((1, false)));
    }

    #[test]
    fn what_is_asked_of_a_suspect_link_is_better_asked_of_one_that_answers() {
        use Health::{Draining, Full, Healthy, Suspect};
        let elsewhere = |links: &[Fake]| group(links).is_better_asked_elsewhere(SessionId(0));
        assert!(elsewhere(&[Fake(Suspect, 1), Fake(Healthy, 0)]));
        assert!(elsewhere(&[Fake(Suspect, 1), Fake(Suspect, 0), Fake(Full, 9)]));
        assert!(!elsewhere(&[Fake(Healthy, 1), Fake(Healthy, 0)]));
        assert!(!elsewhere(&[Fake(Suspect, 1), Fake(Suspect, 0)]));
        assert!(!elsewhere(&[Fake(Suspect, 1), Fake(Draining, 0)]));
        assert!(!elsewhere(&[Fake(Suspect, 1)]));
        assert!(!elsewhere(&[]));
    }

    #[test]
    fn a_returning_client_replaces_its_own_stale_session_only() {
        let healthy = || Fake(Health::Healthy, 0);
        let members = Members::default().join(member(1, "client-a", "a", healthy())).0;
        let (members, replaced) = members.join(member(2, "client-b", "a", healthy()));
        assert!(replaced.is_none());
        let (members, replaced) = members.join(member(3, "client-a", "b", healthy()));
        assert!(replaced.is_none(), "another identity cannot take over a client id");
        let (members, replaced) = members.join(member(4, "client-a", "a", healthy()));
        assert_eq!(replaced.map(|member| member.session), Some(SessionId(1)));
        let sessions: Vec<_> = members.leave(SessionId(2)).as_slice().iter().map(|member| member.session.0).collect();
        assert_eq!(sessions, [3, 4]);
    }
}
