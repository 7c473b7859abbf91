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
//! 7. [`reload`] when to read the configuration again
//! 8. [`explain`] which rule takes a request
//! 9. [`sample`] a small backend that shows what arrived
//! 10. [`demo`] server, client and backend in one process
//! 11. [`args`] the commands

pub mod replace;
pub mod certs;
pub mod config;
pub mod token;
pub mod telemetry;
pub mod life;
pub mod reload;
pub mod explain;
pub mod sample;
pub mod demo;
pub mod args;
