//! What came of a run.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The programs ran over the path that was asked for; whether they succeeded is in the report.
    Done(Report),
    /// The programs ran, but not over that path: packets came too late, or were dropped by the kernel.
    ThrownAway {
        /// What went wrong, to be shown.
        why: String,
        /// What was measured nevertheless.
        #[serde(flatten)]
        report: Report,
    },
    /// This machine cannot run a lab as it is.
    Impossible {
        /// What is missing and how to get it.
        why: String,
    },
    /// The run broke off.
    Failed {
        /// What went wrong, to be shown.
        why: String,
    },
}

impl Outcome {
    /// Returns the exit code of the command.
    ///
    /// 0: A's program succeeded; 1: it or the run failed; 2: no lab here; 3: thrown away, whatever the programs said.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Done(report) if report.a == Some(0) => 0,
            Self::Done(_) | Self::Failed { .. } => 1,
            Self::Impossible { .. } => 2,
            Self::ThrownAway { .. } => 3,
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which packets were lost.
    pub seed: u64,
    /// From the start of A's program to its end.
    pub seconds: f64,
    /// The exit code of A's program, unless a signal ended it.
    pub a: Option<i32>,
    /// The exit code of B's program, where it ended by itself before A's.
    pub b: Option<i32>,
    /// From A to B.
    pub there: Way,
    /// From B to A.
    pub back: Way,
    /// How well the emulator kept its time.
    pub lateness: Lateness,
    /// How the emulator's thread was scheduled.
    pub scheduling: Scheduling,
    /// What is in force for TCP.
    pub tcp: Tcp,
}

/// What became of the packets of one direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The path, in the form in which it can be asked for.
    pub path: String,
    /// Packets that went into the path.
    pub sent: u64,
    /// Packets that the path lost.
    pub lost: u64,
    /// Packets that found its queue full.
    pub overflowed: u64,
    /// Packets that came out.
    pub delivered: u64,
    /// Bytes of the packets that came out, with their IP headers.
    pub bytes: u64,
    /// Packets that were under way when the run ended.
    pub under_way: u64,
    /// Packets that the kernel did not take out of the path, or dropped before they went in.
    pub dropped_by_kernel: u64,
}

/// How long after its time a packet was delivered, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// The median.
    pub p50_us: f64,
    /// One packet in a hundred was later.
    pub p99_us: f64,
    /// One packet in a thousand was later.
    pub p999_us: f64,
    /// The latest packet.
    pub max_us: f64,
    /// What `p99_us` may be.
    pub p99_allowed_us: f64,
}

/// How a thread is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduling {
    /// Before every ordinary thread.
    RealTime,
    /// Like every other thread: real time was not allowed.
    Ordinary,
}

/// What is in force for TCP, as the kernel says after it was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// What a connection from A to B has.
    pub congestion_a: String,
    /// What a connection from B to A has.
    pub congestion_b: String,
    /// Whether every connection starts without what earlier ones learned about the path.
    pub no_metrics_save: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "A → B  {}", self.there)?;
        writeln!(f, "B → A  {}", self.back)?;
        let Lateness { p50_us, p99_us, max_us, p99_allowed_us, .. } = self.lateness;
        writeln!(f, "late   p50 {p50_us:.0} · p99 {p99_us:.0} (allowed {p99_allowed_us:.0}) · max {max_us:.0} µs")?;
        let Tcp { congestion_a, congestion_b, .. } = &self.tcp;
        write!(f, "seed {} · {:.1} s · TCP {congestion_a} / {congestion_b}", self.seed, self.seconds)?;
        match self.scheduling {
            Scheduling::RealTime => Ok(()),
            Scheduling::Ordinary => f.write_str(" · no real-time priority: expect runs to be thrown away"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, sent, lost, overflowed, delivered, bytes, .. } = self;
        write!(f, "{path}: {sent} sent, {lost} lost, {overflowed} overflowed, {delivered} delivered ({bytes} bytes)")
    }
}
