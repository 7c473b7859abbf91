//! Who is let in, and where nobody is let out.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod credentials;
mod dial;
mod guarded;
mod logs;
mod metrics;
mod visitors;
