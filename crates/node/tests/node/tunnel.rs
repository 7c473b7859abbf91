//! A server, a client and an upstream in one process, with keys that exist in memory only.

use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
};

use adit_core::{
    limits::{Limits, Timeouts},
    route::RuleOptions,
    wire::config::{self, ConfigPush, GroupConfig},
};
use adit_node::{
    Client, Server,
    credentials::Credentials,
    node::{ClientControl, ServerControl},
    settings::{
        AdminEntry, Allow, ClientProof, ClientSettings, Congestion, EgressRule, EgressSettings, GroupSettings,
        HostPort, HttpEntry, IngressRule, ServerNames, ServerSettings, ServerTrust, TunnelConnect, TunnelListen,
        UpstreamSettings, pattern,
    },
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Where any free port will do.
pub(crate) const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A tunnel that runs until it is dropped.
pub(crate) struct Tunnel {
    /// Who signed for both sides.
    pub(crate) authority: Authority,
    /// Where clients connect.
    pub(crate) tunnel: SocketAddr,
    /// The upstream.
    pub(crate) backend: SocketAddr,
    /// Where visitors connect.
    pub(crate) entry: SocketAddr,
    /// The admin interface of the server.
    pub(crate) server_admin: SocketAddr,
    /// The admin interface of the client.
    pub(crate) client_admin: SocketAddr,
    /// Puts new settings in force on the server.
    pub(crate) server_control: ServerControl,
    /// Puts new settings in force on the client.
    pub(crate) client_control: ClientControl,
    /// Ends both nodes in order.
    pub(crate) stop: CancellationToken,
    /// Has the upstream cut what it sends for `/cut`.
    pub(crate) cut: CancellationToken,
    /// Server, client and upstream.
    pub(crate) tasks: JoinSet<()>,
}

impl Tunnel {
    /// Starts one, and waits until the client is connected.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_, _| {}, |_, _| {}).await
    }

    /// Starts one with other settings, which may need the address of the upstream.
    pub(crate) async fn start_with(
        change_server: impl FnOnce(&mut ServerSettings, SocketAddr),
        change_client: impl FnOnce(&mut ClientSettings, SocketAddr),
    ) -> Self {
        Self::start_signed_by(Authority::new(), |server, _, backend| change_server(server, backend), change_client)
            .await
    }

    /// Starts one whose settings may need who signs for both sides.
    pub(crate) async fn start_signed_by(
        authority: Authority,
        change_server: impl FnOnce(&mut ServerSettings, &Authority, SocketAddr),
        change_client: impl FnOnce(&mut ClientSettings, SocketAddr),
    ) -> Self {
        let upstream = TcpListener::bind(ANY).await.unwrap();
        let backend = upstream.local_addr().unwrap();
        let mut settings = authority.server_settings();
        change_server(&mut settings, &authority, backend);
        let server = Server::bind(settings).await.unwrap();
        let tunnel = server.tunnel_address().unwrap();
        let mut settings = authority.client_settings(tunnel, backend);
        change_client(&mut settings, backend);
        let client = Client::bind(settings).await.unwrap();
        let entry = server.http_address().unwrap();
        let (server_admin, client_admin) = (server.admin_address().unwrap(), client.admin_address().unwrap());
        let (server_control, client_control) = (server.control(), client.control());
        let clients = server.group(&"web".parse().unwrap());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(stop.clone()));
        tasks.spawn(client.run(stop.clone()));
        let cut = CancellationToken::new();
        tasks.spawn(serve(upstream, cut.clone()));
        clients.joined().await;
        Self {
            authority,
            tunnel,
            backend,
            entry,
            server_admin,
            client_admin,
            server_control,
            client_control,
            stop,
            cut,
            tasks,
        }
    }
}

/// Sends bytes and returns everything that comes back.
pub(crate) async fn ask(address: SocketAddr, request: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is cut has still said something.
    let _ = tcp.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// An upstream that answers five bytes; of nine for `/cut`, until it is cut, and none at all for `/wait`.
async fn serve(listener: TcpListener, cut: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let cut = cut.clone();
        connections.spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = tcp.read_u8().await else { return };
                head.push(byte);
            }
            match head.split(|b| *b == b' ').nth(1).unwrap() {
                b"/cut" => {
                    let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await;
                    cut.cancelled().await;
                }
                b"/wait" => std::future::pending().await,
                _ => {
                    let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
                    let _ = tcp.write_all(whole).await;
                }
            }
        });
    }
}

/// Who signs for both sides.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn credentials(&self, name: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Credentials::new(vec![cert.der().clone()], key)
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// A server with one rule: everything goes to the group `web`.
    pub(crate) fn server_settings(&self) -> ServerSettings {
        ServerSettings {
            tunnel: TunnelListen {
                listen: ANY,
                credentials: self.credentials("localhost"),
                client_roots: Some(self.roots()),
                client_crls: Vec::new(),
                tokens: None,
                congestion: Congestion::default(),
            },
            http: Some(HttpEntry::new(ANY)),
            https: None,
            ingress: vec![IngressRule {
                pattern: pattern(None, Some("/")).unwrap(),
                group: "web".parse().unwrap(),
                options: RuleOptions::default(),
            }],
            groups: HashMap::from([("web".parse().unwrap(), GroupSettings::new(["client"]))]),
            egress: EgressSettings::default(),
            admin: Some(AdminEntry::open(ANY).unwrap()),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }

    /// A client with one rule: everything goes to `backend`.
    pub(crate) fn client_settings(&self, tunnel: SocketAddr, backend: SocketAddr) -> ClientSettings {
        let rule = EgressRule {
            pattern: pattern(None, None).unwrap(),
            groups: None,
            upstream: "app".to_owned(),
            options: RuleOptions::default(),
        };
        let upstream = UpstreamSettings::new(vec![format!("http://{backend}").parse().unwrap()]);
        ClientSettings {
            tunnel: TunnelConnect {
                connect: vec![HostPort { host: tunnel.ip().to_string(), port: tunnel.port() }],
                server_name: ServerNames::one("localhost"),
                trust: ServerTrust::Authority(self.roots()),
                proof: ClientProof::Certificate(self.credentials("client")),
                group: "web".parse().unwrap(),
                allow: Allow::default(),
                congestion: Congestion::default(),
            },
            http: None,
            https: None,
            egress: EgressSettings {
                rules: vec![rule],
                upstreams: HashMap::from([("app".to_owned(), upstream)]),
                ..EgressSettings::default()
            },
            admin: Some(AdminEntry::open(ANY).unwrap()),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// A configuration in which `/pushed` goes to one server, the upstream `shared`.
pub(crate) fn push(server: SocketAddr) -> ConfigPush {
    let rule = config::EgressRule {
        path: Some("/pushed".to_owned()),
        upstream: "shared".to_owned(),
        ..config::EgressRule::default()
    };
    let upstream = config::Upstream { servers: vec![format!("http://{server}")], ..config::Upstream::default() };
    let upstreams = BTreeMap::from([("shared".to_owned(), upstream)]);
    GroupConfig { egress: vec![rule], upstreams }.push().unwrap()
}

/// Has a server push `push` to the clients of `web`.
pub(crate) fn pushing(settings: &mut ServerSettings, push: ConfigPush) {
    settings.groups.get_mut(&"web".parse().unwrap()).unwrap().push = Some(push);
}
