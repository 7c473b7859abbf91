//! Tokens: what a client shows instead of a certificate, and what a server keeps of them.
//!
//! A token is 256 random bits. Nobody guesses those, so its hash needs no salt and no slowness: a password hash makes
//! up for what people choose, and would only let strangers make a server work.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What every token begins with, for people and for programs that look for secrets in the wrong place.
pub const PREFIX: &str = "adit_";

/// The bytes of a token's secret.
pub const SECRET_BYTES: usize = 32;

/// Base64url without padding.
const SECRET_CHARS: usize = 43;

/// Keeps the hash of a token apart from every other use of BLAKE3.
const HASH_CONTEXT: &str = "adit 2026-11 token";

/// What the text of a [`TokenHash`] begins with.
const HASH_PREFIX: &str = "blake3:";

/// A secret that says who a client is.
///
/// `Debug` does not show it. The memory is wiped when it is dropped; what a QUIC library buffers is not. Comparing takes
/// as long for any other token.
#[derive(Clone, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct Token([u8; SECRET_BYTES]);

/// Text that is no token. It is not shown: it may nearly be one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a token: that is {PREFIX} and {SECRET_CHARS} of the characters a-z A-Z 0-9 _ -")]
pub struct BadToken;

impl Token {
    /// Makes a token of random bytes.
    pub fn from_secret(secret: [u8; SECRET_BYTES]) -> Self {
        Self(secret)
    }

    /// Returns what a server keeps of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash(blake3::derive_key(HASH_CONTEXT, &self.0).into())
    }

    /// Returns the text that its owner keeps.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + SECRET_CHARS));
        text.push_str(PREFIX);
        BASE64_URL_SAFE_NO_PAD.encode_string(self.0, &mut text);
        text
    }
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let encoded = text.strip_prefix(PREFIX).filter(|encoded| encoded.len() == SECRET_CHARS).ok_or(BadToken)?;
        let mut token = Self([0; SECRET_BYTES]);
        match BASE64_URL_SAFE_NO_PAD.decode_slice(encoded, &mut token.0) {
            Ok(SECRET_BYTES) => Ok(token),
            Ok(_) | Err(_) => Err(BadToken),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Eq for Token {}

/// The hash of a token. Comparing takes as long for any other hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(blake3::Hash);

/// Text that is no hash of a token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not the hash of a token: that is {HASH_PREFIX} and 64 hexadecimal digits")]
pub struct BadTokenHash;

impl FromStr for TokenHash {
    type Err = BadTokenHash;

    fn from_str(text: &str) -> Result<Self, BadTokenHash> {
        let digits = text.strip_prefix(HASH_PREFIX).ok_or(BadTokenHash)?;
        blake3::Hash::from_hex(digits).map(Self).map_err(|_| BadTokenHash)
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_PREFIX}{}", self.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::from_secret(std::array::from_fn(|index| u8::try_from(index * 7).unwrap()))
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        let text = token().reveal();
        assert_eq!(text.as_str(), "adit_AAcOFRwjKjE4P0ZNVFtiaXB3foWMk5qhqK-2vcTL0tk");
        assert_eq!(text.parse::<Token>().unwrap(), token());
    }

    #[test]
    fn what_is_nearly_a_token_is_none_and_is_not_shown() {
        let text = token().reveal();
        for bad in [
            "",
            "adit_",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{}A", *text),
            &format!("{} ", *text),
            // The last character has two bits that say nothing, and they are 0.
            &format!("{}l", &text[..text.len() - 1]),
            &text.replace('-', "+"),
        ] {
            assert_eq!(bad.parse::<Token>(), Err(BadToken), "{bad}");
        }
        assert!(!BadToken.to_string().contains("AAcO"));
    }

    #[test]
    fn debug_shows_no_secret_and_no_hash() {
        let (token, hash) = (token(), token().hash());
        assert_eq!(format!("{token:?} {hash:?}"), "Token(…) TokenHash(…)");
    }

    #[test]
    fn the_hash_is_fixed_and_comes_back_as_it_was() {
        let hash = token().hash();
        assert_eq!(hash.to_string().parse::<TokenHash>().unwrap(), hash);
        assert_eq!(hash.to_string(), HASH);
        let mut other = token();
        other.0[31] ^= 1;
        assert_ne!(other.hash(), hash);
        assert_ne!(other, token());
        for bad in ["", "blake3:", &HASH[7..], &HASH[..70], "sha256:00"] {
            assert_eq!(bad.parse::<TokenHash>(), Err(BadTokenHash), "{bad}");
        }
    }

    const HASH: &str = "blake3:d5c1b9c724a972f369c6595d93e0561e76cfb23183d321d7b88e7310b890d69b";
}
