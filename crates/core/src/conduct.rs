//! Whether the other end of a link behaves.
//!
//! A node that keeps to the protocol stays far below every rate here, whatever its visitors do. One that does not loses
//! its link: what it sends costs more than what it asks, and no flow control bounds that.

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// From then on, each second.
    pub per_second: u32,
}

/// Messages on the control stream: a heartbeat and a sync every 30 s, unless an operator wants more.
const CONTROL: Rate = Rate { burst: 1_000, per_second: 200 };

/// Streams whose bytes are no exchange. No node sends one on purpose.
const BROKEN: Rate = Rate { burst: 100, per_second: 10 };

/// Exchanges that are given up before they are answered, beyond one for each that was answered: the rapid reset of
/// CVE-2023-44487. Envoy's limit is a share as well. Visitors who go away make a node do this, so it holds itself to
/// [`GIVEN_UP`].
const ABANDONED: Rate = Rate { burst: 4_000, per_second: 400 };

/// What a node allows itself of what [`ABANDONED`] allows its peer. A quarter: they may arrive late and all at once.
const GIVEN_UP: Rate = Rate { burst: 1_000, per_second: 100 };

/// Configurations that a server pushes, before its client thinks it mad.
const PUSHED: Rate = Rate { burst: 16, per_second: 1 };

/// Configurations that a server may push because a client asks for them: a few bytes make it send 4 MiB.
const SYNCED: Rate = Rate { burst: 4, per_second: 1 };

/// The most bytes of a peer's text that are kept or logged.
const EXCERPT_BYTES_MAX: usize = 256;

const MILLI: i64 = 1_000;

/// A bucket of tokens that fills with time, and may be overdrawn.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    milli_tokens: i64,
    filled_at_ms: u64,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Self { rate, milli_tokens: i64::from(rate.burst) * MILLI, filled_at_ms: 0 }
    }

    /// Fills it up to `now_ms`, and with so many tokens that were earned otherwise.
    fn fill(&mut self, now_ms: u64, earned: u64) {
        // Clamped, so that neither a long silence nor a large number overflows.
        let waited_ms = i64::try_from(now_ms.saturating_sub(self.filled_at_ms)).unwrap_or(i64::MAX);
        let earned = i64::try_from(earned).unwrap_or(i64::MAX).saturating_mul(MILLI);
        let gained = waited_ms.saturating_mul(self.rate.per_second.into()).saturating_add(earned);
        let full = i64::from(self.rate.burst) * MILLI;
        self.milli_tokens = self.milli_tokens.saturating_add(gained).min(full);
        self.filled_at_ms = self.filled_at_ms.max(now_ms);
    }

    /// Takes a token; returns whether there was one.
    fn take(&mut self) -> bool {
        self.milli_tokens = self.milli_tokens.saturating_sub(MILLI);
        self.milli_tokens >= 0
    }

    /// Returns when there will be a token, in milliseconds from the last filling; 0 when there is one.
    fn token_in_ms(&self) -> u64 {
        let missing = u64::try_from(MILLI - self.milli_tokens).unwrap_or(0);
        missing.div_ceil(self.rate.per_second.max(1).into())
    }
}

/// What a peer does that costs more than it brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It sent a message on the control stream.
    SentControl,
    /// It sent bytes on a stream that are no exchange.
    BrokeStream,
    /// It gave up an exchange that it had asked and was not answered.
    AbandonedExchange,
    /// It pushed a configuration.
    PushedConfig,
}

/// Why a peer loses its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misconduct {
    /// [`Act::SentControl`]
    #[error("it floods the control stream")]
    ControlFlood,
    /// [`Act::BrokeStream`]
    #[error("too many of its streams carry no exchange")]
    BrokenStreams,
    /// [`Act::AbandonedExchange`]
    #[error("it gives up too many exchanges")]
    RapidReset,
    /// [`Act::PushedConfig`]
    #[error("it pushes configuration too often")]
    PushFlood,
}

/// The record of one peer on one link.
#[derive(Clone, Debug)]
pub struct Conduct {
    control: Bucket,
    broken: Bucket,
    abandoned: Bucket,
    pushed: Bucket,
    answered: u64,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            control: Bucket::new(CONTROL),
            broken: Bucket::new(BROKEN),
            abandoned: Bucket::new(ABANDONED),
            pushed: Bucket::new(PUSHED),
            answered: 0,
        }
    }
}

impl Conduct {
    /// Takes down what the peer did, `now_ms` after the link began and when so many of its exchanges had been answered.
    ///
    /// # Errors
    ///
    /// When it did so too often.
    pub fn note(&mut self, act: Act, now_ms: u64, answered: u64) -> Result<(), Misconduct> {
        let earned = answered.saturating_sub(self.answered);
        self.answered = self.answered.max(answered);
        self.abandoned.fill(now_ms, earned);
        let (bucket, misconduct) = match act {
            Act::SentControl => (&mut self.control, Misconduct::ControlFlood),
            Act::BrokeStream => (&mut self.broken, Misconduct::BrokenStreams),
            Act::AbandonedExchange => (&mut self.abandoned, Misconduct::RapidReset),
            Act::PushedConfig => (&mut self.pushed, Misconduct::PushFlood),
        };
        bucket.fill(now_ms, 0);
        if bucket.take() { Ok(()) } else { Err(misconduct) }
    }
}

/// What a node holds itself to, so that its peer never finds fault with what its visitors make it do.
#[derive(Clone, Debug)]
pub struct Restraint {
    given_up: Bucket,
    answered: u64,
}

impl Default for Restraint {
    fn default() -> Self {
        Self { given_up: Bucket::new(GIVEN_UP), answered: 0 }
    }
}

impl Restraint {
    /// Takes down that an exchange was given up, `now_ms` after the link began. Returns whether the next one has to wait.
    pub fn gave_up(&mut self, now_ms: u64, answered: u64) -> bool {
        self.fill(now_ms, answered);
        !self.given_up.take()
    }

    /// Returns how long the next exchange has to wait, in milliseconds; 0 when it need not.
    pub fn wait_ms(&mut self, now_ms: u64, answered: u64) -> u64 {
        self.fill(now_ms, answered);
        self.given_up.token_in_ms()
    }

    fn fill(&mut self, now_ms: u64, answered: u64) {
        self.given_up.fill(now_ms, answered.saturating_sub(self.answered));
        self.answered = self.answered.max(answered);
    }
}

/// How often a server pushes because a client asks.
#[derive(Clone, Debug)]
pub struct Syncs(Bucket);

impl Default for Syncs {
    fn default() -> Self {
        Self(Bucket::new(SYNCED))
    }
}

impl Syncs {
    /// Returns whether to push; a client that asks too often asks again later.
    pub fn allow(&mut self, now_ms: u64) -> bool {
        self.0.fill(now_ms, 0);
        let allowed = self.0.token_in_ms() == 0;
        if allowed {
            self.0.take();
        }
        allowed
    }
}

/// Returns the beginning of a peer's text: what is enough to know, and too little to fill a disk.
pub fn excerpt(text: &str) -> &str {
    let mut end = text.len().min(EXCERPT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many acts at one moment pass.
    fn at_once(act: Act) -> u32 {
        let mut conduct = Conduct::default();
        (0..).find(|_| conduct.note(act, 5, 0).is_err()).unwrap()
    }

    #[test]
    fn a_peer_may_do_so_much_at_once_and_no_more() {
        for (act, rate) in [
            (Act::SentControl, CONTROL),
            (Act::BrokeStream, BROKEN),
            (Act::AbandonedExchange, ABANDONED),
            (Act::PushedConfig, PUSHED),
        ] {
            assert_eq!(at_once(act), rate.burst, "{act:?}");
        }
    }

    #[test]
    fn a_peer_may_go_on_at_the_rate_for_ever_and_not_faster() {
        let mut conduct = Conduct::default();
        for second in 0..1_000_u64 {
            for _ in 0..BROKEN.per_second {
                assert_eq!(conduct.note(Act::BrokeStream, second * 1_000, 0), Ok(()));
            }
        }
        let mut conduct = Conduct::default();
        let mut faster = (0..1_000_u64)
            .flat_map(|second| (0..=BROKEN.per_second).map(move |_| second * 1_000))
            .map(|now_ms| conduct.note(Act::BrokeStream, now_ms, 0));
        assert_eq!(faster.find(Result::is_err), Some(Err(Misconduct::BrokenStreams)));
    }

    #[test]
    fn whoever_is_answered_may_give_up_as_many_again() {
        let mut conduct = Conduct::default();
        for answered in 0..100_000 {
            assert_eq!(conduct.note(Act::AbandonedExchange, 0, answered), Ok(()), "{answered}");
        }
    }

    #[test]
    fn one_kind_of_act_does_not_excuse_or_blame_another() {
        let mut conduct = Conduct::default();
        while conduct.note(Act::SentControl, 0, 0).is_ok() {}
        assert_eq!(conduct.note(Act::AbandonedExchange, 0, 0), Ok(()));
        assert_eq!(conduct.note(Act::SentControl, 0, 1_000_000), Err(Misconduct::ControlFlood));
    }

    #[test]
    fn a_client_that_asks_for_its_configuration_all_the_time_gets_it_once_a_second() {
        let mut syncs = Syncs::default();
        let pushed = (0..10_000).filter(|now_ms| syncs.allow(*now_ms)).count();
        assert_eq!(pushed, 4 + 9);
    }

    #[test]
    fn a_server_that_pushes_whenever_it_is_asked_is_no_flood() {
        let (mut syncs, mut conduct) = (Syncs::default(), Conduct::default());
        for now_ms in 0..100_000 {
            if syncs.allow(now_ms) {
                assert_eq!(conduct.note(Act::PushedConfig, now_ms, 0), Ok(()));
            }
        }
    }

    #[test]
    fn an_excerpt_ends_between_characters() {
        assert_eq!(excerpt("short"), "short");
        let long = "ä".repeat(EXCERPT_BYTES_MAX);
        assert_eq!(excerpt(&long[..EXCERPT_BYTES_MAX * 2]).len(), EXCERPT_BYTES_MAX);
        assert_eq!(excerpt(&format!("x{long}")).len(), EXCERPT_BYTES_MAX - 1);
    }

    proptest! {
        /// However its visitors behave, and however late all of it arrives.
        #[test]
        fn a_node_that_restrains_itself_is_never_found_at_fault(
            steps in prop::collection::vec((0..2_000_u64, 0..2_000_u32, 0..2_000_u32, 0..50_u64), 1..60),
            late_ms in 0..3_000_u64,
        ) {
            let (mut restraint, mut conduct) = (Restraint::default(), Conduct::default());
            let (mut now_ms, mut answered, mut in_flight) = (0, 0, 0);
            for (passed_ms, asks, gives_up, more_answered) in steps {
                now_ms += passed_ms;
                answered += more_answered;
                if restraint.wait_ms(now_ms, answered) == 0 {
                    in_flight = (in_flight + asks).min(1_000);
                }
                for _ in 0..gives_up.min(in_flight) {
                    in_flight -= 1;
                    restraint.gave_up(now_ms, answered);
                    let arrives_ms = now_ms.div_ceil(late_ms + 1) * (late_ms + 1);
                    prop_assert_eq!(conduct.note(Act::AbandonedExchange, arrives_ms, answered), Ok(()));
                }
            }
        }
    }
}
