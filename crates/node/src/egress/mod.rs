//! Out to an upstream.
//!
//! Lowest first; a file uses only what stands above it:
//!
//! 1. [`websocket`] the handshake of each version of HTTP
//! 2. [`request`] a request on its way to a server
//! 3. [`tcp`] a name → a TCP connection
//! 4. [`forgiving`] a connection whose writes may fail without a word
//! 5. [`connection`] one HTTP connection
//! 6. [`pool`] the connections that are kept
//! 7. [`standing`] how a server is doing
//! 8. [`server`] one server
//! 9. [`response`] the body that comes back, and the connection it comes from
//! 10. [`check`] asks a server how it is
//! 11. [`upstream`] several servers and the choice between them
//! 12. [`service`] rule → upstream

pub mod websocket;
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
