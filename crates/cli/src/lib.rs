//! The `adit` command: arguments, configuration files, certificates, logs and signals around a node.
//!
//! Layers, lowest first; a file uses only what stands above it (`just layers` checks):
//!
//! 1. [`certs`] a development certificate authority
//! 2. [`config`] files and environment → settings
//! 3. [`telemetry`] logs
//! 4. [`life`] signals and the runtime
//! 5. [`reload`] when to read the configuration again
//! 6. [`explain`] which rule takes a request
//! 7. [`sample`] a small backend that shows what arrived
//! 8. [`demo`] server, client and backend in one process
//! 9. [`args`] the commands

pub mod certs;
pub mod config;
pub mod telemetry;
pub mod life;
pub mod reload;
pub mod explain;
pub mod sample;
pub mod demo;
pub mod args;
