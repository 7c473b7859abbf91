//! No secret in anything that a node says or leaves: logs of every level, metrics, API answers, errors, `ps`, crashes,
//! `Debug`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod debug;
mod needles;
#[path = "../node/mod.rs"]
mod node;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use adit::config;
use adit_core::{gate::TokenHash, token::Token};
use needles::Needles;
use node::Node;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use tempfile::TempDir;

/// Longer than anything takes on a busy machine: only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a visitor shows to the upstream.
const VISITORS: &str = "bWlsbGljZW50OmhhcnRsZXNzbG92ZQ";

/// `Authorization` of alice, whose password is "password".
const ALICE: &str = "YWxpY2U6cGFzc3dvcmQ=";

/// The hash of alice's password, as cheap as argon2 gets.
const ALICES: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdCBhbmQgcGVwcGVy$efB2OTd8S5e5ujwQy/sGFwKr9h2YJR0oP4kEHnpjUzU";

/// A token for a gate.
const BEARER: &str = "Zm9yLWEtZ2F0ZS1hbmQtbm9ib2R5LWVsc2U";

/// A folder with everything that two nodes need, and all that was said by what ran in it.
struct Home {
    dir: TempDir,
    said: String,
}

impl Home {
    fn new() -> Self {
        // What is started here may leave core dumps, as far as this process may say so.
        let mut limit = getrlimit(Resource::Core);
        limit.current = limit.maximum;
        setrlimit(Resource::Core, limit).unwrap();
        let mut home = Self { dir: tempfile::tempdir().unwrap(), said: String::new() };
        home.run(&["certs"], 0);
        for (name, file) in [("web-1", "client.token"), ("web-2", "revoked.token")] {
            home.run(&["token", "new", name, "--group", "web", "--out", file], 0);
        }
        home.run(&["token", "revoke", "web-2"], 0);
        home.run(&["token", "admin", "--out", "admin.token"], 0);
        home
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command.current_dir(self.dir.path()).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").args(args);
        command
    }

    /// Runs a command to its end, and keeps what it says.
    fn run(&mut self, args: &[&str], code: i32) {
        let output = self.command(args).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        self.said.push_str(&said);
    }

    fn start(&self, args: &[&str]) -> Node {
        Node::start(self.command(args), PATIENCE)
    }

    /// Ends a node by a signal that it has no answer to, and keeps what it says. It leaves no core dump.
    fn crash(&mut self, mut node: Node, signal: Signal) {
        let status = crashed(&mut node, signal);
        assert_eq!((status.signal(), status.core_dumped()), (Some(signal.as_raw()), false), "{status}");
        self.said.push_str(&node.end());
        let left = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let cores: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("core")).collect();
        assert!(cores.is_empty(), "{cores:?}");
    }

    /// Runs a client that does not get in, until it says so.
    fn is_turned_away(&mut self, tunnel: &str, says: &str) {
        self.write("turned-away.toml", tunnel);
        let mut client = self.start(&["client", "-c", "turned-away.toml"]);
        client.says(&[says]);
        self.said.push_str(&client.end());
    }
}

/// Sends a signal until there is no process any more: the first SIGSEGV only has Rust put its own handler away.
fn crashed(node: &mut Node, signal: Signal) -> ExitStatus {
    let (process, deadline) = (Pid::from_child(&node.child), Instant::now() + PATIENCE);
    loop {
        kill_process(process, signal).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        if let Some(status) = node.child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "it lives");
    }
}

/// What others on the machine see of a node: its environment only if they are root.
fn seen_from_outside(node: &Node) -> String {
    let process = format!("/proc/{}", node.child.id());
    let mut seen = ["cmdline", "comm", "status", "limits"].map(|name| fs::read(format!("{process}/{name}")).unwrap());
    seen[0].extend(fs::read(format!("{process}/environ")).unwrap_or_default());
    String::from_utf8_lossy(&seen.concat()).into_owned()
}

/// Returns the value of a field of a line in JSON.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("\"{name}\":\"")).unwrap();
    rest.split('"').next().unwrap()
}

/// Sends a request, and returns the whole answer.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address.parse::<SocketAddr>().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (line, fields) = request.split_once('\n').unwrap_or((request, ""));
    let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// An upstream that answers everything with nothing.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut read = BufReader::new(stream);
            let mut line = String::new();
            while read.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            let _ = read.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
        }
    });
    address
}

/// Everything that an operator can ask of a running node, with this field.
fn asked(admin: &str, field: &str) -> String {
    let mut said = String::new();
    let lists = ["links", "groups", "rules", "upstreams", "exchanges", "config"].map(|name| format!("/api/v1/{name}"));
    for path in ["/", "/healthz", "/readyz", "/metrics", "/nowhere"].map(str::to_owned).iter().chain(&lists) {
        let answer = ask(admin, &format!("GET {path}\n{field}"));
        assert!(answer.starts_with("HTTP/1.1 "), "{path}: {answer}");
        said.push_str(&answer);
    }
    said
}

const SERVER: &str = r#"
http = { listen = "127.0.0.1:0" }
admin = { listen = "127.0.0.1:0", token_file = "admin.token" }
[tunnel]
listen = "127.0.0.1:0"
cert = "certs/server.pem"
key = "certs/server.key"
client_ca = "certs/ca.pem"
tokens_file = "tokens.toml"
[groups.web]
clients = ["web-*", "client"]
[groups.db]
clients = ["nobody"]
[[ingress]]
group = "web"
"#;

/// A server, with a gate on one of its rules.
fn server() -> String {
    let bearer = TokenHash::of(BEARER.as_bytes()).to_text();
    format!(
        "{SERVER}[[ingress]]\npath = \"/gate\"\ngroup = \"web\"\n\
         bearer = {{ ci = \"{bearer}\" }}\nbasic_auth = {{ alice = \"{ALICES}\" }}\n"
    )
}

/// A client's configuration, with this in `[tunnel]`.
fn client(connect: &str, proof: &str, group: &str, upstream: SocketAddr) -> String {
    format!(
        "admin = {{ listen = \"127.0.0.1:0\" }}\n[tunnel]\nconnect = \"{connect}\"\nserver_name = \"localhost\"\n\
         ca = \"certs/ca.pem\"\ngroup = \"{group}\"\n{proof}\n\
         [[egress]]\nupstream = \"app\"\n[upstreams.app]\nservers = [\"http://{upstream}\"]\n"
    )
}

#[test]
fn nothing_that_nodes_say_has_a_secret_in_it() {
    let mut home = Home::new();
    let upstream = upstream();
    home.write("server.toml", &server());
    let by_token = "token_file = \"client.token\"";
    let by_certificate = "cert = \"certs/client.pem\"\nkey = \"certs/client.key\"";

    let mut server = home.start(&["--log-format", "json", "server", "-c", "server.toml"]);
    let up = server.says(&["server is up"]);
    let tunnel = field(&up, "tunnel").to_owned();
    let mut clients = Vec::new();
    for (name, proof) in [("token.toml", by_token), ("certificate.toml", by_certificate)] {
        home.write(name, &client(&tunnel, proof, "web", upstream));
        let mut node = home.start(&["--log-format", "json", "client", "-c", name]);
        let up = node.says(&["client is up"]);
        node.says(&["\"connected\""]);
        clients.push((node, field(&up, "admin").to_owned()));
    }
    for number in 0..4 {
        let request = format!("GET /{number}\nauthorization: Basic {VISITORS}\r\ncookie: session={VISITORS}\r\n");
        let answer = ask(field(&up, "http"), &request);
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    }
    for (authorization, status) in [
        (format!("Basic {ALICE}"), 204),
        (format!("Bearer {BEARER}"), 204),
        (format!("Bearer {}", &BEARER[1..]), 401),
        (format!("Basic {}", &ALICE[4..]), 401),
        (format!("Digest {BEARER}"), 401),
        (format!("{ALICE} {BEARER}"), 401),
    ] {
        let answer = ask(field(&up, "http"), &format!("GET /gate\nauthorization: {authorization}\r\n"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{authorization}: {answer}");
    }
    let (operator, admin) = (home.read("admin.token").trim_end().to_owned(), field(&up, "admin"));
    let mut said = asked(admin, &format!("authorization: Bearer {operator}\r\n"));
    assert!(said.contains("adit_links{"), "{said}");
    for wrong in
        ["", &format!("authorization: Bearer {}\r\n", &operator[1..]), &format!("authorization: {operator}\r\n")]
    {
        said.push_str(&asked(admin, wrong));
    }
    for (node, admin) in &clients {
        said.push_str(&asked(admin, ""));
        said.push_str(&seen_from_outside(node));
    }
    said.push_str(&seen_from_outside(&server));
    for name in ["server.toml", "token.toml", "certificate.toml"] {
        home.run(&["check", "-c", name], 0);
        home.run(&["explain", "-c", name, "GET", "http://a.example/x"], 0);
        let settings = config::either(&home.dir.path().join(name), home.dir.path()).unwrap();
        said.push_str(&format!("{settings:?} {settings:#?}"));
    }
    home.run(&["token", "list"], 0);

    // Clients that do not get in.
    let revoked = client(&tunnel, "token_file = \"revoked.token\"", "web", upstream);
    home.is_turned_away(&revoked, "the token is not valid here");
    for proof in [by_token, by_certificate] {
        home.is_turned_away(&client(&tunnel, proof, "db", upstream), "may not join the group db");
    }

    // Files that are wrong, with a secret where it does not belong.
    let (token, key) = (home.read("client.token"), home.read("certs/client.key"));
    home.write("cut.token", &token.trim_end()[..token.len() - 9]);
    home.write("long.token", &format!("{}{token}", token.trim_end()));
    home.write("cut.key", &key[..key.len() * 2 / 3]);
    home.write("tokens.toml", &format!("[tokens.web-1]\nhash = \"{}\"\ngroups = [\"web\"]\n", token.trim_end()));
    for name in ["cut.token", "long.token", "cut.key"] {
        fs::set_permissions(home.dir.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    for proof in [
        "token_file = \"cut.token\"".to_owned(),
        "token_file = \"long.token\"".to_owned(),
        "token_file = \"certs/client.key\"".to_owned(),
        "cert = \"certs/client.key\"\nkey = \"certs/client.key\"".to_owned(),
        "cert = \"certs/client.pem\"\nkey = \"cut.key\"".to_owned(),
        "cert = \"certs/client.pem\"\nkey = \"client.token\"".to_owned(),
        format!("token = \"{}\"", token.trim_end()),
        format!("token_file = [\"{}\"]", token.trim_end()),
        format!("token_file = \"{}\"", token.trim_end()),
        format!("key = '''{key}'''"),
    ] {
        home.write("wrong.toml", &client(&tunnel, &proof, "web", upstream));
        home.run(&["check", "-c", "wrong.toml"], 2);
        home.run(&["client", "-c", "wrong.toml"], 2);
    }
    home.run(&["check", "-c", "server.toml"], 2);
    home.run(&["server", "-c", "server.toml"], 2);

    home.crash(server, Signal::ABORT);
    for ((node, _), signal) in clients.into_iter().zip([Signal::BUS, Signal::SEGV]) {
        home.crash(node, signal);
    }
    said.push_str(&home.said);
    assert!(said.contains("TRACE") && said.contains("web-1"), "it says nothing at all");

    let secrets = [
        ("the token", Needles::token(&token)),
        ("the revoked token", Needles::token(&home.read("revoked.token"))),
        ("the client's key", Needles::key(&key)),
        ("the server's key", Needles::key(&home.read("certs/server.key"))),
        ("the key of the authority", Needles::key(&home.read("certs/ca.key"))),
        ("what a visitor shows", Needles::text(VISITORS)),
        ("what alice shows", Needles::text(ALICE)),
        ("the hash of alice's password", Needles::text(ALICES)),
        ("the token of a gate", Needles::text(BEARER)),
        ("its hash", Needles::hash(&TokenHash::of(BEARER.as_bytes()).to_text())),
        ("the admin token", Needles::token(&operator)),
        ("its hash", Needles::hash(&TokenHash::of(operator.trim_end().as_bytes()).to_text())),
        ("the hash of the token", Needles::hash(&token.trim_end().parse::<Token>().unwrap().hash().to_string())),
    ];
    needles::are_not_in(&secrets, &said);
}

#[test]
fn a_core_dump_is_left_only_where_it_is_asked_for() {
    let home = Home::new();
    home.write("client.toml", &client("127.0.0.1:1", "token_file = \"client.token\"", "web", upstream()));
    for (flag, expected) in [(None, "0"), (Some("--core-dumps"), &*soft_core_limit())] {
        let args = ["client", "-c", "client.toml"].into_iter().chain(flag);
        let mut node = home.start(&args.collect::<Vec<_>>());
        node.says(&["client is up"]);
        let limits = fs::read_to_string(format!("/proc/{}/limits", node.child.id())).unwrap();
        assert_eq!(core_limit(&limits), expected, "{flag:?}");
        if flag.is_none() {
            assert!(!crashed(&mut node, Signal::ABORT).core_dumped());
        }
    }
}

fn soft_core_limit() -> String {
    core_limit(&fs::read_to_string("/proc/self/limits").unwrap()).to_owned()
}

fn core_limit(limits: &str) -> &str {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().next().unwrap()
}
