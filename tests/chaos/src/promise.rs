//! What is promised to requests that a fault touches. `docs/reliability.md` says it in words.

use std::time::Duration;

use crate::{
    backend::Mood,
    fault::{Fault, Touch, Weather},
    outcome::{Gravity, Outcome},
};

/// What may happen to a request, from the beginning of a fault to [`Promise::recovery`] after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) fails: Fails,
    /// From the time it was to be sent to the response head of a request that may be sent again.
    pub(crate) head: Duration,
    /// How much longer any request takes, whether it fails or not.
    pub(crate) end: Duration,
    /// From the end of the fault until everything is as before.
    pub(crate) recovery: Duration,
}

/// Which requests may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fails {
    None,
    /// Those that cannot be sent again: of another method, or that have the head of their response already.
    Once,
    /// Those that began after the fault did.
    New,
    /// Those whose response the backend itself broke off.
    Broken,
    Any,
}

/// What is promised to requests that nothing touches. It is no figure of how fast adit is: the machine may be busy.
pub(crate) const UNTOUCHED: Promise = Promise { fails: Fails::None, head: secs(3), end: secs(5), recovery: secs(0) };

/// A link is dead after 20 s of silence, and its exchanges fail at once; a request then waits 2 s for another one.
const DEAD: Duration = secs(25);

/// After less than this, a link lives on.
const SURVIVED: Duration = secs(15);

impl Promise {
    /// Returns what a fault leaves of the promises.
    pub(crate) fn under(fault: &Fault, touch: Touch) -> Self {
        match *fault {
            Fault::Kill { .. } => Self::dead(touch, secs(5)),
            // Who goes on after a while has what has come for it, and answers.
            Fault::Freeze { length, .. } => Self { recovery: secs(5), ..Self::silent(touch, length, secs(5)) },
            Fault::Stop { .. } => match touch {
                Touch::Spare => Self { recovery: secs(4), ..UNTOUCHED },
                Touch::Sole | Touch::Entry => {
                    Self { fails: Fails::New, head: secs(8), end: secs(8), recovery: secs(5) }
                }
            },
            Fault::Path { weather, length, .. } => match weather {
                // A dial that began in the dark ends after up to 20 s; the next one begins up to 10 s later.
                Weather::Hole | Weather::NothingToServer | Weather::NothingToClient => {
                    Self::silent(touch, length, secs(15))
                }
                Weather::Loss | Weather::Reorder | Weather::Duplicate | Weather::Corrupt | Weather::Delay => {
                    Self { end: secs(8), recovery: secs(2), ..UNTOUCHED }
                }
            },
            Fault::Rebind { .. } => Self { recovery: secs(3), ..UNTOUCHED },
            Fault::Upstream { mood, length, .. } => match mood {
                Mood::Well => UNTOUCHED,
                Mood::Down => Self { fails: Fails::Any, head: secs(6), end: secs(6), recovery: secs(3) },
                Mood::Hung => Self { head: length + secs(3), end: length + secs(3), recovery: secs(2), ..UNTOUCHED },
                Mood::Breaking => Self { fails: Fails::Broken, recovery: secs(2), ..UNTOUCHED },
                Mood::Slow => Self { head: secs(5), end: secs(6), recovery: secs(2), ..UNTOUCHED },
            },
            Fault::Reload { .. } | Fault::BadReload { .. } => UNTOUCHED,
        }
    }

    /// Returns how long after the end of a fault everything is as before, for everybody.
    pub(crate) fn settles_within(fault: &Fault) -> Duration {
        Touch::ALL.map(|touch| Self::under(fault, touch).recovery).into_iter().max().unwrap_or_default()
    }

    /// Nobody is there any more.
    fn dead(touch: Touch, recovery: Duration) -> Self {
        match touch {
            Touch::Spare => Self { fails: Fails::Once, head: secs(3), end: DEAD, recovery },
            Touch::Sole | Touch::Entry => Self { fails: Fails::Any, head: DEAD, end: DEAD, recovery },
        }
    }

    /// Nothing is heard for a while.
    fn silent(touch: Touch, length: Duration, reconnects_within: Duration) -> Self {
        if length > SURVIVED {
            let dead = Self::dead(touch, reconnects_within);
            // Who is frozen itself tells nobody before it goes on.
            let told = length + secs(5);
            return if touch == Touch::Entry { Self { head: told, end: told, ..dead } } else { dead };
        }
        // What was lost in the dark is sent again after up to as long once more: probes come at doubled intervals, and
        // nothing else may be sent before one is acknowledged (RFC 9002 §6.2.1, §7).
        let wait = 2 * length + secs(3);
        match touch {
            Touch::Spare => Self { fails: Fails::None, head: secs(3), end: wait, recovery: length + secs(3) },
            Touch::Sole | Touch::Entry => {
                Self { fails: Fails::None, head: wait, end: wait, recovery: length + secs(3) }
            }
        }
    }

    /// Returns why a request breaks the promise. `began_before` says whether the request began before the fault,
    /// `broken` whether the backend broke off its response, `lag` how long the machine itself stood still meanwhile.
    pub(crate) fn broken_by(
        &self,
        outcome: &Outcome,
        began_before: bool,
        broken: bool,
        lag: Duration,
    ) -> Option<Breach> {
        if let Err(trouble) = &outcome.result {
            if trouble.gravity() == Gravity::Never {
                return Some(Breach::Never);
            }
            let again = outcome.question.is_safe() && outcome.head.is_none();
            let may = match self.fails {
                Fails::None => false,
                Fails::Once => !again,
                Fails::New => !began_before,
                Fails::Broken => broken,
                Fails::Any => true,
            };
            if !may {
                return Some(Breach::Failed);
            }
        }
        let head = if outcome.question.is_safe() { self.head } else { self.head.max(self.end) };
        // The body of a request takes its time before there is a response.
        let late = outcome.to_head().saturating_sub(outcome.question.takes()) > head + lag;
        (late || outcome.delay() > self.end + lag).then_some(Breach::Late)
    }
}

/// How a promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breach {
    /// It failed though it must not.
    Failed,
    /// It took too long.
    Late,
    /// What must never happen.
    Never,
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        outcome::Trouble,
        scene::{Lane, Node},
    };

    fn outcome(path: &str, head: Option<u64>, end: u64, result: Result<(), Trouble>) -> Outcome {
        let at = Instant::now();
        let question = path.parse().unwrap();
        let head = head.map(|head| at + secs(head));
        Outcome { question, lane: Lane::WebReverse, at, head, end: at + secs(end), result, generation: None }
    }

    fn cut() -> Result<(), Trouble> {
        Err(Trouble::Cut("reset".to_owned()))
    }

    fn broken_by(fault: Fault, touch: Touch, outcome: &Outcome) -> Option<Breach> {
        Promise::under(&fault, touch).broken_by(outcome, false, false, Duration::ZERO)
    }

    const GET: &str = "/get/1/10/1/0";
    const POST: &str = "/post/1/10/1/0";

    #[test]
    fn only_what_cannot_be_sent_again_fails_with_one_of_two_clients() {
        let kill = Fault::Kill { node: Node::Web2, down: secs(1) };
        let under = |outcome: Outcome| broken_by(kill, Touch::Spare, &outcome);
        assert_eq!(under(outcome(GET, None, 1, cut())), Some(Breach::Failed));
        assert_eq!(under(outcome(GET, Some(1), 2, cut())), None);
        assert_eq!(under(outcome(POST, None, 20, cut())), None);
        assert_eq!(under(outcome(POST, None, 30, cut())), Some(Breach::Late));
        assert_eq!(under(outcome(GET, Some(4), 4, Ok(()))), Some(Breach::Late));
        assert_eq!(under(outcome(POST, Some(4), 4, Ok(()))), None);
    }

    #[test]
    fn nobody_fails_where_a_link_lives_on() {
        let hole = |seconds| Fault::Path { client: Node::Solo, weather: Weather::Hole, length: secs(seconds) };
        assert_eq!(broken_by(hole(1), Touch::Sole, &outcome(POST, None, 1, cut())), Some(Breach::Failed));
        assert_eq!(broken_by(hole(45), Touch::Sole, &outcome(POST, None, 1, cut())), None);
    }

    #[test]
    fn no_fault_excuses_wrong_bytes_or_silence() {
        let kill = Fault::Kill { node: Node::Server, down: secs(1) };
        for trouble in [Trouble::Corrupt(String::new()), Trouble::Unanswered, Trouble::Strange(String::new())] {
            assert_eq!(broken_by(kill, Touch::Sole, &outcome(GET, None, 1, Err(trouble))), Some(Breach::Never));
        }
    }

    #[test]
    fn what_was_in_flight_outlives_a_stop() {
        let stop = Promise::under(&Fault::Stop { node: Node::Solo }, Touch::Sole);
        let cut = outcome(POST, None, 1, cut());
        assert_eq!(stop.broken_by(&cut, true, false, Duration::ZERO), Some(Breach::Failed));
        assert_eq!(stop.broken_by(&cut, false, false, Duration::ZERO), None);
    }
}
