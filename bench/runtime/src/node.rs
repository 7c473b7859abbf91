//! The two processes that are measured.

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use adit::{certs, config};
use adit_node::{Client, Server};
use anyhow::Context;
use clap::ValueEnum;
use tempfile::TempDir;
use tokio::{net::TcpStream, runtime, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{Flavour, Side};

/// Clock ticks per second in `/proc/PID/stat`: fixed at 100 on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Runs a node until it is killed.
pub(crate) fn run(side: Side, config: &Path, flavour: Flavour) -> anyhow::Result<()> {
    let mut builder = match flavour {
        Flavour::CurrentThread => runtime::Builder::new_current_thread(),
        Flavour::MultiThread => runtime::Builder::new_multi_thread(),
    };
    let stop = CancellationToken::new();
    builder.enable_all().build()?.block_on(async {
        match side {
            Side::Server => Server::bind(config::server(config, Path::new("/"))?.settings).await?.run(stop).await,
            Side::Client => Client::bind(config::client(config, Path::new("/"))?.settings).await?.run(stop).await,
        }
        Ok(())
    })
}

/// A server and a client that are connected. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) entry: SocketAddr,
    children: [Child; 2],
    _dir: TempDir,
}

impl Nodes {
    pub(crate) async fn start(flavour: Flavour, upstream: SocketAddr) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        certs::write_all(dir.path(), &[], &[], false)?;
        let at = dir.path().display();
        let (tunnel, entry) = free_ports()?;
        let server = format!(
            "[tunnel]\nlisten = \"{tunnel}\"\ncert = \"{at}/server.pem\"\nkey = \"{at}/server.key\"\nclient_ca = \"{at}/ca.pem\"\n\
             [http]\nlisten = \"{entry}\"\n[[ingress]]\ngroup = \"bench\"\n[groups.bench]\nclients = [\"client\"]\n"
        );
        let client = format!(
            "[tunnel]\nconnect = \"{tunnel}\"\nca = \"{at}/ca.pem\"\ncert = \"{at}/client.pem\"\nkey = \"{at}/client.key\"\n\
             group = \"bench\"\n[[egress]]\nupstream = \"app\"\n[upstreams.app]\nservers = [\"http://{upstream}\"]\n"
        );
        let children =
            [spawn(dir.path(), Side::Server, &server, flavour)?, spawn(dir.path(), Side::Client, &client, flavour)?];
        let nodes = Self { entry, children, _dir: dir };
        nodes.wait().await?;
        Ok(nodes)
    }

    /// Returns the CPU time that both processes have used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut total = Duration::ZERO;
        for child in &self.children {
            total += cpu_of(child.id())?;
        }
        Ok(total)
    }

    async fn wait(&self) -> anyhow::Result<()> {
        for _ in 0..100 {
            if TcpStream::connect(self.entry).await.is_ok()
                && crate::load::run(self.entry, 1, Duration::from_millis(1)).await.is_ok()
            {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("no answer through the tunnel within 5 s")
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Already gone is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(dir: &Path, side: Side, config: &str, flavour: Flavour) -> anyhow::Result<Child> {
    let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
    let side = name(side.to_possible_value()).context("a side without a name")?;
    let path = dir.join(format!("{side}.toml"));
    fs::write(&path, config)?;
    let flavour = name(flavour.to_possible_value()).context("a flavour without a name")?;
    let child = Command::new(std::env::current_exe()?).arg("node").arg(side).arg(path).arg(flavour).spawn()?;
    Ok(child)
}

fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program may hold blanks; what follows it does not.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let ticks = |index: usize| -> anyhow::Result<f64> {
        Ok(fields.split_whitespace().nth(index).context("too few fields in /proc/PID/stat")?.parse()?)
    };
    // User and system time, fields 14 and 15 of proc(5).
    Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND))
}

fn free_ports() -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let udp = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let tcp = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Ok((udp, tcp))
}
