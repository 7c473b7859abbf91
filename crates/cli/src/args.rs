//! The commands.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use adit_node::{Client, Server, expiry::Dated, ingress::handed::Handed, node::StartError, settings::ServerUrl};
use clap::{Parser, Subcommand};
use http::{Method, Uri};

use crate::{
    certs::{self, Outcome},
    config::{self, ConfigError, Loaded, Settings, working_directory},
    demo::Demo,
    explain, handover, life, password,
    reload::follow,
    telemetry::{self, LogFormat},
    token::{self, TokenCommand, TokenError},
};

/// A self-hosted HTTP tunnel: one QUIC connection, one stream per request.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Args {
    /// How log lines look on stderr; RUST_LOG filters them
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Let a crash leave a core dump, if the system does: keys and tokens are in it
    #[arg(long, global = true)]
    core_dumps: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run server, client and a sample backend in one process
    Demo {
        /// The public port
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Tunnel this backend instead of the sample
        #[arg(long, value_name = "URL")]
        backend: Option<ServerUrl>,
    },
    /// Run a server
    Server {
        /// Its configuration
        #[arg(short, long, value_name = "FILE", default_value = "config/server.toml")]
        config: PathBuf,
    },
    /// Run a client
    Client {
        /// Its configuration
        #[arg(short, long, value_name = "FILE", default_value = "config/client.toml")]
        config: PathBuf,
    },
    /// Make a development CA and certificates for a server and clients
    Certs {
        /// Where they go
        #[arg(long, value_name = "DIR", default_value = "certs")]
        dir: PathBuf,
        /// Another name or address of the server, beside those of this machine
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
        /// The name of a client, instead of "client"
        #[arg(long = "client", value_name = "NAME")]
        clients: Vec<String>,
        /// Replace what is there
        #[arg(long)]
        force: bool,
    },
    /// Make, list and revoke the tokens that a server knows
    #[command(subcommand)]
    Token(TokenCommand),
    /// Hash a password, read from stdin, for `basic_auth` of a rule
    Password {
        /// Make a token for `bearer` instead
        #[arg(long)]
        bearer: bool,
    },
    /// Check a configuration without running it
    Check {
        /// The configuration
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show which rule takes a request, and why the others don't
    Explain {
        /// The configuration
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Such as GET
        method: Method,
        /// The URL as the visitor would write it, with scheme and host
        url: Uri,
    },
}

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The user has to change something: exit code 2.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The arguments mean nothing: exit code 2.
    #[error("{0:#}")]
    Usage(anyhow::Error),
    /// Something outside got in the way: exit code 1.
    #[error("{0:#}")]
    Run(#[from] anyhow::Error),
}

/// Runs the command that the arguments name, to its end.
pub fn run(args: Args) -> ExitCode {
    let default_filter = match &args.command {
        // What it prints is for newcomers.
        Command::Demo { .. } => "warn",
        Command::Server { .. }
        | Command::Client { .. }
        | Command::Certs { .. }
        | Command::Token(_)
        | Command::Password { .. }
        | Command::Check { .. }
        | Command::Explain { .. } => "info",
    };
    // Before there are other threads.
    let handed = handover::sockets();
    telemetry::start(args.log_format, default_filter);
    if !args.core_dumps {
        life::forbid_core_dumps();
    }
    let done = match args.command {
        Command::Demo { port, backend } => demo(port, backend),
        Command::Server { config } => server(&config, handed),
        Command::Client { config } => client(&config, handed),
        Command::Certs { dir, hosts, clients, force } => make_certs(&dir, &hosts, &clients, force),
        Command::Token(command) => tokens(command),
        Command::Password { bearer } => make_password(bearer),
        Command::Check { config } => check(&config),
        Command::Explain { config, method, url } => explain(&config, &method, &url),
    };
    let Err(failed) = done else {
        telemetry::flush();
        return ExitCode::SUCCESS;
    };
    telemetry::say_last(&format!("adit: {failed}"));
    match failed {
        Failed::Config(_) => ExitCode::from(2),
        Failed::Usage(_) => ExitCode::from(2),
        Failed::Run(_) => ExitCode::from(1),
    }
}

fn server(path: &Path, handed: anyhow::Result<Handed>) -> Result<(), Failed> {
    let handed = handed?;
    let Loaded { settings, files, certificates } = config::server(path, &working_directory())?;
    live(async |stop| {
        let server = Server::bind_with(settings, handed).await?;
        let tunnel = server.tunnel_address().map_err(StartError::Socket)?;
        tracing::info!(
            %tunnel,
            http = server.http_address().map(tracing::field::display),
            https = server.https_address().map(tracing::field::display),
            admin = server.admin_address().map(tracing::field::display),
            fingerprint = server.fingerprint().map(tracing::field::display),
            "server is up"
        );
        let control = server.control();
        control.watch_certificates(certificates);
        let again = || {
            reload(path, config::server(path, &working_directory()), |settings, certificates| {
                let unchanged = control.reload(settings)?;
                control.watch_certificates(certificates);
                Ok(unchanged)
            })
        };
        tokio::select! {
            () = server.run(stop) => {}
            () = told(control.ready()) => {}
            () = follow(path, files, again) => {}
        }
        Ok(())
    })
}

fn client(path: &Path, handed: anyhow::Result<Handed>) -> Result<(), Failed> {
    let handed = handed?;
    let Loaded { settings, files, certificates } = config::client(path, &working_directory())?;
    live(async |stop| {
        let servers: Vec<_> = settings.tunnel.connect.iter().map(ToString::to_string).collect();
        let client = Client::bind_with(settings, handed).await?;
        tracing::info!(
            servers = servers.join(" "),
            http = client.http_address().map(tracing::field::display),
            https = client.https_address().map(tracing::field::display),
            admin = client.admin_address().map(tracing::field::display),
            "client is up"
        );
        let control = client.control();
        control.watch_certificates(certificates);
        let again = || {
            reload(path, config::client(path, &working_directory()), |settings, certificates| {
                let unchanged = control.reload(settings)?;
                control.watch_certificates(certificates);
                Ok(unchanged)
            })
        };
        tokio::select! {
            () = client.run(stop) => {}
            () = told(control.ready()) => {}
            () = follow(path, files, again) => {}
        }
        Ok(())
    })
}

/// Tells the service manager that a node is ready, once it is, and never ends.
async fn told(ready: impl Future<Output = ()>) {
    ready.await;
    handover::ready();
    std::future::pending().await
}

/// Puts a configuration that was read again in force, or says why the old one stays. Returns the files that it names.
fn reload<T>(
    path: &Path,
    loaded: Result<Loaded<T>, ConfigError>,
    apply: impl FnOnce(T, Vec<Dated>) -> Result<Vec<&'static str>, StartError>,
) -> Option<Vec<PathBuf>> {
    let loaded = loaded.map_err(|error| error.to_string());
    let applied = loaded.and_then(|Loaded { settings, files, certificates }| {
        apply(settings, certificates).map(|unchanged| (unchanged, files)).map_err(|error| error.to_string())
    });
    match applied {
        Ok((unchanged, files)) => {
            tracing::info!(path = %path.display(), "configuration reloaded");
            for key in unchanged {
                tracing::warn!(key, "takes effect at the next restart");
            }
            Some(files)
        }
        Err(error) => {
            tracing::error!("the old configuration stays in force: {error}");
            None
        }
    }
}

fn demo(port: u16, backend: Option<ServerUrl>) -> Result<(), Failed> {
    live(async |stop| {
        let demo = Demo::bind(port, backend).await.map_err(|error| error.context("try another port with --port"))?;
        demo.run(stop).await
    })
}

/// Runs a node on its runtime until a signal ends it.
fn live(work: impl AsyncFnOnce(tokio_util::sync::CancellationToken) -> anyhow::Result<()>) -> Result<(), Failed> {
    life::raise_descriptor_limit();
    let runtime = life::runtime().map_err(anyhow::Error::from)?;
    runtime.block_on(life::until_signal(work)).map_err(anyhow::Error::from)??;
    Ok(())
}

fn make_certs(dir: &Path, hosts: &[String], clients: &[String], force: bool) -> Result<(), Failed> {
    let outcomes = certs::write_all(dir, hosts, clients, force).map_err(anyhow::Error::from)?;
    for (path, outcome) in outcomes {
        let word = match outcome {
            Outcome::Written => "wrote",
            Outcome::Kept => "kept ",
        };
        say(&format!("{word} {} and {}", path.display(), path.with_extension("key").display()))?;
    }
    let fingerprint = certs::fingerprint(dir).map_err(anyhow::Error::from)?;
    say(&format!("clients that have no ca.pem know this server by server_fingerprint = \"{fingerprint}\""))
}

fn tokens(command: TokenCommand) -> Result<(), Failed> {
    let said = token::run(command).map_err(|error| match error {
        TokenError::Config(error) => Failed::Config(error),
        TokenError::Name(_) | TokenError::Exists { .. } | TokenError::Unknown { .. } => Failed::Usage(error.into()),
        TokenError::File { .. } | TokenError::Random => Failed::Run(error.into()),
    })?;
    write!(std::io::stdout(), "{}", *said.out).map_err(anyhow::Error::from)?;
    if !said.hint.is_empty() {
        let _ = writeln!(std::io::stderr(), "{}", said.hint);
    }
    Ok(())
}

fn make_password(bearer: bool) -> Result<(), Failed> {
    if !bearer {
        return say(&password::ask_and_hash().map_err(Failed::Usage)?);
    }
    let (token, hash) = password::new_token()?;
    say(&format!("for whoever asks, shown once: {token}\nfor the file:                    {hash}"))
}

fn check(path: &Path) -> Result<(), Failed> {
    let kind = match config::either(path, &working_directory())? {
        Settings::Server(settings) => {
            format!("a server with {} ingress rules, {} groups", settings.ingress.len(), settings.groups.len())
        }
        Settings::Client(settings) => {
            format!("a client of the group {} with {} egress rules", settings.tunnel.group, settings.egress.rules.len())
        }
    };
    say(&format!("{}: {kind}", path.display()))
}

fn explain(path: &Path, method: &Method, url: &Uri) -> Result<(), Failed> {
    let settings = config::either(path, &working_directory())?;
    let explained = explain::explain(&settings, method, url).map_err(Failed::Usage)?;
    say(explained.trim_end())
}

fn say(line: &str) -> Result<(), Failed> {
    telemetry::flush();
    writeln!(std::io::stdout(), "{line}").map_err(anyhow::Error::from)?;
    Ok(())
}
