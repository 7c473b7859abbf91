//! What came of a request.

use std::time::Duration;

use tokio::time::Instant;

use crate::{question::Question, scene::Lane};

/// A request that is over.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) question: Question,
    pub(crate) lane: Lane,
    /// When it was to be sent, from which everything counts.
    pub(crate) at: Instant,
    /// When the head of its response was there.
    pub(crate) head: Option<Instant>,
    /// When it was over.
    pub(crate) end: Instant,
    pub(crate) result: Result<(), Trouble>,
    /// The configuration that the response shows, where it was complete.
    pub(crate) generation: Option<u32>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No connection to the entry.
    Unreachable(String),
    /// A response that says that it is adit's, and why.
    Refused(u16, String),
    /// The connection broke off.
    Cut(String),
    /// A response that is neither that of the backend nor adit's own.
    Strange(String),
    /// Not the bytes that belong to the request, or an end that looks like one and isn't.
    Corrupt(String),
    /// Nothing, for longer than anybody waits.
    Unanswered,
}

/// How a kind of trouble is looked upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gravity {
    /// Whoever waits has seen that it failed.
    Visible,
    /// Never, whatever happens.
    Never,
}

impl Trouble {
    pub(crate) fn gravity(&self) -> Gravity {
        match self {
            Self::Unreachable(_) => Gravity::Visible,
            Self::Refused(..) => Gravity::Visible,
            Self::Cut(_) => Gravity::Visible,
            Self::Strange(_) => Gravity::Never,
            Self::Corrupt(_) => Gravity::Never,
            Self::Unanswered => Gravity::Never,
        }
    }
}

impl Trouble {
    /// What it is called in a table.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Unreachable(_) => "no connection".to_owned(),
            Self::Refused(status, code) => format!("{status} {code}"),
            Self::Cut(_) => "cut".to_owned(),
            Self::Strange(_) => "strange".to_owned(),
            Self::Corrupt(_) => "corrupt".to_owned(),
            Self::Unanswered => "unanswered".to_owned(),
        }
    }
}

impl Outcome {
    /// Returns how long it took to the head of the response, or to the failure before it.
    pub(crate) fn to_head(&self) -> Duration {
        self.head.unwrap_or(self.end) - self.at
    }

    /// Returns how much longer it took than it had to.
    pub(crate) fn delay(&self) -> Duration {
        (self.end - self.at).saturating_sub(self.question.takes())
    }
}
