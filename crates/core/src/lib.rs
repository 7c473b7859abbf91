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
//! 7. [`gate`] who may use a rule
//! 8. [`route`] host and path → target
//! 9. [`balance`] which one of several
//! 10. [`group`] the members of a group and who gets the next exchange
//! 11. [`admission`] who may join which group
//! 12. [`budget`] how many requests may be tried again
//! 13. [`fair`] who is next where more wait than can be served
//! 14. [`hoard`] who is to let go when too much is held
//! 15. [`backoff`] how long to wait before the next dial
//! 16. [`whereabouts`] whether a node has moved to another network
//! 17. [`health`] whether a backend server is to be used
//! 18. [`dial`] which addresses may be dialled
//! 19. [`conduct`] whether the other end of a link behaves
//! 20. [`handshakes`] whether to begin a handshake
//! 21. [`expiry`] when to say that a certificate ends

pub mod token;
pub mod id;
pub mod limits;
pub mod failure;
pub mod wire;
pub mod http;
pub mod gate;
pub mod route;
pub mod balance;
pub mod group;
pub mod admission;
pub mod budget;
pub mod fair;
pub mod hoard;
pub mod backoff;
pub mod whereabouts;
pub mod health;
pub mod dial;
pub mod conduct;
pub mod handshakes;
pub mod expiry;
