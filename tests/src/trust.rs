//! Certificates in memory: who may connect to whom.

use std::sync::Arc;

use adit::{certs::Authority, demo};
use adit_node::credentials::Credentials;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// An authority that both ends of a tunnel believe.
pub struct Trust(Authority);

impl Default for Trust {
    fn default() -> Self {
        Self(Authority::new().unwrap())
    }
}

impl Trust {
    /// Signs a certificate for whoever listens on loopback.
    pub fn server(&self) -> Credentials {
        demo::credentials(&self.0.server(&[]).unwrap()).unwrap()
    }

    /// Signs a certificate for whoever is called `name`.
    pub fn named(&self, name: &str) -> Credentials {
        demo::credentials(&self.0.server(&[name.to_owned()]).unwrap()).unwrap()
    }

    /// Signs a certificate for the client called `name`.
    pub fn client(&self, name: &str) -> Credentials {
        demo::credentials(&self.0.client(name).unwrap()).unwrap()
    }

    /// Returns what believes in this authority.
    pub fn roots(&self) -> RootCertStore {
        demo::roots(&self.0).unwrap()
    }

    /// Returns the TLS of an HTTPS server on loopback that speaks what `alpn` says.
    pub fn https(&self, alpn: &[&str]) -> TlsAcceptor {
        let pem = self.0.server(&[]).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(pem.cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(tls).into()
    }
}
