//! Which certificates of clients a server trusts.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        NoClientAuth, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{provider::provider, tls, witness};
use crate::{
    credentials::{TlsError, unusable},
    settings::TunnelListen,
};

/// How much of a name that nobody vouches for goes into a log.
const CLAIM_CHARS_MAX: usize = 64;

/// The certificates of clients that a server trusts.
#[derive(Clone, Debug)]
pub struct ClientTrust {
    verifier: Arc<dyn ClientCertVerifier>,
    certificates: bool,
}

impl ClientTrust {
    /// Makes it from the settings of a server.
    ///
    /// # Errors
    ///
    /// When clients have no way to prove who they are, or an authority or a revocation list cannot be used.
    pub fn new(settings: &TunnelListen) -> Result<Self, TlsError> {
        let cannot = |error: &dyn std::fmt::Display| unusable("clients cannot be verified", error);
        let roots = match (&settings.client_roots, &settings.tokens) {
            (Some(roots), _) => roots,
            (None, Some(_)) => return Ok(Self { verifier: Arc::new(NoClientAuth), certificates: false }),
            (None, None) => return Err(cannot(&"neither certificates nor tokens are accepted")),
        };
        // A list that does not cover an authority is an error and not a pass; one that is overdue still holds.
        let builder = WebPkiClientVerifier::builder_with_provider(roots.clone().into(), provider())
            .with_crls(settings.client_crls.iter().cloned());
        let builder = if settings.tokens.is_some() { builder.allow_unauthenticated() } else { builder };
        let inner = builder.build().map_err(|error| cannot(&error))?;
        Ok(Self { verifier: Arc::new(Explaining(inner)), certificates: true })
    }

    /// Returns what checks certificates in handshakes.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// Checks the certificates of a link that has been up `since` then: by the authorities and revocation lists of now,
    /// and the clock of then, so that a link does not end because its certificate does.
    ///
    /// # Errors
    ///
    /// When they are not trusted any more; the text says why.
    pub fn still_trusts(&self, chain: &[CertificateDer<'static>], since: SystemTime) -> Result<(), String> {
        let Some((leaf, others)) = chain.split_first().filter(|_| self.certificates) else {
            return Err("certificates of clients are not accepted any more".to_owned());
        };
        let since = since.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let verified = self.verifier.verify_client_cert(leaf, others, UnixTime::since_unix_epoch(since));
        verified.map(drop).map_err(|error| explain(leaf, &error))
    }
}

/// A verifier that says whose certificate it refuses, and why.
#[derive(Debug)]
struct Explaining(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Explaining {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.verify_client_cert(end_entity, intermediates, now);
        verified.inspect_err(|error| witness::refused(explain(end_entity, error)))
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }

    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }
}

/// Says whose certificate is refused and why. The name is what the certificate claims.
fn explain(leaf: &CertificateDer<'_>, error: &Error) -> String {
    let name: String = tls::name_of(leaf).map(|name| name.chars().take(CLAIM_CHARS_MAX).collect()).unwrap_or_default();
    let expired =
        |error: &CertificateError| matches!(error, CertificateError::Expired | CertificateError::ExpiredContext { .. });
    let early = |error: &CertificateError| {
        matches!(error, CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })
    };
    // The signature is bad where an authority of the same name has another key.
    let unknown =
        |error: &CertificateError| matches!(error, CertificateError::UnknownIssuer | CertificateError::BadSignature);
    let uncovered = |error: &CertificateError| matches!(error, CertificateError::UnknownRevocationStatus);
    let why = if let Error::InvalidCertificate(error) = error {
        if expired(error) {
            "has expired"
        } else if early(error) {
            "is not valid yet"
        } else if unknown(error) {
            "is signed by an authority that this server does not trust"
        } else if uncovered(error) {
            "may be revoked: no list in tunnel.client_crl is of its authority"
        } else if matches!(error, CertificateError::Revoked) {
            "is revoked"
        } else {
            return format!("the certificate of {name:?} is refused: {error}");
        }
    } else if let Error::InvalidCertRevocationList(_) = error {
        "may be revoked: its list in tunnel.client_crl cannot be used"
    } else {
        return format!("the certificate of {name:?} is refused: {error}");
    };
    format!("the certificate of {name:?} {why}")
}
