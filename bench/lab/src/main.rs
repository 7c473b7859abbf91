//! The command `lab`: see [`bench_lab::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    bench_lab::command::main(std::env::args_os())
}
