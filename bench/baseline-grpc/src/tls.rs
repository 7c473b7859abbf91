//! Who trusts whom: both sides show a certificate of the same CA, as in adit.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// Returns what the server's half of the tunnel speaks.
///
/// # Errors
///
/// When a file cannot be read or does not hold what its name promises.
pub fn server(cert: &Path, key: &Path, client_ca: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(client_ca)?), provider()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain(cert)?, private(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Returns what the client's half of the tunnel speaks.
///
/// # Errors
///
/// When a file cannot be read or does not hold what its name promises.
pub fn client(ca: &Path, cert: &Path, key: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca)?)
        .with_client_auth_cert(chain(cert)?, private(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>();
    read().with_context(|| format!("certificate {}", path.display()))
}

fn private(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("key {}", path.display()))
}

fn roots(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for cert in chain(path)? {
        roots.add(cert)?;
    }
    Ok(roots)
}
