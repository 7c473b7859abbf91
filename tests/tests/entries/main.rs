//! Entries: TLS, proxies in front, and visitors that mean no good.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod attacks;
mod https;
mod proxy;
mod slow;
mod unread;
