//! How each contender is started.

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::Context;

use crate::contender::Contender;

/// Where everything is. The two ends share the file system, not the network.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Place {
    #[arg(long)]
    pub(crate) contender: Contender,
    /// Where `adit` and the baseline are
    #[arg(long)]
    pub(crate) bin: PathBuf,
    /// Where the certificates are
    #[arg(long)]
    pub(crate) certs: PathBuf,
    /// Where configurations and logs go
    #[arg(long)]
    pub(crate) work: PathBuf,
    /// The server's address on the path
    #[arg(long)]
    pub(crate) server: IpAddr,
    /// The backend's address on the path
    #[arg(long)]
    pub(crate) backend: IpAddr,
    #[arg(long, default_value_t = 18080)]
    pub(crate) entry_port: u16,
    #[arg(long, default_value_t = 14433)]
    pub(crate) tunnel_port: u16,
    #[arg(long, default_value_t = 13000)]
    pub(crate) backend_port: u16,
}

/// A program that runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Program(Child);

impl Program {
    /// Starts a program whose output goes to a file.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let name = command.get_program().to_owned();
        Ok(Self(command.spawn().with_context(|| format!("starting {}", name.display()))?))
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    /// Where the load asks: the entry of the tunnel's server, or the backend itself.
    pub(crate) fn entry(&self) -> SocketAddr {
        if self.contender.is_direct() { (self.backend, self.backend_port).into() } else { self.local_entry() }
    }

    /// Returns how the tunnel's server is started, unless there is no tunnel.
    pub(crate) fn server_command(&self) -> anyhow::Result<Option<Command>> {
        let (entry, tunnel) = (self.local_entry(), self.tunnel());
        let (entry_ip, entry_port) = (entry.ip(), entry.port());
        let (server, port) = (tunnel.ip(), tunnel.port());
        let command = match self.contender {
            Contender::Direct | Contender::DirectBbr => return Ok(None),
            Contender::Adit | Contender::AditCubic => {
                let (tunnel_keys, certs) = (self.adit_congestion(), self.certs.display());
                let config = self.write(
                    "adit-server.toml",
                    &format!(
                        "[tunnel]\nlisten = \"{tunnel}\"\ncert = \"{certs}/server.pem\"\nkey = \"{certs}/server.key\"\n\
                         client_ca = \"{certs}/ca.pem\"\n{tunnel_keys}[http]\nlisten = \"{entry}\"\n\
                         [[ingress]]\ngroup = \"bench\"\n[groups.bench]\nclients = [\"client\"]\n"
                    ),
                )?;
                self.adit("server", &config)
            }
            Contender::GrpcCubic | Contender::GrpcBbr => {
                let mut command = self.baseline("server", "server");
                command.arg("--client-ca").arg(self.certs.join("ca.pem"));
                command.args(["--listen", &entry.to_string(), "--tunnel", &tunnel.to_string()]);
                command
            }
            Contender::Rathole => {
                let config = format!(
                    "[server]\nbind_addr = \"{tunnel}\"\ndefault_token = \"bench\"\n\
                     [server.services.web]\nbind_addr = \"{entry}\"\n"
                );
                let config = self.write("rathole-server.toml", &config)?;
                command("rathole", ["--server".as_ref(), config.as_os_str()])
            }
            Contender::FrpTcp | Contender::FrpQuic => {
                let config = format!(
                    "bindAddr = \"{server}\"\nbindPort = {port}\nquicBindPort = {port}\nproxyBindAddr = \"{entry_ip}\"\n"
                );
                command("frps", ["-c".as_ref(), self.write("frps.toml", &config)?.as_os_str()])
            }
            Contender::Bore => {
                let port = entry_port.to_string();
                command("bore", ["server", "--min-port", &port, "--max-port", &port])
            }
            Contender::Wstunnel => command("wstunnel", ["server", &format!("wss://{tunnel}")]),
            Contender::Chisel => {
                command("chisel", ["server", "--reverse", "--host", &server.to_string(), "--port", &port.to_string()])
            }
        };
        Ok(Some(command))
    }

    /// Returns how the tunnel's client is started, unless there is no tunnel.
    pub(crate) fn client_command(&self) -> anyhow::Result<Option<Command>> {
        let (entry, tunnel, upstream) = (self.local_entry(), self.tunnel(), self.upstream());
        let (server, port) = (tunnel.ip(), tunnel.port());
        let command = match self.contender {
            Contender::Direct | Contender::DirectBbr => return Ok(None),
            Contender::Adit | Contender::AditCubic => {
                let (tunnel_keys, certs) = (self.adit_congestion(), self.certs.display());
                let config = self.write(
                    "adit-client.toml",
                    &format!(
                        "[tunnel]\nconnect = \"{tunnel}\"\nserver_name = \"localhost\"\nca = \"{certs}/ca.pem\"\n\
                         cert = \"{certs}/client.pem\"\nkey = \"{certs}/client.key\"\ngroup = \"bench\"\n{tunnel_keys}\
                         [[egress]]\nupstream = \"app\"\n[upstreams.app]\nservers = [\"http://{upstream}\"]\n"
                    ),
                )?;
                self.adit("client", &config)
            }
            Contender::GrpcCubic | Contender::GrpcBbr => {
                let mut command = self.baseline("client", "client");
                command.arg("--ca").arg(self.certs.join("ca.pem"));
                command.args(["--connect", &tunnel.to_string(), "--upstream", &upstream.to_string()]);
                command
            }
            Contender::Rathole => {
                let config = format!(
                    "[client]\nremote_addr = \"{tunnel}\"\ndefault_token = \"bench\"\n\
                     [client.services.web]\nlocal_addr = \"{upstream}\"\n"
                );
                let config = self.write("rathole-client.toml", &config)?;
                command("rathole", ["--client".as_ref(), config.as_os_str()])
            }
            Contender::FrpTcp | Contender::FrpQuic => {
                let protocol = if self.contender == Contender::FrpQuic { "quic" } else { "tcp" };
                let config = format!(
                    "serverAddr = \"{server}\"\nserverPort = {port}\ntransport.protocol = \"{protocol}\"\n\
                     [[proxies]]\nname = \"web\"\ntype = \"tcp\"\nlocalIP = \"{}\"\nlocalPort = {}\nremotePort = {}\n",
                    upstream.ip(),
                    upstream.port(),
                    entry.port(),
                );
                command("frpc", ["-c".as_ref(), self.write("frpc.toml", &config)?.as_os_str()])
            }
            Contender::Bore => {
                let (upstream, entry) = (upstream.port().to_string(), entry.port().to_string());
                command("bore", ["local", &upstream, "--to", &server.to_string(), "--port", &entry])
            }
            Contender::Wstunnel => {
                command("wstunnel", ["client", "-R", &format!("tcp://{entry}:{upstream}"), &format!("wss://{tunnel}")])
            }
            Contender::Chisel => {
                command("chisel", ["client", &format!("http://{tunnel}"), &format!("R:{entry}:{upstream}")])
            }
        };
        Ok(Some(command))
    }

    /// Returns the file with the output of one of the programs.
    pub(crate) fn log(&self, side: &str) -> PathBuf {
        self.work.join(format!("{}-{side}.log", self.contender.name()))
    }

    fn local_entry(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.entry_port).into()
    }

    fn tunnel(&self) -> SocketAddr {
        (self.server, self.tunnel_port).into()
    }

    fn upstream(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.backend_port).into()
    }

    fn adit_congestion(&self) -> &'static str {
        if self.contender == Contender::AditCubic { "congestion = \"cubic\"\n" } else { "" }
    }

    fn adit(&self, role: &str, config: &Path) -> Command {
        let mut command = command(self.bin.join("adit"), [role.as_ref(), "-c".as_ref(), config.as_os_str()]);
        command.env("RUST_LOG", "warn,access=off");
        command
    }

    fn baseline(&self, role: &str, certificate: &str) -> Command {
        let mut command = command(self.bin.join("baseline-grpc"), [role]);
        command.arg("--cert").arg(self.certs.join(format!("{certificate}.pem")));
        command.arg("--key").arg(self.certs.join(format!("{certificate}.key")));
        if let Some(tcp) = self.contender.tcp() {
            command.args(["--congestion", tcp]);
        }
        command
    }

    fn write(&self, name: &str, config: &str) -> anyhow::Result<PathBuf> {
        let path = self.work.join(name);
        fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

fn command<I: AsRef<std::ffi::OsStr>>(
    program: impl AsRef<std::ffi::OsStr>,
    arguments: impl IntoIterator<Item = I>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
