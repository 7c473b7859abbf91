//! The binary: see the library for what it does.

use std::process::ExitCode;

use clap::Parser;

/// Measured against the allocator of the system: see `docs/speed.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Whatever else uses rustls finds the same provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    adit::args::run(adit::args::Args::parse())
}
