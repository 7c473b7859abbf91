//! Who is at each end of a link: TLS 1.3 with certificates on both sides.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use adit_core::{id::Identity, wire::ALPN};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

use super::transport;

/// A certificate chain and its private key.
#[derive(Debug)]
pub struct Credentials {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not PEM, or holds nothing of the wanted kind.
    #[error("{} holds no {wanted}: {error}", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What was found instead.
        error: pem::Error,
    },
    /// The certificate and the key do not work, or not together.
    #[error("{what}: {error}")]
    Unusable {
        /// What was tried.
        what: &'static str,
        /// What rustls said.
        error: String,
    },
}

impl Credentials {
    /// Takes a chain, leaf first, and the key of the leaf.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self { chain, key }
    }

    /// Reads PEM files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, is not PEM, or the key is not that of the certificate.
    pub fn from_files(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| TlsError::Pem {
            path: key.to_owned(),
            wanted: "private key",
            error,
        })?;
        let credentials = Self { chain, key };
        credentials.certified_key()?;
        Ok(credentials)
    }

    fn certified_key(&self) -> Result<rustls::sign::CertifiedKey, TlsError> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::sign::CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider)
            .map_err(|error| unusable("the certificate and its key do not go together", error))
    }
}

/// Reads the certificates of those whose signature is trusted.
///
/// # Errors
///
/// When the file cannot be read or holds no certificate that can be trusted.
pub fn roots_from_file(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable("a certificate authority cannot be trusted", error))?;
    }
    Ok(roots)
}

/// Returns quinn's settings for the side that listens. Clients must present a certificate that `roots` signed.
///
/// # Errors
///
/// When `roots` is empty or the credentials do not work.
pub fn server_config(credentials: &Credentials, roots: RootCertStore) -> Result<quinn::ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable("clients cannot be verified", error))?;
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("TLS 1.3 is not available", error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(|error| unusable("the server's certificate", error))?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| unusable("TLS for QUIC", error))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport::config());
    config.migration(true);
    Ok(config)
}

/// Returns quinn's settings for the side that dials.
///
/// # Errors
///
/// When the credentials do not work.
pub fn client_config(credentials: &Credentials, roots: RootCertStore) -> Result<quinn::ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("TLS 1.3 is not available", error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(|error| unusable("the client's certificate", error))?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // 0-RTT data can be replayed, and registration must not be.
    tls.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| unusable("TLS for QUIC", error))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport::config());
    Ok(config)
}

/// Returns the name in the certificate that the peer presented: its first DNS name, or else its common name.
pub fn peer_identity(connection: &quinn::Connection) -> Option<Identity> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    name_of(chain.first()?)
}

fn name_of(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
    let dns = names.into_iter().flatten().find_map(|name| {
        let GeneralName::DNSName(name) = name else { return None };
        Some(*name)
    });
    let common = || certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    dns.or_else(common).map(|name| Identity(name.into()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let bad = |error| TlsError::Pem { path: path.to_owned(), wanted: "certificate", error };
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(bad)?;
    if chain.is_empty() {
        return Err(bad(pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error })
}

fn unusable(what: &'static str, error: impl std::fmt::Display) -> TlsError {
    TlsError::Unusable { what, error: error.to_string() }
}
