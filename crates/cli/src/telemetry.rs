//! Logs: to stderr, for people or for machines. Nothing waits for whoever reads them.

mod escape;
mod stderr;

use std::io::{self, IsTerminal, Write as _};

use clap::ValueEnum;
use tracing::Dispatch;
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter, util::SubscriberInitExt};

pub use self::stderr::flush;
use self::{escape::Escaped, stderr::Stderr};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// Starts logging. `RUST_LOG` filters; without it, `default` does.
///
/// Only the first call has an effect.
pub fn start(format: LogFormat, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let colours = std::io::stderr().is_terminal();
    let writer = match stderr::start() {
        Ok(()) => BoxMakeWriter::new(|| Stderr),
        Err(_) => BoxMakeWriter::new(io::stderr),
    };
    // Fails only where a logger is set already, as in tests.
    let _ = dispatch(format, filter, colours, writer).try_init();
}

/// Makes what writes events to `writer`, each on one line, whoever chose the values in it.
pub fn dispatch(format: LogFormat, filter: EnvFilter, colours: bool, writer: BoxMakeWriter) -> Dispatch {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(writer);
    // It would say on stderr, and panic where it cannot, that it cannot write to stderr.
    let builder = builder.log_internal_errors(false);
    match format {
        LogFormat::Human => builder.with_target(false).fmt_fields(Escaped).finish().into(),
        LogFormat::Json => builder.json().flatten_event(true).finish().into(),
    }
}

/// Says why the command failed, behind everything that was logged, and waits for all of it to be written.
pub fn say_last(line: &str) {
    // Fails only where nobody reads.
    let _ = writeln!(Stderr, "{line}");
    flush();
}
