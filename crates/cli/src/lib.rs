//! The `adit` command: arguments, configuration files, certificates, logs and signals around a node.
//!
//! Layers, lowest first; a file uses only what stands above it (`just layers` checks):
//!
//! 1. [`replace`] files that are replaced as a whole
//! 2. [`certs`] a development certificate authority
//! 3. [`config`] files and environment → settings
//! 4. [`token`] the tokens that a server knows
//! 5. [`telemetry`] logs
//! 6. [`life`] signals and the runtime
//! 7. [`handover`] sockets from a service manager, and what it is told
//! 8. [`reload`] when to read the configuration again
//! 9. [`explain`] which rule takes a request
//! 10. [`sample`] a small backend that shows what arrived
//! 11. [`demo`] server, client and backend in one process
//! 12. [`args`] the commands

pub mod replace;
pub mod certs;
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
