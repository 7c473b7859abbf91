//! Configuration files: the examples load, and what is wrong is named with its place.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use adit::{
    certs,
    config::{self, Settings},
};
use adit_core::balance::policy::Policy;
use tempfile::TempDir;

/// How many files `config/` has; whoever adds one says so here.
const EXAMPLES: usize = 6;

const TUNNEL: &str = "[tunnel]
listen = \"127.0.0.1:4433\"
cert = \"certs/server.pem\"
key = \"certs/server.key\"
client_ca = \"certs/ca.pem\"
";

/// A folder with certificates in `certs/`, as next to a real configuration.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let clients = ["client", "web-1", "web-2", "api-1"].map(str::to_owned);
    certs::write_all(&home.path().join("certs"), &[], &clients, false).unwrap();
    home
}

fn toml_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(toml_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files
}

/// Loads a server's configuration that is wrong, and returns what adit says, without the name of the file.
fn complaint(home: &TempDir, text: &str) -> String {
    let path = home.path().join("server.toml");
    fs::write(&path, text).unwrap();
    let error = config::either(&path, home.path()).unwrap_err().to_string();
    error.strip_prefix(&format!("{}:", path.display())).unwrap_or(&error).to_owned()
}

#[test]
fn every_file_in_config_loads() {
    let home = home();
    let files = toml_files(Path::new("../../config"));
    for file in &files {
        config::either(file, home.path()).unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(files.len(), EXAMPLES, "{files:?}");
}

#[test]
fn the_shipped_client_fits_the_shipped_server() {
    let home = home();
    let load = |name: &str| config::either(&Path::new("../../config").join(name), home.path()).unwrap();
    let (Settings::Server(server), Settings::Client(client)) = (load("server.toml"), load("client.toml")) else {
        panic!("server.toml and client.toml are not what their names say");
    };
    let connect = &client.tunnel.connect[0];
    assert_eq!(connect.port, server.tunnel.listen.port());
    assert!(server.groups[&client.tunnel.group].clients.iter().any(|name| name == "client"));
    assert!(server.ingress.iter().any(|rule| rule.group == client.tunnel.group));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let said = complaint(&home(), &format!("{TUNNEL}[http]\nlistn = \"127.0.0.1:80\"\n"));
    assert_eq!(
        said,
        "7: http.listn: unknown key, did you mean listen? (known here: listen, trusted_proxies, proxy_protocol)"
    );
}

#[test]
fn a_bad_value_is_named_with_its_line() {
    let said = complaint(&home(), &format!("{TUNNEL}[http]\nlisten = \"nowhere\"\n"));
    assert_eq!(said, "7: http.listen: invalid socket address syntax");
    let said = complaint(&home(), &format!("{TUNNEL}[limits]\nhead_fields_max = 0\n"));
    assert_eq!(said, "7: limits.head_fields_max: must be at least 1");
    let said = complaint(&home(), &format!("{TUNNEL}[groups.a]\nclients = [\n  \"x\",\n  5,\n]\n"));
    assert_eq!(said, "9: groups.a.clients[1]: invalid type: found signed int `5`, expected a string");
}

/// A token as `openssl rand -base64 32` makes them.
const ADMIN_TOKEN: &str = "q8mX2oFhQm1+/0Zp5yUu3vN9c7kLrT4wEaGsBdIjHkY=";

fn with_admin_token(home: &TempDir, token: &str, mode: u32) {
    let path = home.path().join("admin.token");
    fs::write(&path, token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_admin_address_that_others_may_reach_needs_a_token_and_tls() {
    let home = home();
    with_admin_token(&home, &format!("{ADMIN_TOKEN}\n"), 0o600);
    let token = "token_file = \"admin.token\"\n";
    let pair = "cert = \"certs/server.pem\"\nkey = \"certs/server.key\"\n";
    let admin = |listen: &str, rest: &str| format!("{TUNNEL}[admin]\nlisten = \"{listen}:9090\"\n{rest}");
    for (rest, missing) in
        [("", "set token_file, cert and key in"), (token, "set cert and key in"), (pair, "set token_file in")]
    {
        let said = complaint(&home, &admin("0.0.0.0", rest));
        assert!(said.starts_with("7: admin.listen: 0.0.0.0:9090 is not a loopback address, "), "{said}");
        assert!(said.contains(missing), "{said}");
    }
    let path = home.path().join("server.toml");
    let both = format!("{token}{pair}");
    for (listen, rest) in [("0.0.0.0", &*both), ("[::1]", ""), ("127.0.0.1", token), ("127.0.0.1", pair)] {
        fs::write(&path, admin(listen, rest)).unwrap();
        let settings = config::server(&path, home.path()).unwrap().settings.admin.unwrap();
        assert_eq!(settings.token().is_some(), rest.contains("token_file"), "{listen} {rest}");
        assert_eq!(settings.credentials().is_some(), rest.contains("cert"), "{listen} {rest}");
    }
    let said = complaint(&home, &admin("127.0.0.1", "key = \"certs/server.key\"\n"));
    assert_eq!(said, "6: admin.cert: missing, and there is a key");
    let said = complaint(&home, &admin("127.0.0.1", "token = \"x\"\n"));
    assert_eq!(said, "8: admin.token: unknown key (known here: listen, token_file, cert, key)");
}

#[test]
fn an_admin_token_that_is_short_or_readable_or_out_of_place_is_refused_and_not_repeated() {
    let home = home();
    let admin = |file: &str| format!("{TUNNEL}[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{file}\"\n");
    let shown = home.path().join("admin.token").display().to_string();
    let two_lines = format!("{ADMIN_TOKEN}\n{ADMIN_TOKEN}\n");
    for (token, mode, words) in [
        ("", 0o600, "holds no token for the admin interface: "),
        (&ADMIN_TOKEN[..31], 0o600, "holds no token for the admin interface: "),
        (&two_lines, 0o600, "holds no token for the admin interface: "),
        (ADMIN_TOKEN, 0o640, "(mode 0640): run chmod 600 "),
    ] {
        with_admin_token(&home, token, mode);
        let said = complaint(&home, &admin("admin.token"));
        assert!(said.starts_with("8: admin.token_file: ") && said.contains(words) && said.contains(&shown), "{said}");
        assert!(!said.contains(&ADMIN_TOKEN[..8]), "{said}");
    }
    let said = complaint(&home, &admin(ADMIN_TOKEN));
    assert_eq!(said, "8: admin.token_file: there is no file of that name; a token stands in a file, and not here");
}

#[test]
fn a_group_that_may_have_no_request_is_refused() {
    let said = complaint(&home(), &format!("{TUNNEL}[groups.g]\nclients = []\nexchanges_max = 0\n"));
    assert_eq!(said, "8: groups.g.exchanges_max: must be at least 1");
}

#[test]
fn a_bad_retry_budget_is_named_with_its_line() {
    let home = home();
    let said = |keys: &str| complaint(&home, &format!("{TUNNEL}[groups.g]\nclients = []\nretry_budget = {keys}\n"));
    assert_eq!(said("{ share = 1.5 }"), "8: groups.g.retry_budget.share: must be from 0.0 to 1.0");
    assert_eq!(said("{ share = nan }"), "8: groups.g.retry_budget.share: must be from 0.0 to 1.0");
    assert_eq!(said("{ part = 0.5 }"), "8: groups.g.retry_budget.part: unknown key (known here: share, per_second)");
}

#[test]
fn a_bad_upstream_is_named_with_its_line() {
    let home = home();
    let said = |keys: &str| complaint(&home, &format!("{TUNNEL}[upstreams.a]\nservers = [\"https://a\"]\n{keys}\n"));
    let policies = "`round_robin`, `least_requests`, `random`, `p2c`";
    assert_eq!(
        said("policy = \"fastest\""),
        format!("8: upstreams.a.policy: unknown variant: found `fastest`, expected `one of {policies}`")
    );
    assert_eq!(
        said("server_name = \"a b\""),
        "8: upstreams.a.server_name: \"a b\" is no name that a certificate can have"
    );
    assert_eq!(said("ca_file = \"certs\"").split(" cannot").next(), Some("8: upstreams.a.ca_file:"));
    assert_eq!(said("health = { interval = \"1s\" }"), "8: upstreams.a.health.path: missing");
    assert_eq!(said("health = { path = \"x\" }"), "8: upstreams.a.health.path: must begin with /");
    assert_eq!(said("health = { path = \"/ x\" }"), "8: upstreams.a.health.path: invalid uri character");
    assert_eq!(
        said("[upstreams.a.health]\npath = \"/\"\ntimeout = \"0s\""),
        "10: upstreams.a.health.timeout: must be more than 0"
    );
    assert_eq!(
        said("[upstreams.a.health]\npath = \"/\"\ninterval = \"soon\""),
        "10: upstreams.a.health.interval: invalid value string \"soon\", expected a duration"
    );
    let pushed = "[groups.g]\nclients = []\n[groups.g.upstreams.u]\nservers = [\"http://u\"]\nhealth = { path = \"/\", interval = \"1ms\" }";
    assert_eq!(said(pushed), "12: groups.g.upstreams.u.health.interval: must be at least 100ms");
    let plain = format!("{TUNNEL}[upstreams.a]\nservers = [\"http://a\"]\nserver_name = \"b\"\n");
    assert_eq!(complaint(&home, &plain), "8: upstreams.a.server_name: is for https:// servers, and there are none");
}

#[test]
fn an_upstream_is_what_its_keys_say() {
    let home = home();
    let path = home.path().join("server.toml");
    let load = |keys: &str| {
        fs::write(&path, format!("{TUNNEL}{keys}")).unwrap();
        config::server(&path, home.path()).unwrap().settings.egress.upstreams.remove("a").unwrap()
    };
    let upstream = load("[upstreams.a]\nservers = [\"http://a\"]\n");
    assert_eq!((upstream.policy, upstream.idle_connections_max), (Policy::P2c, 256));
    assert!(upstream.check.is_none() && upstream.server_name.is_none());
    let keys = "policy = \"least_requests\"\nserver_name = \"b\"\nhealth = { path = \"/up?x=1\", interval = \"1m\" }\n";
    let upstream =
        load(&format!("[limits]\nidle_connections_max = 2\n[upstreams.a]\nservers = [\"https://a\"]\n{keys}"));
    assert_eq!((upstream.policy, upstream.idle_connections_max), (Policy::LeastRequests, 2));
    assert!(upstream.server_name.is_some());
    let check = upstream.check.unwrap();
    assert_eq!((check.path.as_str(), check.interval.as_secs(), check.timeout.as_secs()), ("/up?x=1", 60, 2));
}

#[test]
fn a_missing_key_is_placed_where_it_belongs() {
    let without_cert = TUNNEL.replace("cert = \"certs/server.pem\"\n", "");
    assert_eq!(complaint(&home(), &without_cert), "1: tunnel.cert: missing");
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    let said = complaint(&home(), "[tunnel]\nlisten = \n");
    assert!(said.starts_with("2: not TOML: "), "{said}");
}

#[test]
fn a_reference_that_leads_nowhere_is_named() {
    let said = complaint(&home(), &format!("{TUNNEL}[[ingress]]\ngroup = \"a\"\n"));
    assert_eq!(said, "7: ingress[0].group: there is no [groups.a]");
    let said = complaint(&home(), &format!("{TUNNEL}[[egress]]\nupstream = \"a\"\n"));
    assert_eq!(said, "7: egress[0].upstream: there is no [upstreams.a]");
}

#[test]
fn a_server_that_nobody_could_join_is_refused() {
    let said = complaint(&home(), &TUNNEL.replace("client_ca = \"certs/ca.pem\"\n", ""));
    assert_eq!(said, "1: tunnel.client_ca: missing: nobody could join without client_ca, tokens_file or both");
    let said = complaint(&home(), &TUNNEL.replace("client_ca = \"certs/ca.pem\"", "tokens_file = \"none.toml\""));
    assert!(said.starts_with("5: tunnel.tokens_file: ") && said.contains("none.toml: cannot read it: "), "{said}");
}

#[test]
fn a_client_has_one_proof_of_who_it_is() {
    let home = home();
    let path = home.path().join("client.toml");
    let said = |proof: &str| {
        let tunnel = "[tunnel]\nconnect = \"127.0.0.1:1\"\nca = \"certs/ca.pem\"\ngroup = \"web\"\n";
        fs::write(&path, format!("{tunnel}{proof}")).unwrap();
        config::client(&path, home.path()).map(drop).map_err(|error| error.to_string()).unwrap_err()
    };
    let (cert, key) = ("cert = \"certs/client.pem\"\n", "key = \"certs/client.key\"\n");
    let token = "token_file = \"client.token\"\n";
    for (proof, expected) in [
        (String::new(), ":1: tunnel.cert: missing: a client needs cert and key, or token_file"),
        (cert.to_owned(), ":1: tunnel.key: missing, and there is a cert"),
        (key.to_owned(), ":1: tunnel.cert: missing, and there is a key"),
        (format!("{cert}{key}{token}"), ":7: tunnel.token_file: a client has a certificate or a token, and not both"),
        (token.to_owned(), ":5: tunnel.token_file: cannot read "),
    ] {
        let said = said(&proof);
        assert!(said.contains(expected), "{said}");
    }
    fs::write(home.path().join("client.token"), "adit_tooshort\n").unwrap();
    assert!(said(token).contains("client.token: not a token: "), "{}", said(token));
}

#[test]
fn what_is_in_the_place_of_a_key_is_explained() {
    let home = home();
    let key = home.path().join("certs/server.key");
    let body = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let legacy = format!(
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{body}\n-----END RSA PRIVATE KEY-----\n"
    );
    let decrypt = "is encrypted; decrypt it with: openssl pkey -in ";
    for (contents, expected) in [
        (pem("ENCRYPTED PRIVATE KEY").into_bytes(), decrypt),
        (legacy.into_bytes(), decrypt),
        (pem("CERTIFICATE").into_bytes(), "holds a certificate and no key"),
        (pem("PUBLIC KEY").into_bytes(), "holds a public key and no private one"),
        (pem("OPENSSH PRIVATE KEY").into_bytes(), "holds a key for OpenSSH"),
        (vec![0x30, 0x81, 0x87, 0x02], "is not PEM; if it is DER: openssl pkey -inform DER -in "),
        (Vec::new(), "holds no private key: "),
        (pem("PRIVATE KEY").into_bytes(), "tunnel.cert: the certificate and its key: "),
    ] {
        fs::write(&key, contents).unwrap();
        let said = complaint(&home, TUNNEL);
        let placed = format!("4: tunnel.key: {} {expected}", key.display());
        assert!(said.starts_with(&placed) || said.contains(expected) && expected.starts_with("tunnel.cert"), "{said}");
    }
    let swapped = TUNNEL.replace("server.pem", "client.key");
    let said = complaint(&home, &swapped);
    assert!(said.starts_with("3: tunnel.cert: ") && said.contains("holds a private key and no certificate"), "{said}");
}

#[test]
fn a_client_knows_its_server_in_one_way() {
    let home = home();
    let path = home.path().join("client.toml");
    let load = |keys: &str| {
        let tunnel = "[tunnel]\nconnect = \"127.0.0.1:1\"\ncert = \"certs/client.pem\"\nkey = \"certs/client.key\"\n";
        fs::write(&path, format!("{tunnel}group = \"web\"\n{keys}")).unwrap();
        config::client(&path, home.path()).map(drop).map_err(|error| error.to_string())
    };
    let ca = "ca = \"certs/ca.pem\"\n";
    let pinned = format!("server_fingerprint = \"{}\"\n", certs::fingerprint(&home.path().join("certs")).unwrap());
    assert_eq!(load(ca), Ok(()));
    assert_eq!(load(&pinned), Ok(()));
    for (keys, expected) in [
        (String::new(), ":1: tunnel.ca: missing: a client needs ca, or server_fingerprint"),
        (format!("{ca}{pinned}"), ":7: tunnel.server_fingerprint: a client knows its server by this or by ca, "),
        ("server_fingerprint = \"sha256:00\"\n".to_owned(), ":6: tunnel.server_fingerprint: not a fingerprint: "),
    ] {
        let said = load(&keys).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn each_server_has_its_host_for_a_name_or_the_one_that_is_said() {
    let home = home();
    let path = home.path().join("client.toml");
    let load = |name: &str| {
        let tunnel = "[tunnel]\ncert = \"certs/client.pem\"\nkey = \"certs/client.key\"\nca = \"certs/ca.pem\"\n";
        let connect = "group = \"web\"\nconnect = [\"a.example:1\", \"[::1]:2\"]\n";
        fs::write(&path, format!("{tunnel}{connect}{name}")).unwrap();
        let loaded = config::client(&path, home.path()).map_err(|error| error.to_string())?;
        let tunnel = loaded.settings.tunnel;
        Ok::<_, String>(
            tunnel.connect.iter().map(|server| tunnel.server_name.of(server).to_owned()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(load("").unwrap(), ["a.example", "::1"]);
    assert_eq!(load("server_name = \"b.example\"").unwrap(), ["b.example", "b.example"]);
    assert_eq!(load("server_name = [\"b.example\", \"c.example\"]").unwrap(), ["b.example", "c.example"]);
    for (name, expected) in [
        ("server_name = [\"b\"]", ":7: tunnel.server_name: 1 names for 2 addresses in connect: one for each is needed"),
        ("server_name = \"a b\"", ":7: tunnel.server_name: \"a b\" is no name that a certificate can have"),
        ("server_name = [\"b\", \"\"]", ":7: tunnel.server_name[1]: \"\" is no name that a certificate can have"),
    ] {
        let said = load(name).unwrap_err();
        assert!(said.ends_with(expected), "{said}");
    }
}

#[test]
fn a_revocation_list_that_cannot_be_used_is_named() {
    let home = home();
    let said = complaint(&home, &format!("{TUNNEL}client_crl = \"certs/ca.pem\"\n"));
    assert!(said.starts_with("6: tunnel.client_crl: ") && said.contains("ca.pem holds no revocation list: "), "{said}");
    let tokens = TUNNEL.replace("client_ca = \"certs/ca.pem\"", "tokens_file = \"none.toml\"");
    let said = complaint(&home, &format!("{tokens}client_crl = \"certs/ca.pem\"\n"));
    assert!(said.starts_with("6: tunnel.client_crl: is for the certificates that client_ca signs"), "{said}");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let home = home();
    let key = home.path().join("certs/server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let said = complaint(&home, TUNNEL);
    let shown = key.display();
    let expected = format!("4: tunnel.key: others may read {shown} (mode 0644): run chmod 600 {shown}, ");
    assert!(said.starts_with(&expected), "{said}");
    let path = home.path().join("server.toml");
    fs::write(&path, format!("{TUNNEL}allow_readable_keys = true\n")).unwrap();
    config::server(&path, home.path()).unwrap();
    // The keys of entries as well.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(home.path().join("certs/web-1.key"), fs::Permissions::from_mode(0o620)).unwrap();
    let entry = "[https]\nlisten = \"127.0.0.1:0\"\ncert = \"certs/web-1.pem\"\nkey = \"certs/web-1.key\"\n";
    let said = complaint(&home, &format!("{TUNNEL}{entry}"));
    assert!(said.starts_with("9: https.key: others may read "), "{said}");
}

#[test]
fn two_equal_rules_are_an_error_that_shows_both() {
    let rules = "[groups.a]\nclients = []\n[[ingress]]\ngroup = \"a\"\nhost = \"x\"\n[[ingress]]\ngroup = \"a\"\nhost = \"X.\"\npath = \"/\"\n";
    let said = complaint(&home(), &format!("{TUNNEL}{rules}"));
    assert_eq!(said, "11: ingress[1]: two rules for x/; the other one is ingress[0] on line 8");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_key() {
    let home = home();
    let lost = TUNNEL.replace("server.key", "lost.key");
    let said = complaint(&home, &lost);
    let expected = format!("4: tunnel.key: cannot read {}: ", home.path().join("certs/lost.key").display());
    assert!(said.starts_with(&expected), "{said}");
    let mixed = TUNNEL.replace("server.key", "client.key");
    let said = complaint(&home, &mixed);
    let certs = home.path().join("certs");
    let expected =
        format!("4: tunnel.key: {0}/client.key belongs to another certificate than {0}/server.pem", certs.display());
    assert_eq!(said, expected);
}

#[test]
fn a_missing_file_is_not_an_empty_one() {
    let error = config::server(Path::new("/nowhere/server.toml"), Path::new(".")).unwrap_err();
    assert_eq!(error.to_string(), "/nowhere/server.toml: cannot read it: No such file or directory (os error 2)");
}

#[test]
fn listeners_that_overlap_are_named() {
    let overlapping = "[http]\nlisten = \"0.0.0.0:8080\"\n[admin]\nlisten = \"127.0.0.1:8080\"\n";
    let said = complaint(&home(), &format!("{TUNNEL}{overlapping}"));
    assert_eq!(said, "9: admin.listen: 127.0.0.1:8080 overlaps with http.listen, 0.0.0.0:8080");
}

#[test]
fn what_is_wrong_with_an_entry_with_tls_is_named_with_its_line() {
    let home = home();
    let pair = "cert = \"certs/server.pem\"\nkey = \"certs/server.key\"\n";
    let other = "cert = \"certs/ca.pem\"\nkey = \"certs/server.key\"\n";
    for (lines, expected) in [
        ("", "6: https.cert: missing: an entry with TLS needs cert and key, or [[https.certificates]]"),
        ("cert = \"certs/server.pem\"\n", "6: https.key: missing, and there is a cert"),
        ("cert = \"certs/none.pem\"\nkey = \"certs/server.key\"\n", "8: https.cert: cannot read "),
        ("cert = \"certs/server.pem\"\nkey = \"certs/server.pem\"\n", "9: https.key: "),
        (&format!("{pair}[[https.certificates]]\n{other}"), "12: https.certificates[0].key: "),
    ] {
        let said = complaint(&home, &format!("{TUNNEL}[https]\nlisten = \"127.0.0.1:0\"\n{lines}"));
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn the_files_that_a_configuration_names_are_known() {
    let home = home();
    let path = home.path().join("server.toml");
    let entry = "[https]\nlisten = \"127.0.0.1:0\"\n[[https.certificates]]\ncert = \"certs/web-1.pem\"\nkey = \"certs/web-1.key\"\n";
    with_admin_token(&home, ADMIN_TOKEN, 0o600);
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\ncert = \"certs/api-1.pem\"\nkey = \"certs/api-1.key\"\n";
    fs::write(&path, format!("{TUNNEL}{entry}{admin}")).unwrap();
    let loaded = config::server(&path, home.path()).unwrap();
    let names: Vec<_> =
        loaded.files.iter().map(|file| file.strip_prefix(home.path()).unwrap().to_str().unwrap()).collect();
    let tunnel = ["certs/server.pem", "certs/server.key", "certs/ca.pem"];
    let rest = ["certs/web-1.pem", "certs/web-1.key", "admin.token", "certs/api-1.pem", "certs/api-1.key"];
    assert_eq!(names, [&tunnel[..], &rest].concat());
    let dated: Vec<_> = loaded.certificates.iter().map(|dated| &*dated.file).collect();
    assert!(dated.iter().any(|file| file.ends_with("certs/api-1.pem")), "{dated:?}");
}

#[test]
fn a_proxy_header_is_taken_from_trusted_proxies_only() {
    let home = home();
    for entry in ["http", "https"] {
        let pair = "cert = \"certs/server.pem\"\nkey = \"certs/server.key\"\n";
        let pair = if entry == "https" { pair } else { "" };
        let said =
            complaint(&home, &format!("{TUNNEL}[{entry}]\nlisten = \"127.0.0.1:0\"\nproxy_protocol = true\n{pair}"));
        let expected = "needs trusted_proxies: nobody else may say who a visitor is";
        assert_eq!(said, format!("8: {entry}.proxy_protocol: {expected}"));
    }
    let said = complaint(&home, &format!("{TUNNEL}[upstreams.a]\nservers = [\"http://a\"]\nproxy_protocol = \"v3\"\n"));
    assert!(said.starts_with("8: upstreams.a.proxy_protocol: "), "{said}");
}

#[test]
fn bounds_and_waits_that_no_node_can_keep_are_refused() {
    let home = home();
    let rules = "[groups.g]\nclients = [\"*\"]\n[[ingress]]\ngroup = \"g\"\n";
    let upstream = "[upstreams.a]\nservers = [\"http://a\"]\n[[egress]]\nupstream = \"a\"\n";
    for (text, said) in [
        (
            "[limits]\nconnections_max = 9223372036854775807\n".to_owned(),
            "7: limits.connections_max: must be at most 1073741824",
        ),
        (
            "[limits]\nhead_bytes_max = 9223372036854775807\n".to_owned(),
            "7: limits.head_bytes_max: must be at most 67108864",
        ),
        ("[limits]\nhead_fields_max = 4001\n".to_owned(), "7: limits.head_fields_max: must be at most 4000"),
        (
            "[timeouts]\nswitched_idle = \"101years\"\n".to_owned(),
            "7: timeouts.switched_idle: must be at most 100 years",
        ),
        (format!("{rules}timeout = \"101years\"\n"), "10: ingress[0].timeout: must be at most 100 years"),
        (format!("{upstream}timeout = \"101years\"\n"), "10: egress[0].timeout: must be at most 100 years"),
    ] {
        assert_eq!(complaint(&home, &format!("{TUNNEL}{text}")), said);
    }
}

/// A server with one rule that has these lines more.
fn with_rule(lines: &str) -> String {
    format!("{TUNNEL}\n[groups.web]\nclients = [\"*\"]\n\n[[ingress]]\ngroup = \"web\"\n{lines}\n")
}

const ALICE: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdCBhbmQgcGVwcGVy$efB2OTd8S5e5ujwQy/sGFwKr9h2YJR0oP4kEHnpjUzU";

#[test]
fn a_gate_says_whom_it_lets_in() {
    let home = home();
    let hash = adit_core::gate::TokenHash::of(b"t0ken").to_text();
    let text = with_rule(&format!(
        "allow_ips = [\"192.0.2.0/24\", \"2001:db8::1\"]\nrate_limit = {{ requests = 5, per = \"10s\" }}\n\
         basic_auth = {{ alice = \"{ALICE}\" }}\nbearer = {{ ci = \"{hash}\" }}"
    ));
    let path = home.path().join("server.toml");
    fs::write(&path, text).unwrap();
    let Settings::Server(server) = config::either(&path, home.path()).unwrap() else { unreachable!("a client") };
    let gate = &server.ingress[0].options.gate;
    assert_eq!(gate.keys(), ["allow_ips", "rate_limit", "basic_auth", "bearer"]);
    assert_eq!(gate.rate_limit.unwrap().burst.get(), 5);
    let shown = format!("{server:?}");
    assert!(!shown.contains("argon2id") && !shown.contains(&hash[8..24]), "{shown}");
}

#[test]
fn a_gate_that_means_nothing_is_refused_and_no_hash_repeated() {
    let home = home();
    for (lines, complaint_end) in [
        ("allow_ips = [\"here\"]", "ingress[0].allow_ips[0]: \"here\" is not ADDRESS or NETWORK/BITS"),
        ("rate_limit = { requests = 5, per = \"0s\" }", "ingress[0].rate_limit.per: must be more than 0"),
        ("rate_limit = { requests = 5, per = \"25h\" }", "ingress[0].rate_limit.per: must be at most a day"),
        ("rate_limit = { requests = 100001 }", "ingress[0].rate_limit.requests: is more than 100000 at once"),
        ("allow_preflight = true", "ingress[0].allow_preflight: means nothing without basic_auth or bearer"),
        (
            "bearer = { ci = \"s3cret\" }",
            "ingress[0].bearer.ci: must be blake3: and 64 hexadecimal digits, as `adit password --bearer` makes them",
        ),
        (
            "basic_auth = { a = \"s3cret\" }",
            "ingress[0].basic_auth.a: must be an argon2id hash ($argon2id$v=19$…), as `adit password` makes them",
        ),
    ] {
        let said = complaint(&home, &with_rule(lines));
        assert!(said.ends_with(complaint_end), "{said}");
    }
}

#[test]
fn dial_says_which_addresses_upstreams_may_be_at() {
    let home = home();
    let said = complaint(&home, &format!("{TUNNEL}\n[dial]\nallow = [\"10.0.0.0/8\", \"localhost\"]\n"));
    assert!(
        said.ends_with("dial.allow[1]: \"localhost\" is not ADDRESS or NETWORK/BITS, with or without :PORT"),
        "{said}"
    );
}
