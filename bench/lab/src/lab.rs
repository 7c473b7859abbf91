//! Runs from a program.

use std::{
    env, io,
    process::{Command, ExitCode, ExitStatus},
};

use crate::{command, outcome::Outcome, spec::Spec};

/// The first argument of a process that is to become the lab.
const INSIDE: &str = "--inside-the-lab";

/// Set in such a process, so that a program which does not hand over does not start itself for ever.
const INSIDE_VARIABLE: &str = "BENCH_LAB_INSIDE";

/// Why a run could not even be asked for.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The process that should have become the lab did something else.
    #[error("the lab's process ended ({0}) without a result: `main` must begin with `bench_lab::take_over()`")]
    NotTakenOver(ExitStatus),
    /// The process could not be started, or its result not be passed on.
    #[error("the lab's process: {0}")]
    Io(#[from] io::Error),
    /// The result is none.
    #[error("the lab's result: {0}")]
    Result(#[from] serde_json::Error),
}

/// Becomes the lab if [`Lab::run`] started this process, and returns its exit code then.
///
/// To be called first in `main`, before there is a second thread.
pub fn take_over() -> Option<ExitCode> {
    let mut args = env::args_os();
    let name = args.next()?;
    (args.next()? == INSIDE).then(|| command::main([name].into_iter().chain(args)))
}

/// Returns a word of a shell command that is exactly `word`.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs programs over a path.
#[derive(Debug, Clone)]
pub struct Lab {
    spec: Spec,
}

impl Lab {
    /// Returns a lab whose runs are all like this.
    pub fn new(spec: Spec) -> Self {
        Self { spec }
    }

    /// Runs `b` and then `a`, shell commands with the addresses in `LAB_A` and `LAB_B`, until `a` ends, and returns
    /// what came of it. Blocks the calling thread.
    ///
    /// Their output is this process's. The run ends early when the terminal interrupts this process.
    ///
    /// # Errors
    ///
    /// Only where the run could not be asked for; a run that went wrong is an [`Outcome`].
    pub fn run(&self, a: &str, b: Option<&str>) -> Result<Outcome, LabError> {
        if env::var_os(INSIDE_VARIABLE).is_some() {
            return Err(io::Error::other("a lab inside a lab; does `main` begin with `take_over`?").into());
        }
        let json = tempfile::NamedTempFile::new()?;
        let mut inside = Command::new(env::current_exe()?);
        inside.arg(INSIDE).args(command::arguments(&self.spec, a, b, json.path())).env(INSIDE_VARIABLE, "1");
        let status = inside.status()?;
        match std::fs::read(json.path())? {
            nothing if nothing.is_empty() => Err(LabError::NotTakenOver(status)),
            written => Ok(serde_json::from_slice(&written)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_that_word_to_a_shell() {
        let word = "it's $HOME \"and\" `more` \\ *";
        let said = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(word))).output().expect("a shell");
        assert_eq!(String::from_utf8_lossy(&said.stdout), word);
    }
}
