//! Whole nodes over real QUIC on loopback: what an operator sees of them.

#![expect(clippy::unwrap_used, reason = "what these tests set up has to be there")]

mod access;
mod admin;
mod beyond;
mod tunnel;
