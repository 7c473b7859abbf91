//! The older design of a tunnel as a command; see the library.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use baseline_grpc::{client::Client, server::Server, socket::Congestion, tls, upstream::Upstream};
use clap::{Args, Parser, Subcommand};
use rustls::pki_types::ServerName;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Takes visitors' requests and hands them to the client that connected last
    Server(ServerArguments),
    /// Connects to a server and answers from an upstream
    Client(ClientArguments),
}

#[derive(Debug, Args)]
struct ServerArguments {
    /// Where visitors connect
    #[arg(long)]
    listen: SocketAddr,
    /// Where clients connect
    #[arg(long)]
    tunnel: SocketAddr,
    #[arg(long)]
    cert: PathBuf,
    #[arg(long)]
    key: PathBuf,
    /// Who signs the certificates of clients
    #[arg(long)]
    client_ca: PathBuf,
    /// TCP's congestion control in the tunnel; left out for the system's
    #[arg(long)]
    congestion: Option<Congestion>,
}

#[derive(Debug, Args)]
struct ClientArguments {
    /// Where the server listens for clients
    #[arg(long)]
    connect: SocketAddr,
    /// The name in the server's certificate
    #[arg(long, default_value = "localhost")]
    server_name: String,
    /// Who signs the server's certificate
    #[arg(long)]
    ca: PathBuf,
    #[arg(long)]
    cert: PathBuf,
    #[arg(long)]
    key: PathBuf,
    /// Address of the backend
    #[arg(long)]
    upstream: SocketAddr,
    /// TCP's congestion control in the tunnel; left out for the system's
    #[arg(long)]
    congestion: Option<Congestion>,
}

/// One thread, as in adit: the transports are compared, not the runtimes.
fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match Arguments::parse().role {
        Role::Server(arguments) => runtime.block_on(serve(arguments)),
        Role::Client(arguments) => runtime.block_on(connect(arguments)),
    }
}

async fn serve(arguments: ServerArguments) -> anyhow::Result<()> {
    let tls = tls::server(&arguments.cert, &arguments.key, &arguments.client_ca)?;
    let server =
        Server::bind(arguments.listen, arguments.tunnel, tls, arguments.congestion).context("binding the sockets")?;
    tracing::info!(entry = %server.entry()?, tunnel = %server.tunnel()?, "serving");
    server.run().await
}

async fn connect(arguments: ClientArguments) -> anyhow::Result<()> {
    let client = Client {
        connect: arguments.connect,
        server_name: ServerName::try_from(arguments.server_name)?,
        tls: tls::client(&arguments.ca, &arguments.cert, &arguments.key)?,
        congestion: arguments.congestion,
        upstream: Upstream::new(arguments.upstream),
    };
    client.run().await;
    Ok(())
}
