//! A process of adit: what it uses and what it says.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::time::interval;

/// How often to look at the memory of a process.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A node that runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// How much memory a process had at most, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// In the first half of a time.
    pub(crate) first_kib: u64,
    /// In the second.
    pub(crate) second_kib: u64,
}

/// What a process uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Resident memory, in KiB.
    pub(crate) rss_kib: u64,
    /// CPU since it started, in clock ticks.
    pub(crate) cpu_ticks: u64,
}

impl Process {
    /// Starts `adit ROLE -c CONFIG` in the folder of its configuration.
    pub(crate) fn start(adit: &Path, role: &str, config: &Path) -> anyhow::Result<Self> {
        let log = config.with_extension("log");
        let file = File::create(&log)?;
        let mut command = Command::new(adit.canonicalize().with_context(|| format!("no {}", adit.display()))?);
        command.arg(role).arg("-c").arg(config).current_dir(config.parent().context("a folder")?);
        command.env("RUST_LOG", "info,access=off").stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self { child: command.spawn().with_context(|| format!("starting {}", adit.display()))?, log })
    }

    /// Returns what it uses now.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let id = self.child.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).context("the node is gone")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // Behind the name, which may hold anything: user and system time are the 12th and 13th field.
        let times = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let cpu_ticks = times.map(|ticks| ticks.parse::<u64>().unwrap_or(0)).sum();
        Ok(Usage { rss_kib: rss.trim().trim_end_matches(" kB").parse()?, cpu_ticks })
    }

    /// Looks at its memory for so long.
    pub(crate) async fn memory(&self, length: Duration) -> anyhow::Result<Memory> {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let mut look = interval(LOOK_EVERY);
        while start.elapsed() < length {
            look.tick().await;
            let half = if start.elapsed() < length / 2 { &mut memory.first_kib } else { &mut memory.second_kib };
            *half = self.usage()?.rss_kib.max(*half);
        }
        Ok(memory)
    }

    /// Returns what it said.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// Returns how many links were closed for what the peer did, and why the last of them was.
    pub(crate) fn ended_links(&self) -> anyhow::Result<(usize, String)> {
        let log = self.log()?;
        let marks = ["client shown out: ", "link to the server closed: ", "no link: "];
        let why = |line: &str| {
            marks.iter().find_map(|mark| {
                let why = line.split_once(mark)?.1;
                // Fields come last.
                Some(why.split(" session=").next().unwrap_or(why).to_owned())
            })
        };
        let reasons: Vec<String> = log.lines().filter_map(why).collect();
        Ok((reasons.len(), reasons.last().cloned().unwrap_or_default()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails for one that has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
