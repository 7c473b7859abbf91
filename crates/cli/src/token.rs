//! `adit token`: makes, lists and revokes the tokens that a server knows.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use adit_core::{
    id::{BadName, Group, check_name},
    token::{SECRET_BYTES, Token},
};
use clap::Subcommand;
use rustix::fs::{FlockOperation, flock};
use toml_edit::{Array, DocumentMut, Item, Table, value};
use zeroize::Zeroizing;

use crate::{
    config::{ConfigError, tokens},
    replace::replace,
};

/// How a new file begins.
const HEADER: &str = "# The tokens that this server knows, as `adit token` writes them: hashes, and never a token.\n\n";

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token for a client, and show it once
    New {
        /// The name of the client: where groups.GROUP.clients lists it, the token joins
        name: String,
        /// A group that the token may join
        #[arg(long = "group", value_name = "GROUP", required = true)]
        groups: Vec<Group>,
        /// Write the token to this file, mode 0600, instead of showing it
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Where the server finds its hash: tunnel.tokens_file
        #[arg(long, value_name = "FILE", default_value = "tokens.toml")]
        tokens_file: PathBuf,
    },
    /// Make a token for the admin interface, and show it once
    Admin {
        /// Write the token to this file, mode 0600, instead of showing it: for admin.token_file
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show which tokens there are
    List {
        /// Where the server finds them: tunnel.tokens_file
        #[arg(long, value_name = "FILE", default_value = "tokens.toml")]
        tokens_file: PathBuf,
    },
    /// Forget a token: a running server cuts its links within seconds
    Revoke {
        /// The name of the client
        name: String,
        /// Where the server finds them: tunnel.tokens_file
        #[arg(long, value_name = "FILE", default_value = "tokens.toml")]
        tokens_file: PathBuf,
    },
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] BadName),
    /// There is a token of that name.
    #[error("{} has a token called {name:?}: revoke it first, or choose another name", path.display())]
    Exists {
        /// The name.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
    /// There is no token of that name.
    #[error("{} has no token called {name:?}", path.display())]
    Unknown {
        /// The name.
        name: String,
        /// Where it is not.
        path: PathBuf,
    },
    /// The file of tokens is malformed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The system has no random bytes.
    #[error("no random bytes")]
    Random,
}

/// What is to be printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    /// To stdout: what was asked for.
    pub out: Zeroizing<String>,
    /// To stderr: what else its reader may want to know.
    pub hint: String,
}

/// Does what the command says.
///
/// # Errors
///
/// When it cannot be done; then nothing has changed.
pub fn run(command: TokenCommand) -> Result<Said, TokenError> {
    match command {
        TokenCommand::New { name, groups, out, tokens_file } => new(&tokens_file, &name, &groups, out.as_deref()),
        TokenCommand::Admin { out } => admin(out.as_deref()),
        TokenCommand::List { tokens_file } => list(&tokens_file),
        TokenCommand::Revoke { name, tokens_file } => revoke(&tokens_file, name),
    }
}

fn new(path: &Path, name: &str, groups: &[Group], out: Option<&Path>) -> Result<Said, TokenError> {
    check_name(name)?;
    let token = random_token()?;
    let _lock = lock(path)?;
    let mut document = if path.exists() { read(path)? } else { HEADER.parse().unwrap_or_default() };
    let table = document.entry("tokens").or_insert(Item::Table(implicit_table()));
    if table.get(name).is_some() {
        return Err(TokenError::Exists { name: name.to_owned(), path: path.to_owned() });
    }
    let mut entry = Table::new();
    entry["hash"] = value(token.hash().to_string());
    entry["groups"] = value(groups.iter().map(Group::as_str).collect::<Array>());
    entry["created"] = value(humantime::format_rfc3339_seconds(SystemTime::now()).to_string());
    table[name] = Item::Table(entry);
    let said = hand_over(&token, out)?;
    write(path, &document.to_string())?;
    let groups = groups.iter().map(Group::as_str).collect::<Vec<_>>().join(", ");
    let hint = format!(
        "{name} may join {groups} where groups.GROUP.clients lists it. The hash is in {}; the token is nowhere else.",
        path.display()
    );
    Ok(Said { out: said, hint })
}

fn admin(out: Option<&Path>) -> Result<Said, TokenError> {
    let said = hand_over(&random_token()?, out)?;
    let hint = "Name its file in admin.token_file; callers send it as `Authorization: Bearer TOKEN`.".to_owned();
    Ok(Said { out: said, hint })
}

/// Writes a token to a file, or returns it to be shown.
fn hand_over(token: &Token, out: Option<&Path>) -> Result<Zeroizing<String>, TokenError> {
    let text = Zeroizing::new(format!("{}\n", *token.reveal()));
    let Some(out) = out else { return Ok(text) };
    write(out, &text)?;
    Ok(Zeroizing::new(format!("wrote {}\n", out.display())))
}

fn list(path: &Path) -> Result<Said, TokenError> {
    let mut out = String::new();
    for listed in tokens::read(path)? {
        let groups = listed.grant.groups.iter().map(Group::as_str).collect::<Vec<_>>().join(",");
        let created = listed.created.unwrap_or_default();
        out.push_str(&format!("{:<24} {groups:<24} {created}\n", listed.grant.name));
    }
    Ok(Said { out: Zeroizing::new(out), hint: String::new() })
}

fn revoke(path: &Path, name: String) -> Result<Said, TokenError> {
    let _lock = lock(path)?;
    let mut document = read(path)?;
    let removed = document.get_mut("tokens").and_then(Item::as_table_like_mut).and_then(|table| table.remove(&name));
    if removed.is_none() {
        return Err(TokenError::Unknown { name, path: path.to_owned() });
    }
    write(path, &document.to_string())?;
    Ok(Said { out: Zeroizing::new(format!("revoked {name}\n")), hint: String::new() })
}

fn random_token() -> Result<Token, TokenError> {
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut *secret).map_err(|_| TokenError::Random)?;
    Ok(Token::from_secret(*secret))
}

/// Reads the file as it stands, once it is known to be well-formed.
fn read(path: &Path) -> Result<DocumentMut, TokenError> {
    tokens::read(path)?;
    let failed = |error| TokenError::File { path: path.to_owned(), error };
    let text = fs::read_to_string(path).map_err(failed)?;
    text.parse().map_err(|error: toml_edit::TomlError| failed(io::Error::other(error.message().to_owned())))
}

fn write(path: &Path, text: &str) -> Result<(), TokenError> {
    replace(path, text, 0o600).map_err(|error| TokenError::File { path: path.to_owned(), error })
}

/// A table that is there for what is in it.
fn implicit_table() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

/// Keeps other `adit token` commands out of the folder of the file until it is dropped: the file itself is replaced.
fn lock(path: &Path) -> Result<File, TokenError> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let failed = |error| TokenError::File { path: folder.to_owned(), error };
    let file = File::open(folder).map_err(failed)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn make(home: &TempDir, name: &str, groups: &[&str]) -> Result<Said, TokenError> {
        let groups: Vec<Group> = groups.iter().map(|group| group.parse().unwrap()).collect();
        new(&home.path().join("tokens.toml"), name, &groups, None)
    }

    fn names(home: &TempDir) -> Vec<String> {
        let listed = tokens::read(&home.path().join("tokens.toml")).unwrap();
        listed.iter().map(|listed| listed.grant.name.to_string()).collect()
    }

    #[test]
    fn a_token_is_shown_once_and_its_hash_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let said = make(&home, "web-1", &["web", "api"]).unwrap();
        let token: Token = said.out.trim_end().parse().unwrap();
        let path = home.path().join("tokens.toml");
        let [listed] = &tokens::read(&path).unwrap()[..] else { panic!("one token") };
        assert_eq!(listed.grant.hash, token.hash());
        assert_eq!(listed.grant.groups.iter().map(Group::as_str).collect::<Vec<_>>(), ["web", "api"]);
        assert!(listed.created.as_ref().unwrap().starts_with("20"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(said.out.trim_end()) && !said.hint.contains(said.out.trim_end()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(list(&path).unwrap().out.contains("web-1                    web,api"));
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        let home = tempfile::tempdir().unwrap();
        let first = make(&home, "a", &["web"]).unwrap();
        assert_ne!(make(&home, "b", &["web"]).unwrap().out, first.out);
        assert!(matches!(make(&home, "a", &["web"]), Err(TokenError::Exists { .. })));
        assert!(matches!(make(&home, "a b", &["web"]), Err(TokenError::Name(_))));
        assert_eq!(names(&home), ["a", "b"]);
    }

    #[test]
    fn what_people_wrote_beside_a_revoked_token_stays() {
        let home = tempfile::tempdir().unwrap();
        for name in ["a", "b.c"] {
            make(&home, name, &["web"]).unwrap();
        }
        let path = home.path().join("tokens.toml");
        fs::write(&path, format!("{}\n# mine\n", fs::read_to_string(&path).unwrap())).unwrap();
        revoke(&path, "b.c".to_owned()).unwrap();
        assert_eq!(names(&home), ["a"]);
        assert!(fs::read_to_string(&path).unwrap().ends_with("# mine\n"));
        assert!(matches!(revoke(&path, "b.c".to_owned()), Err(TokenError::Unknown { .. })));
    }

    #[test]
    fn a_token_in_a_file_is_for_its_owner_only_and_is_not_shown() {
        let home = tempfile::tempdir().unwrap();
        let (tokens, client) = (home.path().join("tokens.toml"), home.path().join("client.token"));
        let operator = home.path().join("admin.token");
        let made = [new(&tokens, "a", &["web".parse().unwrap()], Some(&client)), admin(Some(&operator))];
        for (said, out) in made.into_iter().zip([client, operator]) {
            assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
            let (said, token) = (said.unwrap(), fs::read_to_string(&out).unwrap());
            assert!(token.trim_end().parse::<Token>().is_ok() && !said.out.contains(token.trim_end()));
        }
    }
}
