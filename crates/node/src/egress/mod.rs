//! Out to an upstream.
//!
//! Lowest first; a file uses only what stands above it:
//!
//! 1. [`request`] a request on its way to a server
//! 2. [`tcp`] a name → a TCP connection
//! 3. [`connection`] one HTTP connection
//! 4. [`pool`] the connections that are kept
//! 5. [`standing`] how a server is doing
//! 6. [`server`] one server
//! 7. [`response`] the body that comes back, and the connection it comes from
//! 8. [`check`] asks a server how it is
//! 9. [`upstream`] several servers and the choice between them
//! 10. [`service`] rule → upstream

pub mod request;
pub mod tcp;
pub mod connection;
pub mod pool;
pub mod standing;
pub mod server;
pub mod response;
pub mod check;
pub mod upstream;
pub mod service;
