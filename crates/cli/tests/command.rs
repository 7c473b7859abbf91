//! The binary: exit codes, and what it says.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

fn adit(home: &TempDir, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.args(args).current_dir(home.path()).env_remove("RUST_LOG").envs(environment.iter().copied());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with certificates and the shipped configuration.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    assert!(adit(&home, &["certs"], &[]).status.success());
    let config = home.path().join("config");
    fs::create_dir(&config).unwrap();
    for name in ["server.toml", "client.toml"] {
        fs::copy(Path::new("../../config").join(name), config.join(name)).unwrap();
    }
    home
}

#[test]
fn a_good_configuration_checks_out() {
    let home = home();
    for name in ["server", "client"] {
        let output = adit(&home, &["check", "-c", &format!("config/{name}.toml")], &[]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
}

#[test]
fn a_value_out_of_the_environment_is_not_repeated() {
    let home = home();
    let environment = [("ADIT_LIMITS__HEAD_BYTES_MAX", "s3cret"), ("ADIT_TUNNEL__CLIENT_CA", "/nowhere/s3cret")];
    for variable in &environment {
        let output = adit(&home, &["check", "-c", "config/server.toml"], &[*variable]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(variable.0) && said.contains("(its value)") && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn bad_configuration_and_bad_usage_are_2() {
    let home = home();
    fs::write(home.path().join("bad.toml"), "[tunnel]\nlisten = 5\n").unwrap();
    for args in [
        &["check", "-c", "bad.toml"][..],
        &["server", "-c", "bad.toml"],
        &["client", "-c", "nowhere.toml"],
        &["dance"],
        &["explain", "-c", "config/server.toml", "GET", "/no-host"],
    ] {
        let output = adit(&home, args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
    }
}

#[test]
fn a_port_in_use_is_1_and_named() {
    let home = home();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = tcp.local_addr().unwrap().to_string();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = adit(&home, &["server"], &[("ADIT_HTTP__LISTEN", &taken), ("ADIT_TUNNEL__LISTEN", &free)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("cannot listen on TCP {taken}")), "{}", said(&output));
}

#[test]
fn the_environment_goes_before_the_file_and_is_named_when_it_is_wrong() {
    let home = home();
    let check = |variable| adit(&home, &["check", "-c", "config/server.toml"], &[(variable, "nowhere")]);
    let output = check("ADIT_HTTP__LISTEN");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("environment variable ADIT_HTTP__LISTEN: http.listen: "), "{}", said(&output));
    let unknown = check("ADIT_HTTP__LISTN");
    assert!(said(&unknown).contains("http.listn: unknown key"), "{}", said(&unknown));
    // Kubernetes puts such variables into every container beside a service called "adit".
    assert_eq!(check("ADIT_PORT").status.code(), Some(0));
}
