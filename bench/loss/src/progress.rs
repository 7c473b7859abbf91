//! How far a campaign is.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::store::Key;

/// How far it is, on a terminal as a bar and elsewhere as lines.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    start: Instant,
    left: Duration,
}

impl Progress {
    pub(crate) fn new(expected: Duration) -> Self {
        let bar = ProgressBar::new(expected.as_secs());
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent:>3} % · {msg}") {
            bar.set_style(style);
        }
        bar.tick();
        Self { bar, start: Instant::now(), left: expected }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn start(&self, key: Key, done: usize, all: usize) {
        let Key { scenario, cell, contender, seed } = key;
        let left = self.left.as_secs();
        let what = format!(
            "{}:{:02} left · {}/{all} {} {} {cell}, seed {seed}",
            left / 60,
            left % 60,
            done + 1,
            scenario.name(),
            contender.name()
        );
        if self.bar.is_hidden() {
            eprintln!("{what}");
        }
        self.bar.set_message(what);
    }

    pub(crate) fn finish(&mut self, expected: Duration) {
        self.left = self.left.saturating_sub(expected);
        self.bar.inc(expected.as_secs());
    }

    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
