//! The values of an event on one line, whatever is in them.
//!
//! Names, paths and reasons come from visitors and peers. A line feed in one of them would begin a line that nobody
//! logged, an escape sequence would move the cursor of whoever reads, and a change of direction would show a text as
//! another one.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

/// Writes fields as `name=value`, and the message as it is, with control characters as `\n`, `\u{1b}` and the like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Escaped;

impl<'writer> FormatFields<'writer> for Escaped {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_first: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        if name != "message" {
            let name = name.strip_prefix("r#").unwrap_or(name);
            // Italic and dimmed, as tracing has it.
            match self.writer.has_ansi_escapes() {
                true => write!(self.writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
                false => write!(self.writer, "{name}=")?,
            }
        }
        write!(OneLine(&mut self.writer), "{value}")
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            self.result = self.write(field.name(), format_args!("{value:?}"));
        }
    }
}

/// Escapes what would end the line or change how it looks.
struct OneLine<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for OneLine<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_hostile) {
            let (plain, from) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = from.chars();
            for char in chars.by_ref().take(1) {
                write!(self.0, "{}", char.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Control characters of either set, ends of lines and paragraphs, marks of direction, and what is not seen.
fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut line = String::new();
        OneLine(&mut line).write_str(text).unwrap();
        line
    }

    #[test]
    fn what_ends_a_line_or_changes_its_looks_is_escaped() {
        for (text, expected) in [
            ("a\r\nINFO b", "a\\r\\nINFO b"),
            ("\u{1b}[31mred\u{9b}0m\u{7}", "\\u{1b}[31mred\\u{9b}0m\\u{7}"),
            ("\0\u{7f}\u{8}\t", "\\u{0}\\u{7f}\\u{8}\\t"),
            ("a\u{2028}b\u{202e}c\u{2066}", "a\\u{2028}b\\u{202e}c\\u{2066}"),
            ("größe 漢字 😀 \"quoted\\\"", "größe 漢字 😀 \"quoted\\\""),
            ("", ""),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }
}
