//! Configuration files.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use adit::config::{self, ConfigError, Settings};
use adit_core::limits::{Limits, Timeouts};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use toml_edit::{DocumentMut, Item, TableLike, Value};

/// A file: it makes settings that every wait and every bound of a node can be made of, or an error that names the file
/// and a line of it.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Files that are not ours are not opened, for some never end.
    let text = match text.parse::<DocumentMut>() {
        Ok(mut document) => {
            let is_safe = point_at_our_files(document.as_table_mut());
            if !is_safe {
                return;
            }
            document.to_string()
        }
        Err(_) => text.to_owned(),
    };
    FOLDER.with(|folder| {
        let path = folder.path().join("node.toml");
        fs::write(&path, &text).expect("a file");
        match config::either(&path, folder.path()) {
            Ok(Settings::Server(settings)) => usable(&settings.limits, &settings.timeouts),
            Ok(Settings::Client(settings)) => usable(&settings.limits, &settings.timeouts),
            Err(error) => explained(&error, &path, &text),
        }
    });
}

/// What a node does with them first, and where it would panic.
fn usable(limits: &Limits, timeouts: &Timeouts) {
    assert!(limits.head_list_bytes_max() > limits.head_frame_bytes_max());
    assert!(limits.head_frame_bytes_max() < 1 << 28, "no frame has room for such a head");
    let _exchanges = Semaphore::new(usize::try_from(limits.exchanges_per_link_max).unwrap());
    let _connections = Semaphore::new(limits.connections_max);

    let text = format!("{timeouts:?}");
    let now = Instant::now();
    for wait in waits(timeouts) {
        assert!(now.checked_add(wait * 10).is_some(), "a wait beyond the end of time in {text}");
    }
}

/// Every wait there is, by the way that it is written.
fn waits(timeouts: &Timeouts) -> Vec<Duration> {
    let written = serde_json::to_value(timeouts).expect("waits that can be written");
    let written = written.as_object().expect("waits by name");
    assert!(!written.is_empty());
    written.values().map(|wait| humantime::parse_duration(wait.as_str().expect("text")).expect("a wait")).collect()
}

fn explained(error: &ConfigError, path: &Path, text: &str) {
    assert_eq!(error.place, path.display().to_string());
    assert!(!error.problem.is_empty());
    let lines = text.lines().count().max(1) + 1;
    assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "line {:?} of {lines}", error.line);
    assert!(error.to_string().starts_with(&error.place));
}

/// Replaces the name of every file by that of one of ours, and returns whether no other seems to be named.
fn point_at_our_files(table: &mut dyn TableLike) -> bool {
    let mut is_safe = true;
    for (key, item) in table.iter_mut() {
        let ours = match key.get() {
            "cert" => Some("node.pem"),
            "key" => Some("node.key"),
            "ca" | "client_ca" | "ca_file" => Some("ca.pem"),
            "token_file" | "tokens_file" | "client_crl" => Some("missing"),
            _ => None,
        };
        match (ours, &mut *item) {
            (Some(ours), Item::Value(Value::String(_))) => *item = toml_edit::value(ours),
            (None, Item::Value(Value::String(name))) => is_safe &= !name.value().contains("/dev"),
            (_, Item::Value(Value::Array(array))) => {
                is_safe &= array
                    .iter_mut()
                    .all(|value| value.as_inline_table_mut().is_none_or(|table| point_at_our_files(table)));
            }
            (_, Item::ArrayOfTables(tables)) => {
                is_safe &= tables.iter_mut().all(|table| point_at_our_files(table));
            }
            (_, item) => is_safe &= item.as_table_like_mut().is_none_or(point_at_our_files),
        }
    }
    is_safe
}

thread_local! {
    /// A folder with certificates and keys that work.
    static FOLDER: TempDir = folder().expect("a folder with certificates");
}

fn folder() -> Result<TempDir, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
    for (name, text) in
        [("node.pem", certificate.pem()), ("ca.pem", certificate.pem()), ("node.key", key.serialize_pem())]
    {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        // As a key has to be, to be taken.
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    Ok(folder)
}
