//! Out to an upstream.

pub mod connection;
pub mod service;
pub mod upstream;
