//! Two network namespaces joined by a path that delays, queues and loses packets, as root and without.
//!
//! The path is [`bench_emulator`]'s, run in user space over one TUN device in each namespace: the kernel needs no
//! `netem`, and the same seed loses the same packets.
//!
//! A process can enter a user namespace only while it has a single thread, and a benchmark has more. So [`Lab::run`]
//! starts its own executable anew, and the first line of `main` hands that process over:
//!
//! ```no_run
//! # fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
//! if let Some(code) = bench_lab::take_over() {
//!     return Ok(code);
//! }
//! let path: bench_emulator::PathSpec = "delay=30ms loss=2% rate=100mbit queue=50ms".parse()?;
//! let lab = bench_lab::Lab::new(bench_lab::Spec { seed: 101, ..bench_lab::Spec::new(path) });
//! match lab.run("my-client \"$LAB_B\"", Some("my-server \"$LAB_B\""))? {
//!     bench_lab::Outcome::Done(report) => println!("{} packets lost", report.there.lost),
//!     bench_lab::Outcome::ThrownAway { why, .. } => println!("once more: {why}"),
//!     bench_lab::Outcome::Impossible { why } | bench_lab::Outcome::Failed { why } => println!("{why}"),
//! }
//! # Ok(std::process::ExitCode::SUCCESS)
//! # }
//! ```
//!
//! The command `lab` is the same thing for a shell: what a run needs is its arguments, what came of it is its JSON.
//!
//! 1. [`spec`]: what a run is to be like
//! 2. [`outcome`]: what came of it
//! 3. `inside`: the namespaces, the emulator and the programs; Linux only
//! 4. [`command`]: the command line
//! 5. [`lab`]: runs from a program

pub mod spec;

pub mod outcome;

#[cfg(target_os = "linux")]
mod inside;

pub mod command;

pub mod lab;

pub use lab::{Lab, LabError, quote, take_over};
pub use outcome::{Outcome, Report};
pub use spec::Spec;
