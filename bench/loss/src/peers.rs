//! How the tunnels that others make are started: as their documentation shows it, without tuning.

use std::process::Command;

use crate::programs::{Place, Side, command};

impl Place {
    pub(crate) fn rathole(&self, side: Side) -> anyhow::Result<Command> {
        let (entry, tunnel, upstream) = (self.local_entry(), self.tunnel(), self.upstream());
        let config = match side {
            Side::Server => format!(
                "[server]\nbind_addr = \"{tunnel}\"\ndefault_token = \"bench\"\n\
                 [server.services.web]\nbind_addr = \"{entry}\"\n"
            ),
            Side::Client => format!(
                "[client]\nremote_addr = \"{tunnel}\"\ndefault_token = \"bench\"\n\
                 [client.services.web]\nlocal_addr = \"{upstream}\"\n"
            ),
        };
        let config = self.write(&format!("rathole-{}.toml", side.name()), &config)?;
        Ok(command("rathole", [format!("--{}", side.name()).as_ref(), config.as_os_str()]))
    }

    pub(crate) fn frp(&self, side: Side, protocol: &str) -> anyhow::Result<Command> {
        let (entry, upstream) = (self.local_entry(), self.upstream());
        let (server, port) = (self.server, self.tunnel_port);
        let (program, config) = match side {
            Side::Server => (
                "frps",
                format!(
                    "bindAddr = \"{server}\"\nbindPort = {port}\nquicBindPort = {port}\nproxyBindAddr = \"{}\"\n",
                    entry.ip()
                ),
            ),
            Side::Client => (
                "frpc",
                format!(
                    "serverAddr = \"{server}\"\nserverPort = {port}\ntransport.protocol = \"{protocol}\"\n\
                     [[proxies]]\nname = \"web\"\ntype = \"tcp\"\nlocalIP = \"{}\"\nlocalPort = {}\nremotePort = {}\n",
                    upstream.ip(),
                    upstream.port(),
                    entry.port()
                ),
            ),
        };
        let config = self.write(&format!("{program}.toml"), &config)?;
        Ok(command(program, ["-c".as_ref(), config.as_os_str()]))
    }

    /// Its tunnel has a port of its own, 7835.
    pub(crate) fn bore(&self, side: Side) -> Command {
        let (entry, upstream) = (self.entry_port.to_string(), self.backend_port.to_string());
        match side {
            Side::Server => command("bore", ["server", "--min-port", &entry, "--max-port", &entry]),
            Side::Client => command("bore", ["local", &upstream, "--to", &self.server.to_string(), "--port", &entry]),
        }
    }

    pub(crate) fn wstunnel(&self, side: Side) -> Command {
        let (entry, server, upstream) = (self.local_entry(), format!("wss://{}", self.tunnel()), self.upstream());
        match side {
            Side::Server => command("wstunnel", ["server", &server]),
            Side::Client => command("wstunnel", ["client", "-R", &format!("tcp://{entry}:{upstream}"), &server]),
        }
    }

    pub(crate) fn chisel(&self, side: Side) -> Command {
        let (entry, tunnel, upstream) = (self.local_entry(), self.tunnel(), self.upstream());
        let (server, port) = (self.server.to_string(), self.tunnel_port.to_string());
        match side {
            Side::Server => command("chisel", ["server", "--reverse", "--host", &server, "--port", &port]),
            Side::Client => {
                command("chisel", ["client", &format!("http://{tunnel}"), &format!("R:{entry}:{upstream}")])
            }
        }
    }
}
