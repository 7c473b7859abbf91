//! A process of adit: started, stopped, frozen and killed.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::PoisonError,
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{lag::Pids, scene::Node};

/// How long a process may take to end after SIGTERM: the grace of 30 s, and then some.
const END_WITHIN: Duration = Duration::from_secs(40);

/// How adit is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// Arguments before those of adit.
    pub(crate) prefix: Vec<String>,
}

impl Program {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.prefix).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// A node that runs, or could. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) node: Node,
    program: Program,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    /// Who else wants to know what runs.
    pids: Pids,
}

impl Process {
    /// Takes where its configuration is and its log goes.
    pub(crate) fn new(node: Node, program: Program, config: PathBuf, log: PathBuf, pids: Pids) -> Self {
        Self { node, program, config, log, child: None, pids }
    }

    /// Starts it. What ran before is killed.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let role = if self.node == Node::Server { "server" } else { "client" };
        let mut command = self.program.command();
        command.arg(role).arg("-c").arg(&self.config).stdout(log.try_clone()?).stderr(log);
        command.env("RUST_LOG", "info,access=off");
        let child = command.spawn().with_context(|| format!("starting {}", self.program.path.display()))?;
        let mut pids = self.pids.lock().unwrap_or_else(PoisonError::into_inner);
        pids.extend(child.id().map(|pid| (self.node, pid)));
        self.child = Some(child);
        Ok(())
    }

    /// Replaces its configuration as a whole.
    pub(crate) fn configure(&self, text: &str) -> anyhow::Result<()> {
        let new = self.config.with_extension("new");
        fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
        fs::rename(&new, &self.config).with_context(|| format!("replacing {}", self.config.display()))
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.pid()?, signal).with_context(|| format!("sending {signal:?} to {}", self.node.name()))
    }

    /// Returns its process id.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub(crate) fn pid(&self) -> anyhow::Result<Pid> {
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        id.with_context(|| format!("{} has ended by itself: {}", self.node.name(), self.last_words()))
    }

    /// Ends it at once.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("nothing runs")?;
        Ok(child.kill().await?)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let mut child = self.child.take().context("nothing runs")?;
        let ended = timeout(END_WITHIN, child.wait()).await;
        Ok(ended.with_context(|| format!("{} still runs {END_WITHIN:?} after SIGTERM", self.node.name()))??)
    }

    /// Returns whether it runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Returns the lines of its log that nothing may bring about.
    pub(crate) fn panics(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect()
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().last().unwrap_or("no log").to_owned()
    }
}
