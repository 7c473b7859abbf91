//! Certificates in memory: who may connect to whom.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adit::{
    certs::{Authority, Pem},
    demo,
};
use adit_node::credentials::Credentials;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// An authority that both ends of a tunnel believe.
pub struct Trust(Authority);

impl Default for Trust {
    fn default() -> Self {
        Self(Authority::new().unwrap())
    }
}

impl Trust {
    /// Makes an authority of this name; all others have one name.
    pub fn of_authority(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let key_pem = key.serialize_pem();
        let cert = CertifiedIssuer::self_signed(params, key).unwrap().pem();
        Self(Authority::from_pem(Pem { cert, key: key_pem }).unwrap())
    }

    /// Signs a certificate for whoever listens on loopback.
    pub fn server(&self) -> Credentials {
        demo::credentials(&self.0.server(&[]).unwrap()).unwrap()
    }

    /// Signs a certificate for whoever is called `name`.
    pub fn named(&self, name: &str) -> Credentials {
        demo::credentials(&self.0.server(&[name.to_owned()]).unwrap()).unwrap()
    }

    /// Signs a certificate for the client called `name`.
    pub fn client(&self, name: &str) -> Credentials {
        demo::credentials(&self.0.client(name).unwrap()).unwrap()
    }

    /// Returns what believes in this authority.
    pub fn roots(&self) -> RootCertStore {
        demo::roots(&self.0).unwrap()
    }

    /// Returns the TLS of a client called `name`, as rustls has it.
    pub fn tls_client(&self, name: &str) -> ClientConfig {
        let credentials = self.client(name);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(credentials.chain(), credentials.key())
            .unwrap()
    }

    /// Returns the TLS of a server that takes everybody, as rustls has it.
    pub fn tls_server(&self) -> ServerConfig {
        let credentials = self.server();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(credentials.chain(), credentials.key())
            .unwrap()
    }

    /// Writes `ca.pem`, `server.pem`, `server.key` and the same of every client into a directory.
    pub fn write(&self, directory: &Path, clients: &[&str]) {
        let server = ("server", self.0.server(&[]).unwrap());
        let clients = clients.iter().map(|name| (*name, self.0.client(name).unwrap()));
        fs::write(directory.join("ca.pem"), &self.0.pem.cert).unwrap();
        for (name, pem) in clients.chain([server]) {
            fs::write(directory.join(format!("{name}.pem")), &pem.cert).unwrap();
            let mut key = File::options();
            let key = key.write(true).create_new(true).mode(0o600).open(directory.join(format!("{name}.key")));
            key.unwrap().write_all(pem.key.as_bytes()).unwrap();
        }
    }

    /// Returns the TLS of an HTTPS server on loopback that speaks what `alpn` says.
    pub fn https(&self, alpn: &[&str]) -> TlsAcceptor {
        let pem = self.0.server(&[]).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(pem.cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        tls.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(tls).into()
    }

    /// Signs a certificate for the client called `name`, with a serial number and an end.
    pub fn client_until(&self, name: &str, serial: u64, end: SystemTime) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_after = date_time_ymd(1970, 1, 1) + end.duration_since(UNIX_EPOCH).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer()).unwrap();
        Credentials::new(vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// Signs a certificate for a client with a common name and no other, whatever characters are in it.
    pub fn client_known_as(&self, common_name: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer()).unwrap();
        Credentials::new(vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// Signs a certificate for a server with this name or address and no other.
    pub fn server_known_as(&self, name: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let cert = params.signed_by(&key, &self.issuer()).unwrap();
        Credentials::new(vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// Lists the serial numbers of certificates that are revoked.
    pub fn revoking(&self, serials: &[u64]) -> CertificateRevocationListDer<'static> {
        let now = date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::from_secs(3_600),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer()).unwrap().into()
    }

    fn issuer(&self) -> Issuer<'static, KeyPair> {
        let key = KeyPair::from_pem(&self.0.pem.key).unwrap();
        Issuer::from_ca_cert_pem(&self.0.pem.cert, key).unwrap()
    }
}
