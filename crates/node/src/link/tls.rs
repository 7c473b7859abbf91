//! Who is at each end of a link: TLS 1.3 with certificates on both sides.

use std::sync::Arc;

use adit_core::{id::Identity, wire::ALPN};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, pki_types::CertificateDer, server::WebPkiClientVerifier, version::TLS13,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::transport;
use crate::{
    credentials::{self, Credentials, TlsError, unusable},
    settings::Congestion,
};

/// Returns quinn's settings for the side that listens. Clients must present a certificate that `roots` signed.
///
/// # Errors
///
/// When `roots` is empty or the credentials do not work.
pub fn server_config(
    credentials: &Credentials,
    roots: RootCertStore,
    congestion: Congestion,
) -> Result<quinn::ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable("clients cannot be verified", error))?;
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("TLS 1.3 is not available", error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(credentials.chain(), credentials.key())
        .map_err(|error| unusable("the server's certificate", error))?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| unusable("TLS for QUIC", error))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport::config(congestion));
    config.migration(true);
    Ok(config)
}

/// Returns quinn's settings for the side that dials.
///
/// # Errors
///
/// When the credentials do not work.
pub fn client_config(
    credentials: &Credentials,
    roots: RootCertStore,
    congestion: Congestion,
) -> Result<quinn::ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("TLS 1.3 is not available", error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(credentials.chain(), credentials.key())
        .map_err(|error| unusable("the client's certificate", error))?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // 0-RTT data can be replayed, and registration must not be.
    tls.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| unusable("TLS for QUIC", error))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport::config(congestion));
    Ok(config)
}

/// Returns the name in the certificate that the peer presented: its first DNS name, or else its common name.
pub fn peer_identity(connection: &quinn::Connection) -> Option<Identity> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    name_of(chain.first()?)
}

fn name_of(certificate: &CertificateDer<'_>) -> Option<Identity> {
    if let Some(name) = credentials::dns_names(certificate).into_iter().next() {
        return Some(Identity(name.into()));
    }
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let common = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(Identity(common.into()))
}
