//! Out to an upstream.
//!
//! Lowest first; a file uses only what stands above it:
//!
//! 1. [`request`] a request on its way to a server
//! 2. [`tcp`] a name → a TCP connection
//! 3. [`forgiving`] a connection whose writes may fail without a word
//! 4. [`connection`] one HTTP connection
//! 5. [`pool`] the connections that are kept
//! 6. [`standing`] how a server is doing
//! 7. [`server`] one server
//! 8. [`response`] the body that comes back, and the connection it comes from
//! 9. [`check`] asks a server how it is
//! 10. [`upstream`] several servers and the choice between them
//! 11. [`service`] rule → upstream

pub mod request;
pub mod tcp;
pub mod forgiving;
pub mod connection;
pub mod pool;
pub mod standing;
pub mod server;
pub mod response;
pub mod check;
pub mod upstream;
pub mod service;
