//! The TLS of a visitor.

use std::{io, sync::Arc};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::wait::within;

/// Asks for `name`, and offers to speak what `alpn` says.
///
/// # Errors
///
/// When the entry does not have a certificate for the name that `roots` signed, or hangs up.
pub async fn handshake(
    tcp: TcpStream,
    name: &str,
    roots: RootCertStore,
    alpn: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within("a TLS handshake", TlsConnector::from(Arc::new(tls)).connect(name, tcp)).await
}
