//! The admin interface: where it listens, and what it asks of whoever connects.

use std::net::SocketAddr;

use adit_core::gate::TokenHash;

use crate::credentials::Credentials;

/// A listener for the admin interface: for this machine only, or one that asks for a token over TLS.
#[derive(Debug)]
pub struct AdminEntry {
    listen: SocketAddr,
    token: Option<TokenHash>,
    credentials: Option<Credentials>,
}

/// An address that others than this machine may reach, where they would not be asked who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{listen} is not a loopback address, and there the admin interface asks for a token over TLS: set {missing} in \
     [admin]; or use 127.0.0.1 or [::1], and ssh to reach it from elsewhere"
)]
pub struct Exposed {
    listen: SocketAddr,
    missing: &'static str,
}

impl AdminEntry {
    /// Takes an address, the hash of the token that its callers have to show, and the certificate that it shows them.
    ///
    /// # Errors
    ///
    /// When the address is no loopback address and one of these is missing.
    pub fn new(
        listen: SocketAddr,
        token: Option<TokenHash>,
        credentials: Option<Credentials>,
    ) -> Result<Self, Exposed> {
        let entry = Self { listen, token, credentials };
        entry.check(listen)?;
        Ok(entry)
    }

    /// Makes an entry that asks nothing.
    ///
    /// # Errors
    ///
    /// When the address is no loopback address.
    pub fn open(listen: SocketAddr) -> Result<Self, Exposed> {
        Self::new(listen, None, None)
    }

    /// Checks that what is asked here is enough for an address, which may be another one than its own.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check(&self, listen: SocketAddr) -> Result<(), Exposed> {
        if listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let missing = match (self.token.is_some(), self.credentials.is_some()) {
            (true, true) => return Ok(()),
            (true, false) => "cert and key",
            (false, true) => "token_file",
            (false, false) => "token_file, cert and key",
        };
        Err(Exposed { listen, missing })
    }

    /// Returns the address.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Returns the hash of the token that callers have to show, where they have to.
    pub fn token(&self) -> Option<TokenHash> {
        self.token
    }

    /// Returns the certificate of an entry with TLS.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;

    #[test]
    fn who_is_not_asked_for_a_token_over_tls_is_on_this_machine() {
        let token = || Some(TokenHash::of(b"token"));
        // Nobody looks into it.
        let credentials = || Some(Credentials::new(Vec::new(), PrivateKeyDer::from(PrivatePkcs8KeyDer::from(vec![0]))));
        for (address, local) in [
            ("127.0.0.1:0", true),
            ("127.8.9.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.168.1.1:1", false),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            for (token, credentials, missing) in [
                (None, None, Some("set token_file, cert and key in [admin];")),
                (token(), None, Some("set cert and key in [admin];")),
                (None, credentials(), Some("set token_file in [admin];")),
                (token(), credentials(), None),
            ] {
                let refused = AdminEntry::new(address, token, credentials).err().map(|error| error.to_string());
                match missing.filter(|_| !local) {
                    Some(missing) => assert!(refused.unwrap().contains(missing), "{address}"),
                    None => assert_eq!(refused, None, "{address}"),
                }
            }
        }
    }
}
