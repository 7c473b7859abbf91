//! The file of tokens that a server knows: hashes, and what they open.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use adit_core::{
    admission::{Grant, Tokens},
    id::{self, Group},
    token::TokenHash,
};
use figment::{
    Figment,
    providers::{Format, Toml},
};
use serde::Deserialize;

use super::{ConfigError, locate::Located};

/// The mode bits that let others change a file.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// `tokens.toml`, as `adit token` writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    #[serde(default)]
    tokens: BTreeMap<String, Entry>,
}

/// `[tokens.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    hash: String,
    groups: Vec<String>,
    created: Option<String>,
}

/// A token that a server knows, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it opens for whom.
    pub grant: Grant,
    /// When, as it stands in the file.
    pub created: Option<String>,
}

/// Reads a file of tokens.
///
/// # Errors
///
/// When it is missing or malformed, a value is wrong, two tokens are the same, or others than its owner may change it.
pub fn read(path: &Path) -> Result<Vec<Listed>, ConfigError> {
    let located = Located::read(path)?;
    if let Some(mode) = fs::metadata(path).ok().map(|file| file.permissions().mode())
        && mode & WRITABLE_BY_OTHERS != 0
    {
        let shown = path.display();
        let problem = format!("others may change it (mode {:04o}): run chmod 600 {shown}", mode & 0o7777);
        return Err(located.error(&[], problem));
    }
    let figment = Figment::from(Toml::string(located.text()));
    let file: TokensFile = figment.extract().map_err(|error| located.figment_error(error))?;
    let (mut listed, mut known) = (Vec::new(), HashMap::new());
    for (name, entry) in file.tokens {
        let key = |rest: &[&str]| {
            let rest = rest.iter().map(|part| (*part).to_owned());
            ["tokens".to_owned(), name.clone()].into_iter().chain(rest).collect::<Vec<_>>()
        };
        id::check_name(&name).map_err(|error| located.error(&key(&[]), error))?;
        let hash: TokenHash = entry.hash.parse().map_err(|error| located.error(&key(&["hash"]), error))?;
        if let Some(other) = known.insert(hash, name.clone()) {
            return Err(located.error(&key(&["hash"]), format!("is that of tokens.{other} as well")));
        }
        let mut groups: Vec<Group> = Vec::new();
        for (index, group) in entry.groups.iter().enumerate() {
            let parsed = group.parse().map_err(|error| located.error(&key(&["groups", &index.to_string()]), error));
            groups.push(parsed?);
        }
        let grant = Grant { name: name.as_str().into(), hash, groups };
        listed.push(Listed { grant, created: entry.created });
    }
    Ok(listed)
}

/// Reads a file of tokens as a server uses it.
///
/// # Errors
///
/// As [`read`].
pub(super) fn tokens(path: &Path) -> Result<Tokens, ConfigError> {
    Ok(Tokens::new(read(path)?.into_iter().map(|listed| listed.grant).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "blake3:d5c1b9c724a972f369c6595d93e0561e76cfb23183d321d7b88e7310b890d69b";

    /// Reads a file that is wrong, and returns what is said of it, without its name.
    fn complaint(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err().to_string();
        error.strip_prefix(&format!("{}:", path.display())).unwrap_or(&error).to_owned()
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let entry = format!("[tokens.a]\nhash = \"{HASH}\"\ngroups = [\"web\"]\n");
        for (text, expected) in [
            ("[tokens.a]\nhash = \"x\"\ngroups = []\n".to_owned(), "2: tokens.a.hash: not the hash of a token: "),
            (entry.replace("\"web\"", "\"web\", \"a b\""), "3: tokens.a.groups[1]: \"a b\" is not a name: "),
            (entry.replace("tokens.a", "tokens.\"a b\""), "1: tokens.a b: \"a b\" is not a name: "),
            (format!("{entry}{}", entry.replace("tokens.a", "tokens.b")), "5: tokens.b.hash: is that of tokens.a "),
            (format!("{entry}token = \"x\"\n"), "4: tokens.a.token: unknown key "),
            ("[tokens.a]\ngroups = []\n".to_owned(), "1: tokens.a.hash: missing"),
        ] {
            let said = complaint(&text);
            assert!(said.starts_with(expected), "{said}");
        }
    }

    #[test]
    fn a_file_that_others_may_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        fs::write(&path, "").unwrap();
        for (mode, refused) in [(0o600, false), (0o644, false), (0o620, true), (0o602, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read(&path).map_err(|error| error.to_string());
            assert_eq!(read.clone().is_err_and(|error| error.contains("chmod 600 ")), refused, "{read:?}");
        }
    }
}
