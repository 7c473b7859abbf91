//! One run after the other.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bench_lab::{Lab, Outcome as LabOutcome, Report, Spec};
use tempfile::TempDir;

use crate::{
    contender::Contender,
    plan::{Args, expected},
    plot,
    progress::Progress,
    store::{Conditions, Key, Outcome, Run, Store},
    summary::summaries,
    table, targets,
};

/// When the quick campaign starts no more runs.
const QUICK_LIMIT: Duration = Duration::from_secs(115);

/// How long a run may take; the load has its own, shorter limits.
const RUN_LIMIT: Duration = Duration::from_secs(180);

/// Makes the runs that are missing, and shows all.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let out = match (&args.out, args.quick) {
        (Some(out), _) => out.clone(),
        (None, true) => tempfile::Builder::new().prefix("bench-loss-").tempdir()?.keep(),
        (None, false) => PathBuf::from("docs/bench"),
    };
    fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;
    let mut store = Store::open(out.join("loss.json"))?;
    if args.fresh {
        store.clear();
    }
    for other in &args.merge {
        store.merge(other.clone())?;
    }
    if !args.report {
        Campaign::prepare(args)?.make(args, &mut store)?;
    }
    show(args, &store, &out)
}

fn show(args: &Args, store: &Store, out: &Path) -> anyhow::Result<()> {
    let summaries = summaries(store.runs());
    ensure!(!summaries.is_empty(), "there are no results in {}", store.path().display());
    print!("{}{}", table::results(&summaries), table::targets(&targets::targets(&summaries)));
    for plot in plot::all(&summaries, out)? {
        println!("plot: {}", plot.display());
    }
    println!("results: {}", store.path().display());
    if args.quick {
        println!("This is indicative: short runs with one seed. What is published are medians over five.");
    }
    Ok(())
}

/// What all runs share.
#[derive(Debug)]
struct Campaign {
    program: PathBuf,
    bin: PathBuf,
    commit: String,
    real_time: bool,
    late_max: Duration,
    /// Certificates, configurations, logs, single results.
    dir: TempDir,
}

impl Campaign {
    fn prepare(args: &Args) -> anyhow::Result<Self> {
        let program = env::current_exe()?;
        let beside = program.parent().context("this program is nowhere")?.to_owned();
        let bin = args.bin.clone().unwrap_or(beside).canonicalize()?;
        let late_max = Duration::try_from_secs_f64(args.late_max / 1e3).context("--late-max")?;
        let dir = tempfile::tempdir()?;
        let made = Command::new(bin.join("adit"))
            .args(["certs", "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("{} (`just bench-loss` builds it)", bin.join("adit").display()))?;
        ensure!(made.success(), "adit made no certificates");
        Ok(Self { program, bin, commit: commit(), real_time: may_real_time(), late_max, dir })
    }

    fn make(&self, args: &Args, store: &mut Store) -> anyhow::Result<()> {
        let seconds = args.seconds();
        let plan = args.plan(|contender| self.installed(contender));
        for key in &plan {
            ensure!(self.installed(key.contender), "{} is not installed", key.contender.name());
        }
        let missing: Vec<Key> = plan.iter().copied().filter(|key| !store.has(*key, seconds)).collect();
        if missing.len() < plan.len() {
            eprintln!("{} of {} runs have results already", plan.len() - missing.len(), plan.len());
        }
        let mut progress = Progress::new(missing.iter().map(|key| expected(key.scenario, seconds)).sum());
        if !self.real_time {
            progress.say("no real-time priority is allowed: on a busy machine runs will be thrown away");
        }
        for (done, key) in missing.iter().enumerate() {
            let expected = expected(key.scenario, seconds);
            if args.quick && progress.elapsed() + expected > QUICK_LIMIT {
                progress.say(&format!(
                    "two minutes are over: {} of {} runs left out",
                    missing.len() - done,
                    missing.len()
                ));
                break;
            }
            progress.start(*key, done, missing.len());
            let run = self.run(*key, seconds, args.attempts, &progress)?;
            if let Outcome::Failed(why) = &run.outcome {
                progress.say(&format!("{} over {} failed: {why}", key.contender.name(), key.cell));
            }
            store.add(run)?;
            progress.finish(expected);
        }
        Ok(())
    }

    fn installed(&self, contender: Contender) -> bool {
        contender.programs().iter().all(|program| {
            self.bin.join(program).is_file()
                || env::var_os("PATH")
                    .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
        })
    }

    /// Makes one run, again when the lab throws it away.
    fn run(&self, key: Key, seconds: u64, attempts: u32, progress: &Progress) -> anyhow::Result<Run> {
        let mut run = Run {
            key,
            seconds,
            commit: self.commit.clone(),
            thrown_away: 0,
            outcome: Outcome::Failed("not tried".to_owned()),
        };
        while run.thrown_away < attempts {
            match self.attempt(key, seconds)? {
                LabOutcome::Done(report) => {
                    run.outcome = self.outcome(key, &report);
                    return Ok(run);
                }
                LabOutcome::ThrownAway { why, .. } => {
                    run.thrown_away += 1;
                    progress.say(&format!("thrown away: {} over {}: {why}", key.contender.name(), key.cell));
                    run.outcome = Outcome::Failed(format!("thrown away {} times, last because {why}", run.thrown_away));
                }
                LabOutcome::Impossible { why } => bail!("no loss lab here: {why}"),
                LabOutcome::Failed { why } => {
                    run.outcome = Outcome::Failed(why);
                    return Ok(run);
                }
            }
        }
        Ok(run)
    }

    fn attempt(&self, key: Key, seconds: u64) -> anyhow::Result<LabOutcome> {
        // A result of an earlier attempt must not pass for one of this.
        let _ = fs::remove_file(self.result());
        for log in [self.log(key, "near"), self.log(key, "far"), self.log(key, "server"), self.log(key, "client")] {
            let _ = fs::remove_file(log);
        }
        let spec = Spec {
            seed: key.seed,
            congestion: key.contender.tcp().map(str::to_owned),
            time_limit: RUN_LIMIT,
            late_max: self.late_max,
            ..Spec::new(key.cell.path().parse()?)
        };
        let near = format!(
            "{} --scenario {} --seed {} --seconds {seconds} --result {}",
            self.end("near", key),
            key.scenario.name(),
            key.seed,
            quoted(&self.result()),
        );
        let far = self.end("far", key);
        let logged = |command: &str, side| format!("{command} >{} 2>&1", quoted(&self.log(key, side)));
        Ok(Lab::new(spec).run(&logged(&near, "near"), Some(&logged(&far, "far")))?)
    }

    /// Returns the shell command of one end.
    fn end(&self, end: &str, key: Key) -> String {
        let before = if self.real_time { "chrt -r 2 " } else { "" };
        let (program, bin, dir) = (quoted(&self.program), quoted(&self.bin), quoted(self.dir.path()));
        let contender = key.contender.name();
        format!(
            "exec {before}{program} {end} --contender {contender} --bin {bin} --certs {dir} --work {dir} \
             --server \"$LAB_A\" --backend \"$LAB_B\""
        )
    }

    fn outcome(&self, key: Key, report: &Report) -> Outcome {
        let measured = fs::read(self.result()).ok().and_then(|json| serde_json::from_slice(&json).ok());
        match measured {
            Some(measured) if report.a == Some(0) => Outcome::Measured { measured, path: conditions(report) },
            _ => Outcome::Failed(self.last_words(key)),
        }
    }

    /// Returns the last line that each program of a run wrote.
    fn last_words(&self, key: Key) -> String {
        let said = ["near", "server", "client", "far"].iter().filter_map(|side| {
            let log = fs::read_to_string(self.log(key, side)).ok()?;
            let last = log.lines().rfind(|line| !line.trim().is_empty())?;
            Some(format!("{side}: {}", last.trim()))
        });
        said.collect::<Vec<_>>().join("; ")
    }

    fn result(&self) -> PathBuf {
        self.dir.path().join("result.json")
    }

    fn log(&self, key: Key, side: &str) -> PathBuf {
        self.dir.path().join(format!("{}-{side}.log", key.contender.name()))
    }
}

fn conditions(report: &Report) -> Conditions {
    let both = |count: fn(&bench_lab::outcome::Way) -> u64| count(&report.there) + count(&report.back);
    Conditions {
        late_p99_us: report.lateness.p99_us,
        sent: both(|way| way.sent),
        lost: both(|way| way.lost),
        overflowed: both(|way| way.overflowed),
        tcp: report.tcp.congestion_b.clone(),
    }
}

/// Whether programs may have real-time priority, which keeps a busy machine from making them late.
fn may_real_time() -> bool {
    let tried = Command::new("chrt").args(["-r", "2", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

fn commit() -> String {
    let asked = Command::new("git").args(["describe", "--always", "--dirty"]).stderr(Stdio::null()).output();
    let said = asked.ok().filter(|said| said.status.success()).map(|said| said.stdout);
    said.map_or("unknown".to_owned(), |said| String::from_utf8_lossy(&said).trim().to_owned())
}

/// Quotes a path for the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_the_shell_whatever_is_in_it() {
        let path = "/a b/it's \"$HOME\"";
        let said =
            Command::new("/bin/sh").arg("-c").arg(format!("printf %s {}", quoted(Path::new(path)))).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), path);
    }
}
