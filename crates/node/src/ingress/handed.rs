//! Sockets that listen already: handed over by whoever started the process, and possibly shared with another one.

use std::{
    fmt,
    net::{SocketAddr, TcpListener},
};

/// What a socket may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The plain entry.
    Http,
    /// The entry with TLS.
    Https,
    /// The admin interface.
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Http, Self::Https, Self::Admin];

    /// Returns the section of the configuration, which is also what a socket for it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Admin => "admin",
        }
    }
}

/// Sockets that nobody has taken yet. Dropping them closes this process's handles only.
#[derive(Debug, Default)]
pub struct Handed(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    descriptor: i32,
    name: String,
    tcp: TcpListener,
    address: SocketAddr,
}

/// A socket that is of no use here.
#[derive(Debug, thiserror::Error)]
#[error("descriptor {descriptor}, called {name:?} and listening on {address}, fits none of {wanted}")]
pub struct Misfit {
    descriptor: i32,
    name: String,
    address: SocketAddr,
    wanted: Wanted,
}

/// Where the node listens.
#[derive(Clone, Debug)]
struct Wanted(Vec<(Role, SocketAddr)>);

impl Handed {
    /// Adds a socket, with the name that it was given, if any.
    ///
    /// # Errors
    ///
    /// When it has no address.
    pub fn add(&mut self, descriptor: i32, name: &str, tcp: TcpListener) -> std::io::Result<()> {
        tcp.set_nonblocking(true)?;
        let address = tcp.local_addr()?;
        self.0.push(Socket { descriptor, name: name.to_owned(), tcp, address });
        Ok(())
    }

    /// Takes the socket for `role`: the one that is called so, or else the one that listens on `address`.
    pub fn take(&mut self, role: Role, address: SocketAddr) -> Option<TcpListener> {
        let is_named = |socket: &Socket| Role::ALL.into_iter().find(|role| role.name() == socket.name);
        let by_name = self.0.iter().position(|socket| is_named(socket) == Some(role));
        let by_address =
            || self.0.iter().position(|socket| is_named(socket).is_none() && is_same(socket.address, address));
        let at = by_name.or_else(by_address)?;
        Some(self.0.swap_remove(at).tcp)
    }

    /// Checks that every socket was taken by a node that listens on these.
    ///
    /// # Errors
    ///
    /// When one was not: whoever passed it expects visitors of it to be served.
    pub fn all_taken(&self, wanted: &[(Role, SocketAddr)]) -> Result<(), Misfit> {
        let Some(Socket { descriptor, name, address, .. }) = self.0.first() else { return Ok(()) };
        let wanted = Wanted(wanted.to_vec());
        Err(Misfit { descriptor: *descriptor, name: name.clone(), address: *address, wanted })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("its listeners: there are none");
        }
        for (number, (role, address)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{}.listen {address}", role.name())?;
        }
        Ok(())
    }
}

/// Returns whether a socket listens where it should. One for all IPv6 addresses takes IPv4 as well.
fn is_same(socket: SocketAddr, wanted: SocketAddr) -> bool {
    let everywhere = socket.ip().is_unspecified() && socket.is_ipv6() && wanted.ip().is_unspecified();
    socket.port() == wanted.port() && (socket.ip() == wanted.ip() || everywhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (TcpListener, SocketAddr) {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        (tcp, address)
    }

    fn taken(handed: &mut Handed, role: Role, address: SocketAddr) -> Option<SocketAddr> {
        handed.take(role, address).map(|tcp| tcp.local_addr().unwrap())
    }

    #[test]
    fn a_socket_without_a_name_of_ours_is_found_by_its_address() {
        let ((a, at_a), (b, at_b)) = (socket(), socket());
        let mut handed = Handed::default();
        handed.add(3, "adit.socket", a).unwrap();
        handed.add(4, "", b).unwrap();
        assert_eq!(taken(&mut handed, Role::Admin, ([127, 0, 0, 1], 0).into()), None);
        assert_eq!(taken(&mut handed, Role::Https, at_b), Some(at_b));
        assert_eq!(taken(&mut handed, Role::Http, at_b), None);
        assert_eq!(taken(&mut handed, Role::Http, at_a), Some(at_a));
    }

    #[test]
    fn a_name_decides_whatever_the_address() {
        let ((a, at_a), (b, at_b)) = (socket(), socket());
        let mut handed = Handed::default();
        handed.add(3, "admin", a).unwrap();
        handed.add(4, "http", b).unwrap();
        assert_eq!(taken(&mut handed, Role::Https, at_a), None);
        assert_eq!(taken(&mut handed, Role::Http, at_a), Some(at_b));
        assert_eq!(taken(&mut handed, Role::Admin, at_b), Some(at_a));
    }

    #[test]
    fn everywhere_is_everywhere() {
        let (v6, v4, one): (SocketAddr, SocketAddr, SocketAddr) =
            ("[::]:80".parse().unwrap(), "0.0.0.0:80".parse().unwrap(), "192.0.2.1:80".parse().unwrap());
        assert!(is_same(v6, v4) && is_same(v4, v4) && is_same(v6, v6));
        assert!(!is_same(v4, v6) && !is_same(v6, one) && !is_same(v4, one));
    }

    #[test]
    fn a_socket_that_nobody_wants_is_an_error_that_says_all() {
        let (a, at_a) = socket();
        let mut handed = Handed::default();
        handed.all_taken(&[]).unwrap();
        handed.add(3, "unknown", a).unwrap();
        let wanted = [(Role::Http, ([0, 0, 0, 0], 80).into()), (Role::Admin, ([127, 0, 0, 1], 9090).into())];
        let text = handed.all_taken(&wanted).unwrap_err().to_string();
        let expected = format!(
            "descriptor 3, called \"unknown\" and listening on {at_a}, fits none of http.listen 0.0.0.0:80, admin.listen 127.0.0.1:9090"
        );
        assert_eq!(text, expected);
    }
}
