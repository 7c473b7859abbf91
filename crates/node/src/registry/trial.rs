//! An exchange on one link of a group, and what is learnt from how it goes.

use std::time::Duration;

use adit_core::{
    failure::Failure,
    health::{Attempt, Change},
    id::SessionId,
};
use tokio::time::Instant;

use super::GroupLinks;
use crate::link::Link;

/// A link that was picked.
#[derive(Clone, Debug)]
pub struct Picked {
    /// Its place in the group.
    pub session: SessionId,
    /// The link.
    pub link: Link,
    pub(super) attempt: Attempt,
}

/// An exchange that is asked of one member.
///
/// Dropped without an outcome, because the visitor went away, it still tells how long was waited, or a member that hangs
/// would look as good as one that answers.
#[derive(Debug)]
pub struct Trial<'a> {
    group: &'a GroupLinks,
    picked: &'a Picked,
    /// Whether it is measured: not where it is the visitor's body that takes time.
    timed: bool,
    settled: bool,
}

impl<'a> Trial<'a> {
    pub(super) fn new(group: &'a GroupLinks, picked: &'a Picked, timed: bool) -> Self {
        Self { group, picked, timed, settled: false }
    }

    /// Takes in that there is an answer.
    pub fn answered(mut self) {
        self.settled = true;
        let now = self.now();
        let standing = self.picked.link.standing();
        if self.timed {
            standing.took(now.saturating_sub(self.picked.attempt.chosen_at), now);
        }
        if standing.answered(self.picked.attempt, now) == Change::Recovered {
            tracing::info!(group = %self.group.name, peer = %self.picked.link.peer(), "member is back");
        }
    }

    /// Takes in that there is none, where that is the member's fault.
    pub fn failed(mut self, failure: Failure) {
        self.settled = true;
        if !failure.blames_answerer() {
            return;
        }
        if self.picked.link.standing().failed(self.picked.attempt, self.now()) == Change::SetAside {
            let code = failure.code();
            tracing::warn!(group = %self.group.name, peer = %self.picked.link.peer(), code, "member set aside");
        }
    }

    /// Forgets it: the member has seen nothing of it.
    pub fn unsent(mut self) {
        self.settled = true;
    }

    fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.group.started)
    }
}

/// What is too short a wait to say anything.
const SHORT_WAIT: Duration = Duration::from_secs(1);

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.settled || !self.timed {
            return;
        }
        let now = self.now();
        let waited = now.saturating_sub(self.picked.attempt.chosen_at);
        if waited > SHORT_WAIT {
            self.picked.link.standing().took(waited, now);
        }
    }
}
