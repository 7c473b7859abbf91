//! Names: of groups, clients and sessions.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::token::TokenHash;

/// The longest name accepted for a group or a client, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// A name that is no name: what it was and what is wrong with it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name:?} is not a name: use 1 to {NAME_BYTES_MAX} of the characters a-z A-Z 0-9 . _ -")]
pub struct BadName {
    name: String,
}

/// Checks that `name` is a name: of a group, a client process or a token.
///
/// # Errors
///
/// When it is none.
pub fn check_name(name: &str) -> Result<(), BadName> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        let shown = name.chars().take(NAME_BYTES_MAX).collect();
        return Err(BadName { name: shown });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(name: String) -> Result<Self, BadName> {
                check_name(&name)?;
                Ok(Self(name.into()))
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadName;

            fn from_str(name: &str) -> Result<Self, BadName> {
                Self::try_from(name.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

name_type! {
    /// The clients that serve the same thing.
    Group
}

name_type! {
    /// `client-<uuid>`: one client process. It lives as long as the process and survives reconnects.
    ClientId
}

impl ClientId {
    /// Makes the id of a process from a random UUID.
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(format!("client-{uuid}").into())
    }
}

/// One accepted link, numbered by the server that accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Who a peer proved to be. Shown by its name; two that share a name and differ in their proof are not the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The name in its certificate, or that of its token.
    pub name: Arc<str>,
    /// How it proved that.
    pub proof: Proof,
}

/// How a peer proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// With a certificate.
    Certificate,
    /// With the token that has this hash.
    Token(TokenHash),
}

impl Identity {
    /// Makes the identity of a peer with a certificate.
    pub fn certified(name: &str) -> Self {
        Self { name: name.into(), proof: Proof::Certificate }
    }
}

impl Proof {
    /// Returns its name in logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Token(_) => "token",
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Returns whether `name` fits `pattern`, in which a `*` stands for any run of characters.
///
/// The cost is bounded by the product of the two lengths.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut tail) = name.strip_prefix(head) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return tail.ends_with(part);
        }
        let Some(at) = tail.find(part) else {
            return false;
        };
        tail = &tail[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert!("web-1.prod_a".parse::<Group>().is_ok());
        for bad in ["", "a b", "a/b", "ä", &"x".repeat(65), "a\n"] {
            assert!(bad.parse::<Group>().is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("client", "client", true),
            ("client", "client2", false),
            ("web-*", "web-1", true),
            ("web-*", "web-", true),
            ("web-*", "xweb-1", false),
            ("*", "", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("*-prod", "x-prod", true),
            ("*-prod", "x-prod-2", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(name_matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
