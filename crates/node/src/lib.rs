//! The I/O of adit: links, exchanges, HTTP entries, upstreams.
//!
//! A request comes in over HTTP or over a link, and goes out over a link or to an upstream. Server and client
//! are the same four rooms with other settings:
//!
//! ```text
//!                      comes in                          goes out
//!  server   ingress (HTTP entry) ──────────────▶ link    (reverse: a client of the group)
//!           session (stream accepted on a link) ─▶ egress (forward: an upstream)
//!  client   ingress (HTTP entry) ──────────────▶ link    (forward: the server)
//!           session (stream accepted on a link) ─▶ egress (reverse: a local upstream)
//! ```
//!
//! # The life of a request
//!
//! ```text
//!  asking node                                          answering node
//!  1 ingress/listener   accept                          5 session          accept_bi → the link's exchanges, together
//!    ingress/connection PROXY header, TLS, hyper
//!  2 ingress/service    clean head, match rule, pick    6 exchange answer  read and check the head
//!  3 exchange ask       open stream, head + first       7 egress/service   match rule → upstream
//!                       bytes in one write, upload      8 egress/upstream  pooled hyper connection → response
//!  4 stream, body       frames ═════ one QUIC stream ═════ frames
//!    … and back up the same calls: response head → body → trailers → end
//! ```
//!
//! Down is calls, back is returns: there is no channel and no request table in between. The QUIC stream is
//! what pairs a response with its request.
//!
//! # Layers
//!
//! Lowest first; a file uses only what stands above it (`just layers` checks):
//!
//! 1. [`clock`] times as numbers
//! 2. [`credentials`] certificates and keys, and whom to trust
//! 3. [`expiry`] which certificates end when
//! 4. [`settings`] what a node is told to do
//! 5. [`meter`] what is counted
//! 6. [`watch`] the exchanges in flight
//! 7. [`access`] one exchange's record: counted and logged when it is dropped
//! 8. [`aside`] whether something that fails is set aside
//! 9. [`together`] futures that share one turn
//! 10. [`turns`] so many at once, and the rest in turn
//! 11. [`tail`] a probe behind the last packet of what was written
//! 12. [`progress`] whether a body gets on
//! 13. [`conduct`] how the two ends of a link behave
//! 14. [`stream`] the two halves of a QUIC stream: reset on drop unless finished
//! 15. [`unread`] what has arrived and is not read, of all streams together
//! 16. [`body`] bodies on their way to and from a stream
//! 17. [`upgrade`] raw bytes after a switch of protocols
//! 18. [`link`] one authenticated QUIC connection
//! 19. [`exchange`] `ask` and `answer`
//! 20. [`registry`] who is connected
//! 21. [`egress`] out to an upstream
//! 22. [`push`] rules that a server sends to its clients
//! 23. [`ingress`] in from a visitor
//! 24. [`session`] one link's life
//! 25. [`admin`] what an operator sees and does
//! 26. [`node`] wires and owns everything
//!
//! # Runtimes
//!
//! A node creates no runtime; it runs on the one its caller is on. Give it a `current_thread` runtime:
//! a link's connection driver, its HTTP connections and the work on its streams then share one core, and
//! datagrams are batched.

pub mod clock;
pub mod credentials;
pub mod expiry;
pub mod settings;
pub mod meter;
pub mod watch;
pub mod access;
pub mod aside;
pub mod together;
pub mod turns;
pub mod tail;
pub mod progress;
pub mod conduct;
pub mod stream;
pub mod unread;
pub mod body;
pub mod upgrade;
pub mod link;
pub mod exchange;
pub mod registry;
pub mod egress;
pub mod push;
pub mod ingress;
pub mod session;
pub mod admin;
pub mod node;

pub use node::{Client, Server};
