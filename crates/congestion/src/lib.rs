//! The congestion controller of a link: bounded by delay, tolerant of loss.
//!
//! TCP's controllers take every lost packet for a full queue; at 1 % of random loss they use a tenth of a fast
//! path. This one looks at the queue itself. It knows two things about a path, the rate at which packets are
//! delivered and the round-trip time without a queue, and keeps as much in flight as fills the path and a small part
//! of its queue:
//!
//! ```text
//! window = (rate × (base + headroom) + share) / (1 − loss)
//! ```
//!
//! - *rate* is what was acknowledged per round trip, the best of the last few rounds (the idea of BBR,
//!   draft-ietf-ccwg-bbr, with the window as the only means: quinn sets the pace by it).
//! - *base* is the least round-trip time of the last ten seconds. Every eighth round the window leaves the headroom
//!   out, so that the queue empties and the base can be seen (BBR's `ProbeRTT`, without its 200 ms of silence).
//! - *headroom* lets the rate be found out: if there is more, the next round delivers more.
//! - *share* does not depend on the link's own rate but on its root, so flows over the same path come to equal parts
//!   (FAST TCP, Wei et al. 2006; a target queue as in Copa, Arun and Balakrishnan 2018).
//! - *loss* makes up for what the path loses. Loss alone is no sign of congestion; more loss with more in flight is,
//!   and takes the headroom away.
//!
//! Against a flow that fills the queue until it overflows, such a window would starve. When the queue does not empty
//! though this link does its part, somebody else fills it, and the link competes as RFC 9438 (CUBIC) says, taking
//! only losses at a long queue for congestion (the switch of modes is that of Nimbus, Goyal et al. 2022).
//!
//! A link that the application does not fill keeps twice what it used lately, and never less than it started with: small
//! requests must not wait for a window.
//!
//! # Layers
//!
//! Lowest first; a file uses only what stands above it (`just layers` checks):
//!
//! 1. [`best`] the best value of the last while
//! 2. [`round`] what happened during one round trip
//! 3. [`path`] what is known about a path: rate, base, loss
//! 4. [`cubic`] how to grow against flows that fill queues
//! 5. [`phase`] what a link is doing about a path
//! 6. [`window`] how much may be in flight
//! 7. [`controller`] the same, as quinn wants it

pub mod best;
pub mod round;
pub mod path;
pub mod cubic;
pub mod phase;
pub mod window;
pub mod controller;

pub use controller::Adaptive;
