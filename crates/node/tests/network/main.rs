//! What a link does to a network, and a network to a link: in virtual time, the same every time.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "what these tests set up has to be there; the numbers are worth reading"
)]

mod traffic;
mod loss;
mod bulk;
mod start;
mod change;
mod sharing;
mod transport;
