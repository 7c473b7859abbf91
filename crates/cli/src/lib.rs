//! The `adit` command: arguments, configuration files, certificates, logs and signals around a node.
//!
//! Layers, lowest first; a file uses only what stands above it (`just layers` checks):
//!
//! 1. [`replace`] files that are replaced as a whole
//! 2. [`certs`] a development certificate authority
//! 3. [`password`] hashes and tokens for gates
//! 4. [`config`] files and environment → settings
//! 5. [`token`] the tokens that a server knows
//! 6. [`telemetry`] logs
//! 7. [`life`] signals and the runtime
//! 8. [`handover`] sockets from a service manager, and what it is told
//! 9. [`reload`] when to read the configuration again
//! 10. [`explain`] which rule takes a request
//! 11. [`sample`] a small backend that shows what arrived
//! 12. [`demo`] server, client and backend in one process
//! 13. [`args`] the commands

pub mod replace;
pub mod certs;
pub mod password;
pub mod config;
pub mod token;
pub mod telemetry;
pub mod life;
pub mod handover;
pub mod reload;
pub mod explain;
pub mod sample;
pub mod demo;
pub mod args;
