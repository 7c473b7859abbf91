//! Real processes, one of which is killed in the midst of its work: `just kill`.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use adit_tests::{Upstream, Visitor, body::full, within};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

const PER_SECOND: u32 = 500;

/// Connections of the visitors: each has as many requests in flight as HTTP/2 lets it.
const CONNECTIONS: usize = 8;

/// A process that is killed when it is dropped.
struct Process(Child);

impl Process {
    fn start(home: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(home).stderr(Stdio::null()).env("RUST_LOG", "error");
        Self(command.spawn().unwrap_or_else(|error| unreachable!("{}: {error}", binary().display())))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL. One that has ended by itself is as dead.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The binary beside this test's own folder.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(2).unwrap_or(Path::new(".")).join("adit")
}

/// A server and two clients, each a process, with an upstream each.
struct Processes {
    home: PathBuf,
    entry: SocketAddr,
    clients: [Option<Process>; 2],
    _server: Process,
    _upstreams: [Upstream; 2],
}

impl Processes {
    async fn start(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("adit-kill-{name}-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap_or_else(|error| unreachable!("{error}"));
        let certs = Command::new(binary())
            .args(["certs", "--host", "localhost", "--client", "web-1", "--client", "web-2"])
            .current_dir(&home)
            .output();
        assert!(certs.is_ok_and(|made| made.status.success()), "certificates");
        let (tunnel, entry) = free_ports();
        let upstreams = [Upstream::echo(), Upstream::echo()];
        write(
            &home,
            "server.toml",
            &format!(
                "[tunnel]\nlisten = \"{tunnel}\"\ncert = \"certs/server.pem\"\nkey = \"certs/server.key\"\nclient_ca = \"certs/ca.pem\"\n\
             [http]\nlisten = \"{entry}\"\n[[ingress]]\ngroup = \"web\"\n[groups.web]\nclients = [\"*\"]\n"
            ),
        );
        for (number, upstream) in (1..).zip(&upstreams) {
            write(
                &home,
                &format!("web-{number}.toml"),
                &format!(
                    "[tunnel]\nconnect = \"{tunnel}\"\nserver_name = \"localhost\"\nca = \"certs/ca.pem\"\n\
                 cert = \"certs/web-{number}.pem\"\nkey = \"certs/web-{number}.key\"\ngroup = \"web\"\n\
                 [[egress]]\nupstream = \"app\"\n[upstreams.app]\nservers = [\"{}\"]\n",
                    upstream.http()
                ),
            );
        }
        let server = Process::start(&home, &["server", "-c", "server.toml"]);
        let clients = ["web-1.toml", "web-2.toml"].map(|file| Some(Process::start(&home, &["client", "-c", file])));
        let processes = Self { home, entry, clients, _server: server, _upstreams: upstreams };
        within("both clients to answer", async {
            while processes._upstreams.iter().any(|upstream| upstream.saw().requests() == 0) {
                sleep(Duration::from_millis(50)).await;
                if std::net::TcpStream::connect(entry).is_ok() {
                    Visitor::http1(entry).await.get("/").await;
                }
            }
        })
        .await;
        processes
    }

    #[expect(clippy::print_stdout, reason = "the numbers are worth reading")]
    /// Asks at a steady rate for so long, and kills the first client after 3 s.
    async fn kill_one_under(&mut self, method: &'static str, seconds: u32) -> Outcomes {
        let mut visitors = Vec::new();
        for _ in 0..CONNECTIONS {
            visitors.push(Visitor::http2(self.entry).await);
        }
        let (mut asking, start) = (JoinSet::new(), Instant::now());
        for number in 0..seconds * PER_SECOND {
            // Late or not, it counts from when it should have been asked.
            let due = start + Duration::from_secs(1) * number / PER_SECOND;
            sleep_until(due).await;
            if number == 3 * PER_SECOND {
                self.clients[0] = None;
            }
            let visitor = &mut visitors[usize::try_from(number).unwrap_or(0) % CONNECTIONS];
            let request = visitor.request(method, "/").body(full(number.to_string()));
            let pending = visitor.start(request).await;
            asking.spawn(async move {
                let answer = pending.whole().await;
                let (status, code) = answer.failure();
                assert!(status != 200 || answer.text() == number.to_string(), "the answer of another");
                (due - start, due.elapsed(), (status, code.to_owned()))
            });
        }
        let mut outcomes = Outcomes::default();
        while let Some(asked) = within("the last answer", asking.join_next()).await {
            let (due, took, outcome) = asked.unwrap_or_else(|error| unreachable!("{error}"));
            *outcomes.counts.entry(outcome.clone()).or_default() += 1;
            outcomes.longest = outcomes.longest.max(took);
            if outcome.0 != 200 {
                outcomes.last_failed = outcomes.last_failed.max(due);
            }
        }
        println!("{PER_SECOND} {method}/s for {seconds} s: {outcomes:?}");
        outcomes
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // What is left in the system's folder for such things does not matter.
        let _ = fs::remove_dir_all(&self.home);
    }
}

#[derive(Debug, Default)]
struct Outcomes {
    counts: BTreeMap<(u16, String), usize>,
    longest: Duration,
    /// When the last one that failed was asked, after the start.
    last_failed: Duration,
}

fn free_ports() -> (SocketAddr, SocketAddr) {
    let udp = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let tcp = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    match (udp, tcp) {
        (Ok(udp), Ok(tcp)) => (udp, tcp),
        other => unreachable!("{other:?}"),
    }
}

fn write(home: &Path, name: &str, text: &str) {
    fs::write(home.join(name), text).unwrap_or_else(|error| unreachable!("{name}: {error}"));
}

#[tokio::test]
#[ignore = "takes its time, and needs the binary: just kill"]
async fn of_500_get_per_second_none_fails_and_none_takes_3_s() {
    let outcomes = Processes::start("get").await.kill_one_under("GET", 10).await;
    assert_eq!(outcomes.counts, BTreeMap::from([((200, String::new()), 5_000)]));
    assert!(outcomes.longest < Duration::from_secs(3), "{:?}", outcomes.longest);
}

#[tokio::test]
#[ignore = "takes its time, and needs the binary: just kill"]
async fn of_500_post_per_second_only_those_fail_that_were_sent_to_the_one_that_was_killed() {
    let mut outcomes = Processes::start("post").await.kill_one_under("POST", 10).await;
    let answered = outcomes.counts.remove(&(200, String::new())).unwrap_or_default();
    let failed = outcomes.counts.remove(&(502, "link-lost".to_owned())).unwrap_or_default();
    assert_eq!((answered + failed, outcomes.counts), (5_000, BTreeMap::new()));
    // The link is suspect by then, and nothing is sent to it any more.
    assert!(failed < 500 && outcomes.last_failed < Duration::from_secs(6), "{failed}, {:?}", outcomes.last_failed);
    assert!(outcomes.longest < Duration::from_secs(23), "{:?}", outcomes.longest);
}
