//! Addresses and routes by rtnetlink, which unlike the older ioctls allows everything inside a user namespace.

use std::{io, net::Ipv4Addr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice::name_to_index, recv, send, socket_with,
};

/// The congestion control of connections over a route (`linux/rtnetlink.h`).
const RTAX_CC_ALGO: u16 = 16;

const HEADER_BYTES: usize = 16;

#[expect(clippy::cast_possible_truncation, reason = "the message has 16 bits for them")]
const FLAGS: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;

#[expect(clippy::cast_possible_truncation, reason = "the message has 16 bits for them")]
const CREATE: u16 = libc::NLM_F_CREATE as u16;

#[expect(clippy::cast_possible_truncation, reason = "the message has 8 bits for it")]
const IPV4: u8 = libc::AF_INET as u8;

/// Sets up what a device is like and starts it.
pub(super) fn start_device(name: &str, mtu: Option<u32>, queue: Option<u32>) -> io::Result<()> {
    let up = libc::IFF_UP.cast_unsigned();
    let mut request = Request::new(libc::RTM_NEWLINK, 0);
    request.put(&[0, 0, 0, 0]).put(&index(name)?.to_ne_bytes()).put(&up.to_ne_bytes()).put(&up.to_ne_bytes());
    if let Some(mtu) = mtu {
        request.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
    }
    if let Some(queue) = queue {
        request.attribute(libc::IFLA_TXQLEN, &queue.to_ne_bytes());
    }
    request.send()
}

/// Gives a device an address, without a route.
pub(super) fn add_address(device: &str, address: Ipv4Addr) -> io::Result<()> {
    let mut request = Request::new(libc::RTM_NEWADDR, CREATE);
    request.put(&[IPV4, 32, 0, 0]).put(&index(device)?.to_ne_bytes());
    request.attribute(libc::IFA_LOCAL, &address.octets());
    request.send()
}

/// Adds a route to one address, whose connections have this congestion control.
///
/// A route's congestion control may be any that the kernel has, also where the namespace's default may not be it.
pub(super) fn add_route(device: &str, from: Ipv4Addr, to: Ipv4Addr, congestion: Option<&str>) -> io::Result<()> {
    let mut request = Request::new(libc::RTM_NEWROUTE, CREATE);
    let table = libc::RT_TABLE_MAIN;
    request.put(&[IPV4, 32, 0, 0, table, libc::RTPROT_STATIC, libc::RT_SCOPE_LINK, libc::RTN_UNICAST]);
    request.put(&[0; 4]);
    request.attribute(libc::RTA_DST, &to.octets());
    request.attribute(libc::RTA_PREFSRC, &from.octets());
    request.attribute(libc::RTA_OIF, &index(device)?.to_ne_bytes());
    if let Some(congestion) = congestion {
        let mut metrics = Request(Vec::new());
        metrics.attribute(RTAX_CC_ALGO, &[congestion.as_bytes(), &[0]].concat());
        request.attribute(libc::RTA_METRICS, &metrics.0);
    }
    request.send()
}

/// A message to the kernel, padded as far as it is written.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16) -> Self {
        let flags = flags | FLAGS;
        let mut request = Self(vec![0; 4]);
        request.put(&kind.to_ne_bytes()).put(&flags.to_ne_bytes()).put(&[0; 8]);
        request
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        // The kernel refuses what is longer than the message.
        let bytes = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.put(&bytes.to_ne_bytes()).put(&kind.to_ne_bytes()).put(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Sends it and waits for what the kernel says to it.
    fn send(mut self) -> io::Result<()> {
        let bytes = u32::try_from(self.0.len()).map_err(io::Error::other)?;
        self.0[..4].copy_from_slice(&bytes.to_ne_bytes());
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        send(&socket, &self.0, SendFlags::empty())?;
        let mut answer = [0; 1024];
        recv(&socket, &mut answer, RecvFlags::empty())?;
        let [a, b, c, d, ..] = answer[HEADER_BYTES..] else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

fn index(device: &str) -> io::Result<u32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(name_to_index(&socket, device)?)
}
