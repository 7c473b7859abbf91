//! Out to an upstream.
//!
//! Lowest first; a file uses only what stands above it:
//!
//! 1. [`websocket`] the handshake of each version of HTTP
//! 2. [`request`] a request on its way to a server
//! 3. [`guard`] what stands between an address and a connection to it
//! 4. [`tcp`] a name → a TCP connection
//! 5. [`forgiving`] a connection whose writes may fail without a word
//! 6. [`connection`] one HTTP connection
//! 7. [`pool`] the connections that are kept
//! 8. [`standing`] how a server is doing
//! 9. [`server`] one server
//! 10. [`response`] the body that comes back, and the connection it comes from
//! 11. [`check`] asks a server how it is
//! 12. [`upstream`] several servers and the choice between them
//! 13. [`service`] rule → upstream

pub mod websocket;
pub mod request;
pub mod guard;
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
