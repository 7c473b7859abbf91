//! All that one rule asks of its visitors.

use std::{net::IpAddr, time::Duration};

use adit_core::{
    failure::Failure,
    gate::{Credentials, Gate, Presented, credentials::is_preflight},
    wire::exchange::RequestHead,
};
use http::{HeaderName, HeaderValue, header};

use super::{
    pace::{Pace, one_in},
    password::{BadPasswordHash, Passwords, Verifier},
};

/// How many wrong passwords or tokens a visitor may try at once, and how long it waits for another try then.
const TRIES_AT_ONCE: u32 = 10;
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// Asks the visitors of a rule what its [`Gate`] says.
#[derive(Debug)]
pub struct Keeper {
    gate: Gate,
    pace: Option<Pace>,
    /// How often each visitor has been wrong.
    tries: Option<Pace>,
    passwords: Passwords,
    verifier: Verifier,
}

/// Why a visitor is not let in, and what it is told beside that.
#[derive(Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub failure: Failure,
    /// A field of the response.
    pub field: Option<(HeaderName, HeaderValue)>,
}

impl From<Failure> for Denial {
    fn from(failure: Failure) -> Self {
        Self { failure, field: None }
    }
}

impl Keeper {
    /// Makes a keeper for a gate, or none for one that is open.
    ///
    /// # Errors
    ///
    /// When a password hash is none.
    pub fn new(gate: &Gate, verifier: &Verifier) -> Result<Option<Self>, BadPasswordHash> {
        if gate.is_open() {
            return Ok(None);
        }
        let users = gate.credentials.as_ref().map(|credentials| credentials.users.as_slice()).unwrap_or_default();
        Ok(Some(Self {
            pace: gate.rate_limit.as_ref().and_then(Pace::new),
            tries: gate.credentials.as_ref().and_then(|_| Pace::new(&one_in(TRY_AGAIN_AFTER, TRIES_AT_ONCE))),
            passwords: Passwords::new(users, secret())?,
            gate: gate.clone(),
            verifier: verifier.clone(),
        }))
    }

    /// Lets a request in, and takes from its head what was for this gate only. `visitor` is where it comes from, where
    /// that is known. Reads nothing of its body.
    ///
    /// # Errors
    ///
    /// Why it is not let in.
    pub async fn admit(&self, head: &mut RequestHead, visitor: Option<IpAddr>) -> Result<(), Denial> {
        if !self.gate.addresses.admit(visitor) {
            return Err(Failure::Forbidden.into());
        }
        if let Some(pace) = &self.pace {
            pace.ask(visitor).map_err(too_often)?;
        }
        let Some(credentials) = &self.gate.credentials else { return Ok(()) };
        if credentials.allow_preflight && is_preflight(&head.method, &head.headers) {
            return Ok(());
        }
        self.identify(credentials, head, visitor).await?;
        if !credentials.pass_authorization {
            head.headers.remove(header::AUTHORIZATION);
        }
        Ok(())
    }

    async fn identify(
        &self,
        credentials: &Credentials,
        head: &RequestHead,
        visitor: Option<IpAddr>,
    ) -> Result<(), Denial> {
        let is_right = match Presented::of(&head.headers) {
            Ok(Presented::Bearer(token)) => {
                let is_right = credentials.knows_token(&token);
                if !is_right {
                    self.count_try(visitor)?;
                }
                is_right
            }
            Ok(Presented::Basic { .. }) if credentials.users.is_empty() => false,
            Ok(Presented::Basic { user, password }) => self.verify(&user, password, visitor).await?,
            Err(Failure::Unauthorized) => false,
            Err(failure) => return Err(failure.into()),
        };
        if is_right {
            return Ok(());
        }
        let field = Some((header::WWW_AUTHENTICATE, credentials.challenge()));
        Err(Denial { failure: Failure::Unauthorized, field })
    }

    async fn verify(&self, user: &[u8], password: Vec<u8>, visitor: Option<IpAddr>) -> Result<bool, Denial> {
        if self.passwords.is_known(user, &password) {
            return Ok(true);
        }
        let turn = self.verifier.turn().await?;
        // A browser asks for many things at once: the first of them may have been verified by now.
        if self.passwords.is_known(user, &password) {
            return Ok(true);
        }
        self.count_try(visitor)?;
        Ok(self.passwords.verify(user, password, turn).await)
    }

    fn count_try(&self, visitor: Option<IpAddr>) -> Result<(), Denial> {
        match &self.tries {
            Some(tries) => tries.ask(visitor).map_err(too_often),
            None => Ok(()),
        }
    }
}

fn too_often(wait: Duration) -> Denial {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Denial { failure: Failure::RateLimited, field: Some((header::RETRY_AFTER, seconds.max(1).into())) }
}

fn secret<const N: usize>() -> [u8; N] {
    let mut secret = [0; N];
    if aws_lc_rs::rand::fill(&mut secret).is_err() {
        // What it protects is in the same memory.
        fastrand::fill(&mut secret);
    }
    secret
}
