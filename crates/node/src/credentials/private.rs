//! Files with secrets in them: keys and tokens.

use std::{fmt, fs::File, io::Read, os::unix::fs::PermissionsExt, path::Path};

use rustls::pki_types::{PrivateKeyDer, pem, pem::PemObject};
use zeroize::Zeroizing;

use super::TlsError;

/// The mode bits that let a group or others read or write a file.
const FOR_OTHERS: u32 = 0o066;

/// Who else than its owner may read a file that holds a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMode {
    /// Nobody: it is refused otherwise.
    OwnerOnly,
    /// Whoever its mode lets.
    Any,
}

/// What stands in a file instead of a private key.
#[derive(Debug)]
pub enum NoKey {
    /// A key that needs a passphrase.
    Encrypted,
    /// A certificate.
    Certificate,
    /// A public key.
    PublicKey,
    /// A key as OpenSSH writes it.
    OpenSsh,
    /// Bytes that are no text.
    Binary,
    /// Something else.
    Other(pem::Error),
}

impl NoKey {
    fn in_place_of_key(contents: &[u8], error: pem::Error) -> Self {
        let has = |words: &str| contents.windows(words.len()).any(|window| window == words.as_bytes());
        if has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED") {
            return Self::Encrypted;
        }
        if has("-----BEGIN OPENSSH PRIVATE KEY-----") {
            return Self::OpenSsh;
        }
        if has("-----BEGIN CERTIFICATE-----") {
            return Self::Certificate;
        }
        if has("PUBLIC KEY-----") {
            return Self::PublicKey;
        }
        if !has("-----BEGIN ") && str::from_utf8(contents).is_err() {
            return Self::Binary;
        }
        Self::Other(error)
    }

    /// Says what is in the file at `path`, and what to do about it.
    pub(super) fn explain(&self, path: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = path.display();
        match self {
            Self::Encrypted => {
                write!(f, "{path} is encrypted; decrypt it with: openssl pkey -in {path} -out NEW && chmod 600 NEW")
            }
            Self::Certificate => write!(f, "{path} holds a certificate and no key"),
            Self::PublicKey => write!(f, "{path} holds a public key and no private one"),
            Self::OpenSsh => {
                write!(f, "{path} holds a key for OpenSSH; make one with `adit certs` or openssl genpkey")
            }
            Self::Binary => {
                write!(
                    f,
                    "{path} is not PEM; if it is DER: openssl pkey -inform DER -in {path} -out NEW && chmod 600 NEW"
                )
            }
            Self::Other(error) => write!(f, "{path} holds no private key: {error}"),
        }
    }
}

/// What stands in a file that others should not read.
pub(super) struct Secret {
    pub(super) contents: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl Secret {
    pub(super) fn read(path: &Path) -> Result<Self, TlsError> {
        let failed = |error| TlsError::Read { path: path.to_owned(), error };
        let mut file = File::open(path).map_err(failed)?;
        // Of what is open: the file at the path may be another one by now.
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        let mut contents = Zeroizing::new(Vec::new());
        file.read_to_end(&mut contents).map_err(failed)?;
        Ok(Self { contents, mode })
    }

    /// Checks the mode; to be asked once it is known that there is a secret in the file.
    pub(super) fn check(&self, path: &Path, mode: KeyMode) -> Result<(), TlsError> {
        match mode {
            KeyMode::OwnerOnly if self.mode & FOR_OTHERS != 0 => {
                Err(TlsError::Exposed { path: path.to_owned(), mode: self.mode & 0o7777 })
            }
            KeyMode::OwnerOnly | KeyMode::Any => Ok(()),
        }
    }
}

/// Reads a private key, unless others may read it too.
pub(super) fn key(path: &Path, mode: KeyMode) -> Result<PrivateKeyDer<'static>, TlsError> {
    let secret = Secret::read(path)?;
    let key = PrivateKeyDer::from_pem_slice(&secret.contents).map_err(|error| TlsError::NoKey {
        path: path.to_owned(),
        found: NoKey::in_place_of_key(&secret.contents, error),
    })?;
    secret.check(path, mode)?;
    Ok(key)
}
