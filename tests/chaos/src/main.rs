//! Real processes of adit under faults drawn from a seed, and load of which every byte is checked.
//!
//! ```text
//!  visitors ──▶ server ═══ relay ═══ web-1 ──▶ backend `web`
//!                 │    ═══ relay ═══ web-2 ──▶ backend `web`
//!                 │    ═══ relay ═══ solo  ──▶ backend `solo`
//!                 ▼
//!          backend `far` ◀── server ◀══ relay ══ web-1, solo ◀── local apps
//! ```
//!
//! Layers, lowest first:
//!
//! 1. [`content`] bodies of which every byte is known
//! 2. [`scene`] who is there
//! 3. [`question`] what a request asks for
//! 4. [`outcome`] what came of it
//! 5. [`relay`] the path between a client and the server
//! 6. [`backend`] what answers
//! 7. [`fault`] what can go wrong
//! 8. [`promise`] what must hold nevertheless
//! 9. [`plan`] which faults come when
//! 10. [`visitor`] one request, checked
//! 11. [`admin`] what a node says of itself
//! 12. [`lag`] how late the machine is
//! 13. [`process`], [`config`] and [`stage`] everything that runs
//! 14. [`load`] many requests, open loop
//! 15. [`director`] makes faults happen
//! 16. [`judge`] and [`report`] what came of it all
//! 17. [`growth`], [`sample`] and [`soak`] whether processes grow
//! 18. [`run`] one run

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints its table")]

mod content;
mod scene;
mod question;
mod outcome;
mod relay;
mod backend;
mod fault;
mod promise;
mod plan;
mod visitor;
mod admin;
mod lag;
mod process;
mod config;
mod stage;
mod load;
mod director;
mod judge;
mod report;
mod growth;
mod sample;
mod soak;
mod run;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::plan::Purpose;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything that can go wrong, one after the other
    Chaos(run::Args),
    /// A few short faults; half a minute is enough
    Short(run::Args),
    /// Faults that leave processes alive, and whether these grow
    Soak(run::Args),
    /// What `adit` does, so that there are real processes without another binary
    #[command(hide = true)]
    Adit {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Chaos(args) => run::run(&args, Purpose::Chaos),
        Command::Short(args) => run::run(&args, Purpose::Short),
        Command::Soak(args) => run::run(&args, Purpose::Soak),
        Command::Adit { args } => {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            adit::args::run(adit::args::Args::parse_from(std::iter::once(OsString::from("adit")).chain(args)))
        }
    }
}
