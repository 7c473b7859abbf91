//! Who may join which group: decided from what a client has shown.

pub mod links;

use std::sync::Arc;

use crate::{
    id::{Group, Identity, Proof, name_matches},
    token::{Token, TokenHash},
};

/// A token that a server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who has it.
    pub name: Arc<str>,
    /// What is kept of it.
    pub hash: TokenHash,
    /// What it opens.
    pub groups: Vec<Group>,
}

/// All tokens that a server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Grant>);

impl Tokens {
    /// Takes what a server knows. Names and hashes are different from each other.
    pub fn new(grants: Vec<Grant>) -> Self {
        Self(grants)
    }

    /// Returns all of them.
    pub fn as_slice(&self) -> &[Grant] {
        &self.0
    }

    /// Looks a hash up. Compares with every one of them, so that the time does not tell which one is near.
    fn find(&self, hash: &TokenHash) -> Option<&Grant> {
        self.0.iter().fold(None, |found, grant| if grant.hash == *hash { Some(grant) } else { found })
    }
}

/// What a client has shown: the name in a certificate that was verified, and a token that was not.
#[derive(Debug, Default)]
pub struct Shown {
    /// The name in its certificate.
    pub certificate: Option<Arc<str>>,
    /// Its token.
    pub token: Option<Token>,
}

/// Why a client may not be in a group. `Display` is for the operator of the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// It has shown neither a certificate nor a token.
    #[error("it has neither a certificate nor a token")]
    Nameless,
    /// It has shown both, so that it could be either.
    #[error("it has a certificate and a token")]
    TwoNames,
    /// Its token is none of those that are known, or not any more.
    #[error("its token is not known, or was revoked")]
    BadToken,
    /// The group is not there.
    #[error("{name} wants the group {group}, and there is none")]
    NoGroup {
        /// Its name.
        name: Arc<str>,
        /// Which one.
        group: Group,
    },
    /// Its token does not open the group.
    #[error("the token {name} is not for the group {group}")]
    NotGranted {
        /// Who has the token.
        name: Arc<str>,
        /// Which group.
        group: Group,
    },
    /// The group does not list its name.
    #[error("no pattern in groups.{group}.clients matches {name}")]
    NotListed {
        /// Its name.
        name: Arc<str>,
        /// Which group.
        group: Group,
    },
    /// It has as many links as it may have.
    #[error("{name} has {max} links, and limits.links_per_client_max is {max}")]
    TooManyLinks {
        /// Its name.
        name: Arc<str>,
        /// How many those are.
        max: usize,
    },
}

impl Objection {
    /// Returns what the client is told. It learns its own name, and not whether a group or another name is there.
    pub fn told(&self) -> String {
        match self {
            Self::Nameless => "a certificate or a token is needed".to_owned(),
            Self::TwoNames => "show a certificate or a token, and not both".to_owned(),
            Self::BadToken => "the token is not valid here".to_owned(),
            Self::NoGroup { name, group } | Self::NotGranted { name, group } | Self::NotListed { name, group } => {
                format!("{name} may not join the group {group}, or there is no such group")
            }
            Self::TooManyLinks { name, max } => format!("{name} has {max} links already, and may not have more"),
        }
    }
}

/// Finds out who a client is.
///
/// A name that both a certificate and a token have belongs to two different clients: neither replaces or disturbs the
/// links of the other.
///
/// # Errors
///
/// When it has shown nothing, too much, or a token that is not known.
pub fn identify(shown: &Shown, tokens: &Tokens) -> Result<Identity, Objection> {
    match (&shown.certificate, &shown.token) {
        (None, None) => Err(Objection::Nameless),
        (Some(_), Some(_)) => Err(Objection::TwoNames),
        (Some(name), None) => Ok(Identity { name: Arc::clone(name), proof: Proof::Certificate }),
        (None, Some(token)) => {
            let hash = token.hash();
            let grant = tokens.find(&hash).ok_or(Objection::BadToken)?;
            Ok(Identity { name: Arc::clone(&grant.name), proof: Proof::Token(hash) })
        }
    }
}

/// Decides whether a client may be in a group, now: when it joins, and again when the rules change.
///
/// `clients` are the patterns of the group; none where there is no such group. A token must be for the group, and the group must list its name: what is
/// written in one place alone opens nothing.
///
/// # Errors
///
/// When it may not.
pub fn admit(identity: &Identity, group: &Group, clients: Option<&[String]>, tokens: &Tokens) -> Result<(), Objection> {
    let name = Arc::clone(&identity.name);
    if let Proof::Token(hash) = &identity.proof {
        let grant = tokens.find(hash).filter(|grant| grant.name == name).ok_or(Objection::BadToken)?;
        if !grant.groups.contains(group) {
            return Err(Objection::NotGranted { name, group: group.clone() });
        }
    }
    let Some(clients) = clients else { return Err(Objection::NoGroup { name, group: group.clone() }) };
    if clients.iter().any(|pattern| name_matches(pattern, &name)) {
        return Ok(());
    }
    Err(Objection::NotListed { name, group: group.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> Group {
        name.parse().unwrap()
    }

    fn token(seed: u8) -> Token {
        Token::from_secret([seed; 32])
    }

    fn grant(name: &str, seed: u8, groups: &[&str]) -> Grant {
        Grant { name: name.into(), hash: token(seed).hash(), groups: groups.iter().map(|name| group(name)).collect() }
    }

    fn shown(certificate: Option<&str>, token: Option<Token>) -> Shown {
        Shown { certificate: certificate.map(Into::into), token }
    }

    /// Decides with the group `web` for `web-*` and `db` for nobody.
    fn join(shown: &Shown, name: &str, tokens: &Tokens) -> Result<(), Objection> {
        let listed = ["web-*".to_owned()];
        let clients = match name {
            "web" => Some(&listed[..]),
            "db" => Some(&[][..]),
            _ => None,
        };
        admit(&identify(shown, tokens)?, &group(name), clients, tokens)
    }

    #[test]
    fn a_certificate_joins_where_its_name_is_listed() {
        let none = Tokens::default();
        assert_eq!(join(&shown(Some("web-1"), None), "web", &none), Ok(()));
        for (name, of) in [("other", "web"), ("web-1", "db")] {
            let denied = join(&shown(Some(name), None), of, &none).unwrap_err();
            assert_eq!(denied, Objection::NotListed { name: name.into(), group: group(of) });
        }
    }

    #[test]
    fn a_token_joins_where_it_is_for_and_its_name_is_listed() {
        let grants = [grant("web-1", 1, &["web", "db", "gone"]), grant("other", 2, &["web"]), grant("web-3", 3, &[])];
        let tokens = Tokens::new(grants.to_vec());
        let join = |seed, name: &str| join(&shown(None, Some(token(seed))), name, &tokens);
        assert_eq!(join(1, "web"), Ok(()));
        assert!(matches!(join(1, "db"), Err(Objection::NotListed { .. })));
        assert!(matches!(join(1, "gone"), Err(Objection::NoGroup { .. })));
        assert!(matches!(join(1, "nowhere"), Err(Objection::NotGranted { .. })));
        assert!(matches!(join(2, "web"), Err(Objection::NotListed { .. })));
        assert!(matches!(join(3, "web"), Err(Objection::NotGranted { .. })));
        assert_eq!(join(4, "web"), Err(Objection::BadToken));
    }

    #[test]
    fn nothing_and_both_are_no_proof() {
        let tokens = Tokens::new(vec![grant("web-1", 1, &["web"])]);
        assert_eq!(join(&shown(None, None), "web", &tokens), Err(Objection::Nameless));
        assert_eq!(join(&shown(Some("web-1"), Some(token(1))), "web", &tokens), Err(Objection::TwoNames));
    }

    #[test]
    fn a_token_that_was_revoked_or_replaced_is_not_known_any_more() {
        let old = Tokens::new(vec![grant("web-1", 1, &["web"])]);
        let identity = identify(&shown(None, Some(token(1))), &old).unwrap();
        let anybody = ["*".to_owned()];
        let may_stay = |tokens: &Tokens| admit(&identity, &group("web"), Some(&anybody), tokens);
        assert_eq!(may_stay(&old), Ok(()));
        assert_eq!(may_stay(&Tokens::default()), Err(Objection::BadToken));
        assert_eq!(may_stay(&Tokens::new(vec![grant("web-1", 2, &["web"])])), Err(Objection::BadToken));
        assert_eq!(may_stay(&Tokens::new(vec![grant("web-2", 1, &["web"])])), Err(Objection::BadToken));
    }

    #[test]
    fn one_name_with_two_proofs_is_two_clients() {
        let tokens = Tokens::new(vec![grant("web-1", 1, &["web"])]);
        let by_token = identify(&shown(None, Some(token(1))), &tokens).unwrap();
        let by_certificate = identify(&shown(Some("web-1"), None), &tokens).unwrap();
        assert_eq!(by_token.name, by_certificate.name);
        assert_ne!(by_token, by_certificate);
    }

    #[test]
    fn a_client_is_not_told_what_is_there() {
        let told = |objection: Objection| objection.told();
        let (web, name) = (group("web"), Arc::<str>::from("web-1"));
        let missing = told(Objection::NoGroup { name: name.clone(), group: web.clone() });
        assert_eq!(told(Objection::NotGranted { name: name.clone(), group: web.clone() }), missing);
        assert_eq!(told(Objection::NotListed { name, group: web }), missing);
    }
}
