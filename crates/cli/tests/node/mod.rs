//! A node that runs as a process of its own, and what it says.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// A node that runs, and the lines that it has written. Dropping it kills it.
pub(crate) struct Node {
    pub(crate) child: Child,
    lines: mpsc::Receiver<String>,
    heard: Vec<String>,
    patience: Duration,
}

impl Node {
    /// Starts it. What it writes to its log is kept, whatever bytes that is; `patience` is how long to wait for a line.
    pub(crate) fn start(mut command: Command, patience: Duration) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                if tell.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, heard: Vec::new(), patience }
    }

    /// Waits for a line that has all of these words, and returns it.
    pub(crate) fn says(&mut self, words: &[&str]) -> String {
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("it did not say {words:?}: {:#?}", self.heard) };
            self.heard.push(line.clone());
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    /// Kills it, and returns all that it said.
    pub(crate) fn end(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.heard.extend(self.lines.iter());
        self.heard.join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
