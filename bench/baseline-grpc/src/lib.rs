//! The older design of a tunnel, made as well as it can be, so that a benchmark compares transports and not
//! workmanship.
//!
//! One bidirectional gRPC stream joins client and server. Every request is one message with a `request_id` and its whole
//! body; its response comes back as one message with the same id, for which the server keeps a table of who
//! waits. HTTP comes in and goes out with the same library as in adit.
//!
//! ```text
//!  visitor → entry → Tunnel::ask ═ FromServer{request_id} ═▶ client → upstream
//!                    waiting[request_id] ◀═ FromClient{request_id} ═┘
//! ```
//!
//! Layers, lowest first:
//!
//! 1. [`message`] what crosses the stream
//! 2. [`socket`] TCP with a chosen congestion control
//! 3. [`tls`] who trusts whom
//! 4. [`tunnel`] the table of requests that wait
//! 5. [`service`] the gRPC method, written by hand instead of generated
//! 6. [`entry`] where HTTP comes in
//! 7. [`upstream`] where HTTP goes out
//! 8. [`server`] and [`client`]

pub mod message;
pub mod socket;
pub mod tls;
pub mod tunnel;
pub mod service;
pub mod entry;
pub mod upstream;
pub mod server;
pub mod client;

use std::time::Duration;

/// How long a request may take, from its arrival to the message with its response.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest message, and so the largest body.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// HTTP/2's windows: far above what any path of the benchmark holds, so that TCP alone decides.
pub const WINDOW_BYTES: u32 = 64 * 1024 * 1024;

/// How many messages may wait for room in the stream.
pub const QUEUE_MESSAGES: usize = 1024;
