//! The bytes that cross a link: length-prefixed postcard messages.
//!
//! The ALPN [`ALPN`] names the version. Enums are append-only; golden bytes in the tests fix every message.

pub mod bounded;
pub mod codec;
pub mod config;
pub mod control;
pub mod exchange;

/// The application protocol both sides of a link must name in their TLS handshake (RFC 7301).
pub const ALPN: &[u8] = b"adit/1";
