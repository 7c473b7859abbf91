//! Tokens end to end: the binary, its files, and what it says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod node;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use node::Node;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// Longer than anything takes on a busy machine: only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a line about who came in, or did not, has in it.
const AUDIT: &str = "\"target\":\"adit::audit\"";

fn adit(home: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.current_dir(home.path()).env("RUST_LOG", "trace");
    command
}

fn run(home: &TempDir, args: &[&str]) -> Output {
    let output = adit(home).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    output
}

fn start(home: &TempDir, args: &[&str]) -> Node {
    let mut command = adit(home);
    command.args(args);
    Node::start(command, PATIENCE)
}

/// A folder with certificates, a token for `web-1`, and a server's configuration that takes tokens only.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    run(&home, &["certs"]);
    run(&home, &["token", "new", "web-1", "--group", "web", "--out", "client.token"]);
    let server = "[tunnel]\nlisten = \"127.0.0.1:0\"\ncert = \"certs/server.pem\"\nkey = \"certs/server.key\"\n\
                  tokens_file = \"tokens.toml\"\n[groups.web]\nclients = [\"web-*\"]\n";
    fs::write(home.path().join("server.toml"), server).unwrap();
    home
}

/// Writes a client's configuration, and returns its path.
fn client_file(home: &TempDir, server: &str) -> PathBuf {
    let path = home.path().join("client.toml");
    let tunnel = format!("connect = \"{server}\"\nserver_name = \"localhost\"\nca = \"certs/ca.pem\"\n");
    fs::write(&path, format!("[tunnel]\n{tunnel}token_file = \"client.token\"\ngroup = \"web\"\n")).unwrap();
    path
}

/// Returns the address of the tunnel in a line.
fn tunnel_of(line: &str) -> &str {
    let (_, rest) = line.split_once("\"tunnel\":\"").unwrap();
    rest.split('"').next().unwrap()
}

#[test]
fn a_revoked_token_cuts_its_link_and_no_log_ever_shows_it() {
    let home = home();
    let mut server = start(&home, &["--log-format", "json", "server", "-c", "server.toml"]);
    let up = server.says(&["server is up"]);
    client_file(&home, tunnel_of(&up));
    let mut client = start(&home, &["client", "-c", "client.toml"]);
    server.says(&[AUDIT, "client joined", "\"client\":\"web-1\"", "\"proof\":\"token\""]);
    client.says(&["connected"]);
    run(&home, &["token", "revoke", "web-1"]);
    server.says(&[AUDIT, "link cut", "\"client\":\"web-1\"", "its token is not known, or was revoked"]);
    client.says(&["disconnected", "denied"]);
    // It comes back, and is told why it may not.
    client.says(&["the server says: the token is not valid here"]);
    server.says(&[AUDIT, "join denied", "its token is not known, or was revoked"]);
    let token = fs::read_to_string(home.path().join("client.token")).unwrap();
    let secret = token.trim_end().trim_start_matches("adit_");
    let said = server.end() + &client.end();
    assert!(said.contains("TRACE") && secret.len() == 43);
    assert!(!said.contains(secret), "the token is in a log");
}

#[test]
fn a_new_token_works_without_a_restart() {
    let home = home();
    let mut server = start(&home, &["--log-format", "json", "server", "-c", "server.toml"]);
    let up = server.says(&["server is up"]);
    run(&home, &["token", "new", "web-2", "--group", "web", "--out", "second.token"]);
    server.says(&["configuration reloaded"]);
    fs::rename(home.path().join("second.token"), home.path().join("client.token")).unwrap();
    client_file(&home, tunnel_of(&up));
    let _client = start(&home, &["client", "-c", "client.toml"]);
    server.says(&["client joined", "\"client\":\"web-2\""]);
}

#[test]
fn a_token_that_others_may_read_is_refused() {
    let home = home();
    let path = client_file(&home, "127.0.0.1:1");
    let token = home.path().join("client.token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    let check = || adit(&home).args(["check", "-c", "client.toml"]).output().unwrap();
    let output = check();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let expected = "client.toml:5: tunnel.token_file: others may read ./client.token (mode 0640): run chmod 600 ";
    assert!(said.contains(expected), "{said}");
    let allowed = fs::read_to_string(&path).unwrap() + "allow_readable_keys = true\n";
    fs::write(&path, allowed).unwrap();
    assert!(check().status.success());
}

#[test]
fn a_certificate_that_ends_soon_is_named_in_the_log() {
    let home = home();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let left = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(3 * 24 * 60 * 60 + 60);
    params.not_after = date_time_ymd(1970, 1, 1) + left;
    fs::write(home.path().join("certs/server.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    // Keeps the mode of what was there.
    fs::write(home.path().join("certs/server.key"), key.serialize_pem()).unwrap();
    let mut server = start(&home, &["--log-format", "json", "server", "-c", "server.toml"]);
    server.says(&["\"level\":\"WARN\"", "ends soon", "\"file\":\"./certs/server.pem\"", "\"days\":3"]);
}
