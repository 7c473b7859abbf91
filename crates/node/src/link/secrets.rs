//! Secrets that outlive a process: whoever has the server's private key derives the same ones.
//!
//! A server that was restarted does not know the connections of the process before it. With these secrets it can
//! tell its clients so at once (RFC 9000 §10.3), and takes the address tokens that the other process gave out.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    error::Unspecified,
    hkdf::{self, HKDF_SHA256, KeyType, Prk, Salt},
    hmac::{self, HMAC_SHA256},
};
use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;

use crate::credentials::{Credentials, TlsError, unusable};

/// Separates these secrets from whatever else may be derived from a key (RFC 5869 §3.1).
const SALT: &[u8] = b"adit/1 server";

/// The time between two stateless resets. A thousand clients of a server that was restarted send a keep-alive within
/// three seconds, and each is to be told; a reset is smaller than what it answers, and only what carries a
/// connection ID of ours is answered.
const RESET_INTERVAL: Duration = Duration::from_micros(500);

/// What is derived from a server's private key (RFC 5869).
pub(super) struct Secrets(Prk);

impl Secrets {
    /// Derives from the key of these credentials.
    pub(super) fn of(credentials: &Credentials) -> Self {
        Self(Salt::new(HKDF_SHA256, SALT).extract(credentials.key().secret_der()))
    }

    /// Returns settings of an endpoint that resets the connections of a process with the same key.
    ///
    /// # Errors
    ///
    /// When the cryptography does not work.
    pub(super) fn endpoint_config(&self) -> Result<EndpointConfig, TlsError> {
        let reset_key: hmac::Key = self.derive(b"stateless reset", HMAC_SHA256).map_err(broken)?;
        let mut id_key = [0; 8];
        self.0.expand(&[b"connection ids"], IdKey).and_then(|okm| okm.fill(&mut id_key)).map_err(broken)?;
        let id_key = u64::from_le_bytes(id_key);
        let mut config = EndpointConfig::new(Arc::new(reset_key));
        // quinn answers only what carries a connection ID that this generator takes for its own.
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
        config.min_reset_interval(RESET_INTERVAL);
        Ok(config)
    }

    /// Makes a server take the address tokens (RFC 9000 §8.1) of a process with the same key.
    ///
    /// # Errors
    ///
    /// When the cryptography does not work.
    pub(super) fn seal_tokens(&self, config: &mut quinn::ServerConfig) -> Result<(), TlsError> {
        let key: Prk = self.derive(b"address tokens", HKDF_SHA256).map_err(broken)?;
        config.token_key(Arc::new(key));
        Ok(())
    }

    fn derive<L: KeyType, K: for<'a> From<hkdf::Okm<'a, L>>>(
        &self,
        purpose: &[u8],
        length: L,
    ) -> Result<K, Unspecified> {
        Ok(self.0.expand(&[purpose], length)?.into())
    }
}

/// The length of the key of the connection IDs.
struct IdKey;

impl KeyType for IdKey {
    fn len(&self) -> usize {
        size_of::<u64>()
    }
}

fn broken(error: Unspecified) -> TlsError {
    unusable("no secrets can be derived from the server's key", error)
}
