//! Nodes as processes of their own: this very test binary, started once more to be `adit`.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use adit_tests::within;
use clap::Parser;
use command_fds::{CommandFdExt, FdMapping};
use rustix::{
    param::clock_ticks_per_second,
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;
use tokio::{
    net::UnixDatagram,
    process::{Child, Command},
};

const ARGS: &str = "ADIT_TEST_ARGS";

#[test]
#[ignore = "it is what the other tests start"]
fn adit() {
    let Ok(args) = std::env::var(ARGS) else { return };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args = adit::args::Args::parse_from(std::iter::once("adit").chain(args.split('\n')));
    assert_eq!(format!("{:?}", adit::args::run(args)), format!("{:?}", ExitCode::SUCCESS));
}

/// A folder with certificates, configurations and logs.
#[derive(Debug)]
pub(crate) struct Home(TempDir);

/// A node that runs in a process of its own. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    notes: UnixDatagram,
    log: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        adit::certs::write_all(&home.path().join("certs"), &[], &[], false).unwrap();
        Self(home)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes the configuration of a server that passes everything to its clients.
    pub(crate) fn server(&self, name: &str, tunnel: SocketAddr, entry: SocketAddr, more: &str) -> PathBuf {
        let certs = self.path().join("certs");
        let certs = certs.display();
        let config = format!(
            "[tunnel]\nlisten = \"{tunnel}\"\ncert = \"{certs}/server.pem\"\nkey = \"{certs}/server.key\"\n\
             client_ca = \"{certs}/ca.pem\"\n[http]\nlisten = \"{entry}\"\n[[ingress]]\ngroup = \"web\"\n\
             [groups.web]\nclients = [\"*\"]\n{more}"
        );
        self.write(name, &config)
    }

    /// Writes the configuration of a client of these servers.
    pub(crate) fn client(&self, name: &str, servers: &[SocketAddr], upstream: SocketAddr) -> PathBuf {
        let certs = self.path().join("certs");
        let certs = certs.display();
        let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
        let servers = servers.join(", ");
        let config = format!(
            "[tunnel]\nconnect = [{servers}]\nserver_name = \"localhost\"\nca = \"{certs}/ca.pem\"\n\
             cert = \"{certs}/client.pem\"\nkey = \"{certs}/client.key\"\ngroup = \"web\"\n\
             [[egress]]\nupstream = \"app\"\n[upstreams.app]\nservers = [\"http://{upstream}\"]\n\
             [timeouts]\nreconnect_max = \"250ms\"\n"
        );
        self.write(name, &config)
    }

    fn write(&self, name: &str, config: &str) -> PathBuf {
        let path = self.path().join(name).with_extension("toml");
        fs::write(&path, config).unwrap();
        path
    }

    /// Starts `adit kind -c config`, with sockets that it finds at descriptor 3 and up.
    pub(crate) fn start(&self, kind: &str, config: &Path, sockets: &[&TcpListener]) -> Process {
        self.start_as(kind, config, sockets, |_| ())
    }

    /// Does likewise, with anything else that is to be different.
    pub(crate) fn start_as(
        &self,
        kind: &str,
        config: &Path,
        sockets: &[&TcpListener],
        prepare: impl FnOnce(&mut std::process::Command),
    ) -> Process {
        let name = format!("{}-{}", config.file_stem().unwrap().display(), fs::read_dir(self.path()).unwrap().count());
        let (log, notes) = (self.path().join(&name).with_extension("log"), self.path().join(name));
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "process::adit", "--ignored", "--nocapture"])
            .env(ARGS, format!("{kind}\n-c\n{}", config.display()))
            .env("NOTIFY_SOCKET", &notes)
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        if !sockets.is_empty() {
            let fds = sockets.iter().map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
            let mappings = fds.zip(3..).map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
            command.fd_mappings(mappings).unwrap();
            command.env("LISTEN_FDS", sockets.len().to_string());
        }
        prepare(&mut command);
        let notes = UnixDatagram::bind(notes).unwrap();
        Process { child: Command::from(command).kill_on_drop(true).spawn().unwrap(), notes, log }
    }
}

impl Process {
    /// Waits until it says that it does its work.
    pub(crate) async fn ready(&self) {
        let mut note = [0; 256];
        let length = within(&format!("{} to be ready", self.log.display()), self.notes.recv(&mut note)).await.unwrap();
        assert!(note[..length].starts_with(b"READY=1"), "{note:?}");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Returns how long it has used a processor.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // proc_pid_stat(5): what follows the name, which may hold anything; utime and stime are fields 14 and 15.
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
    }

    /// Tells it to stop, and waits until it has, in order.
    pub(crate) async fn stop(self) {
        self.signal(Signal::TERM);
        self.stopped().await;
    }

    /// Waits until it has stopped in order.
    pub(crate) async fn stopped(mut self) {
        let status = within("a process to end", self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}: {}", self.said());
    }

    /// Returns the most memory that it has had, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Waits until it has given up, and returns what it has said.
    pub(crate) async fn failed(mut self) -> String {
        let status = within("a process to end", self.child.wait()).await.unwrap();
        assert!(!status.success(), "{}", self.said());
        self.said()
    }

    /// Returns what it has logged so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

/// Returns UDP addresses that nobody uses right now.
pub(crate) fn free_udp<const N: usize>() -> [SocketAddr; N] {
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap())
}
