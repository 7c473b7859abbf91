//! What the nodes of a test say.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::wait::eventually;

/// The log of everything that runs on this thread: a test and its nodes, on the runtime that `#[tokio::test]` makes.
#[derive(Debug)]
pub struct Log {
    lines: Lines,
    _guard: DefaultGuard,
}

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Begins to listen, to what nodes say by default.
    pub fn start() -> Self {
        let lines = Lines::default();
        let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new("info")).with_ansi(false);
        let guard = tracing::subscriber::set_default(log.with_writer(lines.clone()).finish());
        Self { lines, _guard: guard }
    }

    /// Returns what was said.
    pub fn text(&self) -> String {
        String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap()
    }

    /// Returns how many lines have all of these parts.
    pub fn count(&self, parts: &[&str]) -> usize {
        self.text().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// Checks that nobody could fill a disk with it, lines of the access log aside: there is one for every request.
    pub fn is_short(&self) {
        let text = self.text();
        let bytes: usize = text.lines().filter(|line| !line.contains(" access: ")).map(str::len).sum();
        assert!(bytes < 60_000, "{bytes} bytes: {}", &text[..2_000]);
    }

    /// Waits for a line that has all of these parts.
    pub async fn says(&self, parts: &[&str]) {
        let what = format!("a line of the log with {parts:?}");
        eventually(&what, || self.count(parts) > 0).await;
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
