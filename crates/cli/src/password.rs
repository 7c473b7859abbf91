//! Passwords and tokens for the gates of rules: what goes to the user, and what goes into a file.

use std::io::{self, IsTerminal};

use adit_core::gate::TokenHash;
use anyhow::{Context, bail};
use argon2::{Argon2, PasswordHasher};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// How many random bytes a token has.
const TOKEN_BYTES: usize = 32;

/// What the tokens of gates begin with, so that scanners for secrets know them.
const TOKEN_PREFIX: &str = "adit_gate_";

/// Reads a password, twice and unseen from a terminal or as a line from elsewhere, and returns its hash for
/// `basic_auth`.
///
/// # Errors
///
/// When there is no password, or the two are not the same.
pub fn ask_and_hash() -> anyhow::Result<String> {
    let password = if io::stdin().is_terminal() {
        let password = rpassword::prompt_password("Password: ").context("cannot read a password")?;
        if rpassword::prompt_password("Once more: ").context("cannot read a password")? != password {
            bail!("the two passwords are not the same");
        }
        password
    } else {
        let mut line = String::new();
        io::stdin().read_line(&mut line).context("cannot read a password from stdin")?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    hash(&password)
}

/// Returns the argon2id hash of a password, with a new salt.
fn hash(password: &str) -> anyhow::Result<String> {
    if password.is_empty() {
        bail!("there is no password");
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    Ok(hash.map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))?.to_string())
}

/// Makes a token, and returns it with its hash for `bearer`.
///
/// # Errors
///
/// When the system has no random bytes.
pub fn new_token() -> anyhow::Result<(String, String)> {
    let mut random = [0; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut random).ok().context("the system has no random bytes")?;
    let token = format!("{TOKEN_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
    let hash = TokenHash::of(token.as_bytes()).to_text();
    Ok((token, hash))
}

#[cfg(test)]
mod tests {
    use adit_core::gate::PasswordHash;
    use adit_node::ingress::gate::password::parse;

    use super::*;

    #[test]
    fn a_password_has_a_hash_that_a_rule_takes_and_another_one_each_time() {
        let (one, other) = (hash("secret").unwrap(), hash("secret").unwrap());
        assert!(parse(&PasswordHash::new(&one)).is_ok(), "{one}");
        assert_ne!(one, other);
        assert!(hash("").is_err());
    }

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let ((one, hash), (other, _)) = (new_token().unwrap(), new_token().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), TOKEN_PREFIX.len() + 43);
        assert_eq!(TokenHash::parse(&hash), Ok(TokenHash::of(one.as_bytes())));
    }
}
