//! Rules: what they change, how they are pushed, replaced, and what is tried again.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod options;
mod push;
mod reload;
mod retry;
