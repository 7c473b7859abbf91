//! The decisions of adit, without any I/O.
//!
//! This crate knows no socket, clock, random number, file or environment variable: those come in as
//! arguments, so every rule here can be tested with plain values.
//!
//! Layers, lowest first; a file uses only what stands above it (`just layers` checks):
//!
//! 1. [`id`] names of clients, groups and sessions
//! 2. [`limits`] every bound and its default
//! 3. [`failure`] the one vocabulary of failing
//! 4. [`wire`] the bytes that cross a link
//! 5. [`http`] what a request may look like and what leaves of it
//! 6. [`route`] host and path → target
//! 7. [`balance`] which one of several
//! 8. [`group`] the members of a group and who gets the next exchange
//! 9. [`budget`] how many requests may be tried again
//! 10. [`backoff`] how long to wait before the next dial
//! 11. [`health`] whether a backend server is to be used
//! 12. [`dial`] which addresses may be dialled

pub mod id;
pub mod limits;
pub mod failure;
pub mod wire;
pub mod http;
pub mod route;
pub mod balance;
pub mod group;
pub mod budget;
pub mod backoff;
pub mod health;
pub mod dial;
