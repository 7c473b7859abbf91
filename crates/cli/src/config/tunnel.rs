//! `[tunnel]`: who is at either end of a link, and where.

use std::path::Path;

use adit_core::token::PREFIX;
use adit_node::{
    credentials::{self, Credentials, KeyMode},
    link::client_trust::ClientTrust,
    settings::{
        Allow, ClientProof, HostPort, ServerNames, ServerTrust, TunnelConnect, TunnelListen,
        resolve::{At, ResolveError},
    },
};
use rustls::pki_types::ServerName;

use super::{
    file::{self, OneOrMany},
    tokens,
};

/// Resolves `[tunnel]` of a server.
pub(super) fn listen(at: &At, base: &Path, tunnel: file::TunnelListen) -> Result<TunnelListen, ResolveError> {
    if tunnel.client_ca.is_none() && tunnel.tokens_file.is_none() {
        let problem = "missing: nobody could join without client_ca, tokens_file or both";
        return Err(at.key("client_ca").error(problem));
    }
    if tunnel.client_crl.is_some() && tunnel.client_ca.is_none() {
        return Err(at.key("client_crl").error("is for the certificates that client_ca signs, and there is none"));
    }
    let crls = tunnel.client_crl.map(|path| at.key("client_crl").check(credentials::crls_from_file(&base.join(path))));
    let roots = tunnel.client_ca.map(|path| at.key("client_ca").check(credentials::roots_from_file(&base.join(path))));
    let tokens = tunnel.tokens_file.map(|path| at.key("tokens_file").check(tokens::tokens(&base.join(path))));
    let key_mode = key_mode(tunnel.allow_readable_keys);
    let listen = TunnelListen {
        listen: tunnel.listen,
        credentials: credentials(at, base, key_mode, &tunnel.cert, &tunnel.key)?,
        client_roots: roots.transpose()?,
        client_crls: crls.transpose()?.unwrap_or_default(),
        tokens: tokens.transpose()?,
        congestion: tunnel.congestion,
    };
    at.key("client_ca").check(ClientTrust::new(&listen))?;
    Ok(listen)
}

/// Who may read keys.
pub(super) fn key_mode(allow_readable_keys: bool) -> KeyMode {
    if allow_readable_keys { KeyMode::Any } else { KeyMode::OwnerOnly }
}

/// Resolves `[tunnel]` of a client.
pub(super) fn connect(at: &At, base: &Path, tunnel: file::TunnelConnect) -> Result<TunnelConnect, ResolveError> {
    let proof = client_proof(at, base, &tunnel)?;
    let trust = server_trust(at, base, &tunnel)?;
    let targets = match tunnel.connect {
        OneOrMany::One(target) => vec![(at.key("connect"), target)],
        OneOrMany::Many(targets) => {
            (0..).zip(targets).map(|(index, target)| (at.key("connect").index(index), target)).collect()
        }
    };
    let mut connect = Vec::new();
    for (at, target) in targets {
        connect.push(at.check(target.parse::<HostPort>())?);
    }
    if connect.is_empty() {
        return Err(at.key("connect").error("no address to connect to"));
    }
    let mut allow = Allow::default();
    for (index, text) in (0..).zip(&tunnel.allow) {
        at.key("allow").index(index).check(allow.add(text))?;
    }
    Ok(TunnelConnect {
        server_name: server_names(&at.key("server_name"), tunnel.server_name, &connect)?,
        trust,
        proof,
        group: at.key("group").check(tunnel.group.parse())?,
        allow,
        congestion: tunnel.congestion,
        connect,
    })
}

fn server_names(at: &At, names: Option<OneOrMany>, connect: &[HostPort]) -> Result<ServerNames, ResolveError> {
    let check = |at: &At, name: String| match ServerName::try_from(name.as_str()) {
        Ok(_) => Ok(name),
        Err(_) => Err(at.error(format!("{name:?} is no name that a certificate can have"))),
    };
    match names {
        None => Ok(ServerNames::default()),
        Some(OneOrMany::One(name)) => Ok(ServerNames::one(check(at, name)?)),
        Some(OneOrMany::Many(names)) if names.len() == connect.len() => {
            let named = (0..).zip(names).map(|(index, name)| check(&at.index(index), name));
            let names = named.collect::<Result<Vec<_>, _>>()?;
            Ok(ServerNames::each(connect.iter().cloned().zip(names)))
        }
        Some(OneOrMany::Many(names)) => {
            let (names, addresses) = (names.len(), connect.len());
            Err(at.error(format!("{names} names for {addresses} addresses in connect: one for each is needed")))
        }
    }
}

/// How a client knows its server: by who signed for it, or by its key.
fn server_trust(at: &At, base: &Path, tunnel: &file::TunnelConnect) -> Result<ServerTrust, ResolveError> {
    match (&tunnel.ca, &tunnel.server_fingerprint) {
        (Some(ca), None) => {
            let roots = credentials::roots_from_file(&base.join(ca));
            Ok(ServerTrust::Authority(at.key("ca").check(roots)?))
        }
        (None, Some(fingerprint)) => {
            Ok(ServerTrust::Fingerprint(at.key("server_fingerprint").check(fingerprint.parse())?))
        }
        (None, None) => Err(at.key("ca").error("missing: a client needs ca, or server_fingerprint")),
        (Some(_), Some(_)) => {
            Err(at.key("server_fingerprint").error("a client knows its server by this or by ca, and not by both"))
        }
    }
}

/// How a client proves who it is: with a certificate and its key, or with a token.
fn client_proof(at: &At, base: &Path, tunnel: &file::TunnelConnect) -> Result<ClientProof, ResolveError> {
    let key_mode = key_mode(tunnel.allow_readable_keys);
    match (&tunnel.cert, &tunnel.key, &tunnel.token_file) {
        (Some(cert), Some(key), None) => Ok(ClientProof::Certificate(credentials(at, base, key_mode, cert, key)?)),
        (None, None, Some(token)) => {
            let is_token = token.to_str().is_some_and(|text| text.starts_with(PREFIX));
            if is_token && !base.join(token).exists() {
                // Whatever else is said of a file has its name in it.
                return Err(at.key("token_file").error("is the name of a file, and a token stands there itself"));
            }
            let token = credentials::token_from_file(&base.join(token), key_mode);
            Ok(ClientProof::Token(at.key("token_file").check(token)?))
        }
        (Some(_), None, None) => Err(at.key("key").error("missing, and there is a cert")),
        (None, Some(_), None) => Err(at.key("cert").error("missing, and there is a key")),
        (None, None, None) => Err(at.key("cert").error("missing: a client needs cert and key, or token_file")),
        (Some(_), _, Some(_)) | (None, Some(_), Some(_)) => {
            Err(at.key("token_file").error("a client has a certificate or a token, and not both"))
        }
    }
}

/// Reads a certificate and its key, which `cert` and `key` below `at` name.
pub(super) fn credentials(
    at: &At,
    base: &Path,
    key_mode: KeyMode,
    cert: &Path,
    key: &Path,
) -> Result<Credentials, ResolveError> {
    let (cert, key) = (base.join(cert), base.join(key));
    Credentials::from_files(&cert, &key, key_mode).map_err(|error| {
        // The key is named where the key is to blame.
        let name = if error.path() == Some(&key) { "key" } else { "cert" };
        at.key(name).error(error)
    })
}
