//! Whether a backend server is to be used: set aside when it fails, and probed again after a while.

use std::time::Duration;

use crate::backoff::Backoff;

/// How long a server is set aside for its first failure.
const ASIDE_MIN: Duration = Duration::from_secs(1);

/// The longest that a server is set aside before it is probed again.
pub const ASIDE_MAX: Duration = Duration::from_secs(30);

/// How long to wait for the outcome of a probe before the next request is one.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// The health of one server. All times are since any fixed start.
///
/// A failure sets the server aside; when the back-off is over one request is sent to it as a probe, and its
/// outcome decides: a success makes it healthy again, a failure sets it aside for longer. A server whose
/// active check fails is set aside until a check passes, whatever requests say.
#[derive(Clone, Debug)]
pub struct Health {
    state: State,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Healthy { since: Duration },
    Aside { failed_at: Duration, until: Duration },
    FailsChecks { failed_at: Duration },
}

/// Whether a request may go to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// One may as a probe, from this time on.
    ClosedUntil(Duration),
    /// None may until a check passes.
    ClosedUntilChecked,
}

/// A request that was sent to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When the server was chosen.
    pub chosen_at: Duration,
    /// Whether it is a probe.
    pub probe: bool,
}

/// Whether something is worth telling the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is as it was.
    None,
    /// The server was healthy and is set aside.
    SetAside,
    /// The server was set aside and is healthy.
    Recovered,
}

impl Default for Health {
    fn default() -> Self {
        Self { state: State::Healthy { since: Duration::ZERO }, backoff: Backoff::new(ASIDE_MIN, ASIDE_MAX) }
    }
}

impl Health {
    /// Returns whether a request may go to the server.
    pub fn gate(&self) -> Gate {
        match self.state {
            State::Healthy { .. } => Gate::Open,
            State::Aside { until, .. } => Gate::ClosedUntil(until),
            State::FailsChecks { .. } => Gate::ClosedUntilChecked,
        }
    }

    /// Returns when the server last failed, where it has not recovered since.
    pub fn failed_at(&self) -> Option<Duration> {
        match self.state {
            State::Healthy { .. } => None,
            State::Aside { failed_at, .. } => Some(failed_at),
            State::FailsChecks { failed_at } => Some(failed_at),
        }
    }

    /// Takes the turn to probe the server, when it is due and nobody else has.
    ///
    /// A probe whose outcome is never told, because whoever asked went away, is followed by the next one.
    pub fn take_probe(&mut self, now: Duration) -> bool {
        match &mut self.state {
            State::Aside { until, .. } if *until <= now => {
                *until = now + PROBE_PATIENCE;
                true
            }
            State::Aside { .. } => false,
            State::Healthy { .. } => false,
            State::FailsChecks { .. } => false,
        }
    }

    /// Takes in that a request failed in a way that is the server's fault. `random` is 64 random bits.
    pub fn failed(&mut self, attempt: Attempt, now: Duration, random: u64) -> Change {
        match &mut self.state {
            State::Healthy { since } => {
                // One that comes and goes is not given a fresh start each time it comes.
                if now.saturating_sub(*since) > ASIDE_MAX {
                    self.backoff.reset();
                }
                self.state = State::Aside { failed_at: now, until: now + self.backoff.next(random) };
                Change::SetAside
            }
            State::Aside { failed_at, until } => {
                *failed_at = now;
                // Many requests fail together; only the probe says something new.
                if attempt.probe {
                    *until = now + self.backoff.next(random);
                }
                Change::None
            }
            State::FailsChecks { failed_at } => {
                *failed_at = now;
                Change::None
            }
        }
    }

    /// Takes in that the server answered a request.
    ///
    /// An answer to a request that was sent before the last failure proves nothing about the time after it.
    pub fn succeeded(&mut self, attempt: Attempt, now: Duration) -> Change {
        match self.state {
            State::Aside { failed_at, .. } if attempt.chosen_at >= failed_at => {
                self.state = State::Healthy { since: now };
                Change::Recovered
            }
            State::Aside { .. } => Change::None,
            State::Healthy { .. } => Change::None,
            State::FailsChecks { .. } => Change::None,
        }
    }

    /// Takes in that an active check failed.
    pub fn check_failed(&mut self, now: Duration) -> Change {
        let change = match self.state {
            State::Healthy { .. } => Change::SetAside,
            State::Aside { .. } => Change::None,
            State::FailsChecks { .. } => Change::None,
        };
        self.state = State::FailsChecks { failed_at: now };
        change
    }

    /// Takes in that an active check passed. It ends what failed checks began, and only that: a server that
    /// passes all its checks and fails its requests stays aside.
    pub fn check_passed(&mut self, now: Duration) -> Change {
        match self.state {
            State::FailsChecks { .. } => {
                self.state = State::Healthy { since: now };
                Change::Recovered
            }
            State::Healthy { .. } => Change::None,
            State::Aside { .. } => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANDOM: u64 = u64::MAX;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn request(chosen_at: Duration) -> Attempt {
        Attempt { chosen_at, probe: false }
    }

    fn probe(chosen_at: Duration) -> Attempt {
        Attempt { chosen_at, probe: true }
    }

    #[test]
    fn a_failure_sets_aside_and_one_probe_brings_back() {
        let mut health = Health::default();
        assert_eq!(health.gate(), Gate::Open);
        assert_eq!(health.failed(request(ms(0)), ms(0), RANDOM), Change::SetAside);
        assert_eq!(health.gate(), Gate::ClosedUntil(ms(1_000)));
        assert!(!health.take_probe(ms(999)));
        assert!(health.take_probe(ms(1_000)));
        assert!(!health.take_probe(ms(1_001)), "one request is enough");
        assert_eq!(health.succeeded(probe(ms(1_000)), ms(1_010)), Change::Recovered);
        assert_eq!((health.gate(), health.failed_at()), (Gate::Open, None));
        assert_eq!(health.succeeded(request(ms(1_011)), ms(1_012)), Change::None);
    }

    #[test]
    fn failed_probes_wait_longer_and_longer_and_other_failures_change_nothing() {
        let mut health = Health::default();
        health.failed(request(ms(0)), ms(0), RANDOM);
        let mut now = ms(0);
        for delay in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(health.gate(), Gate::ClosedUntil(now + ms(delay)));
            for _ in 0..100 {
                assert_eq!(health.failed(request(now), now, RANDOM), Change::None);
            }
            now += ms(delay);
            assert!(health.take_probe(now));
            assert_eq!(health.failed(probe(now), now, RANDOM), Change::None);
        }
    }

    #[test]
    fn a_probe_without_an_outcome_is_followed_by_another() {
        let mut health = Health::default();
        health.failed(request(ms(0)), ms(0), RANDOM);
        assert!(health.take_probe(ms(1_000)));
        assert!(!health.take_probe(ms(5_999)));
        assert!(health.take_probe(ms(6_000)));
    }

    #[test]
    fn an_answer_from_before_the_failure_proves_nothing() {
        let mut health = Health::default();
        health.failed(request(ms(10)), ms(20), RANDOM);
        assert_eq!(health.succeeded(request(ms(19)), ms(30)), Change::None);
        assert_eq!(health.succeeded(request(ms(20)), ms(31)), Change::Recovered);
    }

    #[test]
    fn one_that_comes_and_goes_keeps_its_backoff() {
        let mut health = Health::default();
        health.failed(request(ms(0)), ms(0), RANDOM);
        health.succeeded(request(ms(1)), ms(1));
        health.failed(request(ms(2)), ms(2), RANDOM);
        assert_eq!(health.gate(), Gate::ClosedUntil(ms(2_002)));
        health.succeeded(request(ms(3)), ms(3));
        health.failed(request(ms(40_000)), ms(40_000), RANDOM);
        assert_eq!(health.gate(), Gate::ClosedUntil(ms(41_000)));
    }

    #[test]
    fn what_fails_its_checks_stays_aside_until_one_passes() {
        let mut health = Health::default();
        assert_eq!(health.check_passed(ms(0)), Change::None);
        assert_eq!(health.check_failed(ms(1)), Change::SetAside);
        assert_eq!(health.check_failed(ms(2)), Change::None);
        assert_eq!(health.succeeded(request(ms(3)), ms(4)), Change::None);
        assert!(!health.take_probe(ms(1_000_000)));
        assert_eq!(health.gate(), Gate::ClosedUntilChecked);
        assert_eq!(health.check_passed(ms(5)), Change::Recovered);
        assert_eq!(health.gate(), Gate::Open);
    }

    #[test]
    fn a_passed_check_does_not_excuse_failed_requests() {
        let mut health = Health::default();
        health.failed(request(ms(0)), ms(0), RANDOM);
        assert_eq!(health.check_passed(ms(1)), Change::None);
        assert_eq!(health.gate(), Gate::ClosedUntil(ms(1_000)));
    }

    proptest! {
        #[test]
        fn it_is_never_set_aside_for_longer_than_the_maximum_and_changes_alternate(
            steps in prop::collection::vec((0..6_u8, 0..20_000_u64, any::<u64>()), 1..60)
        ) {
            let mut health = Health::default();
            let mut now = ms(0);
            let mut aside = false;
            for (step, gap, random) in steps {
                now += ms(gap);
                let change = match step {
                    0 => health.failed(request(now), now, random),
                    1 => health.succeeded(request(now), now),
                    2 if health.take_probe(now) => health.failed(probe(now), now, random),
                    3 if health.take_probe(now) => health.succeeded(probe(now), now),
                    4 => health.check_failed(now),
                    5 => health.check_passed(now),
                    _ => Change::None,
                };
                match change {
                    Change::None => {}
                    Change::SetAside => prop_assert!(!std::mem::replace(&mut aside, true)),
                    Change::Recovered => prop_assert!(std::mem::replace(&mut aside, false)),
                }
                prop_assert_eq!(aside, health.gate() != Gate::Open);
                prop_assert_eq!(aside, health.failed_at().is_some());
                if let Gate::ClosedUntil(until) = health.gate() {
                    prop_assert!(until <= now + ASIDE_MAX);
                }
            }
        }
    }
}
