//! Passwords and tokens: what a rule knows of them, and what a request shows.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::failure::Failure;

/// How a token hash is written: `blake3:` and 64 hexadecimal digits.
const TOKEN_HASH_PREFIX: &str = "blake3:";

/// Whom a rule lets in. Any one of them will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Names and the hashes of their passwords (RFC 7617).
    pub users: Vec<(String, PasswordHash)>,
    /// Names and the hashes of their tokens (RFC 6750). Only the hash decides; the name is for whoever reads the file.
    pub tokens: Vec<(String, TokenHash)>,
    /// Whether a browser may ask without any what it may ask with them (CORS preflight).
    pub allow_preflight: bool,
    /// Whether the upstream sees what was shown here.
    pub pass_authorization: bool,
}

impl Credentials {
    /// Returns what tells a visitor which credentials are wanted (RFC 9110 §11.6.1).
    pub fn challenge(&self) -> HeaderValue {
        const BASIC: &str = "Basic realm=\"restricted\", charset=\"UTF-8\"";
        const BEARER: &str = "Bearer realm=\"restricted\"";
        const BOTH: &str = "Basic realm=\"restricted\", charset=\"UTF-8\", Bearer realm=\"restricted\"";
        HeaderValue::from_static(match (self.users.is_empty(), self.tokens.is_empty()) {
            (false, false) => BOTH,
            (true, false) => BEARER,
            (false, true) | (true, true) => BASIC,
        })
    }

    /// Returns whether a token is one of those that are known. Takes as long whichever it is.
    pub fn knows_token(&self, token: &[u8]) -> bool {
        let hash = TokenHash::of(token);
        self.tokens.iter().fold(false, |known, (_, of)| known | (*of == hash))
    }
}

/// An argon2 hash as it is written (PHC string format).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Box<str>);

impl PasswordHash {
    /// Takes a hash as it is. Whether it is one is for whoever can verify it to say.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns it as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// The hash of a token. Tokens are random and long, so a fast hash keeps them as secret as a slow one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(blake3::Hash);

/// Text that is no hash of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be blake3: and 64 hexadecimal digits, as `adit password --bearer` makes them")]
pub struct BadTokenHash;

impl TokenHash {
    /// Hashes a token.
    pub fn of(token: &[u8]) -> Self {
        Self(blake3::hash(token))
    }

    /// Reads a hash.
    ///
    /// # Errors
    ///
    /// When the text is none; the text itself is not in the error.
    pub fn parse(text: &str) -> Result<Self, BadTokenHash> {
        let digits = text.strip_prefix(TOKEN_HASH_PREFIX).ok_or(BadTokenHash)?;
        blake3::Hash::from_hex(digits).map(Self).map_err(|_| BadTokenHash)
    }

    /// Returns it as it is written.
    pub fn to_text(self) -> String {
        format!("{TOKEN_HASH_PREFIX}{}", self.0.to_hex())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// The credentials that a request shows.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// A name and a password.
    Basic {
        /// Who.
        user: Vec<u8>,
        /// The proof.
        password: Vec<u8>,
    },
    /// A token.
    Bearer(Vec<u8>),
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

impl Presented {
    /// Reads `Authorization`.
    ///
    /// # Errors
    ///
    /// [`Failure::Unauthorized`] when there is none that could be known here, [`Failure::BadRequest`] when there are
    /// several: one of them would be looked at here, and another one perhaps behind.
    pub fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut fields = headers.get_all(header::AUTHORIZATION).into_iter();
        let field = fields.next().ok_or(Failure::Unauthorized)?;
        if fields.next().is_some() {
            return Err(Failure::BadRequest);
        }
        let bytes = field.as_bytes();
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or(Failure::Unauthorized)?;
        let (scheme, value) = bytes.split_at(space);
        let value = value.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return if value.is_empty() { Err(Failure::Unauthorized) } else { Ok(Self::Bearer(value.to_vec())) };
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return Err(Failure::Unauthorized);
        }
        let pair = BASE64_STANDARD.decode(value).map_err(|_| Failure::Unauthorized)?;
        // RFC 7617 §2: the name has no colon, the password may.
        let colon = pair.iter().position(|byte| *byte == b':').ok_or(Failure::Unauthorized)?;
        Ok(Self::Basic { user: pair[..colon].to_vec(), password: pair[colon + 1..].to_vec() })
    }
}

/// Returns whether a request asks what a page from elsewhere may ask (CORS preflight, which has no credentials).
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    const REQUESTED: HeaderName = header::ACCESS_CONTROL_REQUEST_METHOD;
    *method == Method::OPTIONS && headers.contains_key(header::ORIGIN) && headers.contains_key(REQUESTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(values: &[&str]) -> Result<Presented, Failure> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        Presented::of(&headers)
    }

    #[test]
    fn one_field_shows_a_name_and_password_or_a_token() {
        let basic = |user: &str, password: &str| Presented::Basic { user: user.into(), password: password.into() };
        for (value, expected) in [
            ("Basic YTpi", basic("a", "b")),
            ("bASIC  YTpi", basic("a", "b")),
            ("Basic YTpiOmM=", basic("a", "b:c")),
            ("Basic Og==", basic("", "")),
            ("Bearer t.1-~+/=", Presented::Bearer(b"t.1-~+/=".to_vec())),
            ("bearer t", Presented::Bearer(b"t".to_vec())),
        ] {
            assert_eq!(presented(&[value]), Ok(expected), "{value}");
        }
    }

    #[test]
    fn anything_else_shows_nothing() {
        for value in
            ["", "Basic", "Basic ", "Basic ?", "Basic YQ==", "Bearer ", "Digest a=b", "YTpi", "Basic YTpi, Basic YTpi"]
        {
            assert_eq!(presented(&[value]), Err(Failure::Unauthorized), "{value:?}");
        }
        assert_eq!(presented(&[]), Err(Failure::Unauthorized));
    }

    #[test]
    fn two_fields_mean_two_things() {
        assert_eq!(presented(&["Basic YTpi", "Basic YTpi"]), Err(Failure::BadRequest));
        assert_eq!(presented(&["Basic YTpi", "Bearer x"]), Err(Failure::BadRequest));
    }

    #[test]
    fn a_token_is_known_by_its_hash() {
        let hash = TokenHash::of(b"secret");
        assert_eq!(TokenHash::parse(&hash.to_text()), Ok(hash));
        for bad in ["", "secret", "blake3:", "blake3:00", "sha256:00"] {
            assert_eq!(TokenHash::parse(bad), Err(BadTokenHash), "{bad}");
        }
        let tokens = vec![("a".to_owned(), TokenHash::of(b"other")), ("b".to_owned(), hash)];
        let credentials = Credentials { tokens, ..Credentials::default() };
        assert!(credentials.knows_token(b"secret"));
        assert!(!credentials.knows_token(b"Secret") && !credentials.knows_token(b""));
    }

    #[test]
    fn nothing_of_a_secret_is_shown() {
        let credentials = Credentials {
            users: vec![("alice".to_owned(), PasswordHash::new("$argon2id$SECRET"))],
            tokens: vec![("ci".to_owned(), TokenHash::of(b"SECRET"))],
            ..Credentials::default()
        };
        let basic = Presented::Basic { user: b"SECRET".to_vec(), password: b"SECRET".to_vec() };
        let shown = format!("{credentials:?} {basic:?} {:?}", Presented::Bearer(b"SECRET".to_vec()));
        let hash = TokenHash::of(b"SECRET").to_text();
        assert!(!shown.contains("SECRET") && !shown.contains("83, 69") && !shown.contains(&hash[8..20]), "{shown}");
    }
}
