//! A node's entries: where visitors connect, and what each entry asks of them.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use adit_core::wire::exchange::Scheme;
use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    handed::{Handed, Role},
    listener::{BindError, Listener},
    service::Ingress,
    tls,
};
use crate::{
    credentials::TlsError,
    settings::{HttpEntry, HttpsEntry},
};

/// What one entry goes by, beside the rules. Replaced as a whole; connections keep what they began with.
pub struct Terms {
    trusted_proxies: Vec<IpNet>,
    proxy_protocol: bool,
    tls: Option<TlsAcceptor>,
}

impl Terms {
    fn http(entry: &HttpEntry) -> Self {
        let HttpEntry { listen: _, trusted_proxies, proxy_protocol } = entry;
        Self { trusted_proxies: trusted_proxies.clone(), proxy_protocol: *proxy_protocol, tls: None }
    }

    fn https(entry: &HttpsEntry) -> Result<Self, TlsError> {
        Ok(Self { tls: Some(tls::acceptor(&entry.certificates)?), ..Self::http(&entry.http) })
    }

    /// Returns whether the word of a peer on where its requests come from is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    /// Returns whether every connection begins with a PROXY header.
    pub fn proxy_protocol(&self) -> bool {
        self.proxy_protocol
    }

    /// Returns what does TLS handshakes, where there are any.
    pub fn tls(&self) -> Option<&TlsAcceptor> {
        self.tls.as_ref()
    }

    /// Returns the scheme of the URLs that lead here.
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { trusted_proxies, proxy_protocol, tls } = self;
        f.debug_struct("Terms")
            .field("trusted_proxies", trusted_proxies)
            .field("proxy_protocol", proxy_protocol)
            .field("tls", &tls.is_some())
            .finish()
    }
}

/// The entries of a node, bound and not serving yet.
#[derive(Debug)]
pub struct Entries {
    http: Option<(Listener, Arc<ArcSwap<Terms>>)>,
    https: Option<(Listener, Arc<ArcSwap<Terms>>)>,
}

/// Why entries cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// One cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates of one cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Entries {
    /// Binds the entries that there are to be, or takes the sockets that were handed over for them.
    ///
    /// # Errors
    ///
    /// When one of them cannot be; then none is.
    pub async fn bind(
        http: Option<&HttpEntry>,
        https: Option<&HttpsEntry>,
        handed: &mut Handed,
    ) -> Result<Self, EntryError> {
        let terms = NewTerms::of(http, https)?;
        let mut bound = async |role, terms: Option<Arc<Terms>>, entry: Option<&HttpEntry>| {
            let (Some(terms), Some(entry)) = (terms, entry) else { return Ok(None) };
            let listener = Listener::bind(role, entry.listen, handed).await?;
            Ok::<_, BindError>(Some((listener, Arc::new(ArcSwap::new(terms)))))
        };
        Ok(Self {
            http: bound(Role::Http, terms.http, http).await?,
            https: bound(Role::Https, terms.https, https.map(|https| &https.http)).await?,
        })
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// Returns whether any of them was handed over.
    pub fn are_shared(&self) -> bool {
        [&self.http, &self.https].into_iter().flatten().any(|(listener, _)| listener.is_shared())
    }

    /// Returns the address of the plain entry, with the port that the system chose where it was 0.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(listener, _)| listener.address())
    }

    /// Returns the address of the TLS entry, likewise.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https.as_ref().map(|(listener, _)| listener.address())
    }

    /// Returns what changes the terms of entries that serve.
    pub fn doors(&self) -> Doors {
        let door = |entry: &Option<(Listener, Arc<ArcSwap<Terms>>)>| entry.as_ref().map(|(_, terms)| Arc::clone(terms));
        Doors { http: door(&self.http), https: door(&self.https) }
    }

    /// Serves visitors until `drain` is cancelled, and then until nothing is in flight.
    ///
    /// Dropped early, it closes all connections.
    pub async fn serve(self, ingress: Arc<Ingress>, drain: CancellationToken) {
        let serve = async |entry: Option<(Listener, Arc<ArcSwap<Terms>>)>| {
            let Some((listener, terms)) = entry else { return };
            listener.serve(terms, Arc::clone(&ingress), drain.clone()).await;
        };
        tokio::join!(serve(self.http), serve(self.https));
        ingress.switched_ended().await;
    }
}

/// Changes the terms of a node's entries.
#[derive(Clone, Debug)]
pub struct Doors {
    http: Option<Arc<ArcSwap<Terms>>>,
    https: Option<Arc<ArcSwap<Terms>>>,
}

/// Terms that can be put in force.
#[derive(Debug)]
pub struct NewTerms {
    http: Option<Arc<Terms>>,
    https: Option<Arc<Terms>>,
}

impl NewTerms {
    /// Makes the terms of entries.
    ///
    /// # Errors
    ///
    /// When certificates cannot be used.
    pub fn of(http: Option<&HttpEntry>, https: Option<&HttpsEntry>) -> Result<Self, TlsError> {
        let http = http.map(Terms::http).map(Arc::new);
        Ok(Self { http, https: https.map(Terms::https).transpose()?.map(Arc::new) })
    }
}

impl Doors {
    /// Puts new terms in force for connections to come. An entry that is no longer in the settings keeps its own.
    pub fn replace(&self, terms: NewTerms) {
        for (door, terms) in [(&self.http, terms.http), (&self.https, terms.https)] {
            if let (Some(door), Some(terms)) = (door, terms) {
                door.store(terms);
            }
        }
    }
}
