//! From a key to the line it stands on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use figment::error::Kind;
use toml_edit::{ImDocument, Item, TableLike};

use super::ConfigError;

/// What the names of environment variables of ours begin with.
pub const ENV_PREFIX: &str = "ADIT_";

/// What separates the levels of a key in them.
pub const ENV_SEPARATOR: &str = "__";

/// A configuration file that remembers where everything stands.
#[derive(Debug)]
pub struct Located {
    path: PathBuf,
    document: ImDocument<String>,
}

impl Located {
    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// When it cannot be read or is not TOML.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let place = path.display().to_string();
        let failed = |line, problem| ConfigError { place: place.clone(), line, key: String::new(), problem };
        let text = fs::read_to_string(path).map_err(|error| failed(None, format!("cannot read it: {error}")))?;
        let document = ImDocument::parse(text.clone()).map_err(|error| {
            let line = error.span().map(|span| line_of(&text, span.start));
            failed(line, format!("not TOML: {}", error.message().replace('\n', ", ")))
        })?;
        Ok(Self { path: path.to_owned(), document })
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        self.document.raw()
    }

    /// Returns whether a key is set, in the file or in the environment.
    pub fn has(&self, key: &[&str]) -> bool {
        let key: Vec<String> = key.iter().map(|part| (*part).to_owned()).collect();
        variable_of(&key).is_some() || self.depth_found(&key).0 == key.len()
    }

    /// Makes the error for a value that is wrong.
    ///
    /// `key` is a path of keys and, within lists, of indices. What is not in the file is placed where the rest
    /// of its path is.
    pub fn error(&self, key: &[String], problem: impl std::fmt::Display) -> ConfigError {
        let shown = shown(key);
        let problem = problem.to_string();
        if let Some(variable) = variable_of(key) {
            let problem = without(problem, &std::env::var(&variable).unwrap_or_default());
            return ConfigError { place: format!("environment variable {variable}"), line: None, key: shown, problem };
        }
        let line = self.depth_found(key).1.map(|at| line_of(self.text(), at));
        ConfigError { place: self.path.display().to_string(), line, key: shown, problem }
    }

    /// Makes the error for what figment found.
    pub fn figment_error(&self, error: figment::Error) -> ConfigError {
        let mut key = error.path.clone();
        let problem = match &error.kind {
            Kind::UnknownField(name, known) => {
                push_once(&mut key, name);
                let nearest = nearest(name, known).map(|name| format!(", did you mean {name}?")).unwrap_or_default();
                format!("unknown key{nearest} (known here: {})", known.join(", "))
            }
            Kind::MissingField(name) => {
                push_once(&mut key, name);
                "missing".to_owned()
            }
            Kind::Message(_)
            | Kind::InvalidType(..)
            | Kind::InvalidValue(..)
            | Kind::InvalidLength(..)
            | Kind::UnknownVariant(..)
            | Kind::DuplicateField(_)
            | Kind::ISizeOutOfRange(_)
            | Kind::USizeOutOfRange(_)
            | Kind::Unsupported(_)
            | Kind::UnsupportedKey(..) => error.kind.to_string(),
        };
        self.error(&key, problem)
    }

    /// Follows a path as far as it goes. Returns how many of its parts are there, and where the last of them
    /// stands.
    fn depth_found(&self, key: &[String]) -> (usize, Option<usize>) {
        let mut at = None;
        let mut table: Option<&dyn TableLike> = Some(self.document.as_table());
        let mut list: Option<&Item> = None;
        for (depth, part) in key.iter().enumerate() {
            let found = match (table.take(), list.take()) {
                (Some(table), _) => table.get_key_value(part).map(|(key, item)| {
                    at = key.span().map(|span| span.start).or(at);
                    Step::of(item)
                }),
                (None, Some(list)) => part.parse().ok().and_then(|index: usize| element(list, index)),
                (None, None) => None,
            };
            let Some(step) = found else { return (depth, at) };
            at = step.at.or(at);
            table = step.table;
            list = step.list;
        }
        (key.len(), at)
    }
}

/// What a part of a path leads to.
struct Step<'a> {
    /// Where it stands, when that says more than its key.
    at: Option<usize>,
    table: Option<&'a dyn TableLike>,
    list: Option<&'a Item>,
}

impl<'a> Step<'a> {
    fn of(item: &'a Item) -> Self {
        Self { at: None, table: item.as_table_like(), list: Some(item) }
    }
}

fn element(list: &Item, index: usize) -> Option<Step<'_>> {
    if let Some(tables) = list.as_array_of_tables() {
        let table = tables.get(index)?;
        return Some(Step { at: table.span().map(|span| span.start), table: Some(table), list: None });
    }
    let value = list.as_array()?.get(index)?;
    let table = value.as_inline_table().map(|table| -> &dyn TableLike { table });
    Some(Step { at: value.span().map(|span| span.start), table, list: None })
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn push_once(key: &mut Vec<String>, name: &str) {
    if key.last().map(String::as_str) != Some(name) {
        key.push(name.to_owned());
    }
}

/// `["ingress", "1", "host"]` → `ingress[1].host`.
fn shown(key: &[String]) -> String {
    let mut shown = String::new();
    for part in key {
        if part.parse::<usize>().is_ok() {
            shown.push_str(&format!("[{part}]"));
            continue;
        }
        if !shown.is_empty() {
            shown.push('.');
        }
        shown.push_str(part);
    }
    shown
}

/// The environment variable that sets a key, when there is one.
fn variable_of(key: &[String]) -> Option<String> {
    let wanted = format!("{ENV_PREFIX}{}", key.join(ENV_SEPARATOR));
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .find(|name| key.len() > 1 && name.eq_ignore_ascii_case(&wanted))
}

/// Takes a value out of what is said about it: what comes from the environment may be a secret that was put under the
/// wrong name, such as a key where the name of its file belongs.
fn without(problem: String, value: &str) -> String {
    const HIDDEN: &str = "(its value)";
    let escaped = format!("{value:?}");
    let forms = [escaped.as_str(), escaped.trim_matches('"'), value, value.trim()];
    forms
        .into_iter()
        .filter(|form| !form.is_empty() && *form != "\"\"")
        .fold(problem, |said, form| said.replace(form, HIDDEN))
}

/// The known name that an unknown one was probably meant to be: at most two letters away.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let by_distance = known.iter().map(|candidate| (strsim::osa_distance(name, candidate), *candidate));
    by_distance.filter(|(distance, _)| *distance <= 2).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_environment_is_not_repeated() {
        for value in ["s3cret", "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n", "\"quoted\""] {
            for problem in
                [format!("cannot read {value}: no such file"), format!("found string {value:?}, expected a port")]
            {
                let said = without(problem, value);
                assert!(!said.contains("s3cret") && !said.contains("MC4CAQ") && !said.contains("quoted"), "{said}");
                assert!(said.contains("(its value)"), "{said}");
            }
        }
        assert_eq!(without("missing".to_owned(), ""), "missing");
    }
}
