//! Where a request comes from.

use std::{net::IpAddr, sync::Arc};

use adit_core::{gate::visitor::behind_proxies, http::head::Entry};
use http::HeaderMap;

use super::entries::Terms;

/// What a connection says of the requests on it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// What an entry knows of them.
    pub entry: Entry,
    /// Who is a proxy, where the other end of the connection is one that is believed.
    proxies: Option<Arc<Terms>>,
}

impl Arrival {
    /// Takes what the entry knows, and the terms by which it knows its proxies.
    pub fn new(entry: Entry, terms: &Arc<Terms>) -> Self {
        Self { entry, proxies: entry.trusted.then(|| Arc::clone(terms)) }
    }

    /// Returns the address of the visitor that sent a request: the one at the other end of the connection, or the one
    /// that proxies say it is. `headers` are those that cross the tunnel. `None` where they do not say.
    pub fn visitor(&self, headers: &HeaderMap) -> Option<IpAddr> {
        match &self.proxies {
            Some(terms) => behind_proxies(headers, |address| terms.trusts(address)),
            None => Some(self.entry.visitor.ip().to_canonical()),
        }
    }
}
