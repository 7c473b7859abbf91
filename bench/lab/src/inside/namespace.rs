//! A network of its own with a TUN device.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt::tcp_congestion},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::{netlink, sys};

const DEVICE: &str = "lab";
const MTU: u32 = 1500;
const DISCARD_PORT: u16 = 9;

/// How `/proc/net/tcp` writes the state.
const TCP_LISTEN: &str = "0A";
const NO_METRICS_SAVE: &str = "/proc/sys/net/ipv4/tcp_no_metrics_save";

/// Packets that wait until the emulator reads them; the kernel's 500 are a few milliseconds of a fast path.
const DEVICE_QUEUE: u32 = 10_000;

/// Why there is no network of our own: what is missing and how to get it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Missing {
    #[error("there is no {0}: load it with `modprobe tun`; a container needs `--device /dev/net/tun`")]
    NoTun(PathBuf),
    #[error("{0} cannot be opened ({1}): `chmod 666 {0}` as root, or run as root")]
    TunDenied(PathBuf, io::Error),
    #[error(
        "a user other than root needs user namespaces, which this system refuses ({0}): allow them with \
         `sysctl user.max_user_namespaces=10000`, Debian also `sysctl kernel.unprivileged_userns_clone=1`, Ubuntu \
         also `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; or run as root, a container with \
         `--cap-add NET_ADMIN,SYS_ADMIN`"
    )]
    UserNamespaces(io::Error),
    #[error("this kernel has no congestion control `{name}`, only {available}: try `modprobe tcp_{name}`")]
    Congestion { name: String, available: String },
    #[error("the kernel refuses {0}: {1}")]
    Refused(&'static str, io::Error),
}

/// A network namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    link: File,
    /// The address at the other end of the path.
    peer: Ipv4Addr,
}

/// Makes this process root in a user namespace of its own where it may not make network namespaces otherwise.
///
/// The process must have a single thread.
pub(super) fn become_able() -> Result<(), Missing> {
    if sys::new_network_namespace().is_ok() {
        return Ok(());
    }
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::new_user_namespace()
        .and_then(|()| fs::write("/proc/self/setgroups", "deny"))
        .and_then(|()| fs::write("/proc/self/uid_map", format!("0 {user} 1")))
        .and_then(|()| fs::write("/proc/self/gid_map", format!("0 {group} 1")))
        // Some systems allow the namespace and then nothing in it.
        .and_then(|()| sys::new_network_namespace())
        .map_err(Missing::UserNamespaces)
}

impl Namespace {
    /// Makes a namespace, moves the calling thread into it and opens its TUN device.
    ///
    /// The device stays in the namespace in which it was opened.
    pub(super) fn new(
        address: Ipv4Addr,
        peer: Ipv4Addr,
        tun: &Path,
        congestion: Option<&str>,
    ) -> Result<(Self, OwnedFd), Missing> {
        let step = |name| move |error| Missing::Refused(name, error);
        sys::new_network_namespace().map_err(step("a network namespace"))?;
        let link = File::open("/proc/thread-self/ns/net").map_err(step("its handle"))?;
        let device = open(tun)?;
        sys::attach_tun(&device, DEVICE).map_err(step("a TUN device"))?;
        // Its chatter would use up draws. Where this fails, the emulator drops it.
        fs::write(format!("/proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6"), "1").ok();
        // Reported as it is afterwards.
        fs::write(NO_METRICS_SAVE, "1").ok();
        netlink::start_device("lo", None, None).map_err(step("the loopback device"))?;
        netlink::start_device(DEVICE, Some(MTU), Some(DEVICE_QUEUE)).map_err(step("to start the TUN device"))?;
        netlink::add_address(DEVICE, address).map_err(step("an address"))?;
        netlink::add_route(DEVICE, address, peer, congestion).map_err(|error| match congestion {
            Some(name) if error.raw_os_error() == Some(libc::EINVAL) => {
                let available = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
                Missing::Congestion {
                    name: name.to_owned(),
                    available: available.unwrap_or_default().trim().to_owned(),
                }
            }
            Some(_) | None => Missing::Refused("a route", error),
        })?;
        Ok((Self { link, peer }, device))
    }

    /// Moves the calling thread into the namespace: what it starts from then on runs there.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.link.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Returns the congestion control that the kernel gives to a connection across the path.
    ///
    /// Asks a socket whose connection has begun; its first packet must be thrown away before the path counts.
    pub(super) fn congestion(&self) -> io::Result<String> {
        self.enter()?;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
        match connect(&socket, &SocketAddrV4::new(self.peer, DISCARD_PORT)) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(tcp_congestion(&socket)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether a connection starts without what earlier ones learned.
    pub(super) fn no_metrics_save(&self) -> io::Result<bool> {
        self.enter()?;
        Ok(fs::read_to_string(NO_METRICS_SAVE)?.trim() == "1")
    }

    /// Returns whether a program listens in it.
    pub(super) fn listens(&self) -> io::Result<bool> {
        self.enter()?;
        let sockets = |table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        let tcp = sockets("tcp") + &sockets("tcp6");
        let udp = sockets("udp") + &sockets("udp6");
        Ok(tcp.lines().any(|line| line.split_whitespace().nth(3) == Some(TCP_LISTEN))
            || udp.lines().any(|line| !line.trim_start().starts_with("sl")))
    }

    /// Returns how many packets the device dropped because the emulator did not read them in time.
    pub(super) fn dropped(&self) -> io::Result<u64> {
        self.enter()?;
        let devices = fs::read_to_string("/proc/thread-self/net/dev")?;
        let line = devices.lines().find_map(|line| line.trim_start().strip_prefix(DEVICE)?.strip_prefix(':'));
        let dropped = line.and_then(|line| line.split_whitespace().nth(11)?.parse().ok());
        dropped.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn open(tun: &Path) -> Result<OwnedFd, Missing> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    options.open(tun).map(OwnedFd::from).map_err(|error| match error.raw_os_error() {
        // A device file without a driver, or none at all.
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Missing::NoTun(tun.to_owned()),
        _ => Missing::TunDenied(tun.to_owned(), error),
    })
}
