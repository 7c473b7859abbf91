//! Whether to begin a handshake, what those that are not done may cost, and what becomes of them.

use crate::limits::Limits;

/// Handshakes that are not done: the client has not registered yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfOpen {
    /// Those whose address may be made up: nobody has answered from there.
    pub unvalidated: usize,
    /// Those whose client has answered from its address.
    pub validated: usize,
}

/// What becomes of a client's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The handshake begins.
    Accept,
    /// The client is to prove its address first (RFC 9000 §8.1.2). Costs no memory.
    Retry,
    /// It is not answered. A client sends it again, after a second and then less and less often.
    Ignore,
}

/// What became of a client that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is a member of its group.
    Joined,
    /// It was told to prove its address first. Whoever does so counts again, as what becomes of it then.
    Retry,
    /// It was not answered, since too many handshakes are not done.
    Ignored,
    /// It took too long.
    Timeout,
    /// It broke off, had no certificate that is trusted, or did not speak the protocol.
    Failed,
    /// It said who it is, and may not be in the group.
    Denied,
}

impl Outcome {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 6] = [Self::Joined, Self::Retry, Self::Ignored, Self::Timeout, Self::Failed, Self::Denied];

    /// Returns its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Retry => "retry",
            Self::Ignored => "ignored",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Denied => "denied",
        }
    }
}

impl HalfOpen {
    /// Decides about a first packet, whose address is proven or not.
    ///
    /// Made-up addresses cannot keep real clients out: they share a bound of their own, and whoever proves an address
    /// is past it. Clients behind one NAT have one address and are not counted together.
    pub fn decide(self, validated: bool, limits: &Limits) -> Verdict {
        if !validated {
            return if self.unvalidated < limits.handshakes_unvalidated_max { Verdict::Accept } else { Verdict::Retry };
        }
        if self.validated < limits.handshakes_max { Verdict::Accept } else { Verdict::Ignore }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { handshakes_unvalidated_max: 2, handshakes_max: 3, ..Limits::default() }
    }

    #[test]
    fn every_outcome_stands_at_its_place() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(place, outcome as usize, "{outcome:?}");
        }
    }

    #[test]
    fn addresses_are_to_be_proven_once_too_many_are_not() {
        let decide = |unvalidated| HalfOpen { unvalidated, validated: 0 }.decide(false, &limits());
        assert_eq!([0, 1, 2, 3].map(decide), [Verdict::Accept, Verdict::Accept, Verdict::Retry, Verdict::Retry]);
    }

    #[test]
    fn unproven_addresses_keep_no_proven_one_out() {
        let half_open = HalfOpen { unvalidated: 1_000, validated: 2 };
        assert_eq!(half_open.decide(true, &limits()), Verdict::Accept);
    }

    #[test]
    fn proven_addresses_have_a_bound_too() {
        assert_eq!(HalfOpen { unvalidated: 0, validated: 3 }.decide(true, &limits()), Verdict::Ignore);
    }
}
