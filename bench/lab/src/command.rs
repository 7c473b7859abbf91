//! The command line.

#![expect(clippy::print_stderr, reason = "a command says what came of it; standard output is its programs'")]

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use bench_emulator::PathSpec;
use clap::{Parser, Subcommand};

use crate::{outcome::Outcome, spec::Spec};

/// Two network namespaces joined by a path that delays, queues and loses packets.
#[derive(Debug, Parser)]
#[command(name = "lab", after_help = EXIT_CODES)]
struct Args {
    #[command(subcommand)]
    action: Action,
}

const EXIT_CODES: &str = "\
Exit codes: 0 A's program succeeded; 1 it or the run failed; 2 bad usage, or no TUN or namespaces here;
3 the run is thrown away: packets came too late, or the kernel dropped some";

#[derive(Debug, Subcommand)]
enum Action {
    /// Run a program at each end; A's end is the end of the run
    #[command(after_help = EXIT_CODES)]
    Run(Box<Run>),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// From A to B, and back unless --path-back is given: any of delay=30ms jitter=2ms loss=2% burst=1%/30%
    /// rate=100mbit queue=50ms reorder=2%/5ms batch=5ms
    #[arg(long, value_name = "PATH", default_value = "")]
    path: PathSpec,
    /// From B to A
    #[arg(long, value_name = "PATH")]
    path_back: Option<PathSpec>,
    /// The same seed loses the same packets
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// TCP's congestion control: cubic, bbr, reno … [default: the host's]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// A shell command in namespace A, started when B's listens; it finds the addresses in LAB_A and LAB_B
    #[arg(long, value_name = "COMMAND")]
    a: String,
    /// A shell command in namespace B, ended after A's
    #[arg(long, value_name = "COMMAND")]
    b: Option<String>,
    /// Where to write what came of it, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Throw the run away if one packet in a hundred is later than this
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1ms")]
    late_max: Duration,
    /// How long to wait for B's program to listen
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2s")]
    listen_within: Duration,
    /// How long A's program may take
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10m")]
    time_limit: Duration,
    /// The TUN device
    #[arg(long, value_name = "FILE", default_value = "/dev/net/tun")]
    tun: PathBuf,
    /// End the run when the process that started it ends
    #[arg(long)]
    end_with_parent: bool,
    /// Do not say what came of it
    #[arg(long, short)]
    quiet: bool,
}

/// Does what the arguments say, the first of which is the command's name, and returns the exit code.
///
/// To be called while the process has a single thread, and as the last thing it does.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Action::Run(run) = Args::parse_from(args).action;
    let (json, quiet) = (run.json.clone(), run.quiet);
    let outcome = run.run();
    if !quiet {
        say(&outcome);
    }
    match json.map(|path| write(&outcome, &path)) {
        Some(Err(error)) => {
            eprintln!("lab: the JSON cannot be written: {error}");
            ExitCode::FAILURE
        }
        Some(Ok(())) | None => outcome.exit_code().into(),
    }
}

fn say(outcome: &Outcome) {
    match outcome {
        Outcome::Done(report) => eprintln!("{report}"),
        Outcome::ThrownAway { why, report } => eprintln!("{report}\nlab: this run is thrown away: {why}"),
        Outcome::Impossible { why } | Outcome::Failed { why } => eprintln!("lab: {why}"),
    }
}

impl Run {
    #[cfg(target_os = "linux")]
    fn run(self) -> Outcome {
        let Self {
            path,
            path_back,
            seed,
            congestion,
            a,
            b,
            late_max,
            listen_within,
            time_limit,
            tun,
            end_with_parent,
            ..
        } = self;
        let path_back = path_back.unwrap_or_else(|| path.clone());
        let spec =
            Spec { path, path_back, seed, congestion, late_max, listen_within, time_limit, tun, end_with_parent };
        crate::inside::run(&spec, &a, b.as_deref())
    }

    #[cfg(not(target_os = "linux"))]
    fn run(self) -> Outcome {
        Outcome::Impossible { why: "network namespaces need Linux: run the lab in a virtual machine".to_owned() }
    }
}

/// Returns the arguments that say this.
pub(crate) fn arguments(spec: &Spec, a: &str, b: Option<&str>, json: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["run".into(), "--quiet".into()];
    let mut add = |name: &str, value: OsString| {
        // In one piece: a value may begin with a dash.
        let mut argument = OsString::from(format!("--{name}="));
        argument.push(value);
        arguments.push(argument);
    };
    add("path", spec.path.to_string().into());
    add("path-back", spec.path_back.to_string().into());
    add("seed", spec.seed.to_string().into());
    add("late-max", humantime::format_duration(spec.late_max).to_string().into());
    add("listen-within", humantime::format_duration(spec.listen_within).to_string().into());
    add("time-limit", humantime::format_duration(spec.time_limit).to_string().into());
    add("tun", spec.tun.clone().into());
    add("json", json.into());
    add("a", a.into());
    if let Some(congestion) = &spec.congestion {
        add("congestion", congestion.into());
    }
    if let Some(b) = b {
        add("b", b.into());
    }
    if spec.end_with_parent {
        arguments.push("--end-with-parent".into());
    }
    arguments
}

fn write(outcome: &Outcome, path: &Path) -> io::Result<()> {
    fs::write(path, serde_json::to_vec_pretty(outcome)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_say_what_a_program_asked_for() {
        let path: PathSpec = "delay=30ms jitter=2ms burst=1%/30% rate=100mbit queue=50ms".parse().expect("a path");
        let spec = Spec {
            path_back: "delay=1ms reorder=2%/5ms".parse().expect("a path"),
            seed: 101,
            congestion: Some("cubic".to_owned()),
            late_max: Duration::from_micros(300),
            ..Spec::new(path)
        };
        let arguments = arguments(&spec, "--client", Some("server"), Path::new("/tmp/x"));
        let Action::Run(run) = Args::parse_from([OsString::from("lab")].into_iter().chain(arguments)).action;
        assert_eq!(run.path, spec.path);
        assert_eq!(run.path_back, Some(spec.path_back));
        assert_eq!((run.seed, run.congestion), (spec.seed, spec.congestion));
        assert_eq!((run.late_max, run.listen_within), (spec.late_max, spec.listen_within));
        assert_eq!((run.time_limit, run.tun, run.end_with_parent), (spec.time_limit, spec.tun, true));
        assert_eq!((run.a.as_str(), run.b.as_deref()), ("--client", Some("server")));
        assert_eq!(run.json.as_deref(), Some(Path::new("/tmp/x")));
    }
}
