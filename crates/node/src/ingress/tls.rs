//! TLS at an entry: which certificate a visitor gets, and which HTTP it may speak.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::credentials::{self, ALPN_HTTP1, ALPN_HTTP2, Credentials, TlsError, unusable};

/// Returns what does the handshakes of an entry with these certificates: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
///
/// A visitor gets the certificate for the name that it asks for, or else the first one.
///
/// # Errors
///
/// When there is no certificate, or one does not work.
pub fn acceptor<'a>(certificates: impl IntoIterator<Item = &'a Credentials>) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("TLS is not available", error))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName::new(certificates)?));
    tls.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
    // A visitor that comes back saves a round trip, and no session of it has to be remembered. Early data stays off:
    // it can be replayed.
    tls.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| unusable("session tickets", error))?;
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

/// Certificates by the names in them.
#[derive(Debug)]
struct ByName {
    /// In the order of the settings; at least one.
    keys: Vec<Arc<CertifiedKey>>,
    /// `a.example` or `*.example`, in lower case → who has it. More than one where their kinds of key differ.
    names: HashMap<String, Vec<usize>>,
}

impl ByName {
    fn new<'a>(certificates: impl IntoIterator<Item = &'a Credentials>) -> Result<Self, TlsError> {
        let (mut keys, mut names) = (Vec::new(), HashMap::<String, Vec<usize>>::new());
        for (index, certificate) in certificates.into_iter().enumerate() {
            keys.push(Arc::new(certificate.certified_key()?));
            for name in certificate.chain().first().map(credentials::dns_names).unwrap_or_default() {
                names.entry(name.to_ascii_lowercase()).or_default().push(index);
            }
        }
        if keys.is_empty() {
            return Err(unusable("an entry", "it has no certificate"));
        }
        Ok(Self { keys, names })
    }

    /// Returns the certificates for a name: those that have it as it is, then those with a `*` for its first label
    /// (RFC 9525 §6.3), then all.
    fn candidates(&self, name: Option<&str>) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let exact = name.as_ref().and_then(|name| self.names.get(name));
        let parent = name.as_ref().and_then(|name| name.split_once('.'));
        let wildcard = parent.and_then(|(_, parent)| self.names.get(&format!("*.{parent}")));
        let named = exact.into_iter().chain(wildcard).flatten().filter_map(|index| self.keys.get(*index));
        named.chain(&self.keys)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.candidates(hello.server_name()).find(usable).cloned()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    fn certificate(names: &[&str]) -> Credentials {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        Credentials::new(vec![made.cert.der().clone()], key)
    }

    #[test]
    fn a_visitor_gets_the_certificate_for_the_name_that_it_asks_for() {
        let certificates = [&["first.example"][..], &["*.a.example", "A.example"], &["x.a.example"]].map(certificate);
        let by_name = ByName::new(&certificates).unwrap();
        for (name, expected) in [
            (Some("first.example"), 0),
            (Some("a.example"), 1),
            (Some("X.a.example"), 2),
            (Some("y.a.example"), 1),
            (Some("z.y.a.example"), 0),
            (Some("other.example"), 0),
            (None, 0),
        ] {
            let got = by_name.candidates(name).next().unwrap();
            assert_eq!(got.cert, certificates[expected].chain(), "{name:?}");
        }
    }

    #[test]
    fn an_entry_without_a_certificate_is_none() {
        assert!(acceptor(&[]).is_err());
    }
}
