//! Log lines on their way to stderr, which may be slow, full or gone: a thread of their own waits for it.
//!
//! Whoever writes a line copies it into memory and goes on. The thread takes what has gathered, and writes it at once.

use std::{
    io::{self, Write},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How much waits for a reader that is too slow, in bytes; further lines are dropped and counted.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// How long lines gather: one write for many, and one wake-up of the thread.
const GATHER: Duration = Duration::from_millis(5);

/// How long the end of the process waits for its last lines to be taken.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The lines of this process.
static STDERR: Lines = Lines::new();

/// Writes to stderr without waiting for it. Never fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr;

/// Starts the thread.
///
/// # Errors
///
/// When the system has none to give.
pub(super) fn start() -> io::Result<()> {
    thread::Builder::new().name("stderr".to_owned()).spawn(|| STDERR.write_to(io::stderr()))?;
    STDERR.lock().is_served = true;
    Ok(())
}

/// Waits until everything so far is written, for a second at most.
pub fn flush() {
    STDERR.flush(FLUSH_TIMEOUT);
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines between those who write them and the thread that waits for the reader.
#[derive(Debug)]
struct Lines {
    state: Mutex<State>,
    /// Told when there is something to write.
    filled: Condvar,
    /// Told when everything is written.
    emptied: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    /// How many lines there was no room for, and nobody was told.
    dropped: u64,
    /// Whether the thread has taken something that it has not written yet.
    is_writing: bool,
    /// Whether there is a thread.
    is_served: bool,
}

impl Lines {
    const fn new() -> Self {
        let state = State { waiting: Vec::new(), dropped: 0, is_writing: false, is_served: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new() }
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if !state.is_served {
            drop(state);
            let _ = io::stderr().write_all(line);
            return;
        }
        if state.waiting.len() + line.len() > WAITING_BYTES_MAX {
            state.dropped += 1;
            return;
        }
        let is_first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if is_first {
            self.filled.notify_one();
        }
    }

    /// Writes for ever. What cannot be written is lost: there is no other place to say so.
    fn write_to(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        loop {
            let dropped = self.take(&mut batch);
            if dropped > 0 {
                tracing::warn!(lines = dropped, "log lines were dropped: stderr was not read");
            }
            let _ = sink.write_all(&batch).and_then(|()| sink.flush());
            batch.clear();
            self.lock().is_writing = false;
            self.emptied.notify_all();
        }
    }

    /// Waits for lines, and takes all of them. Returns how many were dropped before.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let filled = self.filled.wait_while(self.lock(), |state| state.waiting.is_empty());
        drop(filled.unwrap_or_else(PoisonError::into_inner));
        thread::sleep(GATHER);
        let mut state = self.lock();
        std::mem::swap(&mut state.waiting, batch);
        state.is_writing = true;
        std::mem::take(&mut state.dropped)
    }

    fn flush(&self, patience: Duration) {
        let unwritten = |state: &mut State| state.is_served && (state.is_writing || !state.waiting.is_empty());
        // Whoever does not read by then does not want to know.
        let _ = self.emptied.wait_timeout_while(self.lock(), patience, unwritten);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic left behind are still lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A reader that takes what is written when it is told to.
    struct Reader {
        may_read: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may_read.recv().map_err(io::Error::other)?;
            let _ = self.read.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn served() -> (&'static Lines, Sender<()>, Receiver<Vec<u8>>) {
        let lines: &'static Lines = Box::leak(Box::new(Lines::new()));
        let ((go, may_read), (read, was_read)) = (channel(), channel());
        thread::spawn(move || lines.write_to(Reader { may_read, read }));
        lines.lock().is_served = true;
        (lines, go, was_read)
    }

    #[test]
    fn lines_arrive_in_their_order_and_nothing_is_left_after_a_flush() {
        let (lines, go, read) = served();
        for number in 0..100 {
            lines.push(format!("{number}\n").as_bytes());
        }
        for _ in 0..100 {
            go.send(()).unwrap();
        }
        lines.flush(PATIENCE);
        let text: String = read.try_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn a_reader_that_stalls_holds_up_nobody_and_costs_a_bounded_amount() {
        let (lines, _go, _read) = served();
        for _ in 0..1000 {
            lines.push(&[b'x'; 10_000]);
        }
        lines.flush(Duration::from_millis(1));
        let state = lines.lock();
        assert!(state.waiting.len() <= WAITING_BYTES_MAX && state.dropped >= 1000 - 2 * 105, "{}", state.dropped);
    }

    #[test]
    fn a_reader_that_is_gone_is_no_reason_to_stop() {
        let (lines, go, _) = served();
        drop(go);
        lines.push(b"lost");
        lines.flush(PATIENCE);
        lines.push(b"lost too");
        lines.flush(PATIENCE);
        assert!(lines.lock().waiting.is_empty());
    }
}
