//! The fingerprint of a key: what a client may know its server by.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// What the text of a [`Fingerprint`] begins with.
const PREFIX: &str = "sha256:";

const DIGEST_BYTES: usize = 32;

/// The SHA-256 of a certificate's public key, as its `SubjectPublicKeyInfo` in DER (RFC 5280 §4.1.2.7).
///
/// Of the key and not of the certificate, so that it stays when the certificate is renewed with the same key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; DIGEST_BYTES]);

/// Text that is no fingerprint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a fingerprint: that is {PREFIX} and 64 hexadecimal digits")]
pub struct BadFingerprint;

impl Fingerprint {
    /// Returns the fingerprint of the key in a certificate; none where there is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let digest = digest::digest(&digest::SHA256, certificate.public_key().raw);
        digest.as_ref().try_into().ok().map(Self)
    }
}

impl FromStr for Fingerprint {
    type Err = BadFingerprint;

    /// Takes digits in either case, with or without colons between bytes, as openssl writes them.
    fn from_str(text: &str) -> Result<Self, BadFingerprint> {
        let digits: String = text.strip_prefix(PREFIX).ok_or(BadFingerprint)?.split(':').collect();
        if digits.len() != 2 * DIGEST_BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(BadFingerprint);
        }
        let mut bytes = [0; DIGEST_BYTES];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = digits.get(2 * index..2 * index + 2).ok_or(BadFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadFingerprint)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_comes_back_as_it_was_however_it_is_written() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        let fingerprint: Fingerprint = text.parse().unwrap();
        assert_eq!(fingerprint.to_string(), text);
        let colons = "01:23:45:67:89:AB:CD:EF:".repeat(4);
        assert_eq!(format!("sha256:{}", colons.trim_end_matches(':')).parse(), Ok(fingerprint));
        for bad in ["", "sha256:", &text[7..], &text[..70], &format!("{text}0"), &text.replace("0123", "0+23")] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(BadFingerprint), "{bad}");
        }
    }

    #[test]
    fn a_renewed_certificate_of_the_same_key_keeps_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |name: &str| {
            let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
            params.self_signed(&key).unwrap().der().clone()
        };
        let (old, new) = (certificate("a.example"), certificate("b.example"));
        assert_ne!(old, new);
        assert_eq!(Fingerprint::of(&old).unwrap(), Fingerprint::of(&new).unwrap());
        let other = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        assert_ne!(Fingerprint::of(other.cert.der()), Fingerprint::of(&old));
    }
}
