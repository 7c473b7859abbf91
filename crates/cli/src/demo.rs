//! Server, client and a backend in one process, with keys that exist in memory only.

use std::{
    collections::HashMap,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
};

use adit_core::{
    id::Group,
    limits::{Limits, Timeouts},
    route::RuleOptions,
};
use adit_node::{
    Client, Server,
    credentials::Credentials,
    settings::{
        Allow, ClientProof, ClientSettings, Congestion, EgressRule, EgressSettings, GroupSettings, HostPort, HttpEntry,
        IngressRule, ServerNames, ServerSettings, ServerTrust, ServerUrl, TunnelConnect, TunnelListen,
        UpstreamSettings, pattern,
    },
};
use anyhow::Context;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_util::sync::CancellationToken;

use crate::{
    certs::{Authority, CLIENT, Pem},
    sample::Sample,
};

/// A demo that is bound and not running yet.
#[derive(Debug)]
pub struct Demo {
    server: Server,
    client: Client,
    sample: Option<Sample>,
    backend: ServerUrl,
    public: SocketAddr,
    group: Group,
}

impl Demo {
    /// Binds the public port and whatever else is needed: `backend`, or the sample where there is none.
    ///
    /// # Errors
    ///
    /// When the port is in use.
    pub async fn bind(port: u16, backend: Option<ServerUrl>) -> anyhow::Result<Self> {
        let (sample, backend) = match backend {
            Some(backend) => (None, backend),
            None => {
                let sample = Sample::bind().await.context("the sample backend")?;
                let backend = format!("http://{}", sample.address()?).parse()?;
                (Some(sample), backend)
            }
        };
        let authority = Authority::new()?;
        let group: Group = "demo".parse()?;
        let server = Server::bind(server_settings(&authority, &group, port)?).await?;
        let public = server.http_address().context("the server has no HTTP entry")?;
        let tunnel = server.tunnel_address()?;
        let client = Client::bind(client_settings(&authority, group.clone(), tunnel, backend.clone())?).await?;
        Ok(Self { server, client, sample, backend, public, group })
    }

    /// Returns the public address.
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// Prints what to open, and serves until `stop` is cancelled.
    ///
    /// # Errors
    ///
    /// When the output is closed.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let clients = self.server.group(&self.group);
        let greeting = self.greeting();
        let Self { server, client, sample, .. } = self;
        let sample = async {
            match sample {
                Some(sample) => sample.run().await,
                None => std::future::pending().await,
            }
        };
        let greet = async {
            clients.joined().await;
            // The page is up even where nobody reads what we print.
            let _ = std::io::stdout().write_all(greeting.as_bytes());
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = async { tokio::join!(server.run(stop.clone()), client.run(stop)) } => {}
            () = sample => {}
            () = greet => {}
        }
        Ok(())
    }

    fn greeting(&self) -> String {
        let Self { public, backend, .. } = self;
        format!(
            "\n  you ──▶ server {public} ══ one QUIC stream per request ══▶ client ──▶ {backend}\n\n  \
             open   http://{public}/\n  try    curl -s http://{public}/hello\n\n  Ctrl-C ends it.\n\n"
        )
    }
}

fn server_settings(authority: &Authority, group: &Group, port: u16) -> anyhow::Result<ServerSettings> {
    Ok(ServerSettings {
        tunnel: TunnelListen {
            listen: loopback(0),
            credentials: credentials(&authority.server(&[])?)?,
            client_roots: Some(roots(authority)?),
            client_crls: Vec::new(),
            tokens: None,
            congestion: Congestion::default(),
        },
        http: Some(HttpEntry::new(loopback(port))),
        https: None,
        ingress: vec![IngressRule {
            pattern: pattern(None, None)?,
            group: group.clone(),
            options: RuleOptions::default(),
        }],
        groups: HashMap::from([(group.clone(), GroupSettings::new([CLIENT]))]),
        egress: EgressSettings::default(),
        admin: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
    })
}

fn client_settings(
    authority: &Authority,
    group: Group,
    server: SocketAddr,
    backend: ServerUrl,
) -> anyhow::Result<ClientSettings> {
    let rule = EgressRule {
        pattern: pattern(None, None)?,
        groups: None,
        upstream: "backend".to_owned(),
        options: RuleOptions::default(),
    };
    let upstream = UpstreamSettings::new(vec![backend]);
    Ok(ClientSettings {
        tunnel: TunnelConnect {
            connect: vec![HostPort { host: server.ip().to_string(), port: server.port() }],
            server_name: ServerNames::one("localhost"),
            trust: ServerTrust::Authority(roots(authority)?),
            proof: ClientProof::Certificate(credentials(&authority.client(CLIENT)?)?),
            group,
            allow: Allow::default(),
            congestion: Congestion::default(),
        },
        http: None,
        https: None,
        egress: EgressSettings {
            rules: vec![rule],
            upstreams: HashMap::from([("backend".to_owned(), upstream)]),
            ..EgressSettings::default()
        },
        admin: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
    })
}

/// Reads credentials that never were in a file.
///
/// # Errors
///
/// When they are malformed.
pub fn credentials(pem: &Pem) -> anyhow::Result<Credentials> {
    let chain = CertificateDer::pem_slice_iter(pem.cert.as_bytes()).collect::<Result<_, _>>()?;
    Ok(Credentials::new(chain, PrivateKeyDer::from_pem_slice(pem.key.as_bytes())?))
}

/// Trusts whom `authority` signs for.
///
/// # Errors
///
/// When its certificate is malformed.
pub fn roots(authority: &Authority) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.cert.as_bytes())?)?;
    Ok(roots)
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
