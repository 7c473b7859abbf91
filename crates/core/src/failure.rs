//! The one vocabulary of failing.
//!
//! A [`Failure`] is what an exchange ends with when it does not end with a response. It is the only
//! failure that crosses a link, and the only source of HTTP status codes, `adit-error` values and QUIC
//! reset codes.

use serde::{Deserialize, Serialize};

/// Why an exchange failed.
///
/// Append-only: the order of the variants is their number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The request is malformed or means two things at once.
    #[error("the request is malformed")]
    BadRequest,
    /// No ingress or egress rule takes the request.
    #[error("no rule takes this request")]
    NoRoute,
    /// The body is over a configured limit.
    #[error("the body is too large")]
    BodyTooLarge,
    /// The request target is over a configured limit.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head is over a configured limit.
    #[error("the head is too large")]
    HeadTooLarge,
    /// The visitor took too long to send its request.
    #[error("the request came in too slowly")]
    RequestTimeout,
    /// No client of the group is connected.
    #[error("no client of the group is connected")]
    NoClient,
    /// The client has no link to its server.
    #[error("there is no link to the server")]
    NoServer,
    /// The link broke while the exchange was on it.
    #[error("the link was lost")]
    LinkLost,
    /// The name of the upstream does not resolve.
    #[error("the upstream's name does not resolve")]
    UpstreamUnresolved,
    /// The upstream refused the connection or could not be reached.
    #[error("the upstream refused the connection")]
    UpstreamRefused,
    /// The upstream's TLS handshake failed.
    #[error("the TLS handshake with the upstream failed")]
    UpstreamTls,
    /// The upstream closed the connection before the exchange was complete.
    #[error("the upstream closed the connection")]
    UpstreamReset,
    /// What the upstream said is not HTTP.
    #[error("the upstream did not speak HTTP")]
    UpstreamProtocol,
    /// The link has as many exchanges as it may have.
    #[error("too many exchanges at once")]
    Overloaded,
    /// The node is going away and takes nothing new.
    #[error("the node is draining")]
    Draining,
    /// No response head came in time.
    #[error("no response in time")]
    Timeout,
    /// The request has been through this node before.
    #[error("the tunnel leads into itself")]
    Loop,
    /// Whoever asked went away; there is nobody to answer.
    #[error("whoever asked went away")]
    Cancelled,
    /// The other end of the link broke the protocol.
    #[error("the peer broke the protocol")]
    Protocol,
    /// Whoever reads a body took nothing of it for too long.
    #[error("the body was not read for too long")]
    SlowReader,
    /// The upstream speaks HTTP/2, and does not take extended CONNECT (RFC 8441).
    #[error("the upstream cannot switch protocols over HTTP/2")]
    UpstreamUnswitchable,
    /// The request shows no credentials that its rule asks for, or wrong ones.
    #[error("credentials are needed")]
    Unauthorized,
    /// The rule does not let this visitor in.
    #[error("the rule does not let this visitor in")]
    Forbidden,
    /// The visitor asks more often than its rule lets it.
    #[error("too many requests from this visitor")]
    RateLimited,
    /// The upstream is at an address that this node may not dial.
    #[error("the upstream's address may not be dialled")]
    UpstreamForbidden,
}

impl Failure {
    /// Every failure, in wire order.
    pub const ALL: [Failure; 26] = [
        Self::BadRequest,
        Self::NoRoute,
        Self::BodyTooLarge,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::RequestTimeout,
        Self::NoClient,
        Self::NoServer,
        Self::LinkLost,
        Self::UpstreamUnresolved,
        Self::UpstreamRefused,
        Self::UpstreamTls,
        Self::UpstreamReset,
        Self::UpstreamProtocol,
        Self::Overloaded,
        Self::Draining,
        Self::Timeout,
        Self::Loop,
        Self::Cancelled,
        Self::Protocol,
        Self::SlowReader,
        Self::UpstreamUnswitchable,
        Self::Unauthorized,
        Self::Forbidden,
        Self::RateLimited,
        Self::UpstreamForbidden,
    ];

    /// Returns the status of the response that tells a visitor of this failure (RFC 9110 §15).
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NoRoute => 404,
            Self::RequestTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::RateLimited => 429,
            Self::HeadTooLarge => 431,
            // Nobody reads it: 499 is what access logs show for a visitor that left.
            Self::Cancelled => 499,
            Self::NoClient => 502,
            Self::NoServer => 502,
            Self::LinkLost => 502,
            Self::UpstreamUnresolved => 502,
            Self::UpstreamRefused => 502,
            Self::UpstreamTls => 502,
            Self::UpstreamReset => 502,
            Self::UpstreamProtocol => 502,
            Self::Protocol => 502,
            Self::UpstreamUnswitchable => 502,
            Self::UpstreamForbidden => 502,
            Self::Overloaded => 503,
            Self::Draining => 503,
            Self::Timeout => 504,
            // Told of an upload that no upstream takes; a visitor that reads nothing reads no status either.
            Self::SlowReader => 504,
            Self::Loop => 508,
        }
    }

    /// Returns the value of the `adit-error` header.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NoRoute => "no-route",
            Self::BodyTooLarge => "too-large",
            Self::TargetTooLong => "too-large",
            Self::HeadTooLarge => "too-large",
            Self::RequestTimeout => "request-timeout",
            Self::NoClient => "no-client",
            Self::NoServer => "no-server",
            Self::LinkLost => "link-lost",
            Self::UpstreamUnresolved => "upstream-unresolved",
            Self::UpstreamRefused => "upstream-refused",
            Self::UpstreamTls => "upstream-tls",
            Self::UpstreamReset => "upstream-reset",
            Self::UpstreamProtocol => "upstream-protocol",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Timeout => "timeout",
            Self::Loop => "loop",
            Self::Cancelled => "cancelled",
            Self::Protocol => "protocol",
            Self::SlowReader => "slow-reader",
            Self::UpstreamUnswitchable => "upstream-unswitchable",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate-limited",
            Self::UpstreamForbidden => "upstream-forbidden",
        }
    }

    /// Returns the application error code of RESET_STREAM and STOP_SENDING (RFC 9000 §19.4, §19.5).
    ///
    /// Zero is not among them: quinn sends it for a stream that was dropped without a reason, which is a
    /// bug of whoever dropped it.
    pub fn reset_code(self) -> u32 {
        match self {
            Self::BadRequest => 1,
            Self::NoRoute => 2,
            Self::BodyTooLarge => 3,
            Self::TargetTooLong => 4,
            Self::HeadTooLarge => 5,
            Self::RequestTimeout => 6,
            Self::NoClient => 7,
            Self::NoServer => 8,
            Self::LinkLost => 9,
            Self::UpstreamUnresolved => 10,
            Self::UpstreamRefused => 11,
            Self::UpstreamTls => 12,
            Self::UpstreamReset => 13,
            Self::UpstreamProtocol => 14,
            Self::Overloaded => 15,
            Self::Draining => 16,
            Self::Timeout => 17,
            Self::Loop => 18,
            Self::Cancelled => 19,
            Self::Protocol => 20,
            Self::SlowReader => 21,
            Self::UpstreamUnswitchable => 22,
            Self::Unauthorized => 23,
            Self::Forbidden => 24,
            Self::RateLimited => 25,
            Self::UpstreamForbidden => 26,
        }
    }

    /// Returns the failure that a reset code stands for, or `None` for a code that no version of adit sends.
    pub fn from_reset_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| u64::from(failure.reset_code()) == code)
    }

    /// Returns whether it speaks against whoever was asked, and not against the request, its visitor or its route.
    pub fn blames_answerer(self) -> bool {
        match self {
            Self::LinkLost => true,
            Self::UpstreamUnresolved => true,
            Self::UpstreamRefused => true,
            Self::UpstreamTls => true,
            Self::UpstreamReset => true,
            Self::UpstreamProtocol => true,
            Self::UpstreamForbidden => true,
            Self::Overloaded => true,
            Self::Timeout => true,
            Self::Protocol => true,
            Self::BadRequest => false,
            Self::NoRoute => false,
            Self::BodyTooLarge => false,
            Self::TargetTooLong => false,
            Self::HeadTooLarge => false,
            Self::RequestTimeout => false,
            Self::NoClient => false,
            Self::NoServer => false,
            Self::Draining => false,
            Self::Loop => false,
            Self::Cancelled => false,
            Self::SlowReader => false,
            Self::UpstreamUnswitchable => false,
            Self::Unauthorized => false,
            Self::Forbidden => false,
            Self::RateLimited => false,
        }
    }

    /// Returns whether the request certainly had no effect, so that any method may be sent again elsewhere
    /// (RFC 9110 §9.2.2).
    pub fn retryable(self) -> bool {
        match self {
            Self::UpstreamUnresolved => true,
            Self::UpstreamRefused => true,
            Self::UpstreamTls => true,
            Self::UpstreamForbidden => true,
            Self::Overloaded => true,
            Self::Draining => true,
            Self::BadRequest => false,
            Self::NoRoute => false,
            Self::BodyTooLarge => false,
            Self::TargetTooLong => false,
            Self::HeadTooLarge => false,
            Self::RequestTimeout => false,
            Self::NoClient => false,
            Self::NoServer => false,
            Self::LinkLost => false,
            Self::UpstreamReset => false,
            Self::UpstreamProtocol => false,
            Self::Timeout => false,
            Self::Loop => false,
            Self::Cancelled => false,
            Self::Protocol => false,
            Self::SlowReader => false,
            Self::UpstreamUnswitchable => false,
            Self::Unauthorized => false,
            Self::Forbidden => false,
            Self::RateLimited => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_codes_are_unique_and_never_zero() {
        for failure in Failure::ALL {
            assert_ne!(failure.reset_code(), 0);
            let back = Failure::from_reset_code(failure.reset_code().into());
            assert_eq!(back, Some(failure));
        }
        assert_eq!(Failure::from_reset_code(0), None);
    }

    #[test]
    fn all_lists_every_variant_in_wire_order() {
        for (number, failure) in Failure::ALL.into_iter().enumerate() {
            let bytes = postcard::to_allocvec(&failure).unwrap_or_default();
            assert_eq!(bytes, [u8::try_from(number).unwrap_or(255)]);
        }
        let next = u8::try_from(Failure::ALL.len()).unwrap_or(255);
        assert!(postcard::from_bytes::<Failure>(&[next]).is_err(), "ALL misses a variant");
    }
}
