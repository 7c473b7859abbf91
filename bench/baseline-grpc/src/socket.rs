//! TCP with a chosen congestion control, and without Nagle's delay.

use std::{io, net::SocketAddr};

use clap::ValueEnum;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Pending connections that the system holds.
const BACKLOG: i32 = 1024;

/// Who decides how fast TCP sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Congestion {
    /// Loss is congestion.
    Cubic,
    /// Bandwidth and round-trip time are measured.
    Bbr,
}

impl Congestion {
    /// Returns what the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }
}

/// Listens; accepted sockets inherit the congestion control.
///
/// # Errors
///
/// When the address cannot be had, or the kernel does not know the congestion control.
pub fn listen(address: SocketAddr, congestion: Option<Congestion>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if let Some(congestion) = congestion {
        set_congestion(&socket, congestion)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Connects.
///
/// # Errors
///
/// When nobody answers, or the kernel does not know the congestion control.
pub async fn connect(address: SocketAddr, congestion: Option<Congestion>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(congestion) = congestion {
        set_congestion(&SockRef::from(&socket), congestion)?;
    }
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// Returns the congestion control that is in force.
///
/// # Errors
///
/// When the kernel does not say.
pub fn congestion_of(stream: &TcpStream) -> io::Result<String> {
    let name = SockRef::from(stream).tcp_congestion()?;
    Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

/// Sets it, and makes sure: an algorithm that is not loaded must not pass for the one that was asked for.
fn set_congestion(socket: &Socket, congestion: Congestion) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("TCP congestion {}: {error}", congestion.name()));
    socket.set_tcp_congestion(congestion.name().as_bytes()).map_err(named)?;
    let in_force = socket.tcp_congestion().map_err(named)?;
    if in_force.split(|byte| *byte == 0).next() != Some(congestion.name().as_bytes()) {
        return Err(named(io::Error::other("another one stays in force")));
    }
    Ok(())
}
