//! How each contender is started.

use std::{
    ffi::OsStr,
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

/// One of the two programs of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
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

    /// Returns how a side of the tunnel is started, unless there is no tunnel.
    pub(crate) fn command(&self, side: Side) -> anyhow::Result<Option<Command>> {
        Ok(Some(match self.contender {
            Contender::Direct | Contender::DirectBbr => return Ok(None),
            Contender::Adit => self.adit(side, "")?,
            Contender::AditCubic => self.adit(side, "congestion = \"cubic\"\n")?,
            Contender::GrpcCubic | Contender::GrpcBbr => self.baseline(side),
            Contender::Rathole => self.rathole(side)?,
            Contender::FrpTcp => self.frp(side, "tcp")?,
            Contender::FrpQuic => self.frp(side, "quic")?,
            Contender::Bore => self.bore(side),
            Contender::Wstunnel => self.wstunnel(side),
            Contender::Chisel => self.chisel(side),
        }))
    }

    /// Returns the file with the output of one of the programs.
    pub(crate) fn log(&self, side: &str) -> PathBuf {
        self.work.join(format!("{}-{side}.log", self.contender.name()))
    }

    /// Where visitors reach the tunnel's server.
    pub(crate) fn local_entry(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.entry_port).into()
    }

    /// Where the tunnel's client reaches its server, across the path.
    pub(crate) fn tunnel(&self) -> SocketAddr {
        (self.server, self.tunnel_port).into()
    }

    /// Where the tunnel's client reaches the backend.
    pub(crate) fn upstream(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.backend_port).into()
    }

    /// Writes a configuration and returns where it is.
    pub(crate) fn write(&self, name: &str, config: &str) -> anyhow::Result<PathBuf> {
        let path = self.work.join(name);
        fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    fn adit(&self, side: Side, more: &str) -> anyhow::Result<Command> {
        let (entry, tunnel, upstream) = (self.local_entry(), self.tunnel(), self.upstream());
        let (name, certs) = (side.name(), self.certs.display());
        let both = format!("[tunnel]\ncert = \"{certs}/{name}.pem\"\nkey = \"{certs}/{name}.key\"\n{more}");
        let config = match side {
            Side::Server => format!(
                "{both}listen = \"{tunnel}\"\nclient_ca = \"{certs}/ca.pem\"\n[http]\nlisten = \"{entry}\"\n\
                 [[ingress]]\ngroup = \"bench\"\n[groups.bench]\nclients = [\"client\"]\n"
            ),
            Side::Client => format!(
                "{both}connect = \"{tunnel}\"\nserver_name = \"localhost\"\nca = \"{certs}/ca.pem\"\n\
                 group = \"bench\"\n[[egress]]\nupstream = \"app\"\n\
                 [upstreams.app]\nservers = [\"http://{upstream}\"]\n"
            ),
        };
        let config = self.write(&format!("adit-{name}.toml"), &config)?;
        let mut command = command(self.bin.join("adit"), [name.as_ref(), "-c".as_ref(), config.as_os_str()]);
        command.env("RUST_LOG", "warn,access=off");
        Ok(command)
    }

    fn baseline(&self, side: Side) -> Command {
        let mut command = command(self.bin.join("baseline-grpc"), [side.name()]);
        command.arg("--cert").arg(self.certs.join(format!("{}.pem", side.name())));
        command.arg("--key").arg(self.certs.join(format!("{}.key", side.name())));
        if let Some(tcp) = self.contender.tcp() {
            command.args(["--congestion", tcp]);
        }
        let (entry, tunnel, upstream) = (self.local_entry(), self.tunnel(), self.upstream());
        match side {
            Side::Server => {
                command.arg("--client-ca").arg(self.certs.join("ca.pem"));
                command.args(["--listen", &entry.to_string(), "--tunnel", &tunnel.to_string()]);
            }
            Side::Client => {
                command.arg("--ca").arg(self.certs.join("ca.pem"));
                command.args(["--connect", &tunnel.to_string(), "--upstream", &upstream.to_string()]);
            }
        }
        command
    }
}

/// Makes a command with its arguments.
pub(crate) fn command<I: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn both_sides_of_every_tunnel_have_a_command_of_a_program_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let mut tunnels = 0;
        for contender in Contender::value_variants() {
            let place = place(*contender, dir.path());
            for side in [Side::Server, Side::Client] {
                let Some(command) = place.command(side).unwrap() else {
                    assert!(contender.is_direct());
                    continue;
                };
                let program = Path::new(command.get_program()).file_name().unwrap().to_str().unwrap();
                assert!(contender.programs().contains(&program), "{contender:?} {program}");
                tunnels += 1;
            }
        }
        assert_eq!(tunnels, 2 * 10);
    }

    #[test]
    fn adit_takes_the_configuration_of_both_sides() {
        let dir = tempfile::tempdir().unwrap();
        adit::certs::write_all(dir.path(), &[], &[], false).unwrap();
        for contender in [Contender::Adit, Contender::AditCubic] {
            let place = place(contender, dir.path());
            place.command(Side::Server).unwrap();
            place.command(Side::Client).unwrap();
            adit::config::server(&dir.path().join("adit-server.toml"), Path::new("/")).unwrap();
            adit::config::client(&dir.path().join("adit-client.toml"), Path::new("/")).unwrap();
        }
    }

    fn place(contender: Contender, dir: &Path) -> Place {
        Place {
            contender,
            bin: "/bin".into(),
            certs: dir.into(),
            work: dir.into(),
            server: [10, 77, 0, 1].into(),
            backend: [10, 77, 0, 2].into(),
            entry_port: 18080,
            tunnel_port: 14433,
            backend_port: 13000,
        }
    }
}
