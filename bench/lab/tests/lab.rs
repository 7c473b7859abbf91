//! Runs of the lab itself, with this executable's own programs in it; skipped where there is no TUN.

#![expect(clippy::print_stdout, reason = "what the standard harness would print")]

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    fs, io,
    net::UdpSocket,
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use bench_lab::{Lab, Outcome, Report, Spec, quote};

type Checked = Result<(), Box<dyn Error>>;

type Test = (&'static str, fn() -> Checked);

const TESTS: &[Test] = &[
    ("the_same_seed_loses_the_same_packets", the_same_seed_loses_the_same_packets),
    ("a_path_that_loses_nothing_delivers_everything", a_path_that_loses_nothing_delivers_everything),
    ("a_run_whose_packets_came_late_is_thrown_away", a_run_whose_packets_came_late_is_thrown_away),
    ("the_congestion_control_asked_for_is_in_force", the_congestion_control_asked_for_is_in_force),
    ("what_is_missing_is_named", what_is_missing_is_named),
    ("a_program_that_fails_fails_the_run", a_program_that_fails_fails_the_run),
    ("a_run_has_a_time_limit", a_run_has_a_time_limit),
    ("nothing_outlives_its_run", nothing_outlives_its_run),
    ("a_program_in_b_may_tidy_up", a_program_in_b_may_tidy_up),
    ("a_run_ends_with_the_program_that_asked_for_it", a_run_ends_with_the_program_that_asked_for_it),
    ("the_command_says_it_with_its_exit_code", the_command_says_it_with_its_exit_code),
];

/// Few enough that the receiver's socket holds them all, however busy the machine is.
const PACKETS: u32 = 120;

const END: u32 = u32::MAX;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if let Some(code) = bench_lab::take_over() {
        return Ok(code);
    }
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["send"] => send()?,
        ["receive", into] => receive(Path::new(into))?,
        ["ask", a] => drop(lab("").run(a, None)?),
        _ => return test(&args),
    }
    Ok(ExitCode::SUCCESS)
}

fn test(args: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    if let Outcome::Impossible { why } = lab("").run("true", None)? {
        println!("SKIPPED: nothing was tested here: {why}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut wanted = args.iter().filter(|arg| !arg.starts_with('-')).peekable();
    let all = wanted.peek().is_none();
    let filters: Vec<_> = wanted.collect();
    for (name, test) in TESTS {
        if all || filters.iter().any(|filter| name.contains(filter.as_str())) {
            test().map_err(|error| format!("{name}: {error}"))?;
            println!("test {name} ... ok");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn the_same_seed_loses_the_same_packets() -> Checked {
    let (first, report) = arrived(7)?;
    assert!((60..110).contains(&first.len()), "{} of {PACKETS} arrived over a path that loses 30 %", first.len());
    assert!(report.there.lost > 0);
    assert_eq!(report.there.sent, report.there.lost + report.there.delivered + report.there.under_way);
    assert_eq!(report.back.lost, 0);
    assert_eq!(arrived(7)?.0, first);
    assert_ne!(arrived(8)?.0, first);
    Ok(())
}

fn a_path_that_loses_nothing_delivers_everything() -> Checked {
    let into = tempfile::NamedTempFile::new()?;
    let path = "delay=2ms jitter=1ms rate=10mbit queue=1s batch=1ms";
    let report = done(lab(path).run(&program(&["send"])?, Some(&receiver(into.path())?))?)?;
    assert_eq!(fs::read_to_string(into.path())?.lines().count(), PACKETS as usize);
    assert_eq!((report.there.lost, report.there.overflowed, report.there.dropped_by_kernel), (0, 0, 0));
    assert_eq!(report.there.bytes, report.there.delivered * 32);
    Ok(())
}

fn a_run_whose_packets_came_late_is_thrown_away() -> Checked {
    let mut spec = spec("delay=2ms");
    spec.late_max = Duration::ZERO;
    let into = tempfile::NamedTempFile::new()?;
    let outcome = Lab::new(spec).run(&program(&["send"])?, Some(&receiver(into.path())?))?;
    assert_eq!(outcome.exit_code(), 3);
    let Outcome::ThrownAway { why, report } = outcome else { return Err(format!("{outcome:?}").into()) };
    assert!(why.contains("late"), "{why}");
    assert!(report.lateness.p99_us > 0.0);
    Ok(())
}

fn the_congestion_control_asked_for_is_in_force() -> Checked {
    // Every kernel has reno, and none has it as its default.
    let mut spec = spec("");
    spec.congestion = Some("reno".to_owned());
    let report = done(Lab::new(spec.clone()).run("true", None)?)?;
    assert_eq!((report.there.sent, report.back.sent), (0, 0), "asking what is in force took draws");
    let tcp = report.tcp;
    assert_eq!((tcp.congestion_a.as_str(), tcp.congestion_b.as_str()), ("reno", "reno"));
    assert!(tcp.no_metrics_save);
    spec.congestion = Some("unheard-of".to_owned());
    impossible(&Lab::new(spec).run("true", None)?, "`unheard-of`")
}

fn what_is_missing_is_named() -> Checked {
    let mut spec = spec("");
    spec.tun = "/nowhere/tun".into();
    impossible(&Lab::new(spec).run("true", None)?, "there is no /nowhere/tun: load it with `modprobe tun`")
}

fn a_program_that_fails_fails_the_run() -> Checked {
    let outcome = lab("").run("exit 7", None)?;
    assert_eq!(outcome.exit_code(), 1);
    assert_eq!(done(outcome)?.a, Some(7));
    Ok(())
}

fn a_run_has_a_time_limit() -> Checked {
    let mut spec = spec("");
    spec.time_limit = Duration::from_millis(50);
    let outcome = Lab::new(spec).run("sleep 1000", None)?;
    assert_eq!(outcome.exit_code(), 1);
    let Outcome::Failed { why } = outcome else { return Err(format!("{outcome:?}").into()) };
    assert!(why.contains("50ms"), "{why}");
    Ok(())
}

fn nothing_outlives_its_run() -> Checked {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let stubborn = |name| format!("trap '' TERM; sleep 1000 & echo $! >{}; wait", quote(&at(name).to_string_lossy()));
    let seen = |name| format!("until [ -s {} ]; do sleep 0.01; done", quote(&at(name).to_string_lossy()));
    let mut spec = spec("");
    spec.listen_within = Duration::ZERO;
    let a = format!("({}) & {}; {}", stubborn("a"), seen("a"), seen("b"));
    done(Lab::new(spec).run(&a, Some(&stubborn("b")))?)?;
    for name in ["a", "b"] {
        let id = fs::read_to_string(at(name))?;
        assert!(!lives(&id), "{name}'s child lives");
    }
    Ok(())
}

fn a_program_in_b_may_tidy_up() -> Checked {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| quote(&dir.path().join(name).to_string_lossy());
    // A shell of its own, so that the outer one ends first.
    let tidy = format!(
        "trap 'sleep 0.1; echo tidy >{}; exit' TERM; echo >{}; while :; do sleep 0.01; done",
        at("b"),
        at("up")
    );
    let mut spec = spec("");
    spec.listen_within = Duration::ZERO;
    let a = format!("until [ -s {} ]; do sleep 0.01; done", at("up"));
    done(Lab::new(spec).run(&a, Some(&format!("sh -c {}; true", quote(&tidy))))?)?;
    assert_eq!(fs::read_to_string(dir.path().join("b"))?, "tidy\n");
    Ok(())
}

fn a_run_ends_with_the_program_that_asked_for_it() -> Checked {
    let dir = tempfile::tempdir()?;
    let at = dir.path().join("a");
    let a = format!("sleep 1000 & echo $! >{}; wait", quote(&at.to_string_lossy()));
    let mut asking = Command::new(env::current_exe()?).args(["ask", &a]).spawn()?;
    let id = || fs::read_to_string(&at).ok().filter(|id| id.ends_with('\n'));
    eventually("A's program runs", || id().is_some());
    let id = id().unwrap_or_default();
    assert!(lives(&id));
    asking.kill()?;
    asking.wait()?;
    eventually("A's program is gone", || !lives(&id));
    Ok(())
}

fn the_command_says_it_with_its_exit_code() -> Checked {
    let code = |args: &[&str]| -> io::Result<Option<i32>> {
        Ok(Command::new(env!("CARGO_BIN_EXE_lab")).arg("run").args(args).status()?.code())
    };
    assert_eq!(code(&["--a", "test $LAB_A/$LAB_B = 10.77.0.1/10.77.0.2"])?, Some(0));
    assert_eq!(code(&["--a", "false"])?, Some(1));
    assert_eq!(code(&["--a", "true", "--path", "speed=3"])?, Some(2));
    assert_eq!(code(&["--a", "true", "--tun", "/nowhere/tun"])?, Some(2));
    Ok(())
}

fn lives(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    // Where nobody reaps what lost its parent, a dead process stays as a zombie.
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Waits until it is so.
fn eventually(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(30), "not so: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns which packets arrived over a path that loses some, one way.
fn arrived(seed: u64) -> Result<(BTreeSet<u32>, Report), Box<dyn Error>> {
    let mut spec = spec("delay=2ms loss=30%");
    spec.path_back = "delay=2ms".parse()?;
    spec.seed = seed;
    let into = tempfile::NamedTempFile::new()?;
    let report = done(Lab::new(spec).run(&program(&["send"])?, Some(&receiver(into.path())?))?)?;
    assert_eq!((report.a, report.seed), (Some(0), seed));
    let numbers = fs::read_to_string(into.path())?;
    let numbers: Result<_, _> = numbers.split_whitespace().map(str::parse).collect();
    Ok((numbers?, report))
}

/// Returns a spec for a machine that may be busy: what it measures does not matter here.
fn spec(path: &str) -> Spec {
    let path = path.parse().unwrap_or_else(|error| unreachable!("{path}: {error}"));
    Spec { late_max: Duration::from_secs(60), time_limit: Duration::from_secs(60), ..Spec::new(path) }
}

fn lab(path: &str) -> Lab {
    Lab::new(spec(path))
}

fn done(outcome: Outcome) -> Result<Report, Box<dyn Error>> {
    match outcome {
        Outcome::Done(report) => Ok(report),
        Outcome::ThrownAway { .. } | Outcome::Impossible { .. } | Outcome::Failed { .. } => {
            Err(format!("{outcome:?}").into())
        }
    }
}

fn impossible(outcome: &Outcome, because: &str) -> Checked {
    assert_eq!(outcome.exit_code(), 2);
    let Outcome::Impossible { why } = outcome else { return Err(format!("{outcome:?}").into()) };
    assert!(why.contains(because), "{why}");
    Ok(())
}

fn receiver(into: &Path) -> io::Result<String> {
    program(&["receive", &into.to_string_lossy()])
}

/// Returns the command that starts this executable as one of its programs.
fn program(args: &[&str]) -> io::Result<String> {
    let executable = env::current_exe()?;
    let words: Vec<_> = [&*executable.to_string_lossy()].into_iter().chain(args.iter().copied()).map(quote).collect();
    Ok(words.join(" "))
}

/// Sends numbers, then says that this was all until somebody heard it.
fn send() -> Checked {
    let socket = UdpSocket::bind((env::var("LAB_A")?, 7000))?;
    socket.connect((env::var("LAB_B")?, 7000))?;
    for number in 0..PACKETS {
        socket.send(&number.to_be_bytes())?;
    }
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    loop {
        socket.send(&END.to_be_bytes())?;
        match socket.recv(&mut [0; 4]) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes down the numbers that arrive, and answers when that was all.
fn receive(into: &Path) -> Checked {
    let socket = UdpSocket::bind((env::var("LAB_B")?, 7000))?;
    let mut seen = BTreeSet::new();
    loop {
        let mut packet = [0; 4];
        let (_, from) = socket.recv_from(&mut packet)?;
        match u32::from_be_bytes(packet) {
            END => {
                let numbers: Vec<_> = seen.iter().map(u32::to_string).collect();
                fs::write(into, numbers.join("\n"))?;
                socket.send_to(&packet, from)?;
            }
            number => {
                seen.insert(number);
            }
        }
    }
}
