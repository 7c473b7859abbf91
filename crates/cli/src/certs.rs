//! A development certificate authority: who may connect to whom, for tests and first steps.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use adit_node::credentials::Fingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::replace::replace;

/// The name that a client's certificate has when nothing else is asked for.
pub const CLIENT: &str = "client";

/// The names that a server's certificate always has.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// rcgen refused, for example because a name is none.
    #[error("cannot make a certificate for {name}: {error}")]
    Generate {
        /// For whom.
        name: String,
        /// Why not.
        error: rcgen::Error,
    },
    /// The files of a client by that name would be those of another.
    #[error("a client cannot be called {0:?}: its files would be those of the authority or the server")]
    Reserved(String),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Pem {
    /// The certificate.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// A certificate authority that signs what it is asked to.
pub struct Authority {
    /// Its own certificate and key.
    pub pem: Pem,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new one.
    ///
    /// # Errors
    ///
    /// When no key can be made.
    pub fn new() -> Result<Self, CertError> {
        let name = "adit development CA";
        let failed = generate_error(name);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().map_err(&failed)?;
        let key_pem = key.serialize_pem();
        let made = CertifiedIssuer::self_signed(params, key).map_err(&failed)?;
        Self::from_pem(Pem { cert: made.pem(), key: key_pem })
    }

    /// Takes up an existing one.
    ///
    /// # Errors
    ///
    /// When the certificate or the key is malformed.
    pub fn from_pem(pem: Pem) -> Result<Self, CertError> {
        let failed = generate_error("the certificate authority");
        let key = KeyPair::from_pem(&pem.key).map_err(&failed)?;
        let issuer = Issuer::from_ca_cert_pem(&pem.cert, key).map_err(&failed)?;
        Ok(Self { pem, issuer })
    }

    /// Signs a server's certificate for `hosts` and the names of this machine itself.
    ///
    /// # Errors
    ///
    /// When one of them is neither a name nor an address.
    pub fn server(&self, hosts: &[String]) -> Result<Pem, CertError> {
        let mut names: Vec<String> = LOCAL_NAMES.map(str::to_owned).to_vec();
        names.extend(hosts.iter().cloned());
        self.sign("server", names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Signs the certificate of the client called `name`.
    ///
    /// # Errors
    ///
    /// When `name` is no name.
    pub fn client(&self, name: &str) -> Result<Pem, CertError> {
        self.sign(name, vec![name.to_owned()], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, name: &str, names: Vec<String>, usage: ExtendedKeyUsagePurpose) -> Result<Pem, CertError> {
        let failed = generate_error(name);
        let key = KeyPair::generate().map_err(&failed)?;
        let mut params = CertificateParams::new(names).map_err(&failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &self.issuer).map_err(&failed)?;
        Ok(Pem { cert: cert.pem(), key: key.serialize_pem() })
    }
}

/// What [`write_all`] did with a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Written,
    /// It was there and stays.
    Kept,
}

/// Makes an authority, a server certificate and client certificates in `dir`, each as `.pem` and `.key`.
///
/// What is there is kept unless `force`; a kept authority signs what is missing. Keys are readable by their
/// owner only. Returns what became of each pair.
///
/// # Errors
///
/// When a name is none, or a file cannot be read or written.
pub fn write_all(
    dir: &Path,
    hosts: &[String],
    clients: &[String],
    force: bool,
) -> Result<Vec<(PathBuf, Outcome)>, CertError> {
    if let Some(name) = clients.iter().find(|name| ["ca", "server"].contains(&name.as_str())) {
        return Err(CertError::Reserved(name.clone()));
    }
    fs::create_dir_all(dir).map_err(|error| CertError::File { path: dir.to_owned(), error })?;
    let ca = Pair::new(dir, "ca");
    let (authority, outcome) = if ca.exists() && !force {
        (Authority::from_pem(ca.read()?)?, Outcome::Kept)
    } else {
        let authority = Authority::new()?;
        ca.write(&authority.pem)?;
        (authority, Outcome::Written)
    };
    // What another authority has signed is worth nothing under a new one.
    let force = force || outcome == Outcome::Written;
    let mut outcomes = vec![(ca.cert, outcome)];
    let server = Pair::new(dir, "server");
    outcomes.push(server.make(force, || authority.server(hosts))?);
    let default = [CLIENT.to_owned()];
    for name in if clients.is_empty() { &default } else { clients } {
        outcomes.push(Pair::new(dir, name).make(force, || authority.client(name))?);
    }
    Ok(outcomes)
}

/// Returns the fingerprint of the server's key in `dir`.
///
/// # Errors
///
/// When there is no server's certificate.
pub fn fingerprint(dir: &Path) -> Result<Fingerprint, CertError> {
    let path = Pair::new(dir, "server").cert;
    let failed = |error| CertError::File { path: path.clone(), error };
    let pem = fs::read(&path).map_err(failed)?;
    let certificate =
        CertificateDer::from_pem_slice(&pem).map_err(|error| failed(io::Error::other(error.to_string())))?;
    Fingerprint::of(&certificate).ok_or_else(|| failed(io::Error::other("it holds no certificate")))
}

struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new(dir: &Path, name: &str) -> Self {
        Self { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) }
    }

    fn exists(&self) -> bool {
        self.cert.exists() && self.key.exists()
    }

    fn make(self, force: bool, sign: impl FnOnce() -> Result<Pem, CertError>) -> Result<(PathBuf, Outcome), CertError> {
        if self.exists() && !force {
            return Ok((self.cert, Outcome::Kept));
        }
        self.write(&sign()?)?;
        Ok((self.cert, Outcome::Written))
    }

    fn read(&self) -> Result<Pem, CertError> {
        let read =
            |path: &Path| fs::read_to_string(path).map_err(|error| CertError::File { path: path.to_owned(), error });
        Ok(Pem { cert: read(&self.cert)?, key: read(&self.key)? })
    }

    fn write(&self, pem: &Pem) -> Result<(), CertError> {
        write(&self.key, &pem.key, 0o600)?;
        write(&self.cert, &pem.cert, 0o644)
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    replace(path, text, mode).map_err(|error| CertError::File { path: path.to_owned(), error })
}

fn generate_error(name: &str) -> impl Fn(rcgen::Error) -> CertError + '_ {
    move |error| CertError::Generate { name: name.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn outcomes(dir: &Path, clients: &[&str], force: bool) -> Vec<(String, Outcome)> {
        let clients: Vec<String> = clients.iter().map(|name| (*name).to_owned()).collect();
        let outcomes = write_all(dir, &[], &clients, force).unwrap();
        let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        outcomes.into_iter().map(|(path, outcome)| (name(path), outcome)).collect()
    }

    fn listed(names: &[&str], outcome: fn() -> Outcome) -> Vec<(String, Outcome)> {
        names.iter().map(|name| ((*name).to_owned(), outcome())).collect()
    }

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        outcomes(dir.path(), &[], false);
        for name in ["ca", "server", "client"] {
            let key = fs::metadata(dir.path().join(format!("{name}.key"))).unwrap();
            assert_eq!(key.permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn what_is_there_is_kept_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(outcomes(dir.path(), &[], false), listed(&["ca", "server", "client"], || Outcome::Written));
        assert_eq!(outcomes(dir.path(), &[], false), listed(&["ca", "server", "client"], || Outcome::Kept));
        let before = fs::read(dir.path().join("client.pem")).unwrap();
        assert_eq!(outcomes(dir.path(), &[], true), listed(&["ca", "server", "client"], || Outcome::Written));
        assert_ne!(fs::read(dir.path().join("client.pem")).unwrap(), before);
    }

    #[test]
    fn a_kept_authority_signs_one_more_client() {
        let dir = tempfile::tempdir().unwrap();
        outcomes(dir.path(), &["web-1"], false);
        let second = outcomes(dir.path(), &["web-1", "web-2"], false);
        assert_eq!(second[2..], [("web-1".to_owned(), Outcome::Kept), ("web-2".to_owned(), Outcome::Written)]);
    }

    #[test]
    fn a_lost_authority_is_replaced_with_all_it_had_signed() {
        let dir = tempfile::tempdir().unwrap();
        outcomes(dir.path(), &[], false);
        fs::remove_file(dir.path().join("ca.key")).unwrap();
        assert_eq!(outcomes(dir.path(), &[], false), listed(&["ca", "server", "client"], || Outcome::Written));
    }
}
