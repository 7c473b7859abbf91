//! How a node ends: told to stop, out of what it needs, or replaced by another.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod grace;
mod keep_alive;
mod process;
mod replaced;
mod resources;
mod signals;
mod single;
