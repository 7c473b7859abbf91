//! Who is at each end of a link: TLS 1.3, with a certificate of the server and, where it has one, of the client.

use std::sync::Arc;

use adit_core::wire::ALPN;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{ClientConfig, ServerConfig, pki_types::CertificateDer, version::TLS13};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    client_trust::ClientTrust,
    pinned::Pinned,
    provider::provider,
    transport,
    witness::{Negotiated, Witness},
};
use crate::{
    credentials::{self, TlsError, unusable},
    settings::{ClientProof, Congestion, ServerTrust, TunnelListen},
};

/// Returns quinn's settings for the side that listens. Clients must present a certificate that is trusted, unless they
/// may show a token instead; one that is not trusted never gets further.
///
/// # Errors
///
/// When clients have no way to prove who they are, or the credentials do not work.
pub fn server_config(settings: &TunnelListen) -> Result<quinn::ServerConfig, TlsError> {
    let mut tls = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("TLS 1.3 is not available", error))?
        .with_client_cert_verifier(ClientTrust::new(settings)?.verifier())
        .with_single_cert(settings.credentials.chain(), settings.credentials.key())
        .map_err(|error| unusable("the server's certificate", error))?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| unusable("TLS for QUIC", error))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(Witness(Arc::new(crypto))));
    config.transport_config(transport::config(settings.congestion));
    config.migration(true);
    Ok(config)
}

/// Returns quinn's settings for the side that dials.
///
/// # Errors
///
/// When the credentials do not work.
pub fn client_config(
    proof: &ClientProof,
    trust: &ServerTrust,
    congestion: Congestion,
) -> Result<quinn::ClientConfig, TlsError> {
    let tls = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable("TLS 1.3 is not available", error))?;
    let tls = match trust {
        ServerTrust::Authority(roots) => tls.with_root_certificates(roots.clone()),
        ServerTrust::Fingerprint(expected) => {
            let pinned = Pinned { expected: *expected, provider: provider() };
            tls.dangerous().with_custom_certificate_verifier(Arc::new(pinned))
        }
    };
    let mut tls = match proof {
        ClientProof::Certificate(credentials) => tls
            .with_client_auth_cert(credentials.chain(), credentials.key())
            .map_err(|error| unusable("the client's certificate", error))?,
        ClientProof::Token(_) => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // 0-RTT data can be replayed, and registration must not be.
    tls.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| unusable("TLS for QUIC", error))?;
    let mut config = quinn::ClientConfig::new(Arc::new(Witness(Arc::new(crypto))));
    config.transport_config(transport::config(congestion));
    Ok(config)
}

/// Returns the key exchange of a connection, by its name in the registry of TLS.
pub fn key_exchange(connection: &quinn::Connection) -> Option<String> {
    let negotiated = connection.handshake_data()?.downcast::<Negotiated>().ok()?;
    negotiated.group.as_str().map(str::to_owned).or_else(|| Some(format!("{:?}", negotiated.group)))
}

/// Returns the certificates that the peer presented, leaf first; none where it presented none.
pub fn peer_chain(connection: &quinn::Connection) -> Vec<CertificateDer<'static>> {
    let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    chain.map(|chain| *chain).unwrap_or_default()
}

/// Returns the name in a certificate: its first DNS name, or else its common name.
///
/// One with control characters is none: it goes into logs.
pub fn name_of(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let name = match credentials::dns_names(certificate).into_iter().next() {
        Some(name) => name,
        None => {
            let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
            certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned()
        }
    };
    (!name.chars().any(char::is_control)).then(|| name.into())
}
