//! The UDP endpoint of a server.

use std::{io, net::SocketAddr, sync::Arc};

use quinn::{Endpoint, TokioRuntime};

use super::{secrets::Secrets, tls, transport};
use crate::{credentials::TlsError, settings::TunnelListen};

/// The most first packets that wait until it is decided whether they are answered.
const INCOMING_MAX: usize = 4_096;

/// What may follow each of them meanwhile.
const INCOMING_BYTES: u64 = 16 * 1024;

/// Why a server cannot listen for clients.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be bound.
    #[error("cannot listen on UDP {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The certificates do not work.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Binds the endpoint. It answers from then on, so links should be accepted soon.
///
/// A client of another process with the same address and the same key, which is gone, is told so when it sends next.
///
/// # Errors
///
/// When the address cannot be bound or the certificates do not work.
pub fn listen(settings: &TunnelListen) -> Result<Endpoint, ListenError> {
    let endpoint = Secrets::of(&settings.credentials).endpoint_config()?;
    let config = server_config(settings)?;
    let bind_error = |error| ListenError::Bind { address: settings.listen, error };
    let socket = transport::bind(settings.listen).map_err(bind_error)?;
    Endpoint::new(endpoint, Some(config), socket, Arc::new(TokioRuntime)).map_err(bind_error)
}

/// Returns what new links go by.
///
/// # Errors
///
/// When the certificates do not work.
pub fn server_config(settings: &TunnelListen) -> Result<quinn::ServerConfig, TlsError> {
    let mut config = tls::server_config(settings)?;
    Secrets::of(&settings.credentials).seal_tokens(&mut config)?;
    config.transport_config(transport::config_for_strangers(settings.congestion));
    // Handshakes are begun or refused as they come; what comes in between is little.
    config
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES * 64);
    Ok(config)
}
