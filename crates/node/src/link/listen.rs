//! The UDP endpoint of a server.

use std::{io, net::SocketAddr, sync::Arc};

use quinn::{Endpoint, EndpointConfig, TokioRuntime};

use super::{tls, transport};
use crate::{credentials::TlsError, settings::TunnelListen};

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
/// # Errors
///
/// When the address cannot be bound or the certificates do not work.
pub fn listen(settings: &TunnelListen) -> Result<Endpoint, ListenError> {
    let config = tls::server_config(&settings.credentials, settings.client_roots.clone(), settings.congestion)?;
    let bind_error = |error| ListenError::Bind { address: settings.listen, error };
    let socket = transport::bind(settings.listen).map_err(bind_error)?;
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime)).map_err(bind_error)
}
