//! The harness of adit's end-to-end tests: real nodes over real QUIC on loopback, in the test's own runtime.
//!
//! ```no_run
//! # use adit_tests::{Direction, Tunnel, Upstream};
//! # async fn test() {
//! let upstream = Upstream::echo();
//! let tunnel = Tunnel::to(upstream.http()).start(Direction::Reverse).await;
//! let answer = tunnel.http1().await.get("/hello").await;
//! # }
//! ```
//!
//! Every port is the system's choice, every task is owned by what started it, and every wait ends: a test that
//! would hang fails after [`wait::PATIENCE`]. With `RUST_LOG=debug` the nodes say what they do.
//!
//! Lowest first:
//!
//! 1. [`wait`] waits that end
//! 2. [`log`] what nodes say
//! 3. [`body`] bodies in any shape
//! 4. [`message`] versions of HTTP, and reading what has arrived
//! 5. [`trust`] certificates in memory
//! 6. [`upstream`] a server whose behaviour the test decides
//! 7. [`visitor`] HTTP clients, well-behaved and not
//! 8. [`settings`] what nodes are told to do when a test does not care
//! 9. [`relay`] what stands between a client and its server
//! 10. [`node`] running servers and clients
//! 11. [`apart`] a client that can be stopped in the midst of what it does
//! 12. [`peer`] the other end of a link, byte by byte
//! 13. [`attack`] what a hostile peer does
//! 14. [`tunnel`] all of them put together, in either direction
//! 15. [`conformance`](mod@conformance) rows and cells of the conformance matrix

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a harness fails tests by panicking")]

pub mod wait;
pub mod log;
pub mod body;
pub mod message;
pub mod trust;
pub mod upstream;
pub mod visitor;
pub mod settings;
pub mod relay;
pub mod node;
pub mod apart;
pub mod peer;
pub mod attack;
pub mod tunnel;
pub mod conformance;

pub use self::{
    conformance::{Cell, Scope},
    message::Http,
    relay::Relay,
    tunnel::{Direction, Tunnel},
    upstream::Upstream,
    visitor::Visitor,
    wait::{eventually, within},
};

/// Runs each case twice: once with a tunnel in reverse, and once forward.
///
/// A case is an `async fn(Direction)`; one that is missing from the list is dead code, and the compiler says so.
#[macro_export]
macro_rules! both_directions {
    ($($case:ident),+ $(,)?) => {
        mod reverse {
            $(#[tokio::test]
            async fn $case() {
                super::$case($crate::Direction::Reverse).await;
            })+
        }

        mod forward {
            $(#[tokio::test]
            async fn $case() {
                super::$case($crate::Direction::Forward).await;
            })+
        }
    };
}
