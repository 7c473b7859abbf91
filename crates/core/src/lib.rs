//! The decisions of adit, without any I/O.
//!
//! This crate knows no socket, clock, random number, file or environment variable: those come in as
//! arguments, so every rule here can be tested with plain values.
//!
//! Layers, lowest first; a file uses only what stands above it (`just layers` checks):
//!
//! 1. [`token`] secrets of clients
//! 2. [`id`] names of clients, groups and sessions
//! 3. [`limits`] every bound and its default
//! 4. [`failure`] the one vocabulary of failing
//! 5. [`wire`] the bytes that cross a link
//! 6. [`http`] what a request may look like and what leaves of it
//! 7. [`route`] host and path → target
//! 8. [`balance`] which one of several
//! 9. [`group`] the members of a group and who gets the next exchange
//! 10. [`admission`] who may join which group
//! 11. [`budget`] how many requests may be tried again
//! 12. [`fair`] who is next where more wait than can be served
//! 13. [`backoff`] how long to wait before the next dial
//! 14. [`whereabouts`] whether a node has moved to another network
//! 15. [`health`] whether a backend server is to be used
//! 16. [`dial`] which addresses may be dialled
//! 17. [`conduct`] whether the other end of a link behaves
//! 18. [`handshakes`] whether to begin a handshake
//! 19. [`expiry`] when to say that a certificate ends

pub mod token;
pub mod id;
pub mod limits;
pub mod failure;
pub mod wire;
pub mod http;
pub mod route;
pub mod balance;
pub mod group;
pub mod admission;
pub mod budget;
pub mod fair;
pub mod backoff;
pub mod whereabouts;
pub mod health;
pub mod dial;
pub mod conduct;
pub mod handshakes;
pub mod expiry;
