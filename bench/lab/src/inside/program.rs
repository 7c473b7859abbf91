//! What runs in a namespace.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{namespace::Namespace, sys};
use crate::spec::{ADDRESS_A, ADDRESS_B};

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// How often it is looked whether all of it has.
const GONE_EVERY: Duration = Duration::from_millis(5);

/// A shell command and all that it starts, in a process group of its own.
///
/// Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    group: Pid,
}

impl Program {
    /// Starts `command` in a namespace, in which the calling thread then stays.
    pub(super) fn start(namespace: &Namespace, command: &str) -> io::Result<Self> {
        namespace.enter()?;
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).stdin(Stdio::null()).process_group(0);
        shell.env("LAB_A", ADDRESS_A.to_string()).env("LAB_B", ADDRESS_B.to_string());
        sys::die_with_this_thread(&mut shell);
        let child = shell.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        Ok(Self { child, group: group.ok_or(io::ErrorKind::NotFound)? })
    }

    /// Waits until it ends by itself. Cancel-safe.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks it to end, and kills what does not.
    pub(super) async fn end(mut self) {
        kill_process_group(self.group, Signal::TERM).ok();
        timeout(GRACE, self.all_gone()).await.ok();
    }

    /// Waits for the whole group: a shell may end before what it started.
    async fn all_gone(&mut self) {
        self.child.wait().await.ok();
        while test_kill_process_group(self.group).is_ok() {
            // Its orphans are this process's children.
            waitpgid(self.group, WaitOptions::NOHANG).ok();
            sleep(GONE_EVERY).await;
        }
    }

    /// Returns how it ended, if it has.
    pub(super) fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Also what a shell that has ended left behind.
        kill_process_group(self.group, Signal::KILL).ok();
    }
}
