//! Certificates and keys in files, and whom to trust.

mod fingerprint;
mod private;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adit_core::{
    gate::TokenHash,
    token::{BadToken, Token},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem, pem::PemObject},
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, revocation_list::CertificateRevocationList,
};

use self::private::Secret;
pub use self::{
    fingerprint::{BadFingerprint, Fingerprint},
    private::{KeyMode, NoKey},
};

/// ALPN of HTTP/2 (RFC 9113 §3.2).
pub const ALPN_HTTP2: &[u8] = b"h2";

/// ALPN of HTTP/1.1 (RFC 7301 §6).
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The shortest token for the admin interface.
const ADMIN_TOKEN_CHARS_MIN: usize = 32;

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
    /// The file holds no private key that can be used.
    #[error("{}", Explained(found, path))]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// What it holds instead.
        found: NoKey,
    },
    /// The file holds a private key where a certificate was looked for.
    #[error("{} holds a private key and no certificate", path.display())]
    KeyOnly {
        /// Which file.
        path: PathBuf,
    },
    /// The key is that of another certificate.
    #[error("{} belongs to another certificate than {}", path.display(), cert.display())]
    Mismatch {
        /// The file with the key.
        path: PathBuf,
        /// The file with the certificate.
        cert: PathBuf,
    },
    /// Others than its owner may read or change the file.
    #[error(
        "others may read {shown} (mode {mode:04o}): run chmod 600 {shown}, or set tunnel.allow_readable_keys = true",
        shown = path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file holds no token.
    #[error("{}: {error}", path.display())]
    Token {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: BadToken,
    },
    /// The file holds no token for the admin interface.
    #[error(
        "{} holds no token for the admin interface: that is one of {ADMIN_TOKEN_CHARS_MIN} or more of the characters \
         a-z A-Z 0-9 - . _ ~ + / =, as `adit token admin` makes it",
        path.display()
    )]
    AdminToken {
        /// Which file.
        path: PathBuf,
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

/// Says what is in a file in place of a key.
struct Explained<'a>(&'a NoKey, &'a Path);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.explain(self.1, f)
    }
}

impl TlsError {
    /// Returns the file that is to blame, where it is one alone.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::Read { path, .. } => Some(path),
            Self::Pem { path, .. } => Some(path),
            Self::NoKey { path, .. } => Some(path),
            Self::Mismatch { path, .. } => Some(path),
            Self::KeyOnly { path } => Some(path),
            Self::Exposed { path, .. } => Some(path),
            Self::Token { path, .. } => Some(path),
            Self::AdminToken { path } => Some(path),
            Self::Unusable { .. } => None,
        }
    }
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
    /// When a file cannot be read, is not PEM, the key is not that of the certificate, or others may read it.
    pub fn from_files(cert: &Path, key: &Path, mode: KeyMode) -> Result<Self, TlsError> {
        let chain = certificates(cert)?;
        let credentials = Self { chain, key: private::key(key, mode)? };
        match credentials.certify() {
            Ok(_) => Ok(credentials),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TlsError::Mismatch { path: key.to_owned(), cert: cert.to_owned() })
            }
            Err(error) => Err(unusable("the certificate and its key", error)),
        }
    }

    /// Returns the chain, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// Returns the key of the leaf.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// Returns chain and key as rustls takes them.
    ///
    /// # Errors
    ///
    /// When they do not go together.
    pub fn certified_key(&self) -> Result<rustls::sign::CertifiedKey, TlsError> {
        self.certify().map_err(|error| unusable("the certificate and its key do not go together", error))
    }

    /// Returns the fingerprint of the key; none where the leaf is no certificate.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.chain.first().and_then(Fingerprint::of)
    }

    fn certify(&self) -> Result<rustls::sign::CertifiedKey, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        rustls::sign::CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider)
    }
}

/// Returns the DNS names that a certificate is for.
pub fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let names = certificate.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
    let dns = names.into_iter().flatten().filter_map(|name| {
        let GeneralName::DNSName(name) = name else { return None };
        Some((*name).to_owned())
    });
    dns.collect()
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

/// Reads the lists of certificates that their authorities have revoked.
///
/// # Errors
///
/// When the file cannot be read or holds no such list.
pub fn crls_from_file(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let pem = read(path)?;
    let bad = |error| TlsError::Pem { path: path.to_owned(), wanted: "revocation list", error };
    let lists = CertificateRevocationListDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(bad)?;
    if lists.is_empty() {
        return Err(bad(pem::Error::NoItemsFound));
    }
    Ok(lists)
}

/// Returns when the first certificate in a file ends, or the first revocation list is overdue; none where there is
/// nothing of that kind.
pub fn end(path: &Path) -> Option<SystemTime> {
    let pem = read(path).ok()?;
    let certificates = CertificateDer::pem_slice_iter(&pem).flatten().filter_map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(&certificate).ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    let lists = CertificateRevocationListDer::pem_slice_iter(&pem).flatten().filter_map(|list| {
        let (_, list) = CertificateRevocationList::from_der(&list).ok()?;
        Some(list.next_update()?.timestamp())
    });
    let first = certificates.chain(lists).min()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(first).unwrap_or(0)))
}

/// Reads a token. White space around it does not count.
///
/// # Errors
///
/// When the file cannot be read, holds no token, or others may read it.
pub fn token_from_file(path: &Path, mode: KeyMode) -> Result<Token, TlsError> {
    let secret = Secret::read(path)?;
    let text = str::from_utf8(&secret.contents).unwrap_or_default();
    let token = text.trim().parse().map_err(|error| TlsError::Token { path: path.to_owned(), error })?;
    secret.check(path, mode)?;
    Ok(token)
}

/// Reads the token that callers of the admin interface have to show, and returns its hash. White space around it does not
/// count.
///
/// # Errors
///
/// When the file cannot be read, holds no token that can be shown (RFC 6750 §2.1), or others may read it.
pub fn admin_token_from_file(path: &Path, mode: KeyMode) -> Result<TokenHash, TlsError> {
    let secret = Secret::read(path)?;
    let token = secret.contents.trim_ascii();
    let may_be_shown = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if token.len() < ADMIN_TOKEN_CHARS_MIN || !token.iter().all(may_be_shown) {
        return Err(TlsError::AdminToken { path: path.to_owned() });
    }
    secret.check(path, mode)?;
    Ok(TokenHash::of(token))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let bad = |error| TlsError::Pem { path: path.to_owned(), wanted: "certificate", error };
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(bad)?;
    if chain.is_empty() {
        let key = PrivateKeyDer::from_pem_slice(&pem).is_ok();
        let nothing = bad(pem::Error::NoItemsFound);
        return Err(if key { TlsError::KeyOnly { path: path.to_owned() } } else { nothing });
    }
    Ok(chain)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::Read { path: path.to_owned(), error })
}

/// Makes the error for what rustls does not take.
pub(crate) fn unusable(what: &'static str, error: impl std::fmt::Display) -> TlsError {
    TlsError::Unusable { what, error: error.to_string() }
}
