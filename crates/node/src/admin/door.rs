//! What is asked of whoever connects, as it is now.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use adit_core::gate::{Presented, TokenHash, tries::Tries};
use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::{credentials::TlsError, ingress::tls, settings::AdminEntry, turns::visitor};

/// How many wrong tokens may come from an address at once, and how long it waits for another try then.
const TRIES_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).unwrap();
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// The terms of a listener, and who has been wrong there.
#[derive(Clone, Debug)]
pub struct Door(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Where it is, whatever the settings have come to say.
    address: SocketAddr,
    terms: ArcSwap<Terms>,
    tries: Mutex<Tries<IpAddr>>,
    began: Instant,
}

struct Terms {
    tls: Option<TlsAcceptor>,
    token: Option<TokenHash>,
}

impl Terms {
    fn of(entry: &AdminEntry) -> Result<Arc<Self>, TlsError> {
        let tls = entry.credentials().map(|credentials| tls::acceptor([credentials])).transpose()?;
        Ok(Arc::new(Self { tls, token: entry.token() }))
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, token } = self;
        f.debug_struct("Terms").field("tls", &tls.is_some()).field("token", token).finish()
    }
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has shown no token.
    Nobody,
    /// It has shown a wrong one.
    Wrong,
    /// Too many wrong ones came from its address; none is looked at until then.
    TooOften(Duration),
}

impl Door {
    /// Makes the door of a listener at `address`.
    ///
    /// # Errors
    ///
    /// When its certificate cannot be used.
    pub(super) fn new(entry: &AdminEntry, address: SocketAddr) -> Result<Self, TlsError> {
        let terms = ArcSwap::new(Terms::of(entry)?);
        let tries = Mutex::new(Tries::new(TRIES_AT_ONCE, TRY_AGAIN_AFTER));
        Ok(Self(Arc::new(Shared { address, terms, tries, began: Instant::now() })))
    }

    /// Prepares new terms. None where they are not enough for the address that the door is at: those of another address,
    /// which the next start is to bind, may ask for less.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be used.
    pub fn prepare(&self, entry: &AdminEntry) -> Result<Option<NewTerms>, TlsError> {
        if entry.check(self.0.address).is_err() {
            return Ok(None);
        }
        Ok(Some(NewTerms { door: self.clone(), terms: Terms::of(entry)? }))
    }

    /// Returns what does TLS handshakes, where there are any.
    pub(super) fn tls(&self) -> Option<TlsAcceptor> {
        self.0.terms.load().tls.clone()
    }

    /// Returns the hash of the token that callers have to show, where they have to.
    pub(super) fn token(&self) -> Option<TokenHash> {
        self.0.terms.load().token
    }

    /// Lets a caller in that has shown this token.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn admit(&self, token: TokenHash, address: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        let Ok(Presented::Bearer(shown)) = Presented::of(headers) else { return Err(Refusal::Nobody) };
        let (who, now) = (visitor(address), self.0.began.elapsed());
        // What a panic left behind is still a count.
        let mut tries = self.0.tries.lock().unwrap_or_else(PoisonError::into_inner);
        tries.check(&who, now).map_err(Refusal::TooOften)?;
        if TokenHash::of(&shown) == token {
            return Ok(());
        }
        tries.spend(who, now);
        Err(Refusal::Wrong)
    }
}

/// Terms that can be put in force.
#[derive(Debug)]
pub struct NewTerms {
    door: Door,
    terms: Arc<Terms>,
}

impl NewTerms {
    /// Puts them in force: the certificate for connections to come, the token for the next request on any.
    pub fn apply(self) {
        self.door.0.terms.store(self.terms);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use tokio::time::advance;

    use super::*;

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);

    fn entry(token: &str) -> AdminEntry {
        AdminEntry::new(HERE, Some(TokenHash::of(token.as_bytes())), None).unwrap()
    }

    fn ask(door: &Door, address: &str, authorization: &str) -> Result<(), Refusal> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())]);
        door.admit(door.token().unwrap(), address.parse().unwrap(), &headers)
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_token_opens_and_nothing_does_where_none_was_shown() {
        let door = Door::new(&entry("right"), HERE).unwrap();
        assert_eq!(ask(&door, "192.0.2.1", "Bearer right"), Ok(()));
        for wrong in ["Bearer Right", "Bearer right ight", "Bearer righ"] {
            assert_eq!(ask(&door, "192.0.2.1", wrong), Err(Refusal::Wrong), "{wrong}");
        }
        for nothing in ["", "right", "Basic OnJpZ2h0", "Bearer "] {
            assert_eq!(ask(&door, "192.0.2.1", nothing), Err(Refusal::Nobody), "{nothing}");
        }
        assert_eq!(door.admit(door.token().unwrap(), HERE.ip(), &HeaderMap::new()), Err(Refusal::Nobody));
        assert_eq!(Door::new(&AdminEntry::open(HERE).unwrap(), HERE).unwrap().token(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_waits_even_with_the_right_token_and_others_do_not() {
        let door = Door::new(&entry("right"), HERE).unwrap();
        for _ in 0..TRIES_AT_ONCE.get() {
            assert_eq!(ask(&door, "2001:db8::1", "Bearer wrong"), Err(Refusal::Wrong));
        }
        for guess in ["Bearer wrong", "Bearer right"] {
            let refused = ask(&door, "2001:db8::2", guess);
            assert_eq!(refused, Err(Refusal::TooOften(TRY_AGAIN_AFTER)), "a network of 64 bits is one");
        }
        assert_eq!(ask(&door, "2001:db8:0:1::1", "Bearer right"), Ok(()));
        advance(TRY_AGAIN_AFTER).await;
        assert_eq!(ask(&door, "2001:db8::1", "Bearer right"), Ok(()));
        assert_eq!(ask(&door, "2001:db8::1", "Bearer wrong"), Err(Refusal::Wrong));
        assert!(matches!(ask(&door, "2001:db8::1", "Bearer right"), Err(Refusal::TooOften(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_token_takes_the_place_of_the_old_one_but_not_by_less_than_its_address_needs() {
        let door = Door::new(&entry("old"), HERE).unwrap();
        door.prepare(&entry("new")).unwrap().unwrap().apply();
        assert_eq!(ask(&door, "192.0.2.1", "Bearer old"), Err(Refusal::Wrong));
        assert_eq!(ask(&door, "192.0.2.1", "Bearer new"), Ok(()));
        let everywhere = Door::new(&entry("old"), "0.0.0.0:9090".parse().unwrap()).unwrap();
        assert!(everywhere.prepare(&AdminEntry::open(HERE).unwrap()).unwrap().is_none());
    }
}
