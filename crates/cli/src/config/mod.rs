//! Configuration: built-in defaults < file < environment → settings.

pub mod file;
pub mod locate;
mod admin;
mod gate;
mod resolve;
pub mod tokens;
mod tunnel;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use adit_node::{
    credentials,
    expiry::Dated,
    settings::{ClientSettings, ServerSettings, resolve::ResolveError},
};
use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::Deserialize;

use self::{
    file::{ClientFile, ServerFile},
    locate::Located,
};

/// What is wrong with a configuration, and where: `config/server.toml:7: tunnel.listen: …`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", self.text())]
pub struct ConfigError {
    /// The file, or the environment variable that the value came from.
    pub place: String,
    /// The line in the file, counting from 1.
    pub line: Option<usize>,
    /// The key, such as `ingress[1].host`.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl ConfigError {
    fn text(&self) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        format!("{}{line}: {key}{}", self.place, self.problem)
    }
}

/// Either kind of configuration.
#[derive(Debug)]
pub enum Settings {
    /// `[tunnel]` has `listen`.
    Server(Box<ServerSettings>),
    /// `[tunnel]` has `connect`.
    Client(Box<ClientSettings>),
}

/// A configuration, and what it was made from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub settings: T,
    /// The files that it names: certificates and keys.
    pub files: Vec<PathBuf>,
    /// When the certificates and revocation lists in those files end.
    pub certificates: Vec<Dated>,
}

impl<T> Loaded<T> {
    fn new(settings: T, files: Vec<PathBuf>) -> Self {
        let unique: BTreeSet<&PathBuf> = files.iter().collect();
        let dated = |file: &PathBuf| Some(Dated { file: file.display().to_string(), end: credentials::end(file)? });
        let certificates = unique.into_iter().filter_map(dated).collect();
        Self { settings, files, certificates }
    }
}

/// Loads the configuration of a server. Relative paths in it start at `base`.
///
/// # Errors
///
/// When the file is missing or malformed, or a value is unknown or wrong.
pub fn server(path: &Path, base: &Path) -> Result<Loaded<ServerSettings>, ConfigError> {
    let (file, located) = load::<ServerFile>(path)?;
    let files = resolve::server_files(&file, base);
    let settings = resolve::server(file, base).map_err(|error| place(&located, error))?;
    Ok(Loaded::new(settings, files))
}

/// Loads the configuration of a client. Relative paths in it start at `base`.
///
/// # Errors
///
/// When the file is missing or malformed, or a value is unknown or wrong.
pub fn client(path: &Path, base: &Path) -> Result<Loaded<ClientSettings>, ConfigError> {
    let (file, located) = load::<ClientFile>(path)?;
    let files = resolve::client_files(&file, base);
    let settings = resolve::client(file, base).map_err(|error| place(&located, error))?;
    Ok(Loaded::new(settings, files))
}

/// Loads a configuration of the kind that its `[tunnel]` shows.
///
/// # Errors
///
/// When the file is missing or malformed, or a value is unknown or wrong.
pub fn either(path: &Path, base: &Path) -> Result<Settings, ConfigError> {
    let located = Located::read(path)?;
    if located.has(&["tunnel", "connect"]) {
        return Ok(Settings::Client(Box::new(client(path, base)?.settings)));
    }
    Ok(Settings::Server(Box::new(server(path, base)?.settings)))
}

/// Finds the lines of what is wrong.
fn place(located: &Located, error: ResolveError) -> ConfigError {
    let placed = located.error(&error.key, error.problem);
    let Some(other) = error.other else { return placed };
    let other = located.error(&other, "");
    let line = other.line.map(|line| format!(" on line {line}")).unwrap_or_default();
    ConfigError { problem: format!("{}; the other one is {}{line}", placed.problem, other.key), ..placed }
}

fn load<'a, T: Deserialize<'a>>(path: &Path) -> Result<(T, Located), ConfigError> {
    // figment takes a missing file for an empty one, and knows keys but no lines.
    let located = Located::read(path)?;
    let figment = Figment::from(Toml::string(located.text())).merge(environment());
    let file = figment.extract().map_err(|error| located.figment_error(error))?;
    Ok((file, located))
}

/// `ADIT_HTTP__LISTEN` → `http.listen`. Variables without `__` are not ours: Kubernetes injects such.
fn environment() -> Env {
    Env::prefixed(locate::ENV_PREFIX)
        .filter(|key| key.as_str().contains(locate::ENV_SEPARATOR))
        .split(locate::ENV_SEPARATOR)
}

/// Where relative paths in a configuration start: the working directory.
pub fn working_directory() -> PathBuf {
    PathBuf::from(".")
}
