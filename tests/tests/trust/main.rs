//! Who is at either end of a link.

mod certificates;
mod key_exchange;
mod names;
mod pinning;
mod reasons;
mod tokens;
